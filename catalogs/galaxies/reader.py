"""Galaxies from whatever a survey delivers: pictures, FITS, files of many objects, survey images to cut from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from catalogs.galaxies.containers import CONTAINERS, read_containers
from catalogs.galaxies.fits_cubes import read_fits
from catalogs.galaxies.survey_images import read_survey_images
from catalogs.pictures import PICTURE_SUFFIXES, read_pictures
from catalogs.reading import Cutout, Reader, Refusal, Request

READERS: Mapping[str, Reader] = MappingProxyType(
    {"survey image": read_survey_images, "container": read_containers, "picture": read_pictures, "FITS": read_fits}
)
# Catalog columns that describe the image: one value for all bands under this name, or one a band as "name:band".
NUISANCE = ("ebv", "psf_fwhm_px")


def read_galaxies(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: a cutout, or why there is none; never raises for a bad file.

    Rows with a `cutout_arcsec` are cut from survey images; other files are read by their suffix: containers of many
    objects, pictures, and all else as FITS; see `READERS`. Where bands may be missing, one that is constant is taken
    for unobserved and is NaN. `nuisance` has what the files know of each band, and ebv (mag) and psf_fwhm_px (source
    pixels) from the columns "ebv", "psf_fwhm_px" or "psf_fwhm_px:BAND" of `rows` where these are finite.
    """
    kinds = [_kind(tuple(paths), size) for paths, size in zip(rows["paths"], _sizes(rows), strict=True)]
    answers = {kind: READERS[kind](rows[np.array(kinds) == kind], request) for kind in dict.fromkeys(kinds)}
    columns = {name: _columns(rows, name, request.bands) for name in NUISANCE}
    for position, kind in enumerate(kinds):
        answer = next(answers[kind])
        if isinstance(answer, Refusal):
            yield answer
            continue
        nuisance = dict(answer.nuisance)
        for name, values in columns.items():
            if values is not None:
                own = nuisance.get(name, np.full(len(request.bands), np.nan, np.float32))
                nuisance[name] = np.where(np.isfinite(values[position]), values[position], own)
        pixels = without_unobserved(answer.pixels) if request.missing == "mask" else answer.pixels
        yield replace(answer, pixels=pixels, nuisance=nuisance)


def without_unobserved(pixels: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band y x"]:
    """The pixels with NaN in bands whose finite pixels all have one value: surveys fill unobserved bands with it."""
    low = np.where(np.isfinite(pixels), pixels, np.inf).min(axis=(1, 2), keepdims=True)
    constant = (~np.isfinite(pixels) | (pixels == low)).all(axis=(1, 2), keepdims=True)
    return np.where(constant, np.float32(np.nan), pixels)


def _kind(paths: tuple[str, ...], cutout_arcsec: float) -> str:
    if math.isfinite(cutout_arcsec):
        return "survey image"
    names = [path.lower() for path in paths]
    if any(name.endswith(tuple(CONTAINERS)) for name in names):
        return "container"
    return "picture" if any(name.endswith(PICTURE_SUFFIXES) for name in names) else "FITS"


def _sizes(rows: pd.DataFrame) -> list[float]:
    return rows["cutout_arcsec"].tolist() if "cutout_arcsec" in rows else [math.nan] * len(rows)


def _columns(rows: pd.DataFrame, name: str, bands: tuple[str, ...]) -> Float32[np.ndarray, "row band"] | None:
    """The values of one nuisance for every row and band; None where no column has any."""
    known: Mapping[str, Any] = {band: next((c for c in (f"{name}:{band}", name) if c in rows), None) for band in bands}
    if not any(known.values()):
        return None
    unknown = np.full(len(rows), np.nan, np.float32)
    return np.stack(
        [unknown if known[band] is None else rows[known[band]].to_numpy(np.float32) for band in bands], axis=1
    )
