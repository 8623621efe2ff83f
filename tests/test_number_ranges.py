"""Of the patients' numbers the tenth alone is kept, each of ten patients or more; never the number."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SMALL
from test_privacy import revealed

from pipelines.cli import main
from pipelines.domains import CHEST_XRAYS, DOMAINS
from pipelines.number_ranges import FEWEST, RANGE, RANGES, number_ranges


def frame(groups: list[str], catalog: str = "c", issuer: str | None = None) -> pd.DataFrame:
    return pd.DataFrame({"group": groups, "catalog": catalog, "issuer": issuer})


def test_tenths_go_by_the_rank_of_the_number() -> None:
    numbers = np.random.default_rng(0).permutation(200) * 7 + 12
    found = number_ranges(frame([f"nih_{number:08d}" for number in numbers]))
    expected = [RANGES[place] for place in np.argsort(np.argsort(numbers)) // 20]
    assert found.tolist() == expected


def test_ranges_are_of_each_catalog_and_issuer_alone() -> None:
    low, high = [str(n) for n in range(100, 140)], [str(n) for n in range(9000, 9040)]
    both = pd.concat([frame(low, issuer="A"), frame(high, issuer="B"), frame(low, catalog="d")], ignore_index=True)
    found = number_ranges(both)
    assert found[:40].tolist() == found[40:80].tolist() == found[80:].tolist()
    assert set(found) == set(RANGES[:4])


@pytest.mark.parametrize(
    "groups",
    [
        [f"{n}" for n in range(19)],  # too few for two ranges
        [f"1.2.{n}" for n in range(100)],  # several numbers
        [f"patient {chr(97 + n % 26)}{n}" for n in range(100)],  # no letters in common
        ["smith", "jones"] * 50,
        [],
    ],
)
def test_what_is_no_number_has_no_range(groups: list[str]) -> None:
    assert number_ranges(frame(groups)).isna().all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**17), min_size=20, max_size=200))
def test_every_range_stands_for_ten_patients(numbers: list[int]) -> None:
    data = frame([f"P{number}" for number in numbers])
    found = number_ranges(data)
    held = data.assign(found=found).dropna(subset="found").groupby("found")["group"].nunique()
    assert (held >= FEWEST).all()
    shuffled = data.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(number_ranges(shuffled).sort_index(), found, check_names=False)


PATIENTS = [48_213_007 + 613 * n for n in range(40)]


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Radiographs whose patients have eight digits each, in their headers alone."""
    monkeypatch.setenv("DOMAINSSL_PRIVATE", str(tmp_path / "private"))
    (tmp_path / "images").mkdir()
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    for place, number in enumerate(PATIENTS):
        noise = np.random.default_rng(place).normal(0, 20, x.shape)
        dataset = radiograph((400 + 300 * np.exp(-4 * (x**2 + y**2)) + noise).astype(np.uint16))
        dataset.PatientID = str(number)
        write(dataset, tmp_path / "images" / f"{place}.dcm")
    recipe = f'domain = "chest_xrays"\n[[catalog]]\nname = "h"\nimages = "{tmp_path}/images"\nbands = ["grey"]\n'
    (tmp_path / "recipe.toml").write_text(recipe + SMALL)
    return tmp_path


def prepared(hospital: Path) -> Path:
    out = hospital / "out"
    assert main(["prepare", str(hospital / "recipe.toml"), "--out", str(out), "--workers", "1", "--quiet"]) == 0
    return out


def naming(folder: Path) -> set[str]:
    """Files in which a patient's number stands, packed or not."""
    wanted = re.compile("|".join(map(str, PATIENTS)).encode())
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in paths if any(wanted.search(piece) for piece in revealed(path.read_bytes()))}


def test_no_number_of_a_patient_and_of_no_file_is_left_in_a_run(hospital: Path) -> None:
    out = prepared(hospital)
    assert naming(out) == set()
    catalog = pd.read_parquet(out / "catalog.parquet")
    assert set(catalog[RANGE]) == set(RANGES[:4])
    facts = pd.concat([pd.read_parquet(path) for path in sorted((out / "store").glob("shard-*.parquet"))])
    assert set(facts["file_format"]) == {"DICOM native"}
    sizes = {path.stat().st_size for path in (hospital / "images").iterdir()}
    assert not sizes & set(facts["file_bytes"])
    assert (facts["file_bytes"] - max(sizes)).abs().max() < 0.1 * max(sizes)


@pytest.mark.parametrize(
    "kept", [pytest.param(False, marks=pytest.mark.slow), True], ids=["ranges opened", "ranges and columns opened"]
)
def test_a_number_that_gets_through_is_found(hospital: Path, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """The test above can fail: a range that is the number itself; it takes both halves of the allow-list."""
    monkeypatch.setattr("pipelines.prepare.number_ranges", lambda rows: rows["group"])
    columns = {**CHEST_XRAYS.kept, RANGE: tuple(map(str, PATIENTS))} if kept else CHEST_XRAYS.kept
    monkeypatch.setitem(DOMAINS, "chest_xrays", replace(CHEST_XRAYS, kept=columns))
    assert naming(prepared(hospital)) == ({"catalog.parquet"} if kept else set())
