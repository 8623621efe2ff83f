"""A side marker, as an X-ray station burns it into the pixels: a framed letter and the initials of who took it."""

import numpy as np
from jaxtyping import Bool

_LETTERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "H": ("10001", "10001", "10001", "11111", "10001", "10001", "10001"),
    "K": ("10001", "10010", "10100", "11000", "10100", "10010", "10001"),
    "M": ("10001", "11011", "10101", "10101", "10001", "10001", "10001"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
}
_INITIALS = ("HK", "AM", "TH", "MK", "KT")


def marker(shape: tuple[int, int], rng: np.random.Generator, lateral: bool = False) -> Bool[np.ndarray, "y x"]:
    """True where the marker's pixels are: L in the upper right corner (the patient's left) or R in the upper left.

    About a tenth of the longer side high; its place and the initials vary. A left lateral view always has L.
    """
    rows, columns = shape
    longer = max(shape)
    left_side = bool(rng.random() < 0.7) or lateral
    scale = max(1, round(longer / 160))
    framed = np.pad(np.pad(_glyph("L" if left_side else "R"), 2), 1, constant_values=True)
    initials = np.concatenate([np.pad(_glyph(letter), ((0, 0), (0, 1))) for letter in str(rng.choice(_INITIALS))], 1)
    width = max(framed.shape[1] * scale, initials.shape[1] * max(1, scale // 2))
    small, gap = max(1, scale // 2), max(1, scale)
    large = framed.repeat(scale, 0).repeat(scale, 1)
    below = initials.repeat(small, 0).repeat(small, 1)
    height = large.shape[0] + gap + below.shape[0]
    sign = np.zeros((height, width), bool)
    sign[: large.shape[0], : large.shape[1]] = large
    sign[large.shape[0] + gap :, : below.shape[1]] = below
    top = min(int(longer * rng.uniform(0.03, 0.09)), rows - height)
    from_edge = min(int(longer * rng.uniform(0.03, 0.09)), columns - width)
    first = columns - width - from_edge if left_side else from_edge
    burned = np.zeros(shape, bool)
    burned[top : top + height, first : first + width] = sign
    return burned


def _glyph(letter: str) -> Bool[np.ndarray, "y x"]:
    return np.array([[bit == "1" for bit in row] for row in _LETTERS[letter]])
