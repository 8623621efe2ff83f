"""Objects of the simulated survey as FITS files: one cube a galaxy, its variance in a second HDU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from jaxtyping import Float32

from catalogs.samples.galaxy_models import ZERO_POINT
from catalogs.samples.survey_parents import SurveyOptions

_PER_FOLDER = 1000


def fits_name(object_id: str, number: int) -> str:
    """Where an object's file lies below the folder of images."""
    return f"{number // _PER_FOLDER:05d}/{object_id}.fits"


def fits_bytes(options: SurveyOptions) -> int:
    """The size of one file."""
    plane = len(options.bands) * options.size**2 * 4
    return 2 * (2880 * 2 + -(-plane // 2880) * 2880)


def write_fits(
    path: Path, pixels: Float32[np.ndarray, "band y x"], row: Mapping[str, Any], options: SurveyOptions
) -> None:
    """Writes one object of `survey`: its row of the truth says where it lies and how noisy it is.

    The primary HDU holds nJy (AB zero point 31.4), axes band, y, x; FILTER names all bands, BAND1 .. each plane's, with
    PSF1 .. (FWHM, pixels) and SKYSIG1 ..; the WCS is TAN on the field's centre, so that cutouts of one field lie on one
    grid. VARIANCE holds nJy**2. Raises OSError where the file cannot be written.
    """
    header = fits.Header()
    header["HIERARCH SIMULATED"] = (True, "simulated with GalSim, not the real sky")
    header["OBJECT"] = row["object_id"]
    header["MAGZERO"] = (ZERO_POINT, "AB magnitude of 1 nJy")
    header["FILTER"] = "".join(options.bands)
    header["EBV"] = (row["ebv"], "E(B-V) of the Milky Way in mag")
    for plane, band in enumerate(options.bands, 1):
        header[f"BAND{plane}"] = band
        header[f"PSF{plane}"] = (row[f"psf_fwhm_px_{band}"], "PSF FWHM in pixels")
        header[f"SKYSIG{plane}"] = (row[f"sky_sigma_{band}"], "sky noise per pixel in nJy")
    header["CTYPE1"], header["CRVAL1"], header["CRPIX1"] = "RA---TAN", row["crval1"], row["crpix1"]
    header["CTYPE2"], header["CRVAL2"], header["CRPIX2"] = "DEC--TAN", row["crval2"], row["crpix2"]
    header["CDELT1"], header["CDELT2"] = -options.pixel_scale / 3600, options.pixel_scale / 3600
    header["CUNIT1"] = header["CUNIT2"] = "deg"
    header["RADESYS"] = "ICRS"
    sigma = np.array([row[f"sky_sigma_{band}"] for band in options.bands], np.float32)
    variance = np.broadcast_to(sigma[:, None, None] ** 2, pixels.shape).copy()
    first = fits.PrimaryHDU(pixels, header)
    first.header["BUNIT"] = "nJy"
    second = fits.ImageHDU(variance, fits.Header({"BUNIT": "nJy**2"}), name="VARIANCE")
    part = path.with_name(f".{path.name}.part")
    fits.HDUList([first, second]).writeto(part, overwrite=True)
    part.replace(path)
