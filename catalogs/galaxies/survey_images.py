"""Cutouts by ra and dec from survey images, with mask, noise, flux scale and WCS; only the pixels needed are read."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Shaped

from catalogs.checks import MIN_SIDE, refuse_pixels, refuse_size, undecodable
from catalogs.galaxies.calibration import undo_asinh
from catalogs.galaxies.image_files import OpenFiles, RefusedError
from catalogs.galaxies.layers import (
    apply_mask,
    as_variance,
)
from catalogs.galaxies.survey_bands import SurveyBand, bands_of_file, read_plane, refused_error
from catalogs.reading import Cutout, Refusal, Request, spread
from catalogs.wcs import pixel_scale, resampled

AT_EDGE = "cut at the edge of the survey image"
MIXED_UNITS = "the bands' units differ"
# The grid of pixels on which the sky of a survey image without noise layer is measured.
_SKY_ROWS, _SKY_COLUMNS = 256, 512
_MAD_TO_SIGMA = 1.482602218505602
_MIN_PIXELS = 20


@dataclass(frozen=True, eq=False)
class _Survey:
    """The bands of one set of files, and where on the first band's grid, or on each one's, the objects lie."""

    names: tuple[str, ...]
    bands: tuple[SurveyBand, ...]
    one_grid: bool
    rows: Shaped[np.ndarray, " n"]
    places: tuple[Float64[np.ndarray, "n xy"], ...]


def read_survey_images(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: a square of `cutout_arcsec` about (ra, dec), or why there is none.

    `rows` has paths (one FITS file for all bands, or one a band), ra and dec (ICRS, degrees) and cutout_arcsec. The
    side is round(cutout_arcsec / pixel scale) pixels; which pixels these are, and what lies beyond the image (NaN, and
    a flag), is as by `astropy.nddata.Cutout2D(..., mode="partial")`. Layers and companion files are those of
    `catalogs.galaxies.layers`: masked pixels, and those without a positive variance, are NaN in `pixels` and
    `variance`. `unit` is as `flux_calibration` proves it ("nJy"), "" where the bands differ. sky_sigma in `nuisance`:
    the root of the median variance over the outer 10 % of the cutout; without a noise layer that of the whole survey
    image, measured once: the clipped MAD of a grid of
    its valid pixels, zeros left out; NaN where neither gives any.

    Bands on different grids are refused ("grids") unless these are to be reprojected: then they are brought to the
    finest of them, flux and variance carried, and sky_sigma is that of the variance or NaN. Where bands may be missing,
    one whose file is not there is NaN.

    Files are memory-mapped, tile-compressed ones read tile by tile, gzipped ones inflated as a whole (at most 400 MB);
    those used last stay open until the iterator ends or is closed, so rows in the order of their files read fastest.

    Refusals: missing, empty, format, bad_header, truncated, too_large, no_image, shape, bands, wcs, position (ra, dec
    or cutout_arcsec is no number of the sky), outside, grids, too_small, and those of `catalogs.checks.refuse_pixels`.
    Never raises for a bad file. Raises ValueError where `rows` lacks a column.
    """
    if lacking := [name for name in ("paths", "ra", "dec", "cutout_arcsec") if name not in rows]:
        raise ValueError(f"cutting from survey images needs the columns {', '.join(lacking)}; the table has none such")
    paths = [tuple(map(str, row_paths)) for row_paths in rows["paths"]]
    columns = [pd.to_numeric(rows[name], errors="coerce") for name in ("ra", "dec", "cutout_arcsec")]
    places = np.stack([column.to_numpy(np.float64) for column in columns], axis=1)
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, row_paths in enumerate(paths):
        groups.setdefault(row_paths, []).append(row)

    with OpenFiles() as files:

        @lru_cache(maxsize=256)
        def survey_of(row_paths: tuple[str, ...]) -> _Survey | Refusal:
            try:
                return _survey(files, row_paths, request, np.array(groups[row_paths]), places)
            except RefusedError as refused:
                return refused.refusal

        @lru_cache(maxsize=256)
        def parent_sigma(band: SurveyBand) -> float:
            return _parent_sigma(files, band)

        for row, row_paths in enumerate(paths):
            try:
                survey = survey_of(row_paths)
                if isinstance(survey, Refusal):
                    yield survey
                    continue
                _require_place(*map(float, places[row]))
                cut = _cut_together if survey.one_grid else _cut_regridded
                cutout = cut(files, survey, int(np.searchsorted(survey.rows, row)), float(places[row, 2]))
                if refusal := refuse_pixels(cutout.pixels, cutout.bands, request.missing):
                    raise RefusedError(refusal)
                yield spread(_with_sky(cutout, survey, parent_sigma), request.bands)
            except RefusedError as refused:
                yield refused.refusal
            except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
                yield undecodable(error, Path(row_paths[0] if row_paths else "."))


