"""Small FITS files laid out as surveys publish theirs.

They are written after the published descriptions of each layout (afw.image.Exposure, Euclid's data product
description, legacysurvey.org, the Pan-STARRS archive's manual, the HST and JWST handbooks); no real file of Rubin,
Euclid, Pan-STARRS or JWST was at hand. Not repeated here: hundreds of cards that readers have no need of.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

RUBIN_PLANES = ("BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA")


def sky(seed: int, shape: tuple[int, ...], sigma: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, shape).astype(np.float32)


def tan(
    shape: tuple[int, int], scale: float = 0.2, centre: tuple[float, float] = (150.1, 2.2), angle: float = 0.0
) -> fits.Header:
    """A TAN header of `scale` arcsec, turned by `angle` degrees, its reference in the middle of (y, x)."""
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = centre
    header["CRPIX1"], header["CRPIX2"] = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    cosine, sine = (scale / 3600 * f(math.radians(angle)) for f in (math.cos, math.sin))
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -cosine, sine, sine, cosine
    header["RADESYS"] = "ICRS"
    return header


def write(path: Path, *hdus: Any) -> Path:
    first = hdus[0] if isinstance(hdus[0], fits.PrimaryHDU) else fits.PrimaryHDU()
    rest = hdus[1:] if first is hdus[0] else hdus
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([first, *rest]).writeto(path)
    return path


def with_cards(header: fits.Header, **cards: Any) -> fits.Header:
    new = header.copy()
    for key, value in cards.items():
        new[key.replace("__", ".")] = value
    return new


def rubin(
    path: Path,
    image: np.ndarray,
    flagged: dict[str, np.ndarray],
    variance: np.ndarray,
    header: fits.Header,
    planes: tuple[str, ...] = RUBIN_PLANES,
    compressed: bool = False,
) -> Path:
    """An exposure: empty first HDU, IMAGE in nJy, MASK with its planes numbered in the order of `planes`, VARIANCE."""
    mask = np.zeros(image.shape, np.int32)
    for name, where in flagged.items():
        mask[where] |= 1 << planes.index(name)
    numbered = fits.Header({f"HIERARCH MP_{name}": bit for bit, name in enumerate(planes)})
    numbered.update(header)
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    lossless = {"compression_type": "GZIP_2", "quantize_level": 0} if compressed else {}
    return write(
        path,
        kind(image, with_cards(header, BUNIT="nJy"), name="IMAGE", **lossless),
        kind(mask, numbered, name="MASK", **({"compression_type": "GZIP_2"} if compressed else {})),
        kind(variance, with_cards(header, BUNIT="nJy2"), name="VARIANCE", **lossless),
    )


def euclid(
    folder: Path, image: np.ndarray, rms: np.ndarray, flag: np.ndarray, header: fits.Header, band: str = "VIS"
) -> Path:
    """A MER mosaic and, beside it, RMS and FLAG, all under names with a hash and a time of their own."""
    made = "20241018T142710.276838Z_00.00.fits"
    cards = with_cards(header, INSTRUME="VIS" if band == "VIS" else "NISP", MAGZERO=23.9)
    write(folder / f"EUC_MER_MOSAIC-{band}-RMS_TILE102018211-D0DB63_{made}", fits.PrimaryHDU(rms, header))
    write(folder / f"EUC_MER_MOSAIC-{band}-FLAG_TILE102018211-B260B9_{made}", fits.PrimaryHDU(flag, cards))
    name = f"EUC_MER_BGSUB-MOSAIC-{band}_TILE102018211-ACBD03_{made}"
    return write(folder / name, fits.PrimaryHDU(image, cards))


def euclid_in_one(path: Path, image: np.ndarray, rms: np.ndarray, flag: np.ndarray, header: fits.Header) -> Path:
    """Science, RMS and FLAG as HDUs of one file."""
    return write(
        path,
        fits.PrimaryHDU(image, with_cards(header, INSTRUME="VIS", MAGZERO=23.9)),
        fits.ImageHDU(rms, header, name="RMS"),
        fits.ImageHDU(flag, header, name="FLAG"),
    )


def legacy_cutout(path: Path, cube: np.ndarray, ivar: np.ndarray, maskbits: np.ndarray, header: fits.Header) -> Path:
    """The viewer's cutout service: cubes (band, y, x) of g, r, z in nanomaggies, one mask for all bands."""
    cards = with_cards(header, SURVEY="LegacySurvey", IMAGETYP="IMAGE", BANDS="grz", BAND0="g", BAND1="r", BAND2="z")
    return write(
        path,
        fits.PrimaryHDU(cube, cards),
        fits.ImageHDU(ivar, cards, name="INVVAR"),
        fits.ImageHDU(maskbits, header, name="MASKBITS"),
    )


