"""Galaxy cutouts from pictures or FITS, with what the catalog knows of each band's seeing and reddening."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from catalogs.galaxies.fits_cubes import read_fits_files
from catalogs.pictures import PICTURE_SUFFIXES, read_picture_files
from catalogs.reading import Cutout, Refusal

# Catalog columns that describe the image: one value for all bands under this name, or one a band as "name:band".
NUISANCE = ("ebv", "psf_fwhm_px")


def read_galaxies(
    rows: pd.DataFrame, *, bands: tuple[str, ...], white: float | int | None = None
) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: a cutout of `bands`, or why there is none; never raises for a bad file.

    Files that end as pictures do are read by `catalogs.pictures.read_pictures`, which takes `white`; all others as
    FITS by `catalogs.galaxies.fits_cubes.read_fits`. `nuisance` gets ebv (mag) and psf_fwhm_px (source pixels) from
    the columns "ebv", "psf_fwhm_px" or "psf_fwhm_px:BAND" of `rows`; NaN where the table does not know.
    Raises ValueError where `white` is not positive.
    """
    if white is not None and not white > 0:
        raise ValueError(f"white is {white}; it is the value shown as white, so a positive number")
    columns = {name: _columns(rows, name, bands) for name in NUISANCE}
    for position, row_paths in enumerate(rows["paths"]):
        paths = tuple(row_paths)
        if any(path.lower().endswith(PICTURE_SUFFIXES) for path in paths):
            cutout = read_picture_files(paths, bands, white)
        else:
            cutout = read_fits_files(paths, bands)
        if isinstance(cutout, Refusal):
            yield cutout
            continue
        nuisance = {name: values[position] for name, values in columns.items() if values is not None}
        yield Cutout(cutout.pixels, cutout.bands, cutout.radiometry, nuisance)


def _columns(rows: pd.DataFrame, name: str, bands: tuple[str, ...]) -> Float32[np.ndarray, "row band"] | None:
    """The values of one nuisance for every row and band; None where no column has any."""
    known: Mapping[str, Any] = {band: next((c for c in (f"{name}:{band}", name) if c in rows), None) for band in bands}
    if not any(known.values()):
        return None
    unknown = np.full(len(rows), np.nan, np.float32)
    return np.stack(
        [unknown if known[band] is None else rows[known[band]].to_numpy(np.float32) for band in bands], axis=1
    )
