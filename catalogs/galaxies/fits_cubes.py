"""FITS cutouts: cubes, an image HDU a band, a file a band, a galaxy an HDU; odd files are refused with a reason."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from catalogs.checks import refuse_pixels, refuse_size
from catalogs.galaxies import fits_bands
from catalogs.galaxies.calibration import flux_calibration, undo_asinh
from catalogs.galaxies.fits_files import images_of, open_fits, refuse_bytes, refuse_error, refuse_truncated
from catalogs.galaxies.layers import apply_mask, as_variance, find_layers
from catalogs.galaxies.regridding import Plane, regrid, same_grid
from catalogs.reading import Cutout, Refusal, Request
from catalogs.wcs import celestial, header_scale, pixel_scale

_REMEDY = "; set reproject = true to bring them to the finest of theirs"


@dataclass(frozen=True)
class _Band:
    """One band (y, x) as its file gave it, or a whole cube of them."""

    pixels: Float32[np.ndarray, "*axes"]
    variance: Float32[np.ndarray, "*axes"] | None
    unit: str
    scale: float
    wcs: Any


def read_fits(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: float32 pixels (band, y, x) of "linear" radiometry, or why there are none.

    `rows.paths` gives one file, or one a band. A file may hold a cube with the band axis first or last (first where
    both fit), a 2-D image, or an image HDU a band; where `rows.item` names an HDU, by number or EXTNAME, that one alone
    is looked at. It may be gzipped or tile-compressed. Planes are taken by the names in BANDS, BANDn, EXTNAME, FILTER
    or BAND where these name every band, otherwise by order. BSCALE, BZERO, BLANK and Pan-STARRS' asinh scaling are
    undone; infinities and pixels that the file's mask calls bad become NaN, its noise becomes `variance`; values are in
    nJy per pixel where the header proves their scale (`catalogs.galaxies.calibration`). Of several cubes, and for a
    single band of several images, the one named SCI or IMAGE is read, else the first HDU.

    Refusals: missing, empty, format, bad_header, truncated, too_large, no_image, shape, bands, grids (bands of one
    shape and different WCS), and those of `catalogs.checks.refuse_pixels`. Never raises for a bad file.
    """
    items = rows["item"] if "item" in rows else [None] * len(rows)
    for paths, item in zip(rows["paths"], items, strict=True):
        yield read_fits_files(tuple(paths), request, item)


def read_fits_files(paths: tuple[str, ...], request: Request, item: str | None = None) -> Cutout | Refusal:
    """The cutout of one object from one file, or from one file a band; see `read_fits`."""
    bands = request.bands
    if not paths:
        return Refusal("missing", "the table names no file")
    if len(paths) == 1:
        found = _read_file(Path(paths[0]), request, item)
    elif len(paths) == len(bands):
        found = _read_files(paths, request, item)
    else:
        return Refusal("bands", f"{len(paths)} files for {len(bands)} bands ({', '.join(bands)})")
    return found if isinstance(found, Refusal) else _cutout(found, request)


def _read_files(paths: tuple[str, ...], request: Request, item: str | None) -> list[_Band | None] | Refusal:
    """The bands from a file each; None for a file that is not there and may be missing."""
    planes: list[_Band | None] = []
    for path, band in zip(paths, request.bands, strict=True):
        found = _read_file(Path(path), replace(request, bands=(band,), wcs=True), item)
        if not isinstance(found, Refusal):
            planes += found
        elif found.reason == "missing" and request.missing == "mask":
            planes.append(None)
        else:
            return Refusal(found.reason, f"band {band}: {found.detail}")
    return planes


def _read_file(path: Path, request: Request, item: str | None) -> list[_Band | None] | Refusal:
    refusal = refuse_bytes(path)
    if refusal:
        return refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of what is answered below by a refusal, or does not matter
        try:
            with open_fits(path) as hdus:
                images = images_of(hdus, path)
                if isinstance(images, Refusal):
                    return images
                if item is not None:
                    images = [image for image in images if item in (str(image.index), image.label)]
                    if not images:
                        return Refusal("no_image", f"no image HDU has the number or the name {item}")
                planes = fits_bands.choose_planes(images, request.bands, request.missing)
                if isinstance(planes, Refusal):
                    return planes
                used = {plane.hdu for plane in planes if plane}
                for image in images:
                    if image.index in used:
                        refusal = refuse_size(image.shape) or refuse_truncated(hdus[image.index], path)
                        if refusal:
                            return refusal
                read = {number: _read_hdu(hdus, number, alone=len(used) == 1, request=request) for number in used}
                return [None if plane is None else _plane(read[plane.hdu], plane) for plane in planes]
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return refuse_error(error, path)


