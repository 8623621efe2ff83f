"""FITS files to cutouts: cubes, one image HDU a band, or one file a band; odd files are refused with a reason.

The format: FITS Standard 4.0 (Pence et al. 2010, A&A 524, A42, and its revision of 2018).
"""

import gzip
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy.io import fits
from jaxtyping import Float32

from catalogs.checks import refuse_file, refuse_pixels, refuse_size, undecodable
from catalogs.reading import Cutout, Refusal

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fz")

# Extensions that accompany an image but are none: masks, weights, errors, exposure, models of the PSF.
_COMPANIONS = (
    *("MASK", "MSK", "DQ", "FLAG", "FLAGS", "VARIANCE", "VAR", "IVAR", "INVVAR", "WHT", "WEIGHT", "WGT"),
    *("ERR", "ERROR", "UNCERT", "RMS", "CTX", "CON", "CONTEXT", "EXP", "EXPMAP", "NEXP", "NIMAGE"),
    *("BKG", "BACKGROUND", "SKY", "PSF"),
)
_SCIENCE = ("SCI", "IMAGE")
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


@dataclass(frozen=True)
class _Plane:
    """One band: plane `number` along `axis` of an HDU; axis None where the HDU holds this band alone."""

    hdu: int
    axis: int | None
    number: int


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


def image_hdus(path: Path) -> list[ImageHDU] | Refusal:
    """The images that a file's headers declare, companions such as masks and weights left out; touches no data."""
    refusal = _refuse_bytes(path)
    if refusal:
        return refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _open(path) as hdus:
                return _images(hdus, path)
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return _refuse_error(error, path)


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


def _read_file(path: Path, bands: tuple[str, ...]) -> Float32[np.ndarray, "band y x"] | Refusal:
    refusal = _refuse_bytes(path)
    if refusal:
        return refusal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of what is answered below by a refusal, or does not matter
        try:
            with _open(path) as hdus:
                images = _images(hdus, path)
                if isinstance(images, Refusal):
                    return images
                planes = _choose(images, bands)
                if isinstance(planes, Refusal):
                    return planes
                used = [image for image in images if image.index in {plane.hdu for plane in planes}]
                for image in used:
                    refusal = refuse_size(image.shape) or _refuse_truncated(hdus[image.index], path)
                    if refusal:
                        return refusal
                return _pixels(hdus, planes)
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return _refuse_error(error, path)


def _open(path: Path) -> Any:
    # uint=False: with unsigned integers astropy skips BLANK. No memory map: the file handle is closed for certain.
    return fits.open(path, memmap=False, uint=False, lazy_load_hdus=True)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(160)


def _refuse_bytes(path: Path) -> Refusal | None:
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


def _refuse_error(error: Exception, path: Path) -> Refusal:
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


def _refuse_truncated(hdu: Any, path: Path) -> Refusal | None:
    if isinstance(hdu, fits.CompImageHDU) or not _first_bytes(path).startswith(b"SIMPLE"):
        return None  # the size of compressed data is no header's; their end shows when they are decompressed
    end = int(hdu.fileinfo()["datLoc"]) + int(hdu.size)  # without the padding, which some writers leave out
    size = path.stat().st_size
    if end > size:
        return Refusal("truncated", f"the header promises {end:,} bytes and the file has {size:,}")
    return None


def _images(hdus: Any, path: Path) -> list[ImageHDU] | Refusal:
    """The image HDUs; companions count only where there is nothing else."""
    images: list[ImageHDU] = []
    declared = 0
    gzipped = _first_bytes(path).startswith(_GZIP)
    for index, hdu in enumerate(hdus):
        if not isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU):
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU | fits.GroupsHDU):
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
        images.append(ImageHDU(index, shape, int(header["BITPIX"]), label, _plane_names(header, shape)))
        if refusal := refuse_size(shape):
            return refusal
    if not images:
        return Refusal("no_image", "no HDU holds an image")
    return [image for image in images if image.label.upper() not in _COMPANIONS] or images


