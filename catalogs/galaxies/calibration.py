"""What a FITS header proves of its pixels' flux scale and band; what it leaves open stays unknown."""

import math
import re
import warnings
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

from catalogs.galaxies.plain_fits import Header
from catalogs.wcs import header_scale

# The AB system: magnitude 0 is 3631 Jy (Oke & Gunn 1983, ApJ 266, 713), so 1 nJy is magnitude 31.4.
_AB_NJY = 3631e9
# Native pixels of the Legacy Surveys' coadds, sr: the viewer interpolates their values to the scale asked for.
_LEGACY_PIXEL = math.radians(0.262 / 3600) ** 2
# Magnitude zero points of real surveys; what lies outside is a default, another convention or a mistake.
_ZERO_POINTS = (15.0, 40.0)
# These calibrate the value in the pixel as it stands, as SExtractor's MAG_ZEROPOINT does.
_ZERO_POINT_KEYS = ("MAGZERO", "MAGZPT", "PHOTZP", "MAGZP", "ZP")
# Telescopes whose zero points and maggies are of the Vega system, though their headers do not say so.
_VEGA = ("WISE", "2MASS", "UKIRT", "VISTA", "ESO-VISTA")
_PER_SECOND = re.compile(r"(?:/|\bper|\b1(?:\.0)?)\s*s(?:ec(?:ond)?)?\b", re.IGNORECASE)
_RATE = re.compile(r"/\s*s(?:ec(?:ond)?)?\b|\bs(?:ec)?\s*(?:-1|\*\*-1|\^-1)|\bcps\b|per sec", re.IGNORECASE)
_COUNTS = re.compile(r"(?:counts?|cps|adu|dn|e-|electrons?)(?![a-z0-9])", re.IGNORECASE)
_MAGGIES = re.compile(
    r"(?P<factor>[0-9.]+(?:e[+-]?[0-9]+)?)?\s*\*?\s*(?P<prefix>nano|micro|n|u)?(?:maggies|maggie|maggy|mgy)"
    r"(?:\s*/\s*pix(?:el)?)?",
    re.IGNORECASE,
)
_PREFIXES = {"nano": 1e-9, "n": 1e-9, "micro": 1e-6, "u": 1e-6, "": 1.0}

Kind = Literal["flux", "maggies", "surface brightness", "counts", "rate", ""]


def flux_calibration(header: Header) -> tuple[float, str]:
    """The factor from an image's values to nJy per pixel with the unit "nJy", or (1.0, BUNIT or "") where unproven.

    Looked at in this order; the first that applies decides:

    1. BUNIT: a flux density (nJy, uJy, "1e-9 Jy", Jy/pix), (nano)maggies, or a surface brightness (MJy/sr), which is
       multiplied by the area of the WCS's pixel, so that values are flux per pixel. Jy/beam stays unknown.
    2. FLUXMAG0, the value of magnitude 0 (Rubin's and HSC's pipelines).
    3. MAGZERO, MAGZPT, PHOTZP, MAGZP or ZP: 10^((31.4 - zp) / 2.5), for values as they stand; only where the card's
       comment speaks of one second are values of BUNIT counts divided by EXPTIME, and values of no BUNIT unknown.
    4. Pan-STARRS (PSCAMERA, FPA.ZP): FPA.ZP + 2.5 log10(EXPTIME), for values after `undo_asinh`.
    5. PHOTFLAM and PHOTPLAM (HST): f_lambda lambda^2 / c per electron/s, by BUNIT divided by EXPTIME or not.
    6. The Legacy Survey viewer's cutouts (SURVEY, BANDS, IMAGETYP): nanomaggies per native pixel of 0.262", whatever
       scale was asked for, so times the WCS's pixel area over that one.

    Zero points that are 0, NaN, text or not within 15..40 mag are not filled in; those of Vega magnitudes (VEGA in
    MAGSYS or in the comment; WISE, 2MASS, UKIRT, VISTA) say nothing of nJy. Magnitudes are AB otherwise.
    """
    unit = str(header.get("BUNIT") or "").strip()
    kind, scale = _unit(unit)
    factor: float | None = None
    if kind == "flux":
        factor = scale
    elif kind == "surface brightness":
        area = _pixel_area(header)
        factor = None if area is None else scale * area
    elif kind == "maggies":
        factor = None if _is_vega(header, "BUNIT") else scale
    elif kind or not unit:  # any other unit (Jy/beam, mag, K) is no number that a zero point could be for
        factor = _from_zero_point(header, kind)
        factor = _from_pan_starrs(header) if factor is None else factor
        factor = _from_photflam(header, kind) if factor is None else factor
        if factor is None and not unit and _is_legacy_cutout(header) and (area := _pixel_area(header)) is not None:
            factor = 1e-9 * _AB_NJY * area / _LEGACY_PIXEL
    return (1.0, unit) if factor is None or not 0 < factor < math.inf else (factor, "nJy")


