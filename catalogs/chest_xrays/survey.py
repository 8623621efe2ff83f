"""What a radiograph's header may tell: an allow-list of tags, each with the few things that it can be.

All headers of an archive are surveyed before one of its pixels is decoded.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from catalogs.chest_xrays.archives import open_source
from catalogs.chest_xrays.headers import RADIOGRAPHS, refuse_form, silence, sop_class
from catalogs.reading import VIEWS, Refusal

Fact = str | float | None
# Numbers that stand for nobody: what some archives write in place of a patient's.
NOBODY = frozenset(
    {"anonymous", "anonymised", "anonymized", "anon", "deidentified", "removed", "unknown", "none", "na", "n/a", "null"}
)
# Defined terms of PS3.16 annex L that radiographs of other parts carry; what is in no list is not refused.
_ELSEWHERE = frozenset(
    (
        *("ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "CALF", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY", "FEMUR"),
        *("FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "MANDIBLE"),
        *("MAXILLA", "NECK", "PELVIS", "RADIUS", "SHOULDER", "SINUS", "SKULL", "SPINE", "SSPINE", "TEETH", "THUMB"),
        *("TIBIA", "TOE", "TSPINE", "ULNA", "WRIST", "ZYGOMA"),
    )
)
_CHEST = ("CHEST", "THORA", "LUNG")
_VIEW_WORDS = {
    **{view: view for view in VIEWS},
    **dict.fromkeys(("LAT", "L", "LATERAL"), "LATERAL"),
    **{"FRONTAL": "UNKNOWN", "POSTEROANTERIOR": "PA", "ANTEROPOSTERIOR": "AP"},
}
# PS3.16 CID 4010, by SNOMED CT and by the older SNOMED RT.
_VIEW_CODES = {
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-10214"), "PA"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
    **dict.fromkeys(("399033003", "R-10202"), "UNKNOWN"),  # frontal, of which kind it does not say
}


def survey(path: Path) -> dict[str, Fact] | None:
    """What `ALLOWED` takes from a radiograph's DICOM header, up to its pixels; None for other and for damaged files.

    issuer, group (PatientID) and study (StudyInstanceUID) are raw identity, and scanner is a device's make: they are to
    be turned into pseudonyms, and must never be written out, shown or logged. All else is a word of a list or a number.
    Never raises for a bad file.
    """
    with silence():
        try:
            source = open_source(path)
            if isinstance(source, Refusal):
                return None
            with source as file:
                if refuse_form(file):
                    return None
                dataset = read_partial(file, stop_when=_at_pixels, specific_tags=[Tag(keyword) for keyword in _TAGS])
            if not dataset.file_meta.get("TransferSyntaxUID") or sop_class(dataset) not in RADIOGRAPHS:
                return None
        except Exception:  # noqa: BLE001 - a bad file tells nothing; reading it says why
            return None
        return {name: _told(dataset, told) for name, told in ALLOWED.items()}


def _told(dataset: Dataset, told: Callable[[Dataset], Fact]) -> Fact:
    try:
        return told(dataset)
    except Exception:  # noqa: BLE001 - one damaged element leaves the others, a patient's number most of all
        return None


def view(dataset: Dataset) -> str:
    """One of `VIEWS`: by ViewPosition (0018,5101), else ViewCodeSequence (0054,0220), else whether rows or columns
    run from front to back (PatientOrientation)."""
    if written := _text(dataset, "ViewPosition"):
        return view_word(written)
    codes = [code for item in dataset.get("ViewCodeSequence") or () if (code := _text(item, "CodeValue"))]
    if codes:
        return next((_VIEW_CODES[code] for code in codes if code in _VIEW_CODES), "OTHER")
    directions = {direction[:1] for direction in _values(dataset, "PatientOrientation")}
    return "LATERAL" if directions & {"A", "P"} else "UNKNOWN"


def view_word(written: str) -> str:
    """One of `VIEWS` for what a header or a table calls a view: its first word, in any case; "frontal" is "UNKNOWN"."""
    words = written.upper().replace("-", "").replace("_", " ").split()
    return _VIEW_WORDS.get(words[0], "OTHER") if words else "UNKNOWN"


def elsewhere(dataset: Dataset) -> str | None:
    """The part of the body that is shown where BodyPartExamined (0018,0015) names another than the chest, in the
    standard's words; else None."""
    part = _text(dataset, "BodyPartExamined").upper().replace("_", " ")
    if any(word in part for word in _CHEST):
        return None
    return next((word for word in part.split() if word in _ELSEWHERE), None)


