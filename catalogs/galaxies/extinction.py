"""Galactic extinction: magnitudes per E(B-V) of surveys' bands, and E(B-V) at positions from the SFD map.

Everything here is per E(B-V) of the map of Schlegel, Finkbeiner & Davis (1998, ApJ 500, 525; SFD) as published. That
map is 14 % too high; Schlafly & Finkbeiner (2011, ApJ 737, 103; S&F) put the factor 0.86 into the coefficients, so it
must not be in the map as well.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from catalogs.errors import CatalogError, MissingFileError

# S&F 2011, table 6, R_V = 3.1, unless said otherwise.
_SDSS = {"u": 4.239, "g": 3.303, "r": 2.285, "i": 1.698, "z": 1.263}
_LSST = {"u": 4.145, "g": 3.237, "r": 2.273, "i": 1.684, "z": 1.323, "y": 1.088}
_PAN_STARRS = {"g": 3.172, "r": 2.271, "i": 1.682, "z": 1.322, "y": 1.087}
# DECam's bands as S&F revised them in 2014, and WISE's by Fitzpatrick's (1999) law: legacysurvey.org, "Galactic
# extinction coefficients", which uses DECam's for BASS and MzLS too.
_DECAM = {"u": 3.995, "g": 3.214, "r": 2.165, "i": 1.592, "z": 1.211, "Y": 1.064}
_WISE = {"W1": 0.184, "W2": 0.113, "W3": 0.0241, "W4": 0.00910}
# M. Tanaka (NAOJ), in the LSST pipelines' obs_subaru, config/extinctionCoeffs.py.
_HSC = {"g": 3.240, "r": 2.276, "i": 1.633, "z": 1.263, "y": 1.075}
_HSC_NARROW = {"N387": 4.007, "N395": 3.929, "N515": 2.939, "N816": 1.458, "N921": 1.187}

COEFFICIENTS: Mapping[str, Mapping[str, float]] = {
    "sdss": _SDSS,
    "lsst": _LSST,
    "panstarrs": _PAN_STARRS,
    "des": _DECAM,
    "legacy": _DECAM | _WISE,
    "hsc": _HSC | _HSC_NARROW,
    "wise": _WISE,
}
# For bands of an unnamed survey: SDSS's, and LSST's y. Surveys differ from it by up to 6 %.
GENERAL: Mapping[str, float] = _SDSS | {"y": _LSST["y"]}

_ALIASES = {
    "rubin": "lsst",
    "decals": "legacy",
    "decam": "des",
    "legacysurvey": "legacy",
    "ps1": "panstarrs",
    "unwise": "wise",
}
_MAP_FILES = ("SFD_dust_4096_ngp.fits", "SFD_dust_4096_sgp.fits")


def coefficients(bands: tuple[str, ...], survey: str | None) -> tuple[float, ...] | None:
    """Extinction in magnitudes per SFD E(B-V) of each band; None where any band of this survey has none.

    `survey` is a key of `COEFFICIENTS` or a usual other name of it ("Rubin", "DECaLS", "Pan-STARRS", "PS1"), in any
    case; None takes `GENERAL`. Bands are told apart by case: DECam has Y, LSST y. Raises CatalogError for an unknown
    survey.
    """
    table = GENERAL
    if survey is not None:
        name = survey_name(survey)
        if name not in COEFFICIENTS:
            raise CatalogError(
                "survey {survey!r} has no extinction coefficients; known are {known}",
                survey=survey,
                known=", ".join(COEFFICIENTS),
            )
        table = COEFFICIENTS[name]
    return tuple(table[band] for band in bands) if all(band in table for band in bands) else None


def survey_name(survey: str) -> str:
    """The key of `COEFFICIENTS` that a survey's name stands for; the name without blanks and signs where none does."""
    name = "".join(letter for letter in survey.casefold() if letter.isalnum())
    return _ALIASES.get(name, name)


def ebv_at(
    ra: Float[np.ndarray, " row"], dec: Float[np.ndarray, " row"], folder: Path | str
) -> Float32[np.ndarray, " row"]:
    """E(B-V) in mag of the SFD map at ICRS positions in degrees, interpolated bilinearly; NaN where one is NaN.

    As published: without S&F's factor 0.86, which `coefficients` contain. `folder` holds the map's two files,
    SFD_dust_4096_ngp.fits and SFD_dust_4096_sgp.fits. Raises CatalogError where the package sfdmap2 is not installed,
    and for declinations beyond 90 degrees; MissingFileError where a file is missing.
    """
    folder = Path(folder).expanduser()
    missing = [name for name in _MAP_FILES if not (folder / name).is_file()]
    if missing:
        raise MissingFileError(
            "the dust map's folder {folder} has no {missing}; the SFD map is {files} (github.com/kbarbary/sfddata)",
            {"folder": folder},
            missing=" and no ".join(missing),
            files=" and ".join(_MAP_FILES),
        )
    try:
        from sfdmap2.sfdmap import SFDMap
    except ImportError as error:
        raise CatalogError(
            "E(B-V) from positions needs the package sfdmap2; `pip install domainssl[dust]` brings it"
        ) from error
    ebv = np.full(len(ra), np.nan, np.float32)
    known = np.isfinite(ra) & np.isfinite(dec)
    if (np.abs(dec[known]) > 90).any():
        raise CatalogError("declinations reach beyond 90 degrees; ra and dec are ICRS degrees")
    if known.any():
        # float64, since map positions are computed in the precision of the coordinates
        dust = SFDMap(str(folder), scaling=1.0)
        ebv[known] = dust.ebv(ra[known].astype(np.float64), dec[known].astype(np.float64))
    return ebv