def undo_asinh(values: Float[np.ndarray, "..."], header: Header) -> Float[np.ndarray, "..."]:
    """Linear values of a Pan-STARRS stack; the values themselves where BSOFTEN and BOFFSET are not in the header.

    Stacks are stored as a * asinh((L - BOFFSET) / (2 BSOFTEN)) with a = 2.5 log10(e), besides BSCALE and BZERO, which
    astropy undoes; warps and the cutout service's files are linear and lack the keys. NaN stays NaN; float32 in,
    float32 out. Source: the Pan-STARRS IPP wiki, "asinh compression"; Waters et al. 2020, ApJS 251, 4.
    """
    softening, offset = _number(header, "BSOFTEN"), _number(header, "BOFFSET")
    if softening is None or offset is None:
        return values
    with np.errstate(over="ignore"):
        linear = offset + 2 * softening * np.sinh(values.astype(np.float64) * (math.log(10) / 2.5))
        return np.asarray(linear.astype(values.dtype))


def band_name(header: Header) -> str:
    """The plain band ("g", "Y", "VIS", "F814W") of FILTER, BAND, FILTER1..4 or FPA.FILTERID; "" where none is given.

    Taken off: the camera and survey ("HSC-G", "LSST_r", "NIR_Y", "SDSS g"), serial numbers and wavelengths ("r_57",
    "g.00000", "i.MP9702", "g DECam SDSS c0001 4720.0 1520.0"), and wheels that are open ("F814W;CLEAR2L"). HSC's
    capitals become small letters, as its catalogues write them; otherwise capitals are kept: y and Y differ.
    """
    for keys in (("FILTER",), ("BAND",), ("FILTER1", "FILTER2", "FILTER3", "FILTER4"), ("FPA.FILTERID",)):
        names = [_plain_band(part) for key in keys for part in re.split(r"[;,|]", str(header.get(key) or ""))]
        if any(names):
            return "+".join(name for name in names if name)
    return ""


def _number(header: Header, key: str) -> float | None:
    """The card's finite number, also where it is written as text; None for anything else."""
    value = header.get(key)
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