def _read_hdu(hdus: Any, number: int, *, alone: bool, request: Request) -> _Band:
    """An image HDU as a whole, cube or not: linear values, masked, in nJy where known; with its noise and place."""
    header, values, variance = hdus[number].header, _values(hdus[number].data), None
    values = undo_asinh(values, header)
    layers = find_layers(hdus, request.bands[0]) if alone and len(hdus) > 1 else None
    if layers and layers.science == number:
        if layers.mask is not None:
            values = apply_mask(values, hdus[layers.mask].data, layers.bad_bits)
        if layers.noise is not None:
            noise = as_variance(_values(hdus[layers.noise].data), layers.noise_kind)
            variance = np.broadcast_to(noise, values.shape)
    factor, unit = flux_calibration(header)
    if unit != "nJy" and number > 0 and (primary := flux_calibration(hdus[0].header))[1] == "nJy":
        factor, unit = primary
    if factor != 1:
        values = values * np.float32(factor)
        variance = None if variance is None else variance * np.float32(factor**2)
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = np.nan
    if request.wcs or not alone:  # several HDUs have to be compared
        wcs = celestial(header)
        return _Band(values, variance, unit, pixel_scale(wcs), wcs)
    return _Band(values, variance, unit, header_scale(header), None)


def _values(data: Any) -> Float32[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so NaN
        return np.array(data, np.float32)


def _plane(whole: _Band, plane: fits_bands.Plane) -> _Band:
    if plane.axis is None:
        return whole
    variance = None if whole.variance is None else np.take(whole.variance, plane.number, axis=plane.axis)
    pixels = np.take(whole.pixels, plane.number, axis=plane.axis)
    return _Band(pixels, variance, whole.unit, whole.scale, whole.wcs)


def _cutout(bands: list[_Band | None], request: Request) -> Cutout | Refusal:
    """The bands on one grid; NaN for those that are missing."""
    present = [band for band in bands if band is not None]
    if not present:
        return Refusal("missing", "no file of any band is there")
    first = present[0]
    shapes = sorted({band.pixels.shape for band in present})
    apart = any(band.wcs is not first.wcs and not _same_grid(first, band) for band in present)
    if (len(shapes) > 1 or apart) and request.reproject and all(band.wcs is not None for band in present):
        bands = _on_one_grid(bands)
        first = next(band for band in bands if band is not None)
    elif len(shapes) > 1:
        return Refusal("shape", f"the bands differ in shape: {' and '.join(map(str, shapes))}{_REMEDY}")
    elif apart:
        return Refusal("grids", f"the bands lie on different grids of the sky{_REMEDY}")
    pixels = np.full((len(bands), *first.pixels.shape), np.nan, np.float32)
    variance = None if all(band.variance is None for band in present) else np.full_like(pixels, np.nan)
    for number, band in enumerate(bands):
        if band is not None:
            pixels[number] = band.pixels
            if variance is not None and band.variance is not None:
                variance[number] = band.variance
    units = {band.unit for band in present}
    unit = units.pop() if len(units) == 1 else ""
    refusal = refuse_pixels(pixels, request.bands, request.missing)
    return refusal or Cutout(
        pixels, request.bands, "linear", variance=variance, unit=unit, pixel_scale=first.scale, wcs=first.wcs
    )


def _on_one_grid(bands: list[_Band | None]) -> list[_Band | None]:
    """The bands on the grid of the one with the finest pixels, flux kept."""
    present = [band for band in bands if band is not None]
    finest = min(present, key=lambda band: band.scale)
    # Values of an unknown unit are taken for flux per pixel, as nJy are: counts are.
    planes = [Plane(band.pixels, band.variance, band.wcs, flux_per_pixel=True) for band in present]
    pixels, variance = regrid(planes, finest.wcs, finest.pixels.shape)
    moved = iter(
        replace(finest, pixels=pixels[n], variance=None if variance is None else variance[n], unit=band.unit)
        for n, band in enumerate(present)
    )
    return [None if band is None else next(moved) for band in bands]


def _same_grid(one: _Band, other: _Band) -> bool:
    """Bands of which the sky position is unknown are taken to lie on each other."""
    if one.wcs is None or other.wcs is None or one.pixels.shape != other.pixels.shape:
        return True
    return same_grid(one.wcs, one.pixels.shape, other.wcs, other.pixels.shape)
