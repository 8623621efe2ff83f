"""What a file tells besides its image: its size, its format, rows and columns; attributes that no label should need.

Archives differ in them, so a label that one archive has more of can be told by them (Zech et al. 2018).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import final

from catalogs.chest_xrays.archives import open_source, source_size
from catalogs.chest_xrays.streams import stream_size
from catalogs.reading import Refusal

_START = 4096  # bytes in which a format says what it is
_STEPS = 4  # an octave, of coarse numbers: neighbours differ by 19 percent
# Transfer syntaxes of PS3.5 annex A by how they compress.
_SYNTAXES = {
    **dict.fromkeys((b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"), "native"),
    b"1.2.840.10008.1.2.1.99": "deflated",
    b"1.2.840.10008.1.2.5": "RLE",
    **dict.fromkeys((b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51"), "JPEG"),
    **dict.fromkeys((b"1.2.840.10008.1.2.4.57", b"1.2.840.10008.1.2.4.70"), "JPEG lossless"),
    **dict.fromkeys((b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.81"), "JPEG-LS"),
    **dict.fromkeys((b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.91"), "JPEG 2000"),
}
_CHANNELS = {0: "grey", 2: "colour", 3: "palette", 4: "grey and alpha", 6: "colour and alpha"}  # of PNG's IHDR
_MAGIC = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"PK\3\4", "NumPy"),
    (b"PAR1", "Parquet"),
    (b"\x1f\x8b", "gzip"),
)


@final
@dataclass(frozen=True)
class FileFacts:
    """Of the file of one image: bytes (NaN where unknown, or where it holds several), and its format in our own words
    ("" where unknown); `rows` and `columns` are those of the image as it was read."""

    bytes: float
    format: str
    rows: float
    columns: float


def file_facts(
    paths: Sequence[str], shape: tuple[int, int], *, alone: bool = True, coarse_numbers: bool = False
) -> FileFacts:
    """The facts of an image of `shape` (rows, columns) that was read from `paths`, one or one a band, whose bytes are
    added up; the format is that of the first. Never raises for a bad file.

    `alone`: these files hold this image and no other. `coarse_numbers`: see `coarse`, for files of patients, since the
    number of bytes names a file to whoever has the archive.
    """
    sizes = [_size(path) for path in paths] if alone else []
    numbers = (sum(sizes) if sizes else float("nan"), float(shape[0]), float(shape[1]))
    size, rows, columns = map(coarse, numbers) if coarse_numbers else numbers
    return FileFacts(size, _format(paths[0]) if paths else "", rows, columns)


def coarse(value: float) -> float:
    """The nearest of 1, 1.19, 1.41, 1.68, 2 and so on, four an octave, whole; NaN and what is below 1 stay."""
    return float(round(2 ** (round(_STEPS * log2(value)) / _STEPS))) if value >= 1 else value


def _size(path: str) -> float:
    try:
        size = source_size(Path(path))
    except OSError:
        return float("nan")
    return float("nan") if isinstance(size, Refusal) else float(size)


def _format(path: str) -> str:
    try:
        source = open_source(path)
        if isinstance(source, Refusal):
            return ""
        with source as file:
            return format_of(file.read(_START))
    except (OSError, ValueError):
        return ""


def format_of(start: bytes) -> str:
    """The format of a file that begins with these bytes, with its number format where they tell it; never anything
    that a file holds beside. "other" for what is not known, "" for nothing."""
    if not start:
        return ""
    if start[128:132] == b"DICM":
        found = re.search(rb"\x02\0\x10\0UI..([0-9.]+)", start, re.DOTALL)
        return f"DICOM {_SYNTAXES.get(found[1], 'other') if found else 'other'}"
    if start.startswith(b"\xff\xd8\xff"):
        size = stream_size(start)
        return "JPEG" if size is None else f"JPEG {'grey' if size[2] == 1 else 'colour'}"
    if start.startswith(b"\x89PNG") and len(start) > 25:
        bits = start[24] if start[24] in (1, 2, 4, 8, 16) else "other"
        return f"PNG {bits} bits {_CHANNELS.get(start[25], 'other')}"
    if start.startswith(b"SIMPLE  ="):
        found = re.search(rb"BITPIX  = +(-?(?:8|16|32|64)) ", start)
        return f"FITS {found[1].decode()}" if found else "FITS"
    return next((name for magic, name in _MAGIC if start.startswith(magic)), "other")
