"""Chest radiographs from DICOM files or pictures, as grey display values."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset

from catalogs.chest_xrays.archives import MAX_PIXELS, DamagedMemberError, open_source
from catalogs.chest_xrays.headers import error_kind, header_flags, read_header, silence
from catalogs.chest_xrays.orientation import upright
from catalogs.chest_xrays.pixels import decode
from catalogs.chest_xrays.survey import elsewhere, view, view_word
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
    0..1, NaN where padded, by the policy `request.window`, upright as `catalogs.chest_xrays.orientation` says. A DICOM
    file has one grey band; where three are asked for it is repeated.

    `request.views` keeps some views: of the row's `view`, else the header's, pictures' being "UNKNOWN" without the
    first. No refusal and no flag repeats anything of a file but numbers of pixels and words of the standard. Refusals:
    those of the functions named; view; not_chest (BodyPartExamined names another part); bands.
    """
    views = rows["view"] if "view" in rows else [None] * len(rows)
    for paths, told in zip(rows["paths"], views, strict=True):
        yield _read(tuple(paths), view_word(told) if isinstance(told, str) and told else None, request)


def _read(paths: tuple[str, ...], told: str | None, request: Request) -> Cutout | Refusal:
    if not paths:
        return Refusal("missing", "the table names no file")
    if told is not None and (refusal := _refuse_view(told, request.views)):
        return refusal
    bands = request.bands
    try:
        source = open_source(paths[0])
        if isinstance(source, Refusal):
            return source
        with source as file:
            start = file.read(132)
        # A DICOM file may carry a TIFF's first bytes in its preamble (PS3.10 7.1).
        if start.startswith(_PICTURES) and start[128:] != b"DICM":
            if told is None and (refusal := _refuse_view("UNKNOWN", request.views)):
                return refusal
            answer = read_picture_files(paths, bands, request.white, _content, MAX_PIXELS)
            if isinstance(answer, Refusal):
                return Refusal(answer.reason, _REWORDED.get(answer.reason, answer.detail))
            return answer
    except DamagedMemberError as error:
        return error.refusal
    except OSError as error:
        return Refusal("undecodable", f"the file cannot be opened ({error_kind(error)})")
    if len(paths) > 1 or len(bands) not in (1, 3):
        return Refusal("bands", f"{len(paths)} files for {len(bands)} bands; a radiograph is one file for 1 or 3 bands")
    return _read_dicom(Path(paths[0]), told, request)


def _content(path: Path) -> bytes | Refusal:
    source = open_source(path)
    if isinstance(source, Refusal):
        return source
    with source as file:
        return file.read()


def _refuse_view(found: str, wanted: tuple[str, ...]) -> Refusal | None:
    if not wanted or found in wanted:
        return None
    return Refusal("view", f"the view is {found}; {', '.join(wanted)} are taken")


def _read_dicom(path: Path, told: str | None, request: Request) -> Cutout | Refusal:
    dataset = read_header(path)
    if isinstance(dataset, Refusal):
        return dataset
    refusal = _refuse_sight(dataset, told, request.views)
    if refusal:
        return refusal
    decoded = decode(dataset, request.window)
    if isinstance(decoded, Refusal):
        return decoded
    grey, flags = decoded
    grey, turned = upright(grey, dataset)
    pixels = grey[None] if len(request.bands) == 1 else np.repeat(grey[None], len(request.bands), axis=0)
    return Cutout(pixels, request.bands, "display", flags=(*header_flags(dataset), *flags, *turned))


def _refuse_sight(dataset: Dataset, told: str | None, views: tuple[str, ...]) -> Refusal | None:
    with silence():
        try:
            if part := elsewhere(dataset):
                return Refusal("not_chest", f"the part of the body is {part}")
            return _refuse_view(view(dataset), views) if told is None else None
        except Exception as error:  # noqa: BLE001 - damaged elements are found out when they are asked for
            return Refusal("bad_header", f"the header's account of the view is unusable ({error_kind(error)})")
