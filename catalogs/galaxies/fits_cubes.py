"""FITS cutouts: cubes, one image HDU a band, or one file a band; odd files are refused with a reason."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from catalogs.checks import refuse_pixels, refuse_size
from catalogs.galaxies.fits_bands import Plane, choose_planes
from catalogs.galaxies.fits_files import images_of, open_fits, refuse_bytes, refuse_error, refuse_truncated
from catalogs.reading import Cutout, Refusal


def read_fits(rows: pd.DataFrame, *, bands: tuple[str, ...]) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: float32 pixels (band, y, x) of "linear" radiometry, or why there are none.

    `rows.paths` gives one file, or one a band. A file may hold a cube with the band axis first or last (first where
    both fit), a 2-D image, or an image HDU a band; it may be gzipped or tile-compressed. Planes are taken by the names
    in BANDS, BANDn, EXTNAME, FILTER or BAND where these name every band, otherwise by order. BSCALE, BZERO and BLANK
    are applied; infinities become NaN; the WCS is not looked at. Of several cubes, and for a single band of several
    images, the one named SCI or IMAGE is read, else the first HDU.

    Refusals: missing, empty, format, bad_header, truncated, too_large, no_image, shape, bands, and those of
    `catalogs.checks.refuse_pixels`. Never raises for a bad file.
    """
    for paths in rows["paths"]:
        yield read_fits_files(tuple(paths), bands)


def read_fits_files(paths: tuple[str, ...], bands: tuple[str, ...]) -> Cutout | Refusal:
    """The cutout of one object from one file, or from one file a band; see `read_fits`."""
    if not paths:
        return Refusal("missing", "the table names no file")
    if len(paths) == 1:
        pixels = _read_file(Path(paths[0]), bands)
    elif len(paths) == len(bands):
        planes = []
        for path, band in zip(paths, bands, strict=True):
            plane = _read_file(Path(path), (band,))
            if isinstance(plane, Refusal):
                return Refusal(plane.reason, f"band {band}: {plane.detail}")
            planes.append(plane)
        shapes = sorted({plane.shape[1:] for plane in planes})
        if len(shapes) > 1:
            return Refusal("shape", f"the bands' files differ in shape: {' and '.join(map(str, shapes))}")
        pixels = np.concatenate(planes)
    else:
        return Refusal("bands", f"{len(paths)} files for {len(bands)} bands ({', '.join(bands)})")
    if isinstance(pixels, Refusal):
        return pixels
    return refuse_pixels(pixels, bands) or Cutout(pixels=pixels, bands=bands, radiometry="linear")


def _read_file(path: Path, bands: tuple[str, ...]) -> Float32[np.ndarray, "band y x"] | Refusal:
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
                planes = choose_planes(images, bands)
                if isinstance(planes, Refusal):
                    return planes
                used = [image for image in images if image.index in {plane.hdu for plane in planes}]
                for image in used:
                    refusal = refuse_size(image.shape) or refuse_truncated(hdus[image.index], path)
                    if refusal:
                        return refusal
                return _pixels(hdus, planes)
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return refuse_error(error, path)


def _pixels(hdus: Any, planes: list[Plane]) -> Float32[np.ndarray, "band y x"]:
    data = {plane.hdu: hdus[plane.hdu].data for plane in planes}
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so NaN
        stacked = np.stack(
            [
                np.asarray(data[p.hdu] if p.axis is None else np.take(data[p.hdu], p.number, axis=p.axis), np.float32)
                for p in planes
            ]
        )
    stacked[~np.isfinite(stacked)] = np.nan
    return stacked