def declares_window(dataset: Dataset) -> bool:
    """Whether there is a VOI LUT or a window (PS3.3 C.11.2), usable or not."""
    return bool(dataset.get("VOILUTSequence")) or any(_values(dataset, key) for key in ("WindowCenter", "WindowWidth"))


def _patient(dataset: Dataset) -> str | None:
    """PatientID; None where it is blank, all zeros or a word that stands for nobody."""
    found = _text(dataset, "PatientID")
    return None if not found.strip("0") or found.lower() in NOBODY else found


def _age(dataset: Dataset) -> float | None:
    """PatientAge in years (PS3.5, AS)."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", _text(dataset, "PatientAge").upper())
    return float(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]] if match else None


def _spacing(dataset: Dataset) -> float | None:
    """Millimetres a pixel at the detector: ImagerPixelSpacing (0018,1164), else PixelSpacing; None where not square."""
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        numbers = [_number(text) for text in _values(dataset, keyword)]
        if len(numbers) == 2 and all(0 < number < 100 for number in numbers):
            return numbers[0] if abs(numbers[0] / numbers[1] - 1) < 0.01 else None
    return None


def _scanner(dataset: Dataset) -> str | None:
    return "\n".join(_text(dataset, key).lower() for key in ("Manufacturer", "ManufacturerModelName")).strip() or None


def _longer_side(dataset: Dataset) -> float | None:
    sides = [dataset.get(keyword) for keyword in ("Rows", "Columns")]
    return float(max(sides)) if all(isinstance(side, int) and side > 0 for side in sides) else None


def _word(keyword: str, *words: str) -> Callable[[Dataset], Fact]:
    """The tag's value where it is one of these words, else None."""

    def told(dataset: Dataset) -> Fact:
        found = _text(dataset, keyword).upper()
        return found if found in words else None

    return told


ALLOWED: dict[str, Callable[[Dataset], Fact]] = {
    "issuer": lambda dataset: _text(dataset, "IssuerOfPatientID") or None,
    "group": _patient,
    "study": lambda dataset: _text(dataset, "StudyInstanceUID") or None,
    "scanner": _scanner,
    "view": view,
    "laterality": lambda dataset: (
        _word("ImageLaterality", "L", "R", "U", "B")(dataset) or _word("Laterality", "L", "R", "B")(dataset)
    ),
    "sex": _word("PatientSex", "M", "F", "O"),
    "age": _age,
    "modality": _word("Modality", "CR", "DX"),
    "photometric": _word("PhotometricInterpretation", "MONOCHROME1", "MONOCHROME2"),
    "bits": lambda dataset: _integer(dataset, "BitsStored"),
    "burned_in": _word("BurnedInAnnotation", "YES", "NO"),
    "spacing_mm": _spacing,
    "longer_side": _longer_side,
    "window": lambda dataset: "yes" if declares_window(dataset) else "no",
    "elsewhere": elsewhere,
}
_TAGS: tuple[str, ...] = (
    *("SpecificCharacterSet", "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName", "BodyPartExamined"),
    *("PatientID", "IssuerOfPatientID", "PatientSex", "PatientAge", "ViewPosition", "StudyInstanceUID", "Laterality"),
    *("ImageLaterality", "PatientOrientation", "PhotometricInterpretation", "Rows", "Columns", "BitsStored"),
    *("PixelSpacing", "ImagerPixelSpacing", "BurnedInAnnotation", "WindowCenter", "WindowWidth", "VOILUTSequence"),
    *("ViewCodeSequence",),
)
_PIXELS = 0x7FE00000


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) >= _PIXELS


def _text(dataset: Dataset, keyword: str) -> str:
    """One line of text; a backslash, which separates values, is put back where pydicom split at it."""
    return "\\".join(_values(dataset, keyword)).strip(" \0\t\r\n")


def _values(dataset: Dataset, keyword: str) -> list[str]:
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [str(value)] if isinstance(value, str) or not hasattr(value, "__iter__") else [str(part) for part in value]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _integer(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return float(value) if isinstance(value, int) else None
