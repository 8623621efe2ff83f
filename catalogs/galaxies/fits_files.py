"""FITS files opened and asked what images they hold; what cannot be opened is refused with a reason.

The format: FITS Standard 4.0 (Pence et al. 2010, A&A 524, A42, and its revision of 2018).
"""

import gzip
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from catalogs.checks import refuse_file, refuse_size, undecodable
from catalogs.galaxies.calibration import band_name
from catalogs.galaxies.plain_fits import PlainHDU, plain_hdus
from catalogs.reading import Refusal

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fz")

# Extensions that accompany an image but are none: masks, weights, errors, exposure, models of the PSF.
COMPANIONS = (
    *("MASK", "MSK", "DQ", "FLAG", "FLAGS", "VARIANCE", "VAR", "IVAR", "INVVAR", "WHT", "WEIGHT", "WGT"),
    *("ERR", "ERROR", "UNCERT", "RMS", "CTX", "CON", "CONTEXT", "EXP", "EXPMAP", "NEXP", "NIMAGE"),
    *("BKG", "BACKGROUND", "SKY", "PSF"),
)
SCIENCE = ("SCI", "IMAGE")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x1f\x9d")
_BITPIX = ("8", "16", "32", "64", "-32", "-64")
_BLOCK = 2880
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class ImageHDU:
    """What a header says of one image: `shape` in numpy's order, `names` of its planes where the header gives any."""

    index: int
    shape: tuple[int, ...]
    bitpix: int
    label: str
    names: tuple[str, ...]


def image_hdus(path: Path) -> list[ImageHDU] | Refusal:
    """The images that a file's headers declare, companions such as masks and weights left out; decodes no data."""
    refusal = refuse_bytes(path)
    if refusal:
        return refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_fits(path) as hdus:
                return images_of(hdus, path)
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return refuse_error(error, path)


def band_count(images: Sequence[ImageHDU]) -> int:
    """How many bands a file seems to hold: its first cube's shorter outer axis, else its 2-D images of one shape."""
    for image in images:
        if len(image.shape) == 3:
            return min(image.shape[0], image.shape[2])
    flat = [image for image in images if len(image.shape) == 2]
    same = len({image.shape for image in flat}) == 1
    return len(flat) if same else min(len(flat), 1)


def band_names(images: Sequence[ImageHDU]) -> tuple[str, ...]:
    """The band names that the headers give, in the file's order; () where any is without a name."""
    count = band_count(images)
    for image in images:
        if len(image.shape) == 3:
            return image.names if len(image.names) == count else ()
    names = tuple(image.names[0] for image in images[:count] if image.names)
    return names if len(names) == count and len(set(names)) == count else ()


@contextmanager
def open_fits(path: Path) -> Iterator[Any]:
    """The HDUs of a file: plain ones (`catalogs.galaxies.plain_fits`), else an astropy.io.fits.HDUList."""
    plain = plain_hdus(path)
    if plain is not None:
        yield plain
        return
    from astropy.io import fits

    # uint=False: with unsigned integers astropy skips BLANK. No memory map: the file handle is closed for certain.
    with fits.open(path, memmap=False, uint=False, lazy_load_hdus=True) as hdus:
        yield hdus


def refuse_bytes(path: Path) -> Refusal | None:
    """Why a file cannot be FITS, as its first bytes say, else None."""
    refusal = refuse_file(path)
    if refusal:
        return refusal
    start = _first_bytes(path)
    if not start.startswith((b"SIMPLE  =", *_COMPRESSED)):
        kind = "a web page" if start.lstrip()[:1] == b"<" else "not FITS"
        return Refusal("format", f"the file is {kind}; FITS begins with SIMPLE")
    if start.startswith(b"SIMPLE") and path.stat().st_size < _BLOCK:
        return Refusal("truncated", f"the file ends within its first header block of {_BLOCK} bytes")
    # The second card is always BITPIX (4.4.1.1); astropy's error for a wrong one speaks of something else.
    bitpix = start[90:160].split(b"/")[0].decode("ascii", "replace").strip()
    if start[80:88] == b"BITPIX  " and bitpix not in _BITPIX:
        return Refusal("bad_header", f"BITPIX is {bitpix}; the standard has {', '.join(_BITPIX)}")
    return None


