"""Two simulated surveys of other bands and pixels in one run: types, votes and redshifts from few labels."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.cli import main

SURVEYS = {"wide": ("grz", "0.4", "64", "0"), "deep": ("riz", "0.2", "128", "1")}
CATALOG = """
[[catalog]]
name = "{name}"
table = "{table}"
images = "{images}"
bands = {bands}
missing_band = "mask"
survey = "lsst"
"""
REST = """
[labels.type]
kind = "classes"
[labels.shape]
kind = "votes"
columns = ["smooth", "featured", "artifact"]
[labels.ttype]
kind = "ordered"
[labels.redshift]
kind = "real"
outlier = 0.1
[store]
size = 48
arcsec = 24.0
[encoder]
name = "test_efficientnet"
weights = "none"
size = 48
[pretrain]
epochs = 1
projector_epochs = 1
batch_size = 32
guard = "off"
[classify]
labels_per_class = [3]
draws = 2
resamples = 50
starts = ["random", "continued"]
[rank]
detectors = ["knn"]
"""


@pytest.mark.slow
def test_two_simulated_surveys_run_from_end_to_end(tmp_path: Path) -> None:
    text = 'domain = "galaxies"\n'
    for name, (bands, scale, size, seed) in SURVEYS.items():
        out = tmp_path / name
        command = ["simulate", str(out), "--objects", "120", "--bands", bands, "--pixel-scale", scale, "--size", size]
        assert main([*command, "--seed", seed, "--parents", "60", "--workers", "1", "--quiet"]) == 0
        table = pd.read_csv(out / "catalog.csv")
        table["object_id"] = f"{name}-" + table["object_id"].astype(str)
        table.to_csv(out / "renamed.csv", index=False)
        text += CATALOG.format(
            name=name, table=out / "renamed.csv", images=out / "images", bands=json.dumps(list(bands))
        )
    recipe, run = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(f"seed = 0\n{text}{REST}")
    assert main(["run", str(recipe), "--out", str(run), "--device", "cpu", "--quiet"]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["steps"]["prepare"]["counts"]["flux unit"] == {"nJy": 240}
    kinds = {row["label"]: row["metric"] for row in json.loads((run / "metrics.json").read_text())}
    assert set(kinds) == {"type", "shape", "ttype", "redshift"}
    assert len(pd.read_parquet(run / "predictions.parquet")) == 240
    assert "report.html" in {path.name for path in run.iterdir()}
