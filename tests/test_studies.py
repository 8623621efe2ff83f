"""Studies as the unit of evaluation, in a run of a private domain: joined scores, and no study's id anywhere."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_privacy import revealed

from pipelines.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("calm_runs")]

QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]
STUDIES = """\
domain = "chest_xrays"

[[catalog]]
name = "hospital"
table = "hospital/table.csv"
images = "hospital"
columns = { id = "image_id", file = "file", group = "patient_id", study = "visit" }
bands = ["grey"]

[labels.effusion]
kind = "yes_no"

[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 1
projector_epochs = 1
batch_size = 16

[classify]
labels_per_class = [2]
draws = 20
starts = ["random", "continued"]
heads = ["linear"]
unit = "study"
aggregate = "max"
resamples = 20

[rank]
trees = 20
"""
STUDY = "Qvisitq"


def write_hospital(folder: Path) -> pd.DataFrame:
    """Grey pictures of forty patients with two studies each, the first of two pictures; every study id has the word."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    y, x = np.mgrid[-20:20, -20:20] / 20
    rows = []
    for patient in range(40):
        for visit in range(2):
            ill = (patient + visit) % 2 == 1
            for view in range(2 - visit):
                name = f"i{patient:02d}{visit}{view}"
                grey = 60 + 120 * np.exp(-3 * (x**2 + y**2)) + 60 * ill * (y > 0.3) + rng.normal(0, 5, x.shape)
                Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
                study = None if patient == 0 else f"{STUDY}{patient:02d}{visit}"
                rows.append((name, f"{name}.png", f"p{patient:02d}", study, ("no", "yes")[ill]))
    table = pd.DataFrame(rows, columns=["image_id", "file", "patient_id", "visit", "effusion"])
    table.to_csv(folder / "table.csv", index=False)
    return table


def test_studies_are_scored_and_their_ids_go_nowhere(tmp_path: Path) -> None:
    table = write_hospital(tmp_path / "hospital")
    (tmp_path / "recipe.toml").write_text(STUDIES)
    out = tmp_path / "run"
    assert main(["run", str(tmp_path / "recipe.toml"), "--out", str(out), *QUIET]) == 0
    catalog = pd.read_parquet(out / "catalog.parquet")
    assert catalog["study"].isna().sum() == 3
    assert catalog["study"].nunique() == table["visit"].nunique()
    assert catalog["study"].dropna().str.startswith("stu").all()
    rows = json.loads((out / "metrics.json").read_text())
    plain = [row for row in rows if row["metric"] == "auroc" and "difference_to" not in row]
    assert plain
    assert all(row["value"] > 0.8 for row in plain)
    assert {row["n_groups"] for row in plain} == {catalog.loc[catalog["half"] == "test", "group"].nunique()}
    needle = STUDY.lower().encode()
    leaks = [
        path.name
        for path in out.rglob("*")
        if path.is_file() and any(needle in piece.lower() for piece in revealed(path.read_bytes()))
    ]
    assert leaks == []
