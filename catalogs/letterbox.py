"""Cutouts of any shape to squares of one size, never squashed."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64

from catalogs.reading import Cutout


def letterbox(cutout: Cutout, size: int, crop: int | None) -> Cutout:
    """The cutout on a square of `size` pixels a side, scaled by one factor for both axes, centred, NaN where padded.

    `crop` first cuts a central square of so many source pixels; where an image is smaller it is padded to that, so that
    all cutouts of a catalog keep one pixel scale. Without `crop` the longer side becomes `size`. Centres agree to half
    a source pixel. Shrinking takes the mean over each new pixel's exact footprint, enlarging is bilinear; both keep
    linear surface brightness (the mean, not the sum). NaN carries no weight, and a pixel of which less than half is
    covered by valid ones is NaN. An image that has the size already is returned unchanged. In `nuisance`, psf_fwhm_px
    is scaled; sky_sigma becomes NaN where the pixels were resampled, since that correlates the noise: measure it after.

    Raises ValueError where `size` or `crop` is below 1.
    """
    if size < 1 or (crop is not None and crop < 1):
        raise ValueError(f"size is {size} and crop is {crop}; both are numbers of pixels, at least 1")
    side = crop or max(cutout.pixels.shape[1:])
    pixels = _central_square(cutout.pixels.astype(np.float32, copy=False), side)
    nuisance = dict(cutout.nuisance)
    if side != size:
        pixels = _resized(pixels, size)
        if "psf_fwhm_px" in nuisance:
            nuisance["psf_fwhm_px"] = (nuisance["psf_fwhm_px"] * (size / side)).astype(np.float32)
        if "sky_sigma" in nuisance:
            nuisance["sky_sigma"] = np.full_like(nuisance["sky_sigma"], np.nan)
    return replace(cutout, pixels=pixels, nuisance=nuisance)


def _central_square(pixels: Float32[np.ndarray, "band y x"], side: int) -> Float32[np.ndarray, "band side side"]:
    """Cut or pad each axis to `side` about the centre."""
    square = np.full((len(pixels), side, side), np.nan, np.float32)
    source, target = [], []
    for length in pixels.shape[1:]:
        shared = min(length, side)
        first, start = (length - shared) // 2, (side - shared) // 2
        source.append(slice(first, first + shared))
        target.append(slice(start, start + shared))
    square[:, target[0], target[1]] = pixels[:, source[0], source[1]]
    return square


def _resized(pixels: Float32[np.ndarray, "band n n"], size: int) -> Float32[np.ndarray, "band size size"]:
    """Normalised convolution: resampled values over resampled weights (Knutsson & Westin 1993)."""
    valid = np.isfinite(pixels)
    values = _resampled(np.where(valid, pixels, 0).astype(np.float64), size)
    if valid.all():
        return values.astype(np.float32)
    weight = _resampled(valid.astype(np.float64), size)
    covered = weight >= 0.5 - 1e-9
    resized = np.full(values.shape, np.nan, np.float32)
    resized[covered] = values[covered] / weight[covered]
    return resized


def _resampled(images: Float64[np.ndarray, "band n n"], size: int) -> Float64[np.ndarray, "band size size"]:
    """Both axes, one after the other: each keeps the mean of what it covers."""
    along_axis = _area_means if size < images.shape[1] else _linear
    return along_axis(along_axis(images, size, 1), size, 2)


def _area_means(images: Float64[np.ndarray, "band y x"], size: int, axis: int) -> Float64[np.ndarray, "band y2 x2"]:
    """Means over `size` equal footprints, whose edges may fall within pixels; exact, unlike a sampled box filter."""
    length = images.shape[axis]
    # In units of 1/size pixel all edges are integers, so no rounding decides to which footprint a piece belongs.
    edges = np.union1d(np.arange(length) * size, np.arange(size) * length)
    widths = np.diff(np.append(edges, length * size)) / length  # a footprint's widths add to 1
    shape = [1, 1, 1]
    shape[axis] = len(edges)
    pieces = np.take(images, edges // size, axis=axis) * widths.reshape(shape)
    starts = np.searchsorted(edges, np.arange(size) * length)
    return np.asarray(np.add.reduceat(pieces, starts, axis=axis))


def _linear(images: Float64[np.ndarray, "band y x"], size: int, axis: int) -> Float64[np.ndarray, "band y2 x2"]:
    """Linear interpolation between pixel centres; beyond the outermost centres the edge pixels are repeated."""
    length = images.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    lower = np.minimum(position.astype(np.int64), max(length - 2, 0))
    upper = np.minimum(lower + 1, length - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    fraction = (position - lower).reshape(shape)
    below, above = np.take(images, lower, axis=axis), np.take(images, upper, axis=axis)
    return np.asarray(below * (1 - fraction) + above * fraction)
