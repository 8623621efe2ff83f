"""What headers tell before anything is decoded: the allow-list, views, patients that are none, one window policy."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian
from small_runs import SMALL

from catalogs.chest_xrays.orientation import FLIPPED, ODD, TURNED, upright
from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.chest_xrays.survey import ALLOWED, elsewhere, survey, view
from catalogs.reading import Cutout, Refusal, Request
from domainssl.store import Store
from pipelines.cli import main

RAMP = np.arange(40 * 32, dtype=np.uint16).reshape(40, 32)
RECIPE = 'domain = "chest_xrays"\n[[catalog]]\nname = "c"\nimages = "{root}/images"\nbands = ["grey"]\n{more}\n' + SMALL


def told(tmp_path: Path, **tags: Any) -> dict[str, Any]:
    found = survey(write(radiograph(RAMP, **tags), tmp_path / "a.dcm"))
    assert found is not None
    return found


def test_only_the_listed_facts_are_told_and_only_as_words_and_numbers(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        PatientID=" 123 ",
        IssuerOfPatientID="Ward A ",
        StudyInstanceUID="1.2.3",
        PatientSex="F",
        PatientAge="018M",
        ViewPosition="AP ",
        ImageLaterality="U",
        Modality="DX",
        Manufacturer="ACME",
        ManufacturerModelName="One",
        ImagerPixelSpacing=[0.143, 0.143],
        BurnedInAnnotation="NO",
        WindowCenter=10,
        WindowWidth=20,
        PatientName="Doe^Jane",
        InstitutionName="Clinic",
    )
    assert found == {
        "issuer": "Ward A",
        "group": "123",
        "study": "1.2.3",
        "scanner": "acme\none",
        "view": "AP",
        "laterality": "U",
        "sex": "F",
        "age": 1.5,
        "modality": "DX",
        "photometric": "MONOCHROME2",
        "bits": 16.0,
        "burned_in": "NO",
        "spacing_mm": 0.143,
        "longer_side": 40.0,
        "window": "yes",
        "elsewhere": None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, at writing what no tag may hold
        words = told(tmp_path, PatientSex="Zqx", PatientAge="Zqx", ViewPosition="Zqx", BurnedInAnnotation="Zqx")
    assert [words[name] for name in ("sex", "age", "view", "burned_in")] == [None, None, "OTHER", None]


@pytest.mark.parametrize("number", [" ", "", "0000", "Anonymous", "N/A", "unknown"])
def test_numbers_that_stand_for_nobody_are_none(number: str, tmp_path: Path) -> None:
    assert told(tmp_path, PatientID=number)["group"] is None


def test_no_pixel_is_read_and_bad_files_tell_nothing(tmp_path: Path) -> None:
    content = write(radiograph(RAMP, PatientID="123"), tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(content[: content.index(b"\xe0\x7f\x10\0") + 12])
    found = survey(tmp_path / "b.dcm")
    assert found is not None
    assert found["group"] == "123"
    deflated = write(radiograph(RAMP, syntax=DeflatedExplicitVRLittleEndian, PatientID="8"), tmp_path / "c.dcm")
    assert (survey(deflated) or {})["group"] == "8"
    (tmp_path / "d.dcm").write_bytes(content[:140])
    (tmp_path / "e.dcm").write_text("no DICOM")
    assert [survey(tmp_path / name) for name in ("d.dcm", "e.dcm", "absent")] == [None, None, None]


def code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    return item


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP SUPINE"}, "AP"),
        ({"ViewPosition": "LAT"}, "LATERAL"),
        ({"ViewPosition": "LLO"}, "OTHER"),
        ({"ViewPosition": "", "ViewCodeSequence": Sequence([code("399348003")])}, "AP"),
        ({"ViewCodeSequence": Sequence([code("1"), code("R-10214")])}, "PA"),
        ({"ViewCodeSequence": Sequence([code("399198007")])}, "RL"),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"PatientOrientation": ["L", "F"]}, "UNKNOWN"),
        ({}, "UNKNOWN"),
    ],
)
def test_the_view_is_told_by_tags(tags: dict[str, Any], found: str) -> None:
    assert view(radiograph(RAMP, **tags)) == found


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        *(("HAND", "HAND"), ("UPPER_EXTREMITY", "EXTREMITY"), ("CHEST", None), ("PORT CHEST", None)),
        *(("ABDOMEN CHEST", None), ("THORAX", None), ("BRUSTKORB", None), ("", None)),
    ],
)
def test_other_parts_of_the_body_are_no_chest(part: str, refused: str | None) -> None:
    assert elsewhere(radiograph(RAMP, BodyPartExamined=part)) == refused


def test_spacing_is_the_detector_s_and_square(tmp_path: Path) -> None:
    assert told(tmp_path, ImagerPixelSpacing=[0.1, 0.1], PixelSpacing=[0.2, 0.2])["spacing_mm"] == 0.1
    assert told(tmp_path, PixelSpacing=[0.2, 0.2])["spacing_mm"] == 0.2
    assert told(tmp_path, PixelSpacing=["0.000", "0.000"])["spacing_mm"] is None
    assert told(tmp_path, PixelSpacing=[0.1, 0.2])["spacing_mm"] is None


def read(path: Path, **request: Any) -> Cutout | Refusal:
    rows = pd.DataFrame({"object_id": ["a"], "paths": [(str(path),)]})
    (answer,) = read_chest_xrays(rows, Request(("grey",), **request))
    return answer


@given(st.sampled_from("LR"), st.sampled_from("HF"), st.booleans())
def test_images_stored_in_any_direction_are_hung_upright(along: str, down: str, transposed: bool) -> None:
    # What is drawn upright (rows to the left, columns to the feet), stored as the orientation says.
    stored = RAMP.astype(np.float32)[:: -1 if down == "H" else 1, :: -1 if along == "R" else 1]
    orientation = [down, along] if transposed else [along, down]
    stored = np.ascontiguousarray(stored.T if transposed else stored)
    dataset = radiograph(np.zeros((8, 8), np.uint16), PatientOrientation=orientation)
    found, flags = upright(stored, dataset)
    np.testing.assert_array_equal(found, RAMP)
    assert flags == (() if orientation == ["L", "F"] else (TURNED,))


@pytest.mark.parametrize(
    ("tags", "flags"),
    [
        ({}, ()),
        ({"PatientOrientation": ""}, ()),
        ({"PatientOrientation": ["P", "F"]}, ()),
        ({"PatientOrientation": ["L", "R"]}, (ODD,)),
        ({"PatientOrientation": "L"}, (ODD,)),
        ({"PatientOrientation": ["ZQX", "ZQX"]}, (ODD,)),
        ({"FieldOfViewHorizontalFlip": "YES"}, (FLIPPED,)),
        ({"FieldOfViewHorizontalFlip": "YES", "PatientOrientation": ["L", "F"]}, ()),
    ],
)
def test_what_does_not_say_how_to_turn_stays(tags: dict[str, Any], flags: tuple[str, ...]) -> None:
    pixels = RAMP.astype(np.float32)
    found, flagged = upright(pixels, radiograph(RAMP, **tags))
    assert found is pixels
    assert flagged == flags


def test_views_are_chosen_by_the_table_first(tmp_path: Path) -> None:
    path = write(radiograph(RAMP, ViewPosition="LL", WindowCenter=500, WindowWidth=900), tmp_path / "a.dcm")
    refused = read(path, views=("PA", "AP"))
    assert refused == Refusal("view", "the view is LL; PA, AP are taken")
    assert isinstance(read(path), Cutout)
    rows = pd.DataFrame({"object_id": list("ab"), "paths": [(str(path),)] * 2, "view": ["PA", "Zqx"]})
    taken, other = read_chest_xrays(rows, Request(("grey",), views=("PA",)))
    assert isinstance(taken, Cutout)
    assert other == Refusal("view", "the view is OTHER; PA are taken")


def test_one_window_policy_for_a_cohort(tmp_path: Path) -> None:
    windowed = write(radiograph(RAMP, WindowCenter=300, WindowWidth=200), tmp_path / "a.dcm")
    bare = write(radiograph(RAMP), tmp_path / "b.dcm")
    broken = write(radiograph(RAMP, WindowCenter=300, WindowWidth=0), tmp_path / "c.dcm")
    assert isinstance(read(windowed, window="declared"), Cutout)
    for path in (bare, broken):
        refused = read(path, window="declared")
        assert isinstance(refused, Refusal)
        assert refused.reason == "no_window"
    by_percentiles = [read(path, window="percentiles") for path in (windowed, bare, broken)]
    for answer in by_percentiles:
        assert isinstance(answer, Cutout)
        assert answer.flags == ()
        np.testing.assert_array_equal(answer.pixels, by_percentiles[0].pixels)  # type: ignore[union-attr]


def archive(root: Path, tags: list[dict[str, Any]]) -> Path:
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for number, more in enumerate(tags):
        stored = (RAMP // 2 + rng.integers(0, 300, RAMP.shape)).astype(np.uint16)
        write(radiograph(stored, **({"PatientID": f"p{number}"} | more)), root / "images" / f"{number:02d}.dcm")
    return root


def prepare(root: Path, more: str = "", out: str = "run") -> int:
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.format(root=root, more=more))
    return main(["prepare", str(recipe), "--out", str(root / out), "--workers", "1", "--quiet"])


def test_the_catalog_holds_what_headers_say(tmp_path: Path) -> None:
    tags = [
        {"ViewPosition": "PA", "StudyInstanceUID": "1.2", "PatientSex": "F", "PatientAge": "040Y", "Modality": "CR"}
    ]
    tags[0] |= {"Manufacturer": "acme", "ImagerPixelSpacing": [0.2, 0.2]}
    archive(tmp_path, [*tags, {"ViewPosition": "LL"}, {"BodyPartExamined": "HAND"}, {}])
    assert prepare(tmp_path) == 0
    catalog = pd.read_parquet(tmp_path / "run" / "catalog.parquet")
    one = catalog[catalog["age"].notna()].iloc[0]
    assert (one["view"], one["sex"], one["age"], one["modality"], one["bits"]) == ("PA", "F", 40, "CR", 16)
    assert one["pixel_mm"] == pytest.approx(0.2 * 40 / 40)
    assert str(one["scanner"]).startswith("scanner-")
    assert str(one["study"]).startswith("stu-")
    assert catalog["group"].str.startswith("pat-").all()
    assert "spacing_mm" not in catalog
    refused = pd.read_csv(tmp_path / "run" / "quarantine.csv")
    assert sorted(refused["reason"]) == ["not_chest", "view"]
    assert prepare(tmp_path, 'views = ["LL"]', "laterals") == 0
    assert len(Store(tmp_path / "laterals" / "store")) == 1
    assert prepare(tmp_path, "views = []", "all") == 0
    assert len(Store(tmp_path / "all" / "store")) == 3


def test_declared_windows_are_taken_only_where_every_file_has_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    archive(tmp_path / "a", [{"WindowCenter": 400, "WindowWidth": 300}] * 3)
    assert prepare(tmp_path / "a") == 0
    assert "declared windows" in Store(tmp_path / "a" / "run" / "store").preparation
    write(radiograph(RAMP, PatientID="x"), tmp_path / "a" / "images" / "more.dcm")
    assert prepare(tmp_path / "a", out="second") == 0
    assert "percentiles" in Store(tmp_path / "a" / "second" / "store").preparation


@pytest.mark.parametrize(("number", "count"), [("", 2), ("ANONYMOUS", 2), ("p7", 12)])
def test_a_split_by_patient_that_would_be_a_lie_stops_the_run(
    number: str, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive(tmp_path, [{"PatientID": number}] * count + [{}] * 2)
    assert prepare(tmp_path) == 1
    error = capsys.readouterr().err
    assert "a split by patient would be a lie; name the table's column of patients in columns.group" in error
    assert "p7" not in error.replace(str(tmp_path), "")
    # The table's word is taken: here each image is of a patient of its own.
    names = [f"{number:02d}" for number in range(count + 2)]
    (tmp_path / "t.csv").write_text("id,file\n" + "".join(f"{name},images/{name}.dcm\n" for name in names))
    table = f'table = "{tmp_path}/t.csv"\ncolumns = {{ id = "id", file = "file", group = "id" }}'
    recipe = RECIPE.format(root=tmp_path, more=table).replace('/images"', '"')
    (tmp_path / "recipe.toml").write_text(recipe)
    assert main(["prepare", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "o"), "--workers", "1"]) == 0


def test_the_allow_list_names_what_the_survey_gives(tmp_path: Path) -> None:
    assert set(told(tmp_path)) == set(ALLOWED)
