"""Chest radiographs from DICOM files or pictures, as grey display values."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.checks import refuse_file
from catalogs.chest_xrays.headers import error_kind, header_flags, read_header
from catalogs.chest_xrays.pixels import decode
from catalogs.pictures import read_picture_files
from catalogs.reading import Cutout, Refusal, Request

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# These sentences of the picture reader may quote the file.
_REWORDED = {
    "undecodable": "the picture cannot be decoded",
    "shape": "the picture is not one image, or the bands' pictures differ",
}


def read_chest_xrays(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: a cutout, or why there is none; never raises for a bad file.

    Files that start as JPEG, PNG or TIFF do are read by `catalogs.pictures.read_pictures`; all others as DICOM, by
    `catalogs.chest_xrays.headers.read_header` and `catalogs.chest_xrays.pixels.decode`: float32 "display" values in
    0..1, NaN where padded. A DICOM file has one grey band; where three are asked for it is repeated. No refusal and no
    flag repeats anything of a file but numbers of pixels. Refusals: those of the functions named; bands.
    """
    for paths in rows["paths"]:
        yield _read(tuple(paths), request.bands, request.white)


def _read(paths: tuple[str, ...], bands: tuple[str, ...], white: float | int | None) -> Cutout | Refusal:
    if not paths:
        return Refusal("missing", "the table names no file")
    try:
        picture = refuse_file(Path(paths[0])) or _is_picture(Path(paths[0]))
        if isinstance(picture, Refusal):
            return picture
        if picture:
            answer = read_picture_files(paths, bands, white)
            if isinstance(answer, Refusal):
                return Refusal(answer.reason, _REWORDED.get(answer.reason, answer.detail))
            return answer
    except OSError as error:
        return Refusal("undecodable", f"the file cannot be opened ({error_kind(error)})")
    if len(paths) > 1 or len(bands) not in (1, 3):
        return Refusal("bands", f"{len(paths)} files for {len(bands)} bands; a radiograph is one file for 1 or 3 bands")
    return _read_dicom(Path(paths[0]), bands)


def _is_picture(path: Path) -> bool:
    """By the first bytes; a DICOM file may carry a TIFF's in its preamble (PS3.10 7.1)."""
    with path.open("rb") as file:
        start = file.read(132)
    return start.startswith(_PICTURES) and start[128:] != b"DICM"


def _read_dicom(path: Path, bands: tuple[str, ...]) -> Cutout | Refusal:
    dataset = read_header(path)
    if isinstance(dataset, Refusal):
        return dataset
    decoded = decode(dataset)
    if isinstance(decoded, Refusal):
        return decoded
    grey, flags = decoded
    pixels = np.repeat(grey[None], len(bands), axis=0)
    return Cutout(pixels, bands, "display", flags=(*header_flags(dataset), *flags))
