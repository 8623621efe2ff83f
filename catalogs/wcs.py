"""Celestial world coordinates of images: read without surprises, and kept true through cutting and resizing.

FITS world coordinates: Greisen & Calabretta 2002 (A&A 395, 1061), Calabretta & Greisen 2002 (A&A 395, 1077); SIP:
Shupe et al. 2005 (ASP Conf. Ser. 347, 491).
"""

import re
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float64

# astropy.wcs.WCS; its import takes longer than reading hundreds of cutouts, so it waits until there is a header.
CelestialWCS = Any

# astropy scans a header's text many times: without the hundreds of other cards a WCS is read up to four times as fast.
_CARDS = re.compile(
    r"WCSAXES|NAXIS\d*|(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|CPDIS|CQDIS|D2IMDIS)\d|(CD|PC)\d_\d|PC00\d00\d"
    r"|P[VS]\d_\d+|(A|B|AP|BP)_(\d_\d|ORDER)|WAT\d_\d{3}|D[PQ]\d|LONPOLE|LATPOLE|RADE(C?)SYS|EQUINOX|EPOCH"
    r"|MJD-OBS|DATE-OBS"
)
_NUMBERS = re.compile(r"(CRVAL|CRPIX|CDELT|CROTA|CD|PC|PV|[AB]P?_\d).*|LONPOLE|LATPOLE")
_PLAIN = ("RA---TAN", "RA---SIN")
# Distortions in pixel units which `resampled` could not scale: tables, and the drafts' polynomials.
_PIXEL_DISTORTIONS = re.compile(r"(CPDIS|D2IMDIS)\d")


def celestial(header: Any) -> CelestialWCS | None:
    """The celestial astropy.wcs.WCS of an image's header, astropy's or plain, with SIP, TPV, TNX as astropy reads it.

    Its two pixel axes are those of the sky; a band axis is dropped. None where the header has none, or none that can
    be used: unknown projection or frame, singular matrix, text for a number, a reference left out or off the sphere,
    no sky position in the image's centre (the reference pixel where the header has no NAXISn), or distortion by
    look-up tables, which a header alone does not hold. Never raises, never warns. 2 ms, 7 with SIP.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _celestial(header)
        except Exception:  # noqa: BLE001 - broken headers raise many kinds, MemoryError among them
            return None


def _celestial(header: Any) -> CelestialWCS | None:
    cards = [card for card in header.cards if _CARDS.fullmatch(card.keyword)]
    keys = [card.keyword for card in cards]
    if not any(key.startswith("CTYPE") for key in keys) or any(_PIXEL_DISTORTIONS.fullmatch(key) for key in keys):
        return None
    # The library takes 0 for a number it cannot read or find.
    if any(_NUMBERS.fullmatch(card.keyword) and isinstance(card.value, str | bool) for card in cards):
        return None
    if any(sum(key.startswith(name) for key in keys) < 2 for name in ("CRVAL", "CRPIX")):
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from astropy.wcs.utils import wcs_to_celestial_frame

    header = Header(cards).copy()
    if "A_ORDER" in header:  # astropy applies SIP whether CTYPE names it or not; without the name it fills the log
        for axis in ("CTYPE1", "CTYPE2"):
            header[axis] = header[axis].strip().removesuffix("-SIP") + "-SIP"
    wcs = WCS(header).celestial
    wcs_to_celestial_frame(wcs)  # raises where the frame is unknown
    longitude, latitude = wcs.wcs.crval[wcs.wcs.lng], wcs.wcs.crval[wcs.wcs.lat]
    if not (abs(longitude) <= 360 and abs(latitude) <= 90 and 0 < pixel_scale(wcs) < np.inf):
        return None
    if np.abs(wcs.wcs.crpix).max() > 1e9:  # beyond, pixels cannot be told apart in double precision
        return None
    centre = wcs.wcs.crpix - 1 if wcs.pixel_shape is None else (np.array(wcs.pixel_shape) - 1) / 2
    return wcs if np.isfinite(wcs.all_pix2world(centre[None], 0)).all() else None


def pixel_scale(wcs: CelestialWCS | None) -> float:
    """Arcsec a pixel at the reference pixel: the square root of a pixel's area in the plane of projection; else NaN."""
    if wcs is None:
        return float("nan")
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600


def header_scale(header: Any) -> float:
    """`pixel_scale(celestial(header))`, by arithmetic alone where the projection is a plain one; NaN unknown."""
    plain = str(header.get("CTYPE1", "")) in _PLAIN and str(header.get("CUNIT1", "deg")).strip() == "deg"
    if plain and "PC1_1" not in header and "A_ORDER" not in header:
        try:
            if "CD1_1" in header:
                a, b, c, d = (float(header.get(f"CD{place}", 0)) for place in ("1_1", "1_2", "2_1", "2_2"))
            else:
                a, b, c, d = float(header["CDELT1"]), 0.0, 0.0, float(header["CDELT2"])
            scale = float(np.sqrt(abs(a * d - b * c))) * 3600
        except (KeyError, TypeError, ValueError):
            return pixel_scale(celestial(header))
        if 0 < scale < np.inf and all(_finite(header.get(key)) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")):
            return scale
    return pixel_scale(celestial(header)) if "CTYPE1" in header else float("nan")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))


def resampled(wcs: CelestialWCS, first: tuple[float | int, float | int], factor: float | int) -> CelestialWCS:
    """The WCS after cutting at `first` and enlarging both axes by `factor`, new pixels a source pixel.

    `first` is (y, x), the source pixel whose outer corner becomes that of pixel (0, 0); it may be negative (padding)
    or fractional. Source pixel x becomes new pixel (x - first + 0.5) factor - 0.5, both counted from 0 at centres.
    The given WCS is left as it is; the new one knows no image size.
    """
    assert factor > 0, f"factor {factor}"
    assert wcs.naxis == 2, f"{wcs.naxis} axes"
    assert all(table is None for table in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2))
    offset = np.array(first[::-1], np.float64)
    new = wcs.deepcopy()
    new.pixel_shape = None
    new.wcs.crpix = (wcs.wcs.crpix - offset - 0.5) * factor + 0.5  # crpix counts from 1 at the centre
    # The matrix, and never CDELT: TPV, TNX and their kind act on what the matrix gives, before CDELT.
    if wcs.wcs.has_cd():
        new.wcs.cd = wcs.wcs.cd / factor
    else:
        new.wcs.pc = wcs.wcs.get_pc() / factor  # CROTA is within
    if wcs.sip is not None:
        from astropy.wcs import Sip

        terms = [None if t is None else _scaled(t, factor) for t in (wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp)]
        new.sip = Sip(*terms, (wcs.sip.crpix - offset - 0.5) * factor + 0.5)
    new.wcs.set()
    return new


def _scaled(terms: Float64[np.ndarray, "p q"], factor: float | int) -> Float64[np.ndarray, "p q"]:
    """SIP's polynomial takes and gives pixels: the coefficient of u^p v^q scales by factor^(1 - p - q)."""
    p, q = np.indices(terms.shape)
    return np.asarray(terms * float(factor) ** (1 - p - q))
