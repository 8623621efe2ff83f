"""The sky's standard deviation, from a cutout's border."""

import numpy as np
from jaxtyping import Float, Float32

# Median absolute deviation to standard deviation, for a Gaussian.
_MAD_TO_SIGMA = 1.482602218505602
_MIN_PIXELS = 20


def border_sigma(pixels: Float[np.ndarray, "band y x"]) -> Float32[np.ndarray, " band"]:
    """Sky sigma of each band, in units of the pixels, from the outer ring of 10 % of each side (at least 2 pixels).

    1.4826 x the median absolute deviation after three rounds of clipping at 3 sigma about the median; NaN and infinite
    pixels are ignored. The border, since clipping a cutout that the galaxy fills counts the galaxy as sky. Where this
    gives 0 or fewer than 20 pixels are valid (padding, blank borders): the same over all valid pixels without
    clipping, then their standard deviation, then NaN, so that the result is positive or NaN.
    """
    bands, height, width = pixels.shape
    rows, columns = max(2, round(height / 10)), max(2, round(width / 10))
    ring = np.ones((height, width), bool)
    ring[rows : height - rows, columns : width - columns] = False
    sigma = np.full(bands, np.nan, np.float32)
    for band in range(bands):
        plane = pixels[band].astype(np.float64)
        valid = np.isfinite(plane)
        sigma[band] = _first_positive(plane[ring & valid], plane[valid])
    return sigma


def _first_positive(border: Float[np.ndarray, " n"], everything: Float[np.ndarray, " m"]) -> float:
    if len(border) >= _MIN_PIXELS:
        kept = border
        for _ in range(3):
            deviation = np.abs(kept - np.median(kept))
            kept = kept[deviation <= 3 * _MAD_TO_SIGMA * np.median(deviation)]
        if (sigma := _mad_sigma(kept)) > 0:
            return sigma
    if len(everything) == 0:
        return float("nan")
    sigma = _mad_sigma(everything) or float(np.std(everything))
    return sigma if sigma > 0 else float("nan")


def _mad_sigma(values: Float[np.ndarray, " n"]) -> float:
    return _MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
