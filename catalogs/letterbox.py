"""Cutouts of any shape to squares of one size, never squashed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32

from catalogs.reading import Cutout
from catalogs.wcs import resampled

# From so many rows on, resizing row by row is faster than one product with all the weights, zeros and all.
BANDED = 1000


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

    axes = [(length, start, side, size) for length, start in zip(pixels.shape[1:], starts, strict=True)]
    if variance is None and pixels.shape[1] >= BANDED:
        bands = [_bands(*axis) for axis in axes]
        return np.stack([_banded(image, *bands) for image in pixels]), None
    down, across = (_weights(*axis) for axis in axes)
    valid = np.isfinite(pixels)
    whole = bool(valid.all()) and pixels.shape[1:] == (side, side)
    if whole and variance is None:  # as most cutouts are
        return _weighted(pixels, down, across), None
    values = _weighted(np.where(valid, pixels, 0), down, across)
    weight = np.ones_like(values) if whole else _weighted(valid, down, across)
    if variance is None:
        return _normalised(values, weight, 1), None
    known = np.isfinite(variance)
    spread = _normalised(_weighted(np.where(valid & known, variance, 0), down**2, across**2), weight, 2)
    if not (known | ~valid).all():
        spread[_weighted(valid & ~known, down**2, across**2) > 0] = np.nan
    return _normalised(values, weight, 1), spread


def _weighted(
    images: Float32[np.ndarray, "band y x"] | Bool[np.ndarray, "band y x"],
    down: Float32[np.ndarray, "size y"],
    across: Float32[np.ndarray, "size x"],
) -> Float32[np.ndarray, "band size size"]:
    bands, height, width = images.shape
    narrow = images.reshape(-1, width).astype(np.float32, copy=False) @ across.T  # one product for all bands
    return np.asarray(down @ narrow.reshape(bands, height, len(across)))


@dataclass(frozen=True)
class _Bands:
    """Of each new pixel of one axis the first pixel with weight, the weights from there on, and their sum."""

    parts: tuple[tuple[int, Float32[np.ndarray, " _"]], ...]  # of different lengths
    sums: Float32[np.ndarray, " size"]


def _banded(image: Float32[np.ndarray, "y x"], down: _Bands, across: _Bands) -> Float32[np.ndarray, "size size"]:
    """The same for one large image, without the weights' zeros, which are nearly all of them."""
    with np.errstate(invalid="ignore", over="ignore"):
        values = _rows(_rows(image, down).T, across).T
    if np.isfinite(values).all():  # a pixel that is not finite would have spread to them
        return _normalised(values, np.outer(down.sums, across.sums), 1)
    values = _rows(_rows(image, down, lambda part: np.where(np.isfinite(part), part, np.float32(0))).T, across).T
    weight = _rows(_rows(image, down, lambda part: np.isfinite(part).astype(np.float32)).T, across).T
    return _normalised(values, weight, 1)


def _rows(
    image: Float32[np.ndarray, "length x"],
    bands: _Bands,
    change: Callable[[Float32[np.ndarray, "part x"]], Float32[np.ndarray, "part x"]] = lambda part: part,
) -> Float32[np.ndarray, "size x"]:
    """Weighted sums of rows, each of those that have weight, which a processor's cache holds; `change` comes first."""
    image = np.ascontiguousarray(image)
    sums = np.empty((len(bands.parts), image.shape[1]), np.float32)
    for (first, weights), out in zip(bands.parts, sums, strict=True):
        np.dot(weights, change(image[first : first + len(weights)]), out=out)
    return sums


def _normalised(
    sums: Float32[np.ndarray, "*band size size"], weight: Float32[np.ndarray, "*band size size"], power: int
) -> Float32[np.ndarray, "*band size size"]:
    found = np.full(sums.shape, np.nan, np.float32)
    covered = weight >= 0.5 - 1e-5  # half, up to what float32 rounds
    found[covered] = sums[covered] / weight[covered] ** power
    return found


@lru_cache(maxsize=64)
def _weights(length: int, start: int, side: int, size: int) -> Float32[np.ndarray, "size length"]:
    """What each pixel of one axis gives to each of `size` new ones; the image begins at pixel `start` of `side`.

    Shrinking: the share of the new pixel's footprint, whose edges may fall within pixels; exact, unlike a sampled box
    filter. Enlarging: bilinear between pixel centres, beyond the square's outermost ones the edge pixels repeated.
    """
    if size < side:
        # In units of 1/size pixel all edges are integers, so no rounding decides to which footprint a piece belongs.
        pixels, footprints = np.arange(start, start + length) * size, np.arange(size)[:, None] * side
        overlap = np.minimum(pixels + size, footprints + side) - np.maximum(pixels, footprints)
        weights = np.maximum(overlap, 0) / side
    else:
        position = np.clip((np.arange(size) + 0.5) * (side / size) - 0.5, 0, side - 1)
        distance = np.abs(position[:, None] - np.arange(start, start + length))
        weights = np.maximum(1 - distance, 0)
    found = np.asarray(weights, np.float32)
    found.flags.writeable = False  # it is shared by all cutouts of this shape
    return found


@lru_cache(maxsize=64)
def _bands(length: int, start: int, side: int, size: int) -> _Bands:
    """The same without zeros; looking for them takes as long as a tenth of the resizing."""
    weights = _weights(length, start, side, size)
    spans = [np.flatnonzero(row) for row in weights]
    parts = tuple(
        (int(span[0]), row[span[0] : span[-1] + 1]) if len(span) else (0, row[:0])
        for row, span in zip(weights, spans, strict=True)
    )
    return _Bands(parts, weights.sum(1))