def _plane_names(header: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of a cube's planes from BAND0.., BAND1.., or BANDS / FILTERS ("grz", "g,r,z"); of a 2-D image its own."""
    if len(shape) != 3:
        found = (str(header.get(key, "")).split(" ")[0].strip() for key in ("BAND", "FILTER", "EXTNAME"))
        return tuple(name for name in found if name and name.upper() not in (*_SCIENCE, "PRIMARY"))
    for first in (0, 1):
        numbered = [str(header.get(f"BAND{first + n}", "")).strip() for n in range(min(max(shape[0], shape[2]), 64))]
        names = tuple(numbered[: numbered.index("")] if "" in numbered else numbered)
        if len(names) in (shape[0], shape[2]):
            return names
    for key in ("BANDS", "FILTERS", "BAND", "FILTER"):
        text = str(header.get(key, "")).strip()
        names = tuple(text.replace(",", " ").replace(";", " ").split())
        names = tuple(text) if len(names) == 1 and len(text) in (shape[0], shape[2]) else names
        if len(names) > 1 and len(names) in (shape[0], shape[2]):
            return names
    return ()


def _order(names: tuple[str, ...], bands: tuple[str, ...]) -> list[int] | Refusal | None:
    """Where each band stands among the names; None where no name is a band's; a refusal where only some are."""
    for fold in (str, str.casefold):  # as written first: Y and y are two bands in some surveys
        known, wanted = [fold(name) for name in names], [fold(band) for band in bands]
        found = [band for band in wanted if known.count(band) == 1]
        if len(found) == len(wanted) == len(set(wanted)):
            return [known.index(band) for band in wanted]
    if found:
        return Refusal("bands", f"the header names {', '.join(names)}; the recipe names {', '.join(bands)}")
    return None


def _choose(images: list[ImageHDU], bands: tuple[str, ...]) -> list[_Plane] | Refusal:
    """Which plane of which HDU is each band."""
    recipe = f"the recipe names {len(bands)} ({', '.join(bands)})"
    flat = [image for image in images if len(image.shape) == 2]
    cubes = [image for image in images if len(image.shape) == 3]
    if not flat and not cubes:
        return Refusal("shape", f"the image has {len(images[0].shape)} axes; 2, or 3 with one for bands, are read")
    science = [image for image in images if image.label.upper() in _SCIENCE]
    if cubes:
        named = [image for image in science if len(image.shape) == 3]
        return _choose_planes((named or cubes)[0], bands) if len(bands) > 1 or not flat else _one(flat, science, bands)
    if len(bands) == 1:
        return _one(flat, science, bands)
    labelled = [(name, image) for image in flat for name in image.names]
    order = _order(tuple(name for name, _ in labelled), bands)
    if isinstance(order, Refusal):
        return order
    if order is not None:
        chosen = [labelled[number][1] for number in order]
    elif len(flat) == len(bands):
        chosen = flat
    else:
        return Refusal("bands", f"{len(flat)} found (one an image HDU); {recipe}")
    shapes = sorted({image.shape for image in chosen})
    if len(shapes) > 1:
        return Refusal("shape", f"the bands' HDUs differ in shape: {' and '.join(map(str, shapes))}")
    return [_Plane(image.index, None, 0) for image in chosen]


def _one(flat: list[ImageHDU], science: list[ImageHDU], bands: tuple[str, ...]) -> list[_Plane] | Refusal:
    """The single band: the HDU of that name, else SCI or IMAGE, else the first, unless several have other names."""
    named = [image for image in flat if bands[0].casefold() in (name.casefold() for name in image.names)]
    chosen = named or [image for image in science if image in flat]
    if not chosen and len(flat) > 1 and all(image.names for image in flat):
        names = ", ".join(image.names[0] for image in flat)
        return Refusal("bands", f"the headers name {names}; the recipe names {bands[0]}")
    return [_Plane((chosen or flat)[0].index, None, 0)]


def _choose_planes(cube: ImageHDU, bands: tuple[str, ...]) -> list[_Plane] | Refusal:
    first, _, last = cube.shape
    order = _order(cube.names, bands) if cube.names else None
    if isinstance(order, Refusal):
        return order
    count = len(cube.names) if order is not None else len(bands)
    if count not in (first, last):
        return Refusal("bands", f"{min(first, last)} found; the recipe names {len(bands)} ({', '.join(bands)})")
    axis = 0 if count == first else 2
    return [_Plane(cube.index, axis, number) for number in (order or range(len(bands)))]


def _pixels(hdus: Any, planes: list[_Plane]) -> Float32[np.ndarray, "band y x"]:
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
