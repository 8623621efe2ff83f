"""Cutouts of any shape to squares of one size, never squashed."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Float64

from catalogs.reading import Cutout
from catalogs.wcs import resampled


def letterbox(cutout: Cutout, size: int, crop: int | None, *, arcsec: float | int | None = None) -> Cutout:
    """The cutout on a square of `size` pixels a side, scaled by one factor for both axes, centred, NaN where padded.

    `crop` first cuts a central square of so many source pixels; where an image is smaller it is padded to that, so that
    all cutouts of a catalog keep one pixel scale. `arcsec` says the same as an angle, rounded to source pixels (at
    least 1), so that files of different pixel scale come to one grid; it needs a cutout whose `pixel_scale` is known,
    which the caller has to see to. Without either the longer side becomes `size`. Centres agree to half a source pixel.

    Shrinking takes the mean over each new pixel's exact footprint, enlarging is bilinear. Both keep surface brightness
    in `unit` per source pixel: the total flux is the sum times (source pixels a new pixel's side)^2. NaN carries no
    weight, and a pixel of which less than half is covered by valid ones is NaN; a band all NaN stays so. `variance` is
    that of each new pixel alone, the weights squared, for independent source pixels; new pixels that share a source
    pixel are correlated, so that variances of sums do not follow from it. It is NaN where the pixel is, or where a
    pixel it is made of has no finite variance. `wcs` and `pixel_scale` go along. In `nuisance`, psf_fwhm_px is scaled;
    sky_sigma becomes NaN where the pixels were resampled, since that correlates the noise: measure it after. An image
    that has the size already is returned unchanged.

    Raises ValueError where `size` or `crop` is below 1, `arcsec` is not positive, or both it and `crop` are given.
    """
    if size < 1 or (crop is not None and crop < 1):
        raise ValueError(f"size is {size} and crop is {crop}; both are numbers of pixels, at least 1")
    if arcsec is not None:
        if crop is not None:
            raise ValueError(
                f"crop is {crop} and arcsec is {arcsec}; give the width in pixels or as an angle, not both"
            )
        if not 0 < arcsec < np.inf:
            raise ValueError(f"arcsec is {arcsec}; it is the width of the square, so a positive number")
        assert cutout.pixel_scale > 0, f"pixel scale {cutout.pixel_scale}"
        crop = max(1, round(arcsec / cutout.pixel_scale))
    side = crop or max(cutout.pixels.shape[1:])
    starts = tuple(_start(length, side) for length in cutout.pixels.shape[1:])
    pixels, variance = _square(cutout, starts, side, size)
    nuisance = dict(cutout.nuisance)
    if side != size:
        if "psf_fwhm_px" in nuisance:
            nuisance["psf_fwhm_px"] = (nuisance["psf_fwhm_px"] * (size / side)).astype(np.float32)
        if "sky_sigma" in nuisance:
            nuisance["sky_sigma"] = np.full_like(nuisance["sky_sigma"], np.nan)
    wcs = cutout.wcs
    if wcs is not None and (side != size or starts != (0, 0)):
        wcs = resampled(wcs, (-starts[0], -starts[1]), size / side)
    scale = cutout.pixel_scale * (side / size)
    return replace(cutout, pixels=pixels, variance=variance, nuisance=nuisance, wcs=wcs, pixel_scale=scale)


def _start(length: int, side: int) -> int:
    """Where an axis begins in a square about its centre; negative where it sticks out."""
    return (side - length) // 2 if side >= length else -((length - side) // 2)


def _square(
    cutout: Cutout, starts: tuple[int, ...], side: int, size: int
) -> tuple[Float32[np.ndarray, "band size size"], Float32[np.ndarray, "band size size"] | None]:
    """Pixels and variance of the square of `side` source pixels in which the image begins at `starts`."""
    shape = (len(cutout.pixels), size, size)
    # The part of the image in the square, and where that begins there.
    inside = tuple(slice(max(0, -start), side - start) for start in starts)
    starts = tuple(max(0, start) for start in starts)
    pixels = cutout.pixels[:, *inside].astype(np.float32, copy=False)
    variance = None if cutout.variance is None else cutout.variance[:, *inside].astype(np.float32, copy=False)
    if side == size:
        window = tuple(slice(start, start + length) for start, length in zip(starts, pixels.shape[1:], strict=True))
        squares = [None if image is None else np.full(shape, np.nan, np.float32) for image in (pixels, variance)]
        for square, image in zip(squares, (pixels, variance), strict=True):
            if square is not None and image is not None:
                square[:, *window] = image
        assert squares[0] is not None
        return squares[0], squares[1]
    if 2 * size * min(pixels.shape[1:]) < side:  # a damaged header's pixel scale: the image is lost in one new pixel
        empty = np.full(shape, np.nan, np.float32)
        return empty, None if variance is None else empty.copy()
    return _resized(pixels, variance, starts, side, size)


def _resized(
    pixels: Float32[np.ndarray, "band y x"],
    variance: Float32[np.ndarray, "band y x"] | None,
    starts: tuple[int, ...],
    side: int,
    size: int,
) -> tuple[Float32[np.ndarray, "band size size"], Float32[np.ndarray, "band size size"] | None]:
    """Normalised convolution: resampled values over resampled weights (Knutsson & Westin 1993)."""

    def resample(
        images: Float32[np.ndarray, "band y x"] | Bool[np.ndarray, "band y x"], power: int = 1
    ) -> Float64[np.ndarray, "band size size"]:
        along_axis = _area_means if size < side else _linear
        rows = along_axis(images.astype(np.float64), 1, starts[0], side, size, power)
        return along_axis(rows, 2, starts[1], side, size, power)

    valid = np.isfinite(pixels)
    values = resample(np.where(valid, pixels, 0))
    weight = np.ones_like(values)
    if not valid.all() or pixels.shape[1:] != (side, side):
        weight = resample(valid)
    covered = weight >= 0.5 - 1e-9

    def normalised(sums: Float64[np.ndarray, "band size size"], power: int) -> Float32[np.ndarray, "band size size"]:
        found = np.full(sums.shape, np.nan, np.float32)
        found[covered] = sums[covered] / weight[covered] ** power
        return found

    if variance is None:
        return normalised(values, 1), None
    known = np.isfinite(variance)
    spread = normalised(resample(np.where(valid & known, variance, 0), 2), 2)
    if not (known | ~valid).all():
        spread[resample(valid & ~known, 2) > 0] = np.nan
    return normalised(values, 1), spread


def _along(axis: int, weights: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "a b c"]:
    shape = [1, 1, 1]
    shape[axis] = len(weights)
    return weights.reshape(shape)


def _area_means(
    images: Float64[np.ndarray, "band y x"], axis: int, start: int, side: int, size: int, power: int
) -> Float64[np.ndarray, "band y2 x2"]:
    """Means over `size` equal footprints, whose edges may fall within pixels; exact, unlike a sampled box filter.

    The image begins at pixel `start` of `side`; pixels around it count as 0. Weights are raised to `power`.
    """
    length = images.shape[axis]
    first, last = start * size, (start + length) * size
    # In units of 1/size pixel all edges are integers, so no rounding decides to which footprint a piece belongs.
    footprints = np.arange(size) * side
    edges = np.union1d(np.arange(start, start + length) * size, footprints[(footprints > first) & (footprints < last)])
    widths = np.diff(np.append(edges, last)) / side  # a footprint's widths add to 1
    pieces = np.take(images, edges // size - start, axis=axis) * _along(axis, widths**power)
    touched, begins = np.unique(edges // side, return_index=True)
    shape = list(images.shape)
    shape[axis] = size
    means = np.zeros(shape)
    np.moveaxis(means, axis, 0)[touched] = np.moveaxis(np.add.reduceat(pieces, begins, axis=axis), axis, 0)
    return means


def _linear(
    images: Float64[np.ndarray, "band y x"], axis: int, start: int, side: int, size: int, power: int
) -> Float64[np.ndarray, "band y2 x2"]:
    """Linear interpolation between pixel centres; beyond the square's outermost centres edge pixels are repeated.

    The image begins at pixel `start` of `side`; pixels around it count as 0. Weights are raised to `power`.
    """
    length = images.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * (side / size) - 0.5, 0, side - 1)
    lower = np.minimum(position.astype(np.int64), max(side - 2, 0))
    fraction = position - lower
    shape = list(images.shape)
    shape[axis] = size
    sums = np.zeros(shape)
    for index, weight in ((lower, 1 - fraction), (np.minimum(lower + 1, side - 1), fraction)):
        own = index - start
        weight = np.where((own >= 0) & (own < length), weight**power, 0)
        sums += np.take(images, np.clip(own, 0, length - 1), axis=axis) * _along(axis, weight)
    return sums