def _require_place(ra: float, dec: float, arcsec: float) -> None:
    if not (math.isfinite(ra) and abs(ra) <= 360 and abs(dec) <= 90):
        raise refused_error("position", f"ra {ra:g}, dec {dec:g} is no position in degrees")
    if not (math.isfinite(arcsec) and arcsec > 0):
        raise refused_error("position", f"the cutout's size is {arcsec:g} arcsec")


def _survey(
    files: OpenFiles,
    paths: tuple[str, ...],
    request: Request,
    rows: Shaped[np.ndarray, " n"],
    places: Float64[np.ndarray, "row 3"],
) -> _Survey:
    """Describes the survey image of all `rows` that share it."""
    if not paths:
        raise refused_error("missing", "the table names no file")
    bands = request.bands
    if request.missing == "mask" and len(paths) == len(bands):
        there = [Path(path).is_file() for path in paths]
        if any(there):
            paths = tuple(compress(paths, there))
            bands = tuple(compress(bands, there))
    if len(paths) not in (1, len(bands)):
        raise refused_error("bands", f"{len(paths)} files for {len(bands)} bands ({', '.join(bands)})")
    found: list[SurveyBand] = []
    for names, path in zip([bands] if len(paths) == 1 else [(band,) for band in bands], paths, strict=True):
        try:
            found.extend(bands_of_file(files, Path(path), names))
        except RefusedError as refused:
            where = f"band {names[0]}: " if len(paths) > 1 else ""
            raise refused_error(refused.refusal.reason, where + refused.refusal.detail) from None
    one_grid = _one_grid(found)
    if not one_grid and not request.reproject:
        raise refused_error("grids", "the bands lie on different grids; set reproject = true to bring them to one")
    grids = found[:1] if one_grid else found
    return _Survey(
        bands, tuple(found), one_grid, rows, tuple(_pixel_positions(band.wcs, places[rows, :2]) for band in grids)
    )


def _one_grid(bands: list[SurveyBand]) -> bool:
    first = bands[0]
    others = [band for band in bands if band.wcs is not first.wcs]
    if not others:
        return True
    from catalogs.galaxies.regridding import same_grid

    return all(same_grid(band.wcs, band.shape, first.wcs, first.shape) for band in others)


