"""Bands by name: their wavelengths, and which of a photograph's red, green and blue each stands in for."""

import numpy as np
from jaxtyping import Float

# Effective wavelengths in micrometres, rounded: only their order and the two limits below matter.
WAVELENGTH_UM = {
    "fuv": 0.154, "nuv": 0.227, "u": 0.36, "b": 0.44, "blue": 0.46, "g": 0.48, "green": 0.54, "v": 0.55, "f555w": 0.53,
    "f475w": 0.47, "f435w": 0.43, "r": 0.62, "red": 0.62, "f606w": 0.59, "vis": 0.72, "i": 0.76, "f775w": 0.77,
    "f814w": 0.80, "z": 0.91, "f850lp": 0.90, "y": 1.0, "f105w": 1.05, "j": 1.25, "f125w": 1.25, "f140w": 1.39,
    "h": 1.63, "f160w": 1.54, "k": 2.2, "ks": 2.15, "w1": 3.4, "w2": 4.6,
}  # fmt: skip
BLUE_BELOW_UM, RED_ABOVE_UM = 0.55, 0.7


def rgb_mixing(bands: tuple[str, ...]) -> Float[np.ndarray, "c 3"]:
    """Weights (band x R, G, B) that build a photograph's channels from bands; each column sums to 1.

    red, green, blue map onto themselves; one band feeds all three; otherwise each channel is the mean of the bands
    blueward of 0.55 um (B), between (G) and redward of 0.7 um (R): ugriz gives B = (u + g)/2, G = r, R = (i + z)/2.
    Bands without a known wavelength keep the order in which they stand, taken as blue to red.
    Raises ValueError for no band, or for one named twice.
    """
    count = len(bands)
    names = [band.lower() for band in bands]
    if count == 0 or len(set(names)) < count:
        raise ValueError(f"bands: {', '.join(bands) or 'none given'}; name at least one band, and each only once")
    if set(names) == {"red", "green", "blue"}:
        return np.array([[name == c for c in ("red", "green", "blue")] for name in names], dtype=np.float64)
    if count == 1:
        return np.ones((1, 3))
    known = all(name in WAVELENGTH_UM for name in names)
    order = np.argsort([WAVELENGTH_UM[n] for n in names], kind="stable") if known else np.arange(count)
    groups: list[np.ndarray]
    if known:
        waves = np.array([WAVELENGTH_UM[n] for n in names])
        red, blue = waves > RED_ABOVE_UM, waves < BLUE_BELOW_UM
        groups = [np.flatnonzero(red), np.flatnonzero(~red & ~blue), np.flatnonzero(blue)]
    else:
        groups = []
    if not groups or any(len(group) == 0 for group in groups):  # an empty channel: share the bands out by rank
        groups = [order[1:], order, order[:1]] if count == 2 else list(np.array_split(order[::-1], 3))
    mixing = np.zeros((count, 3))
    for channel, group in enumerate(groups):
        mixing[group, channel] = 1 / len(group)
    return mixing