@lru_cache(maxsize=256)
def _unit(text: str) -> tuple[Kind, float]:
    """What kind of unit a BUNIT is, and its size in nJy (in nJy/sr for surface brightness)."""
    if not text:
        return "", 1.0
    if match := _MAGGIES.fullmatch(text):
        return "maggies", float(match["factor"] or 1) * _PREFIXES[(match["prefix"] or "").lower()] * _AB_NJY
    if _COUNTS.match(text):
        return ("rate" if _RATE.search(text) else "counts"), 1.0
    from astropy import units

    # Capitals where they cannot be mistaken: MJY could be milli or mega.
    text = re.sub(r"\b([NU]?)JY\b", lambda found: found[1].lower() + "Jy", text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            unit = units.Unit(text)
            for per in (units.dimensionless_unscaled, units.pix):
                if (unit * per).is_equivalent(units.nJy):
                    return "flux", float((unit * per).to(units.nJy))
            if unit.is_equivalent(units.nJy / units.sr):
                return "surface brightness", float(unit.to(units.nJy / units.sr))
        except (ValueError, TypeError):
            pass
    return "", 1.0


def _pixel_area(header: Header) -> float | None:
    """The area of a pixel of the WCS in sr; None where that is unknown."""
    scale = header_scale(header)
    return math.radians(scale / 3600) ** 2 if scale > 0 else None


def _is_vega(header: Header, key: str) -> bool:
    systems = " ".join(str(header.get(name, "")) for name in ("MAGSYS", "PHOTSYS", "MAG_SYS"))
    telescope = str(header.get("TELESCOP") or "").strip().upper()
    return telescope in _VEGA or "vega" in f"{systems} {header.comments[key] if key in header else ''}".lower()


def _from_zero_point(header: Header, kind: Kind) -> float | None:
    at_zero = _number(header, "FLUXMAG0")
    if at_zero is not None and at_zero > 0 and _plausible(2.5 * math.log10(at_zero)):
        return _AB_NJY / at_zero
    for key in _ZERO_POINT_KEYS:
        zero_point = _number(header, key)
        if zero_point is None or not _plausible(zero_point):
            continue
        if _is_vega(header, key):
            return None
        seconds = 1.0
        if _PER_SECOND.search(header.comments[key]):
            if (found := _seconds(header, kind)) is None:
                return None
            seconds = found
        return _AB_NJY * 10 ** (-0.4 * zero_point) / seconds
    return None


def _plausible(zero_point: float) -> bool:
    return _ZERO_POINTS[0] <= zero_point <= _ZERO_POINTS[1]


def _seconds(header: Header, kind: Kind) -> float | None:
    """What divides values into counts per second: 1 for rates, EXPTIME for counts, None where neither is said."""
    if kind == "rate":
        return 1.0
    seconds = _number(header, "EXPTIME")
    return seconds if kind == "counts" and seconds is not None and seconds > 0 else None


def _from_pan_starrs(header: Header) -> float | None:
    """Stacks and warps: STScI, "PS1 Stack images", photometric calibration."""
    zero_point, seconds = _number(header, "FPA.ZP"), _number(header, "EXPTIME")
    if zero_point is None or seconds is None or seconds <= 0 or not _plausible(zero_point):
        return None
    return _AB_NJY * 10 ** (-0.4 * zero_point) / seconds


def _from_photflam(header: Header, kind: Kind) -> float | None:
    """STScI's ACS Data Handbook 5.1: PHOTFLAM in erg/s/cm2/A per electron/s, PHOTPLAM the pivot wavelength in A."""
    flux, pivot, seconds = _number(header, "PHOTFLAM"), _number(header, "PHOTPLAM"), _seconds(header, kind)
    if flux is None or pivot is None or seconds is None:
        return None
    # f_nu = f_lambda lambda^2 / c with c in A/s; 1 erg/s/cm2/Hz is 1e23 Jy, 1e32 nJy.
    return flux * pivot**2 / 2.99792458e18 * 1e32 / seconds


def _is_legacy_cutout(header: Header) -> bool:
    survey = str(header.get("SURVEY") or "").strip()
    image = str(header.get("IMAGETYP") or "").strip().lower() in ("image", "model", "resid")
    return survey in ("DECaLS", "MzLS", "MzLS+BASS", "LegacySurvey") and image and "BANDS" in header


_CAMERA = re.compile(
    r"^(?:hsc|lsst(?:cam|comcam)?|rubin|sdss|decam|des|nir|nisp|wircam|megacam|cfis|panstarrs|ps1|euclid|galex|kids)"
    r"[\s_.-]+(?=\S)",
    re.IGNORECASE,
)
_OPEN = re.compile(r"(?:clear|open|empty|none|blank|n/?a|null)(?:\d.*|[\s_]*)?", re.IGNORECASE)


def _plain_band(text: str) -> str:
    name = text.strip()
    hyper_suprime = re.match(r"hsc-([a-z])\d?$", name, re.IGNORECASE)
    if hyper_suprime:
        return hyper_suprime[1].lower()
    words = _CAMERA.sub("", name).split()
    if not words or _OPEN.fullmatch(words[0]):
        return ""
    return re.sub(
        r"(?<=^[A-Za-z])(?:[_.](?:\d+|MP\d+)|[_-](?:sdss|decam|band)|'|p1)$", "", words[0], flags=re.IGNORECASE
    )
