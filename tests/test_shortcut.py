"""The lectures' shortcut on the simulated cohort: a mark that one site burns in raises a naive head's score."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from catalogs.samples.radiograph_cohort import SAME_SCANNERS
from catalogs.samples.radiographs import write_radiographs
from pipelines import Run
from pipelines.cli import main

RECIPE = """\
domain = "chest_xrays"
[[catalog]]
name = "simulated cohort"
table = "{folder}/labels.csv"
images = "{folder}/images"
columns = {{ id = "image_id", file = "file", group = "patient_id", issuer = "issuer" }}
bands = ["grey"]
[labels.effusion]
kind = "yes_no"
[store]
size = 128
marks = "{marks}"
[encoder]
size = 128
[pretrain]
epochs = 0
[classify]
labels_per_class = [5, 10, 20, 50, 100]
draws = 20
starts = ["imagenet"]
heads = ["linear"]
resamples = 10
"""


def measured(folder: Path, mark: str, marks: str) -> tuple[pd.Series, float]:
    """Macro AUROC of the linear probe by labels per class, and how well the site is told from the embedding."""
    if not (folder / mark).is_dir():
        write_radiographs(folder / mark, 800, seed=1, workers=2, size=256, mark=mark, sites=SAME_SCANNERS)
    recipe, out = folder / f"{mark}_{marks}.toml", folder / f"run_{mark}_{marks}"
    recipe.write_text(RECIPE.format(folder=folder / mark, marks=marks))
    for step in ("prepare", "embed", "classify"):
        assert main([step, str(recipe), "--out", str(out), "--quiet", "--device", "cpu"]) == 0
    run = Run(out)
    rows = run.metrics[(run.metrics["metric"] == "auroc") & run.metrics["class"].isna()]
    catalog = run.catalog.set_index("object_id").loc[run.embeddings["object_id"]]
    train = (catalog["half"] == "train").to_numpy()
    site = (catalog["site"] == catalog["site"].min()).to_numpy()  # one of the two pseudonyms
    features = StandardScaler().fit(run.vectors[train]).transform(run.vectors)
    told = LogisticRegression(C=0.01, max_iter=1000).fit(features[train], site[train]).decision_function(features)
    return rows.set_index("labels_per_class")["value"], float(roc_auc_score(site[~train], told[~train]))


def audited(folder: Path, mark: str, marks: str) -> tuple[set[str], dict[str, Any]]:
    """The attributes that the audit of that run marks by itself, and what its heads score on changed images."""
    out = folder / f"run_{mark}_{marks}"
    entries = json.loads((out / "audit.json").read_text())
    marked = {entry["attribute"] for entry in entries if entry["labels"]["effusion"]["suspicious"]}
    (baselines,) = json.loads((out / "baselines.json").read_text())
    cues: dict[str, Any] = baselines["cues"]
    return marked, cues


def among(folder: Path, marks: str) -> float:
    """How well the embedding tells among images of one class on which side a mark was found."""
    entries = json.loads((folder / f"run_burned_{marks}" / "audit.json").read_text())
    (entry,) = [entry for entry in entries if entry["attribute"] == "found_mark"]
    return float(entry["labels"]["effusion"]["among"]["value"])


@pytest.mark.slow
def test_a_burned_in_mark_raises_a_naive_head_s_score_and_hiding_it_takes_that_back(tmp_path: Path) -> None:
    (burned, site_told), (none, site_hidden) = (measured(tmp_path, mark, "keep") for mark in ("burned", "none"))
    hidden, site_left = measured(tmp_path, "burned", "hide")
    gain = burned - none  # the same patients, labels and draws: only the mark differs
    assert list(gain.index) == [5, 10, 20, 50, 100]
    assert gain.mean() > 0.01, gain
    assert (gain > 0).sum() >= 4
    assert site_told > 0.9
    assert site_hidden < 0.7
    assert (hidden - none).mean() < gain.mean() / 2, hidden - none
    assert site_left < site_hidden + 0.1

    marked, cues = audited(tmp_path, "burned", "keep")
    assert marked >= {"site", "found_mark", "mark_share"}
    (owed,) = [one for one in cues["differences"] if (one["of"], one["to"]) == ("whole", "marks hidden")]
    assert owed["low"] > 0  # on the same images
    assert cues["values"]["marks hidden learnt"]["value"] > cues["values"]["marks hidden"]["value"]
    marked, cues = audited(tmp_path, "burned", "hide")
    assert "site" not in marked  # where a mark was, its image may still be told a little
    assert among(tmp_path, "keep") > among(tmp_path, "hide") + 0.1
    assert "marks hidden" not in cues["values"]