def refuse_error(error: Exception, path: Path) -> Refusal:
    """What an error of astropy says of a file, in words for a person."""
    text = str(error)
    if isinstance(error, EOFError) or "cannot reshape" in text or "smaller than requested" in text:
        return Refusal("truncated", "the file ends before its data do")
    if _first_bytes(path).startswith(_GZIP) and "corrupt FITS" in text:
        with gzip.open(path) as file:
            try:
                is_fits = file.read(6) == b"SIMPLE"
            except (OSError, EOFError):
                is_fits = True  # too short to tell
        if is_fits:
            return Refusal("truncated", "the compressed data end within the header")
        return Refusal("format", "the compressed file holds no FITS")
    if "No SIMPLE card" in text:
        return Refusal("format", "the compressed file holds no FITS")
    if isinstance(error, OSError | ValueError | KeyError | TypeError) and any(
        word in text for word in ("END card", "corrupt", "BITPIX", "NAXIS", "mandatory", "Header")
    ):
        return Refusal("bad_header", undecodable(error, path).detail.split(": ", 1)[-1])
    return undecodable(error, path)


def refuse_truncated(hdu: Any, path: Path) -> Refusal | None:
    """Refusal "truncated" where the file is shorter than the header of an HDU promises, else None."""
    if isinstance(hdu, PlainHDU):
        return None
    from astropy.io.fits import CompImageHDU

    if isinstance(hdu, CompImageHDU) or not _first_bytes(path).startswith(b"SIMPLE"):
        return None  # the size of compressed data is no header's; their end shows when they are decompressed
    end = int(hdu.fileinfo()["datLoc"]) + int(hdu.size)  # without the padding, which some writers leave out
    size = path.stat().st_size
    if end > size:
        return Refusal("truncated", f"the header promises {end:,} bytes and the file has {size:,}")
    return None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(160)


def is_image(hdu: Any) -> bool:
    """Whether an HDU is of the kinds that hold an image, though it may have no axes."""
    if isinstance(hdu, PlainHDU):
        return True
    from astropy.io import fits

    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)


def images_of(hdus: Any, path: Path) -> list[ImageHDU] | Refusal:
    """The image HDUs; companions count only where there is nothing else."""
    images: list[ImageHDU] = []
    declared = 0
    gzipped = _first_bytes(path).startswith(_GZIP)
    for index, hdu in enumerate(hdus):
        if not is_image(hdu):
            from astropy.io import fits

            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                continue
            return Refusal("bad_header", f"HDU {index} is no standard FITS (SIMPLE or XTENSION is wrong)")
        header = hdu.header
        shape = tuple(int(header[f"NAXIS{n}"]) for n in range(int(header.get("NAXIS", 0)), 0, -1))
        if not shape or 0 in shape:
            continue
        if min(shape) < 0:
            return Refusal("bad_header", f"HDU {index} has a negative NAXISn")
        declared += int(np.prod([float(n) for n in shape]))
        if gzipped and (refusal := refuse_size((declared,))):
            return refusal  # to reach the next header, all that lies before has to be decompressed
        label = str(header.get("EXTNAME", "")).strip()
        images.append(ImageHDU(index, shape, int(header["BITPIX"]), label, plane_names(header, shape)))
        if refusal := refuse_size(shape):
            return refusal
    if not images:
        return Refusal("no_image", "no HDU holds an image")
    return [image for image in images if image.label.upper() not in COMPANIONS] or images


def plane_names(header: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of a cube's planes from BAND0.., BAND1.., or BANDS / FILTERS ("grz", "g,r,z"); of a 2-D image its own."""
    if len(shape) != 3:
        found = (str(header.get(key, "")).split(" ")[0].strip() for key in ("BAND", "FILTER", "EXTNAME"))
        own = dict.fromkeys((*found, band_name(header)))  # as written, and without what surveys add to it
        return tuple(name for name in own if name and name.upper() not in (*SCIENCE, "PRIMARY"))
    for first in (0, 1):
        numbered = (str(header.get(f"BAND{first + n}", "")).strip() for n in range(64))
        names = tuple(takewhile(bool, numbered))
        if len(names) in (shape[0], shape[2]):
            return names
    for key in ("BANDS", "FILTERS", "BAND", "FILTER"):
        text = str(header.get(key, "")).strip()
        names = tuple(text.replace(",", " ").replace(";", " ").split())
        names = tuple(text) if len(names) == 1 and len(text) in (shape[0], shape[2]) else names
        if len(names) > 1 and len(names) in (shape[0], shape[2]):
            return names
    return ()