def legacy_brick(
    folder: Path, band: str, image: np.ndarray, ivar: np.ndarray, maskbits: np.ndarray, header: fits.Header
) -> Path:
    """A brick's coadd: tile-compressed image and invvar a band, and maskbits, which names its planes."""
    named = {f"MBIT_{bit}": name for bit, name in enumerate(("NPRIMARY", "BRIGHT", "SATUR_G", "SATUR_R", "SATUR_Z"))}
    lossless = {"compression_type": "GZIP_2", "quantize_level": 0}
    start = folder / "legacysurvey-1501p022"
    shared = Path(f"{start}-maskbits.fits.fz")
    if not shared.exists():
        cards = with_cards(header, **named)
        write(shared, fits.CompImageHDU(maskbits, cards, compression_type="GZIP_2", name="MASKBITS"))
    cards = with_cards(header, BAND=band, BUNIT="nanomaggy")
    write(Path(f"{start}-invvar-{band}.fits.fz"), fits.CompImageHDU(ivar, cards, **lossless))
    return write(Path(f"{start}-image-{band}.fits.fz"), fits.CompImageHDU(image, cards, **lossless))


def pan_starrs(folder: Path, linear: np.ndarray, variance: np.ndarray, mask: np.ndarray, header: fits.Header) -> Path:
    """A stack of a skycell: asinh-scaled image and variance, integer mask whose header names its planes."""
    softening, offset = 100.0, 5.0
    cards = with_cards(header, PSCAMERA="GPC1", EXPTIME=600.0, FILTER="r.00000", BSOFTEN=softening, BOFFSET=offset)
    cards["HIERARCH FPA.ZP"] = 25.0

    def scaled(values: np.ndarray) -> np.ndarray:
        return (2.5 / math.log(10) * np.arcsinh((values.astype(np.float64) - offset) / (2 * softening))).astype(
            np.float32
        )

    named = fits.Header({"MSKNAM00": "SAT", "MSKVAL00": 4, "MSKNAM01": "STARCORE", "MSKVAL01": 32})
    named.update(header)
    start = folder / "rings.v3.skycell.1234.056.stk.r.unconv"
    lossless = {"compression_type": "GZIP_2", "quantize_level": 0}
    write(Path(f"{start}.mask.fits"), fits.CompImageHDU(mask, named, compression_type="RICE_1"))
    write(Path(f"{start}.wt.fits"), fits.CompImageHDU(scaled(variance), cards, **lossless))
    return write(Path(f"{start}.fits"), fits.CompImageHDU(scaled(linear), cards, **lossless))


def space(path: Path, telescope: str, image: np.ndarray, error: np.ndarray, quality: np.ndarray, header: Any) -> Path:
    """HST's and JWST's SCI, ERR and DQ; the telescope stands in the first HDU alone."""
    return write(
        path,
        fits.PrimaryHDU(header=fits.Header({"TELESCOP": telescope, "EXPTIME": 1000.0})),
        fits.ImageHDU(image, with_cards(header, BUNIT="MJy/sr" if telescope == "JWST" else "ELECTRONS/S"), name="SCI"),
        fits.ImageHDU(error, header, name="ERR"),
        fits.ImageHDU(quality, header, name="DQ"),
    )