def _pixel_positions(wcs: Any, places: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n xy"]:
    """0-based pixel x, y of ICRS ra, dec in degrees; NaN where the projection has none."""
    from astropy import units
    from astropy.coordinates import ICRS, SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    usable = np.isfinite(places).all(axis=1) & (np.abs(places[:, 1]) <= 90)
    positions = np.full(places.shape, np.nan)
    sky = places[usable]
    frame = wcs_to_celestial_frame(wcs)
    if not isinstance(frame, ICRS):
        moved = SkyCoord(sky[:, 0], sky[:, 1], unit=units.deg).transform_to(frame)
        sky = np.stack([moved.spherical.lon.deg, moved.spherical.lat.deg], axis=1)
    if wcs.wcs.lng > wcs.wcs.lat:
        sky = sky[:, ::-1]
    linear = wcs.wcs_world2pix(sky, 0) if len(sky) else sky
    positions[usable] = linear if not wcs.has_distortion else _undistorted(wcs, sky, linear)
    return positions


def _undistorted(
    wcs: Any, sky: Float64[np.ndarray, "n 2"], linear: Float64[np.ndarray, "n xy"]
) -> Float64[np.ndarray, "n xy"]:
    """Positions under SIP, each solved by itself: far from the image its polynomials need not converge."""
    from astropy.wcs import NoConvergence

    positions = np.full(linear.shape, np.nan)
    width, height = wcs.pixel_shape or (math.inf, math.inf)
    margin = 0.1 * min(width, height)
    for number, (x, y) in enumerate(linear):
        if -margin < x < width + margin and -margin < y < height + margin:
            try:
                positions[number] = wcs.all_world2pix(sky[number : number + 1], 0)[0]
            except NoConvergence:
                continue
    return positions


def _cut_together(files: OpenFiles, survey: _Survey, number: int, arcsec: float) -> Cutout:
    """The cutout of bands that share the first one's grid."""
    first = survey.bands[0]
    side = _side(arcsec, first.scale, len(survey.bands))
    x, y = survey.places[0][number]
    start = _start(first, float(x), float(y), side)
    pixels = np.full((len(survey.bands), side, side), np.nan, np.float32)
    variance = None if all(band.noise is None for band in survey.bands) else np.full_like(pixels, np.nan)
    for index, band in enumerate(survey.bands):
        pixels[index], noise = _section(files, band, start, (side, side))
        if noise is not None and variance is not None:
            variance[index] = noise
    return _assembled(survey, pixels, variance, resampled(first.wcs, start, 1), _reaches_out(first, start, side))


def _cut_regridded(files: OpenFiles, survey: _Survey, number: int, arcsec: float) -> Cutout:
    """The cutout of bands on several grids, on the pixels of the finest: the side and position are as if cut there."""
    from catalogs.galaxies import regridding

    finest = int(np.argmin([band.scale for band in survey.bands]))
    side, target, planes, cut = 0, None, [], False
    for band, places in zip(survey.bands, survey.places, strict=True):
        x, y = map(float, places[number])
        own = _side(arcsec, band.scale, 1)
        start = _start(band, x, y, own)
        cut |= _reaches_out(band, start, own)
        if band is survey.bands[finest]:
            side = _side(arcsec, band.scale, len(survey.bands))
            target = resampled(band.wcs, start, 1)
        wide = 2 * math.ceil(0.75 * own) + 8  # turned by 45 degrees it has to reach the corners
        begin = math.ceil(y - wide / 2), math.ceil(x - wide / 2)
        pixels, variance = _section(files, band, begin, (wide, wide))
        planes.append(regridding.Plane(pixels, variance, resampled(band.wcs, begin, 1), flux_per_pixel=True))
    pixels, variance = regridding.regrid(planes, target, (side, side))
    return _assembled(survey, pixels, variance, target, cut)


def _side(arcsec: float, scale: float, bands: int) -> int:
    side = round(arcsec / scale)
    if side < MIN_SIDE:
        size = f'{arcsec:g}" are {side} pixels of {scale:.3g}"'
        raise refused_error("too_small", f"{size}; at least {MIN_SIDE} are needed")
    if refusal := refuse_size((bands, side, side)):
        raise RefusedError(refusal)
    return side


def _start(band: SurveyBand, x: float, y: float, side: int) -> tuple[int, int]:
    """The cutout's first pixel (y, x), as astropy.nddata.overlap_slices counts it; negative where it reaches out."""
    height, width = band.shape
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        raise refused_error("outside", "the position lies outside of the survey image")
    return math.ceil(y - side / 2), math.ceil(x - side / 2)


def _reaches_out(band: SurveyBand, start: tuple[int, int], side: int) -> bool:
    return min(start) < 0 or start[0] + side > band.shape[0] or start[1] + side > band.shape[1]


def _section(
    files: OpenFiles, band: SurveyBand, start: tuple[int, int], shape: tuple[int, int]
) -> tuple[Float32[np.ndarray, "y x"], Float32[np.ndarray, "y x"] | None]:
    """Calibrated pixels and variance of a rectangle that may reach out of the image; NaN where it does."""
    inside = tuple(
        slice(max(first, 0), min(first + length, limit))
        for first, length, limit in zip(start, shape, band.shape, strict=True)
    )
    within = tuple(slice(one.start - first, one.stop - first) for one, first in zip(inside, start, strict=True))
    read, noise = _values(files, band, inside)
    pixels = np.full(shape, np.nan, np.float32)
    pixels[within] = read
    if noise is None:
        return pixels, None
    variance = np.full(shape, np.nan, np.float32)
    variance[within] = noise
    return pixels, variance


def _values(
    files: OpenFiles, band: SurveyBand, section: tuple[slice, ...]
) -> tuple[Float32[np.ndarray, "y x"], Float32[np.ndarray, "y x"] | None]:
    """Calibrated pixels and variance of a section, NaN in both where masked or without noise."""
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = undo_asinh(read_plane(files, band.science, section).astype(np.float32), band.science.header)
        if band.factor != 1:
            pixels = pixels * np.float32(band.factor)
        bad = ~np.isfinite(pixels)
        if band.mask is not None:
            bits = read_plane(files, band.mask, section)
            if bits.dtype.kind == "f":  # unsigned integers are stored with an offset, BLANK is NaN
                bits = np.where(np.isfinite(bits), bits, -1)
            bad |= np.isnan(apply_mask(pixels, bits.astype(np.int64), band.bits))
        variance = None
        if band.noise is not None:
            noise = undo_asinh(read_plane(files, band.noise, section).astype(np.float64), band.noise.header)
            variance = (as_variance(noise, band.noise_kind) * band.factor**2).astype(np.float32)
            bad |= ~np.isfinite(variance)
            variance[bad] = np.nan
        pixels[bad] = np.nan
    return pixels, variance


def _assembled(
    survey: _Survey,
    pixels: Float32[np.ndarray, "band y x"],
    variance: Float32[np.ndarray, "band y x"] | None,
    wcs: Any,
    cut: bool,
) -> Cutout:
    units = {band.unit for band in survey.bands}
    flags = [flag for band in survey.bands for flag in band.flags]
    flags += [AT_EDGE] * cut + [MIXED_UNITS] * (len(units) > 1)
    return Cutout(
        pixels=pixels,
        bands=survey.names,
        radiometry="linear",
        flags=tuple(dict.fromkeys(flags)),
        variance=variance,
        unit=units.pop() if len(units) == 1 else "",
        pixel_scale=pixel_scale(wcs),
        wcs=wcs,
    )


def _with_sky(cutout: Cutout, survey: _Survey, parent_sigma: Any) -> Cutout:
    """The cutout with each band's sky_sigma; the parent's only where its pixels are still those of the parent."""
    sigma = np.full(len(cutout.bands), np.nan, np.float32)
    for index, band in enumerate(survey.bands):
        if band.noise is not None and cutout.variance is not None:
            sigma[index] = _border_noise(cutout.variance[index])
        elif survey.one_grid:
            sigma[index] = parent_sigma(band)
    return replace(cutout, nuisance={"sky_sigma": sigma})


def _border_noise(variance: Float32[np.ndarray, "y x"]) -> float:
    """Root of the median variance over the outer 10 % of each side; over everything where that has no valid pixel."""
    inner = tuple(slice(rim := max(2, round(length / 10)), length - rim) for length in variance.shape)
    border = variance.copy()
    border[inner] = np.nan
    for plane in (border, variance):
        if (valid := plane[np.isfinite(plane)]).size:
            return math.sqrt(float(np.median(valid)))
    return math.nan


def _parent_sigma(files: OpenFiles, band: SurveyBand) -> float:
    """Sky sigma of a whole survey image: three rounds of clipping at 3 sigma, by the MAD, of a grid of its pixels.

    Exact zeros are left out, with which surveys fill what they did not observe. Most of a survey image is sky, unlike
    a cutout; faint unresolved sources raise the value all the same. NaN where fewer than 20 pixels are valid.
    """
    height, width = band.shape
    step = max(1, width // _SKY_COLUMNS)
    lines = [
        _values(files, band, (slice(row, row + 1), slice(0, width, step)))[0].ravel()
        for row in np.unique(np.linspace(0, height - 1, _SKY_ROWS).astype(int)).tolist()
    ]
    values = np.concatenate(lines).astype(np.float64)
    values = values[np.isfinite(values) & (values != 0)]
    for _ in range(3):
        if values.size >= _MIN_PIXELS:
            deviation = np.abs(values - np.median(values))
            values = values[deviation <= 3 * _MAD_TO_SIGMA * np.median(deviation)]
    if values.size < _MIN_PIXELS:
        return math.nan
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
    return sigma if sigma > 0 else math.nan
