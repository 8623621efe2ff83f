"""Every DICOM file of the shared collections: pixels, or a refusal that agrees with what the label says is wrong."""

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import Dataset

from catalogs.chest_xrays.headers import read_header
from catalogs.chest_xrays.pixels import decode
from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.reading import Cutout, Refusal, Request

ROOT = Path(os.environ.get("DOMAINSSL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# What may be said of files with each label. Many are no radiographs besides, and that is asked first.
REASONS: dict[str, set[str]] = {
    "no_pixel_data": {"no_pixels", "not_image"},
    "colour_or_3d": {"colour", "not_radiograph"},
    "multi_frame": {"multi_frame", "not_radiograph"},
    "no_transfer_syntax": {"no_transfer_syntax"},
    "non_image": {"not_image", "no_file_meta"},
    "truncated_pixels": {"truncated", "not_radiograph"},
    "undecodable_or_bad_header": {"undecodable", "bad_header", "not_radiograph", "not_chest", "shape"},
}
# Of the chest collection: 12-bit JPEG has no decoder (asked before the body part), one file lacks its file meta, one is
# in colour, and RG3 is an arm or a leg.
REFUSED = {
    "CR-MONO1-10-chest_nometa": "no_file_meta",
    "RG3_JPLY.dcm": "not_chest",
    **dict.fromkeys(("RG3_J2KI.dcm", "RG3_J2KR.dcm", "RG3_JLSL.dcm", "RG3_JLSN.dcm", "RG3_JPLL.dcm"), "not_chest"),
    "vpop_dx_ybr422.dcm": "colour",
}


def labelled(collection: str, prefix: str = "") -> list[tuple[str, str]]:
    table = ROOT / collection / "labels.csv"
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return [(row["file"], row["label"]) for row in csv.DictReader(file) if row["file"].startswith(prefix)]


def read(path: Path) -> Cutout | Refusal:
    (outcome,) = read_chest_xrays(pd.DataFrame({"object_id": ["a"], "paths": [(str(path),)]}), Request(("grey",)))
    return outcome


def chest(shared_data: Path, name: str) -> Cutout:
    outcome = read(shared_data / "chest" / "dicom" / name)
    assert isinstance(outcome, Cutout), outcome
    return outcome


def decoded(shared_data: Path, name: str) -> np.ndarray:
    """The pixels whatever they show: RG3 is no chest, and refused by the reader for that."""
    header = read_header(shared_data / "chest" / "dicom" / name)
    assert isinstance(header, Dataset)
    answer = decode(header)
    assert isinstance(answer, tuple)
    return answer[0]


def test_there_are_as_many_as_the_collections_say(shared_data: Path) -> None:
    assert len(labelled("hostile", "dicom/")) == 117 - 47
    assert len(labelled("chest/dicom")) == 14


@pytest.mark.parametrize(("file", "label"), labelled("hostile", "dicom/"))
def test_the_refusal_agrees_with_the_label(file: str, label: str) -> None:
    path = ROOT / "hostile" / file
    outcome = read(path)
    assert isinstance(outcome, Refusal), "a file that cannot be used was read"
    assert outcome.reason in REASONS[label]
    for private in (path.name, str(path.parent), "Traceback"):
        assert private not in outcome.detail


@pytest.mark.parametrize(("file", "label"), labelled("chest/dicom"))
def test_radiographs_are_read(file: str, label: str) -> None:
    outcome = read(ROOT / "chest" / "dicom" / file)
    if file in REFUSED:
        assert isinstance(outcome, Refusal)
        assert outcome.reason == REFUSED[file]
        return
    assert isinstance(outcome, Cutout), outcome
    assert outcome.radiometry == "display"
    assert outcome.pixels.dtype == np.float32
    assert 0 <= outcome.pixels.min() < outcome.pixels.max() <= 1
    assert label in ("chest", "unknown_cr")
    # All have a window but the one whose file declares none.
    assert outcome.flags == (("no declared window",) if label == "unknown_cr" else ())


def test_bones_are_bright(shared_data: Path) -> None:
    # The spine against the lungs beside it, halfway down the chest; all files are MONOCHROME1.
    for name in ("CR-MONO1-10-chest_explicit.dcm", "RG1_JLSN.dcm"):
        grey = chest(shared_data, name).pixels[0]
        height, width = grey.shape
        row = grey[height * 35 // 100 : height * 45 // 100]
        spine = row[:, width * 47 // 100 : width * 51 // 100].mean()
        lungs = row[:, width * 20 // 100 : width * 30 // 100].mean()
        assert spine > lungs + 0.1, name


def test_two_encodings_of_one_radiograph_are_one_picture(shared_data: Path) -> None:
    explicit, implicit = (chest(shared_data, f"CR-MONO1-10-chest_{n}.dcm").pixels for n in ("explicit", "implicit"))
    np.testing.assert_array_equal(explicit, implicit)
    wavelet, near = (chest(shared_data, f"RG1_{n}.dcm").pixels for n in ("J2KI", "JLSN"))
    assert np.abs(wavelet - near).mean() < 0.01
    assert np.corrcoef(wavelet.ravel(), near.ravel())[0, 1] > 0.999
    lossless = [decoded(shared_data, f"RG3_{n}.dcm") for n in ("J2KR", "JLSL", "JPLL")]
    np.testing.assert_array_equal(lossless[0], lossless[1])
    np.testing.assert_array_equal(lossless[0], lossless[2])
    for name in ("J2KI", "JLSN"):
        assert np.abs(decoded(shared_data, f"RG3_{name}.dcm") - lossless[0]).mean() < 0.01
