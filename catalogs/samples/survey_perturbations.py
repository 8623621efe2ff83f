"""Cheap changes that make many objects of one rendered parent: turns, mirrors, sub-pixel shifts, flux, faults."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32

from catalogs.samples.galaxy_exposures import Conditions, spoil
from catalogs.samples.galaxy_models import BANDS

_LOBES = 5
_COMPANION_ARCSEC = 9.0

# Of 100 volunteers: smooth, featured or artifact; then of those who saw features: bar, spiral; of spirals: arms.
_LOOKS: Mapping[str, tuple[float, float, float]] = {
    "bulge": (0.88, 0.09, 0.03),
    "disk": (0.72, 0.25, 0.03),
    "spiral": (0.10, 0.88, 0.02),
    "edge_on": (0.28, 0.69, 0.03),
    "ring": (0.14, 0.83, 0.03),
    "merger": (0.20, 0.72, 0.08),
}
_SPOILT = (0.08, 0.08, 0.84)
_SPIRAL = {"bulge": 0.08, "disk": 0.12, "spiral": 0.92, "edge_on": 0.15, "ring": 0.30, "merger": 0.25}
_BAR = {True: 0.85, False: 0.07}
_RIGHT_ARMS = 0.8
VOTES = (
    *("smooth", "featured", "artifact", "bar_yes", "bar_no", "spiral_yes", "spiral_no"),
    *("arms_2", "arms_3", "arms_4"),
)


def draw_votes(kind: str, barred: bool, arms: int, spoilt: bool, rng: np.random.Generator) -> dict[str, int]:
    """Raw counts of 30 to about 50 volunteers, by the names of `VOTES`.

    A tree as Galaxy Zoo's: all are asked smooth, featured or artifact; those who said featured, bar and spiral; those
    who said spiral, the number of arms. The answers to a question that nobody reached are 0.
    """
    looks = _SPOILT if spoilt else _LOOKS[kind]
    smooth, featured, artifact = rng.multinomial(30 + rng.poisson(10), looks).tolist()
    bar, spiral = rng.binomial(featured, (_BAR[barred], _SPIRAL[kind])).tolist()
    said = [1 / 3] * 3 if arms == 0 else [_RIGHT_ARMS if n == arms else (1 - _RIGHT_ARMS) / 2 for n in (2, 3, 4)]
    by_arms = rng.multinomial(spiral, said).tolist()
    counts = (smooth, featured, artifact, bar, featured - bar, spiral, featured - spiral, *by_arms)
    return dict(zip(VOTES, counts, strict=True))


def turned(image: Float32[np.ndarray, "band y x"], turn: int) -> Float32[np.ndarray, "band y x"]:
    """The image in one of the square's 8 symmetries: 0 as it is, 1 to 3 quarter turns, 4 to 7 the same mirrored.

    Exact: no interpolation, and the PSF is round.
    """
    rotated = np.rot90(image, turn % 4, axes=(1, 2))
    return rotated[:, :, ::-1] if turn >= 4 else rotated


def add_shifted(
    canvas: Float32[np.ndarray, "band y x"],
    image: Float32[np.ndarray, "band v u"],
    position: tuple[float, float],
    gain: Float[np.ndarray, " band"],
) -> None:
    """Adds `gain` times the image to the canvas, its centre at `position` (x, y: 0 is the first pixel's centre).

    Lanczos interpolation of 5 lobes, whose taps sum to 1: flux is kept. What falls outside is lost.
    """
    x_pixels, x_weights = _resampling(canvas.shape[2], image.shape[2], position[0])
    y_pixels, y_weights = _resampling(canvas.shape[1], image.shape[1], position[1])
    if len(x_weights) and len(y_weights):
        shifted = np.matmul(y_weights, np.matmul(image * gain.astype(np.float32)[:, None, None], x_weights.T))
        canvas[:, y_pixels, x_pixels] += shifted


def companion(image: Float32[np.ndarray, "band y x"], pixel_scale: float | int) -> Float32[np.ndarray, "band v u"]:
    """The inner 18 arcsec of a parent, or all of it, fading to 0 at the rim."""
    side = image.shape[-1]
    cut = max(0, side // 2 - int(np.ceil(_COMPANION_ARCSEC / pixel_scale)))
    inner = image[:, cut : side - cut, cut : side - cut]
    fade = np.minimum(1, 1.5 * np.sin(np.pi * (np.arange(side - 2 * cut) + 0.5) / (side - 2 * cut)))
    fade = fade.astype(np.float32)
    return np.asarray(inner * fade * fade[:, None])


def fault(
    sky_sigma: Float[np.ndarray, " band"], size: int, rng: np.random.Generator
) -> Float32[np.ndarray, "band y x"]:
    """What a satellite's trail, cosmic rays, bad columns or a ghost add to an image: one of them, in nJy.

    It shows whatever the bands: the small sample's planes are dealt out to them in turn, g and r first.
    """
    five = Conditions(np.ones(len(BANDS)), np.ones(len(BANDS)), 0.0)
    planes = spoil(np.zeros((len(BANDS), size, size)), five, rng)
    found = np.zeros((len(sky_sigma), size, size), np.float32)
    for place, plane in enumerate((1, 2, 3, 4, 0)):
        found[place % len(found)] += planes[plane]
    return found * sky_sigma.astype(np.float32)[:, None, None]


def _resampling(length: int, taken: int, position: float) -> tuple[slice, Float32[np.ndarray, "out taken"]]:
    """The pixels of an axis of `length` that an image of `taken` pixels centred on `position` reaches, and how much of
    each of its pixels they get."""
    start = position - (taken - 1) / 2
    first, last = max(0, int(np.floor(start))), min(length, int(np.ceil(start)) + taken)
    count = max(0, last - first)
    if count == 0:
        return slice(0, 0), np.zeros((0, taken), np.float32)
    # Weight [o, i] goes by the distance o - i alone: one row of weights, seen through a sliding window.
    whole = int(np.floor(first - start))
    distance = np.arange(-_LOBES, _LOBES + 1) + (first - start - whole)
    taps = np.sinc(distance) * np.sinc(distance / _LOBES) * (np.abs(distance) < _LOBES)
    row = np.zeros(count + taken - 1, np.float32)
    place = np.arange(-_LOBES, _LOBES + 1) + taken - 1 - whole
    inside = (place >= 0) & (place < len(row))
    row[place[inside]] = (taps / taps.sum())[inside]
    window = np.lib.stride_tricks.as_strided(row, (count, taken), (row.itemsize, row.itemsize))
    return slice(first, last), np.ascontiguousarray(window[:, ::-1])
