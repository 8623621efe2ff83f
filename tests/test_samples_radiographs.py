"""The simulated cohort: valid DICOM, the same for everyone, with the findings, sides and shortcut that it claims."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool, Float

from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.reading import Refusal, Request
from catalogs.samples.radiograph_cohort import FINDINGS, SITES, TROUBLE, plan_cohort
from catalogs.samples.radiograph_exposures import Exposure, coordinates
from catalogs.samples.radiograph_files import Encoding, draw_encoding, stored_values, write_dicom
from catalogs.samples.radiograph_findings import RARE, Findings, enlarged
from catalogs.samples.radiograph_marks import marker
from catalogs.samples.radiograph_scanners import SCANNERS
from catalogs.samples.radiographs import simulate, write_radiographs

COUNT, SIZE, SEED = 300, 128, 3
SEVERITIES = [f"{name}_severity" for name in FINDINGS]
CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_radiographs(tmp_path_factory.mktemp("cohort"), COUNT, SEED, size=SIZE).parent


@pytest.fixture(scope="module")
def table(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "labels.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def headers(cohort: Path, table: pd.DataFrame) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(cohort / "images" / file) for file in table["file"]]


@pytest.fixture(scope="module")
def plan() -> list[dict[str, Any]]:
    return plan_cohort(COUNT, SEED)


def _displayed(dataset: pydicom.Dataset) -> Float[np.ndarray, "y x"]:
    """Stored values, bright where attenuating and upright, as the header says."""
    values = dataset.pixel_array.astype(float)
    values = -values if dataset.PhotometricInterpretation == "MONOCHROME1" else values
    along, down = dataset.PatientOrientation
    if down == "F":
        return values[:, ::-1] if along in "RA" else values
    return np.rot90(values, {"H": 1, "R": 2, "A": 2, "F": 3}[along])


def _similarity(one: Float[np.ndarray, "y x"], two: Float[np.ndarray, "y x"]) -> float:
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


def _pictured(plan: dict[str, Any]) -> Float[np.ndarray, "y x"]:
    """What a planned image should show, apart from borders and marker."""
    return simulate(
        plan["patient"],
        plan["index"],
        SEED,
        SIZE,
        sex=plan["sex"],
        age=plan["first_age"],
        view=plan["view"],
        findings=Findings(*(plan[f"{name}_severity"] for name in FINDINGS)),
        rare=plan["truth"] if plan["truth"] in RARE else None,
        scanner=SCANNERS[plan["scanner"]],
    )[0].astype(float)


def _alike_inside(one: Float[np.ndarray, "y x"], two: Float[np.ndarray, "y x"]) -> float:
    """Correlation away from borders and markers."""
    inside = (slice(SIZE // 4, -SIZE // 8), slice(SIZE // 8, -SIZE // 8))
    return _similarity(one[inside], two[inside])


def test_same_files_whatever_the_workers(tmp_path: Path) -> None:
    done: list[int] = []
    one = write_radiographs(tmp_path / "one", 25, 5, workers=1, size=SIZE).parent
    two = write_radiographs(tmp_path / "two", 25, 5, workers=2, size=SIZE, progress=done.append).parent
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert len(files) == 26
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
    assert done == list(range(1, 26))


def test_another_seed_patient_or_image_is_another_picture() -> None:
    first, again = (simulate(0, 0, 1, SIZE)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for patient, index, seed in ((0, 0, 2), (1, 0, 1), (0, 1, 1)):
        other = simulate(patient, index, seed, SIZE)[0]
        assert other.shape != first.shape or not np.array_equal(other, first)
    assert simulate(0, 0, 1, SIZE)[1] is simulate(0, 1, 1, SIZE)[1]  # the same person


def test_table(cohort: Path, table: pd.DataFrame) -> None:
    assert list(table.columns) == [
        *("image_id", "file", "patient_id", "issuer", "study_id", "view", "view_said", "sex", "age", "site", "scanner"),
        *("effusion", "opacity", "cardiomegaly", "effusion_severity", "opacity_severity", "cardiomegaly_severity"),
        *("effusion_side", "opacity_side", "device", "exposure", "collimated", "cropped", "orientation"),
        *("truth", "trouble", "mark", "simulated"),
    ]
    images = cohort / "images"
    assert {path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file()} == set(table["file"])
    assert table["image_id"].is_unique
    assert (~table["file"].str.endswith(".dcm")).any()
    assert (table["simulated"].astype(str).str.lower() == "true").all()
    counts = table["truth"].value_counts()
    assert set(counts.index) == {"normal", "lateral", *FINDINGS, *RARE, *TROUBLE}
    assert (counts[list(RARE)] == 3).all()
    assert (counts[list(TROUBLE)] == 2).all()
    odd = table["truth"].isin([*RARE, *TROUBLE])
    assert (table.loc[odd, SEVERITIES] == 0).all(axis=None)
    assert (table["trouble"] == table["truth"].where(table["truth"].isin(TROUBLE), "")).all()


def test_labels_say_what_was_simulated_where_they_say_anything(table: pd.DataFrame) -> None:
    ordinary = table["truth"].isin(["normal", *FINDINGS])
    unlabelled = table[list(FINDINGS)].astype(str) == ""
    assert unlabelled[~ordinary].all(axis=None)
    assert (unlabelled.all(axis=1) == unlabelled.any(axis=1)).all()
    assert unlabelled.loc[ordinary, "effusion"].mean() == pytest.approx(0.4, abs=0.02)
    labelled = table[~unlabelled["effusion"]]
    for name in FINDINGS:
        assert (labelled[name].astype(int) == (labelled[f"{name}_severity"] > 0)).all()
    for name in ("effusion", "opacity"):
        assert ((table[f"{name}_side"] != "") == (table[f"{name}_severity"] > 0)).all()
        assert set(table[f"{name}_side"]) == {"", "L", "R"}
    for truth, row in zip(table["truth"], table[SEVERITIES].to_numpy(), strict=True):
        if truth in FINDINGS:
            assert row[FINDINGS.index(truth)] == row.max() > 0
        elif truth != "lateral":
            assert row.max() == 0


def test_patients_have_several_studies_and_one_site(table: pd.DataFrame) -> None:
    patients = table.groupby("patient_id")
    assert (patients[["site", "sex", "issuer"]].nunique() == 1).all(axis=None)
    assert (table["issuer"] == "SIMULATED-" + table["site"]).all()
    assert patients.size().between(1, 4).all()
    assert 1.7 < patients.size().mean() < 2.5
    studies = table.groupby("study_id")
    assert (studies[["patient_id", "age", *SEVERITIES]].nunique() == 1).all(axis=None)
    assert set(studies["view"].agg("+".join)) == {"PA", "AP", "LL", "PA+LL"}
    dextrocardia = table.loc[table["truth"] == "dextrocardia", "patient_id"]
    assert (patients.size()[dextrocardia] == 1).all()


def test_prevalence_differs_by_site_for_effusion_alone() -> None:
    plan = pd.DataFrame(plan_cohort(6000, 11))
    plan = plan[plan["truth"].isin(["normal", *FINDINGS])]
    present = (plan[SEVERITIES] > 0).groupby(plan["site"]).mean()
    for site in SITES:
        assert present.loc[site.name].tolist() == pytest.approx([site.effusion, 0.22, 0.20], abs=0.03)
    sick = plan["truth"] != "normal"
    assert plan.loc[sick, "view"].eq("AP").mean() > plan.loc[~sick, "view"].eq("AP").mean() + 0.2


def test_headers_hold_what_their_modules_demand(table: pd.DataFrame, headers: list[pydicom.Dataset]) -> None:
    digital = [header for header in headers if header.SOPClassUID == DX]
    assert {header.SOPClassUID for header in headers} == {CR, DX}
    for header in digital:
        assert header.PresentationIntentType == "FOR PRESENTATION"
        expected = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}[header.PhotometricInterpretation]
        assert header.PresentationLUTShape == expected
        for keyword in ("BurnedInAnnotation", "PixelIntensityRelationship", "RescaleType", "LossyImageCompression"):
            assert keyword in header
        assert header.ImagerPixelSpacing[0] == header.ImagerPixelSpacing[1] > 0
        assert header.FieldOfViewHorizontalFlip in ("YES", "NO")
        assert header.DeviationIndex == pytest.approx(10 * np.log10(header.ExposureIndex / 400), abs=0.06)
    for (_, row), header in zip(table.iterrows(), headers, strict=True):
        assert header.Modality == ("DX" if header.SOPClassUID == DX else "CR")
        assert (header.PatientID, header.IssuerOfPatientID) == (row["patient_id"], row["issuer"])
        assert header.get("ViewPosition", "") == (row["view"] if row["view_said"] in ("position", "both") else "")
        code = header.ViewCodeSequence[0].CodeValue if "ViewCodeSequence" in header else None
        codes = {"PA": "272479007", "AP": "399348003", "LL": "399173006"}
        assert code == (codes[row["view"]] if row["view_said"] in ("code", "both") else None)
        assert "".join(header.PatientOrientation) == row["orientation"]
        assert ("ImagerPixelSpacing" in header) != ("PixelSpacing" in header)
        assert header.PatientSex == row["sex"]
        assert header.PatientAge == f"{row['age']:03d}Y"
        assert str(header.PatientName).startswith("Simulated^Patient ")
        assert header.get("BurnedInAnnotation") in (None, "YES" if row["mark"] else "NO")
        assert header.SOPInstanceUID == header.file_meta.MediaStorageSOPInstanceUID
        assert header.SOPInstanceUID.is_valid
    assert len({header.SOPInstanceUID for header in headers}) == len({h.SeriesInstanceUID for h in headers}) == COUNT
    assert len({header.StudyInstanceUID for header in headers}) == table["study_id"].nunique()


def test_encodings_are_mixed(headers: list[pydicom.Dataset]) -> None:
    assert {header.BitsStored for header in headers} == {10, 12, 14, 16}
    assert {header.PhotometricInterpretation for header in headers} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({header.file_meta.TransferSyntaxUID for header in headers}) == 6
    shapes = {(header.Rows, header.Columns) for header in headers}
    assert len(shapes) > 20
    assert max(max(shape) for shape in shapes) == SIZE
    assert len({header.ManufacturerModelName for header in headers}) == 3
    for keyword in ("WindowCenter", "PixelPaddingValue", "BurnedInAnnotation"):
        assert 0.02 * COUNT < sum(keyword in header for header in headers) < 0.95 * COUNT


def test_every_file_shows_its_picture(plan: list[dict[str, Any]], headers: list[pydicom.Dataset]) -> None:
    for row, header in zip(plan, headers, strict=True):
        values = header.pixel_array
        assert values.shape == (header.Rows, header.Columns)
        assert values.max() < 2**header.BitsStored
        if not row["trouble"] and not row["cropped"] and (row["index"] % 6 == 0 or row["truth"] in (*RARE, "lateral")):
            assert _alike_inside(_displayed(header), _pictured(row)) > 0.999


def test_input_trouble_is_what_it_says(plan: list[dict[str, Any]], headers: list[pydicom.Dataset]) -> None:
    for row, header in zip(plan, headers, strict=True):
        if not row["trouble"]:
            continue
        shown, meant = _displayed(header), _pictured(row)
        grey = (shown - shown.min()) / (shown.max() - shown.min())
        if row["trouble"] == "inverted":
            assert _similarity(shown, meant) < -0.7
        elif row["trouble"] == "rotated":
            turned = [np.rot90(meant, turns) for turns in (1, 2, 3)]
            assert max(_similarity(shown, one) for one in turned if one.shape == shown.shape) > 0.7
        elif row["trouble"] == "cut":
            assert (grey < 0.2).mean() > 0.5
            middle = np.array(shown.shape) // 2
            halves = (shown[: middle[0]], shown[middle[0] :], shown[:, : middle[1]], shown[:, middle[1] :])
            assert min(float(np.ptp(half)) for half in halves) <= 0.2 * float(np.ptp(shown))
        else:
            assert abs(_similarity(shown, meant)) < 0.5
            assert np.percentile(grey, 90) - np.percentile(grey, 10) < 0.5


def _region(exposure: Exposure, x: tuple[float, float], y: tuple[float, float]) -> Bool[np.ndarray, "y x"]:
    across, down = coordinates(exposure)
    return (across > x[0]) & (across < x[1]) & (down > y[0]) & (down < y[1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["PA", "AP"]))
def test_effusion_fills_the_costophrenic_angle_of_one_side(seed: int, view: str) -> None:
    means: dict[int, list[float]] = {-1: [], 1: []}
    for severity in range(4):
        picture, anatomy, exposure = simulate(0, 0, seed, SIZE, view=view, findings=Findings(effusion=severity))
        for side, values in means.items():
            x = sorted((side * 0.72 * anatomy.half_width, side * 0.98 * anatomy.half_width))
            top = anatomy.lung_height - 5.0
            values.append(float(picture[_region(exposure, (x[0], x[1]), (top, top + 5 + anatomy.angle_drop))].mean()))
    ill, well = np.diff(means[anatomy.effusion_side]), np.diff(means[-anatomy.effusion_side])
    assert (ill > 0.001).all()
    assert ill.sum() > 0.05
    assert np.abs(well).max() < 0.02  # only what scatter and evening out carry over


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_opacity_brightens_its_lung_and_cardiomegaly_widens_the_heart(seed: int) -> None:
    lung, heart = [], []
    for severity in range(4):
        picture, anatomy, exposure = simulate(0, 0, seed, SIZE, findings=Findings(opacity=severity))
        side, width = anatomy.opacity_side, anatomy.half_width
        x = sorted((side * 0.25 * width, side * 0.95 * width))
        lung.append(float(picture[_region(exposure, (x[0], x[1]), (3.0, anatomy.lung_height))].mean()))
        picture, anatomy, exposure = simulate(0, 0, seed, SIZE, findings=Findings(cardiomegaly=severity))
        rows = (0.55 * anatomy.lung_height, 0.9 * anatomy.lung_height)
        heart.append(float(picture[_region(exposure, (0.3 * width, 0.95 * width), rows)].mean()))
    assert (np.diff(lung) > 0).all()
    assert (np.diff(heart) > 0).all()
    assert heart[3] - heart[0] > 0.04


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["PA", "AP"]))
def test_the_heart_lies_to_the_right_of_the_image(seed: int, view: str) -> None:
    usual, anatomy, exposure = simulate(0, 0, seed, SIZE, view=view)
    mirrored = simulate(0, 0, seed, SIZE, view=view, rare="dextrocardia")[0]
    rows = (0.65 * anatomy.lung_height, 0.9 * anatomy.lung_height)
    right = _region(exposure, (4.5, 8.0), rows)
    left = _region(exposure, (-8.0, -4.5), rows)
    assert usual[right].mean() > usual[left].mean() + 0.01
    assert mirrored[left].mean() > mirrored[right].mean() + 0.01


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_bones_are_bright_lungs_dark_and_air_darker(seed: int) -> None:
    picture, anatomy, exposure = simulate(0, 0, seed, SIZE)
    height, width = anatomy.lung_height, anatomy.half_width
    spine = picture[_region(exposure, (-1.0, 1.0), (0.6 * height, 0.9 * height))].mean()
    lung = picture[_region(exposure, (-0.8 * width, -0.4 * width), (0.2 * height, 0.6 * height))].mean()
    assert spine > lung + 0.25
    assert 0.0 <= picture.min() <= picture.max() <= 1.0


def test_metal_and_white_out_are_large() -> None:
    for seed in range(5):
        usual, anatomy, exposure = simulate(0, 0, seed, SIZE)
        metal = simulate(0, 0, seed, SIZE, rare="metal")[0]
        assert ((metal - usual) > 0.08).sum() * exposure.pixel_cm**2 > 1.0  # more than a square centimetre
        white = simulate(0, 0, seed, SIZE, rare="white_out")[0]
        x = sorted(
            (anatomy.effusion_side * 0.35 * anatomy.half_width, anatomy.effusion_side * 0.9 * anatomy.half_width)
        )
        lung = _region(exposure, (x[0], x[1]), (4.0, 0.85 * anatomy.lung_height))
        assert (white - usual)[lung].mean() > 0.2


def test_the_mark_is_the_only_difference(tmp_path: Path) -> None:
    burned = write_radiographs(tmp_path / "burned", 40, 8, size=SIZE).parent
    clean = write_radiographs(tmp_path / "none", 40, 8, size=SIZE, mark="none").parent
    with_mark, without = (
        pd.read_csv(folder / "labels.csv", keep_default_na=False, dtype=str) for folder in (burned, clean)
    )
    assert (without["mark"] == "0").all()
    pd.testing.assert_frame_equal(with_mark.drop(columns="mark"), without.drop(columns="mark"))
    at_b = with_mark["site"] == "B"
    ordinary = with_mark["trouble"] == ""
    assert ((with_mark["mark"] == "1") == at_b)[ordinary].all()
    assert (with_mark.loc[~at_b, "mark"] == "0").all()
    for _, row in with_mark.iterrows():
        files = [folder / "images" / row["file"] for folder in (burned, clean)]
        if row["mark"] == "0":
            assert files[0].read_bytes() == files[1].read_bytes()
            continue
        marked, plain = map(pydicom.dcmread, files)
        assert {header.get("BurnedInAnnotation") for header in (marked, plain)} in ({"YES", "NO"}, {None})
        changed = np.argwhere(marked.pixel_array != plain.pixel_array)
        ((top, left), (bottom, right)) = changed.min(axis=0), changed.max(axis=0)
        assert 20 < len(changed) < 0.04 * marked.Rows * marked.Columns
        assert (_displayed(marked) >= _displayed(plain)).all()
        if row["trouble"] == "":
            assert bottom < 0.4 * marked.Rows
            assert right < 0.3 * marked.Columns or left > 0.7 * marked.Columns
            assert top > 0
        del marked.PixelData, plain.PixelData
        for header in (marked, plain):
            if "BurnedInAnnotation" in header:
                del header.BurnedInAnnotation
        assert marked == plain


@given(st.integers(96, 1024), st.floats(0.7, 1.4), st.integers(0, 10_000))
def test_markers_fit_into_an_upper_corner(rows: int, aspect: float, seed: int) -> None:
    columns = round(rows * aspect)
    where = np.argwhere(marker((rows, columns), np.random.default_rng(seed)))
    assert where[:, 0].max() < 0.45 * rows
    assert where[:, 1].max() < 0.4 * columns or where[:, 1].min() > 0.6 * columns


def _encoding(seed: int, **changes: Any) -> Encoding:
    return replace(draw_encoding(np.random.default_rng(seed), SCANNERS[0]), **changes)


@pytest.mark.parametrize("syntax", range(6))
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_pixels_come_back_bit_for_bit(syntax: int, bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(100 * syntax + bits)
    for monochrome in ("MONOCHROME1", "MONOCHROME2"):
        encoding = _encoding(bits, syntax=syntax, bits=bits, monochrome=monochrome, low=0.0, high=1.0)
        padded = np.zeros((37, 50), bool)
        padded[:, :3] = True
        pixels = stored_values(rng.random((37, 50), dtype=np.float32), padded, encoding)
        row = plan_cohort(1, 0)[0]
        exposure = simulate(0, 0, 0, 128)[2]
        path = tmp_path / monochrome
        write_dicom(path, pixels, encoding, row, exposure=exposure, padded=True, burned_in=False, wrong_polarity=False)
        header = pydicom.dcmread(path)
        np.testing.assert_array_equal(header.pixel_array, pixels)
        assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, bits, bits - 1)
        assert (header.pixel_array[:, :3] == header.PixelPaddingValue).all()
        assert header.PhotometricInterpretation == monochrome


def test_windows_show_black_as_black_and_white_as_white(headers: list[pydicom.Dataset], table: pd.DataFrame) -> None:
    seen = 0
    for header, trouble in zip(headers, table["trouble"], strict=True):
        if "WindowCenter" not in header or trouble:
            continue
        stored = header.pixel_array
        shown = pydicom.pixels.apply_voi_lut(stored, header)
        spread, before = (float(np.subtract(*np.percentile(values, [99, 1]))) for values in (shown, stored))
        assert spread > 0.9 * before  # hardly anything is cut off
        assert header.VOILUTFunction == "LINEAR"
        seen += 1
    assert seen > 0.5 * COUNT


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20))
def test_enlarging_is_linear_interpolation(rows: int, columns: int, step: int) -> None:
    coarse = np.random.default_rng(rows).random((rows, columns), dtype=np.float32)
    fine = enlarged(coarse, step, (rows * step, columns * step))
    at_rows, at_columns = ((np.arange(n * step) + 0.5) / step - 0.5 for n in (rows, columns))
    half = np.stack([np.interp(at_rows, np.arange(rows), column) for column in coarse.T], axis=1)
    expected = np.stack([np.interp(at_columns, np.arange(columns), row) for row in half])
    np.testing.assert_allclose(fine, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: write_radiographs(folder, 0, 1), "count = 0"),
        (lambda folder: write_radiographs(folder, 10, -1), "seed = -1"),
        (lambda folder: write_radiographs(folder, 10, 1, workers=0), "workers = 0"),
        (lambda folder: write_radiographs(folder, 10, 1, size=64), "size = 64"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(call: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_severity_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="opacity = 4"):
        Findings(opacity=4)


def test_the_reader_of_radiographs_takes_every_file(cohort: Path, plan: list[dict[str, Any]]) -> None:
    paths = [(str(cohort / "images" / row["file"]),) for row in plan]
    rows = pd.DataFrame({"object_id": [row["image_id"] for row in plan], "paths": paths})
    answers = list(read_chest_xrays(rows, Request(("grey",))))
    assert [answer for answer in answers if isinstance(answer, Refusal)] == []
    for row, answer in list(zip(plan, answers, strict=True))[::6]:
        inside = answer.pixels[0].astype(float)
        if not row["trouble"] and not row["cropped"] and not np.isnan(inside).any():
            assert _alike_inside(inside, _pictured(row)) > 0.98  # a window cuts off a little
