"""Bands on different pixel grids (Euclid VIS 0.1", Rubin 0.2") to one, by the `reproject` package."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64

from catalogs.wcs import CelestialWCS, resampled

# New pixels are means of k x k bilinear samples. Measured beside `reproject_exact` (means over exact footprints) on a
# Gaussian of FWHM 1.6 pixels, see the tests. One sample a pixel is wrong by some per cent in flux where pixels grow
# and its noise beats with the two grids; `reproject_adaptive` keeps the flux, but spreads NaN further and is 4 times
# slower; `reproject_exact` 10 to 20 times, for as many planes as the variance needs.
_SAMPLES = 2.0  # a source pixel, along each axis
_STRIP = 20_000_000  # samples held at a time, 160 MB


@dataclass(frozen=True)
class Plane:
    """One band on its own grid: `pixels`, NaN where invalid, their `variance` (None unknown), and the celestial `wcs`.

    `flux_per_pixel` is False where the values are surface brightness, which does not depend on the pixels' size.
    """

    pixels: Float[np.ndarray, "y x"]
    variance: Float[np.ndarray, "y x"] | None
    wcs: Any
    flux_per_pixel: bool


def regrid(
    planes: Sequence[Plane], target: CelestialWCS, shape: tuple[int, int]
) -> tuple[Float32[np.ndarray, "band y x"], Float32[np.ndarray, "band y x"] | None]:
    """Pixels and variance of the bands on the grid `target` of `shape` (y, x); variance None where no band has one.

    Surface brightness is the mean over each new pixel; flux per pixel becomes flux per new pixel, by the local ratio
    of areas. NaN carries no weight; a pixel of which less than half is covered by valid ones is NaN, as is all outside
    the source. A band whose grid is the target's but for whole pixels (to 0.01) is cut, not resampled. Variance is
    that of each new pixel alone, the squared weights' sum for independent source pixels; new pixels that share source
    pixels are correlated. It is NaN where the pixel is, or where a pixel it is made of has no finite variance.
    """
    found = [_regrid(plane, target, shape) for plane in planes]
    pixels = np.stack([plane for plane, _ in found])
    if all(variance is None for _, variance in found):
        return pixels, None
    unknown = np.full(shape, np.nan, np.float32)
    return pixels, np.stack([unknown if variance is None else variance for _, variance in found])


def same_grid(wcs_a: CelestialWCS, shape_a: tuple[int, int], wcs_b: CelestialWCS, shape_b: tuple[int, int]) -> bool:
    """Whether two images have one shape (y, x) and their corner pixels agree on the sky to 0.05 px of the second."""
    if shape_a != shape_b:
        return False
    rows, columns = np.meshgrid([0.0, shape_a[0] - 1.0], [0.0, shape_a[1] - 1.0], indexing="ij")
    x, y = _to_pixels(wcs_a, wcs_b, columns, rows)
    return bool((np.hypot(x - columns, y - rows) <= 0.05).all())  # False where there is no such pixel (NaN)


def _to_pixels(
    of: CelestialWCS, to: CelestialWCS, x: Float64[np.ndarray, "r c"], y: Float64[np.ndarray, "r c"]
) -> tuple[Float64[np.ndarray, "r c"], Float64[np.ndarray, "r c"]]:
    """Pixel positions of one WCS in another, NaN where there are none."""
    from astropy.wcs.utils import pixel_to_pixel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SIP's inverse may not converge far outside its image
        found = pixel_to_pixel(of, to, x, y)
    return np.asarray(found[0], np.float64), np.asarray(found[1], np.float64)


def _edges(length: int) -> Float64[np.ndarray, " n"]:
    """At most 33 edges between pixels, the outermost included: a WCS changes little from one to the next."""
    return np.round(np.linspace(0, length, min(length, 32) + 1))


def _regrid(
    plane: Plane, target: CelestialWCS, shape: tuple[int, int]
) -> tuple[Float32[np.ndarray, "y x"], Float32[np.ndarray, "y x"] | None]:
    rows, columns = _edges(shape[0]), _edges(shape[1])
    grid_x, grid_y = np.meshgrid(columns - 0.5, rows - 0.5)
    x, y = _to_pixels(target, plane.wcs, grid_x, grid_y)
    pixels, variance = plane.pixels, plane.variance
    offset_x, offset_y = x - grid_x, y - grid_y
    if np.isfinite(offset_x + offset_y).all():
        first = round(float(offset_y.mean())), round(float(offset_x.mean()))
        if max(np.abs(offset_y - first[0]).max(), np.abs(offset_x - first[1]).max()) <= 0.01:
            return _cut(pixels, variance, first, shape)
        # Only what the target shows, and the neighbours that interpolation needs.
        box = tuple(
            slice(max(0, int(axis.min()) - 2), min(length, max(0, int(axis.max()) + 3)))
            for axis, length in zip((y, x), pixels.shape, strict=True)
        )
    else:
        box = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    pixels, variance = pixels[box], None if variance is None else variance[box]
    if pixels.size == 0:
        nothing = np.full(shape, np.nan, np.float32)
        return nothing, None if variance is None else nothing.copy()
    wcs = resampled(plane.wcs, (box[0].start, box[1].start), 1)
    area = _areas(x, y, rows, columns)
    step = max(
        float(np.nanmax(np.abs(np.diff(axis, axis=1)) / np.diff(columns), initial=0))
        + float(np.nanmax(np.abs(np.diff(axis, axis=0)) / np.diff(rows)[:, None], initial=0))
        for axis in (x, y)
    )
    samples = max(1, int(np.ceil(_SAMPLES * np.sqrt(np.nanmedian(area)) - 1e-3))) if np.isfinite(area).any() else 1
    # Source pixels with weight in one new pixel are less than so many apart, along each axis.
    apart = int(np.ceil(step * (samples - 1) / samples + 2 - 1e-3))
    means = _sampled(_layers(pixels, variance, apart), wcs, target, shape, samples)
    weight = means[1]
    covered = weight >= 0.5 - 1e-9
    scale = area if plane.flux_per_pixel else np.ones(shape)
    regridded = np.full(shape, np.nan, np.float32)
    regridded[covered] = (means[0] * scale)[covered] / weight[covered]
    if variance is None:
        return regridded, None
    spread = np.full(shape, np.nan, np.float32)
    covered &= means[2] == 0
    spread[covered] = ((means[3:] ** 2).sum(axis=0) * scale**2)[covered] / weight[covered] ** 2
    return regridded, spread


def _cut(
    pixels: Float[np.ndarray, "y x"],
    variance: Float[np.ndarray, "y x"] | None,
    first: tuple[int, int],
    shape: tuple[int, int],
) -> tuple[Float32[np.ndarray, "y2 x2"], Float32[np.ndarray, "y2 x2"] | None]:
    """The window of `shape` that begins at pixel `first`, NaN outside the image."""
    source = tuple(slice(max(0, f), max(0, f + n)) for f, n in zip(first, shape, strict=True))
    cut = np.full(shape, np.nan, np.float32)
    inside = pixels[source]
    place = tuple(slice(max(0, -f), max(0, -f) + n) for f, n in zip(first, inside.shape, strict=True))
    valid = np.isfinite(inside)
    if inside.size:
        cut[place] = np.where(valid, inside, np.nan)
    if variance is None:
        return cut, None
    spread = np.full(shape, np.nan, np.float32)
    if inside.size:
        spread[place] = np.where(valid & np.isfinite(variance[source]), variance[source], np.nan)
    return cut, spread


def _areas(
    x: Float64[np.ndarray, "r c"],
    y: Float64[np.ndarray, "r c"],
    rows: Float64[np.ndarray, " r"],
    columns: Float64[np.ndarray, " c"],
) -> Float64[np.ndarray, "y x"]:
    """Source pixels in each new pixel, from the positions of the edges between blocks of them."""
    ax, ay = x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]
    bx, by = x[1:, :-1] - x[:-1, 1:], y[1:, :-1] - y[:-1, 1:]
    high, wide = np.diff(rows).astype(int), np.diff(columns).astype(int)
    blocks = np.abs(ax * by - ay * bx) / 2 / np.outer(high, wide)
    return np.repeat(np.repeat(blocks, high, axis=0), wide, axis=1)


def _layers(
    pixels: Float[np.ndarray, "y x"], variance: Float[np.ndarray, "y x"] | None, apart: int
) -> Float64[np.ndarray, "layer y x"]:
    """What is interpolated: values and their weight; with variance also where it is unknown, and standard deviations.

    The deviations are split into apart^2 layers such that a new pixel has at most one source pixel of each: the square
    of what is interpolated then is that pixel's squared weight times its variance, and the sum of all is exact.
    """
    valid = np.isfinite(pixels)
    layers = [np.where(valid, pixels, 0), valid]
    if variance is not None:
        known = np.isfinite(variance)
        sigma = np.sqrt(np.where(valid & known, variance, 0))
        y, x = np.indices(pixels.shape) % apart
        layers.append(valid & ~known)
        layers += [np.where((y == row) & (x == column), sigma, 0) for row in range(apart) for column in range(apart)]
    return np.stack(layers).astype(np.float64)


def _sampled(
    layers: Float64[np.ndarray, "layer y x"],
    wcs: CelestialWCS,
    target: CelestialWCS,
    shape: tuple[int, int],
    samples: int,
) -> Float64[np.ndarray, "layer y2 x2"]:
    """Means over samples x samples bilinear interpolations in each new pixel; 0 outside the source."""
    from reproject import reproject_interp

    count, (height, width) = len(layers), shape
    means = np.zeros((count, height, width))
    strip = max(1, _STRIP // (count * width * samples**2))
    for first in range(0, height, strip):
        rows = min(strip, height - first)
        fine = resampled(target, (first, 0), samples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `_to_pixels`; what does not come back is NaN
            found = reproject_interp(
                (layers, wcs),
                fine,
                shape_out=(count, rows * samples, width * samples),
                order="bilinear",
                return_footprint=False,
            )
        blocks = np.nan_to_num(found, nan=0.0).reshape(count, rows, samples, width, samples)
        means[:, first : first + rows] = blocks.mean(axis=(2, 4))
    return means
