"""The guard in whole runs: what is chosen, what manifest and page say, and what is not trained again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pipelines.pretrain
from domainssl.encoders import load_encoder, save_encoder, weights_hash
from pipelines.cli import main

pytestmark = pytest.mark.usefixtures("calm_runs")

QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]
RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "pictures"
table = "survey/table.csv"
images = "survey"
columns = { id = "name", file = "file" }
bands = ["red", "green", "blue"]

[labels.colour]
kind = "classes"

[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 2
projector_epochs = 1
batch_size = 16
encoder_rate = 0.01
checkpoint_minutes = 0

[classify]
labels_per_class = [2]
draws = 20
starts = ["random", "continued"]
heads = ["prototype"]
primary_labels = 2
resamples = 20

[rank]
trees = 20
"""
HARMFUL = ["--set", "pretrain.encoder_rate=50", "--set", "pretrain.frozen_batchnorm=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of two hues that an untrained network tells apart, and one recipe."""
    folder = tmp_path_factory.mktemp("guard")
    write_survey(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def write_survey(folder: Path) -> None:
    rng = np.random.default_rng(4)
    (folder / "survey").mkdir()
    rows = []
    y, x = np.mgrid[-20:20, -20:20] + 0.5
    for number in range(60):
        light = np.exp(-(x**2 + y**2) / (2 * rng.uniform(3, 8) ** 2))[..., None]
        hue = np.array([[190, 130, 120], [120, 130, 190]][number % 2]) * rng.uniform(0.6, 1.2)
        pixels = (light * hue + rng.normal(20, 6, (40, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "survey" / f"o{number:02d}.png")
        rows.append((f"o{number:02d}", f"o{number:02d}.png", ("red", "blue")[number % 2]))
    table = pd.DataFrame(rows, columns=["name", "file", "colour"])
    table.to_csv(folder / "survey" / "table.csv", index=False)


def pretrained(folder: Path, out: Path, *settings: str) -> Path:
    """A run up to its encoder."""
    for step in ("prepare", "pretrain"):
        assert main([step, str(folder / "recipe.toml"), "--out", str(out), *QUIET, *settings]) == 0
    return out


def record(out: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())["steps"]["pretrain"]
    return found


def exported(out: Path) -> str:
    return weights_hash(load_encoder(out / "encoder.safetensors"))


def candidate(out: Path, name: str) -> str:
    """The weights of a candidate: the start's, or those of the checkpoint after an epoch."""
    if name == "start":
        return str(record(out)["start_weights"])
    return weights_hash(load_encoder(out / "checkpoints" / f"epoch-{int(name.split()[1]):03d}.safetensors"))


@pytest.fixture(scope="module")
def chosen(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(folder, tmp_path_factory.mktemp("chosen") / "run")


def test_candidates_and_choice_stand_in_the_manifest(chosen: Path) -> None:
    guard = record(chosen)["guard"]
    assert [row["name"] for row in guard["candidates"]] == ["start", "epoch 1", "epoch 2"]
    best = max(guard["candidates"], key=lambda row: row["score"])
    assert guard["chosen"] == best["name"]
    assert guard["candidates"][0]["gain"] == 0
    for row in guard["candidates"]:
        assert row["gain"] == pytest.approx(row["score"] - guard["candidates"][0]["score"])
        assert row["low"] <= row["gain"] <= row["high"]
    train = (pd.read_parquet(chosen / "catalog.parquet")["half"] == "train").sum()
    assert guard["labelled"] == train
    assert f"{train} labelled objects of the training half" in guard["measured_by"]
    assert exported(chosen) == candidate(chosen, guard["chosen"])
    assert len({candidate(chosen, row["name"]) for row in guard["candidates"]}) == 3


def test_an_encoder_that_training_destroyed_is_not_exported(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["run", str(folder / "recipe.toml"), "--out", str(out), *QUIET, *HARMFUL]) == 0
    guard = record(out)["guard"]
    assert guard["chosen"] == "start"
    assert guard["candidates"][-1]["gain"] < 0
    assert exported(out) == record(out)["start_weights"]
    assert candidate(out, "epoch 2") != record(out)["start_weights"]
    assert "Pretraining did not help: the encoder it started from was kept" in (out / "report.html").read_text()
    rows = json.loads((out / "metrics.json").read_text())
    differences = [row for row in rows if row.get("difference_to") == "random" and row["metric"] != "equal_labels"]
    assert {row["start"] for row in differences} == {"continued"}
    assert all(row["value"] == row["low"] == row["high"] == 0 for row in differences)


def test_without_a_guard_the_last_epoch_is_exported_whatever_it_is_worth(
    folder: Path, chosen: Path, tmp_path: Path
) -> None:
    out = pretrained(folder, tmp_path / "run", "--set", 'pretrain.guard="off"')
    assert record(out)["guard"]["chosen"] == "last epoch"
    assert record(out)["guard"]["candidates"] == []
    assert not list((out / "checkpoints").glob("epoch-*"))
    assert exported(out) == candidate(chosen, "epoch 2")


def test_without_labels_the_label_free_score_decides(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "unlabelled.toml"
    recipe.write_text(RECIPE.replace('[labels.colour]\nkind = "classes"\n', ""))
    out = tmp_path / "run"
    for step in ("prepare", "pretrain"):
        assert main([step, str(recipe), "--out", str(out), *QUIET]) == 0
    guard = record(out)["guard"]
    assert guard["measured_by"] == "a label-free score on images of the training half"
    assert guard["labelled"] == 0
    assert all(0 < row["score"] <= 1 for row in guard["candidates"])
    assert exported(out) == candidate(out, guard["chosen"])


def test_other_labels_choose_anew_and_train_nothing(folder: Path, tmp_path: Path) -> None:
    survey = tmp_path / "survey"
    survey.mkdir()
    for path in (folder / "survey").iterdir():
        (survey / path.name).symlink_to(path.resolve())
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = pretrained(tmp_path, tmp_path / "run")
    before, first = (out / "checkpoints" / "last.safetensors").stat().st_mtime_ns, record(out)
    table = pd.read_csv(survey / "table.csv", dtype=str)
    (survey / "table.csv").unlink()
    table.loc[::5, "colour"] = None
    table.to_csv(survey / "table.csv", index=False)
    pretrained(tmp_path, out)
    second = record(out)
    assert second["made"] != first["made"]
    assert second["guard"]["labelled"] < first["guard"]["labelled"]
    assert [row["score"] for row in second["guard"]["candidates"]] != [
        row["score"] for row in first["guard"]["candidates"]
    ]
    pretrained(tmp_path, out, "--set", 'pretrain.guard="label_free"')
    assert "label-free" in record(out)["guard"]["measured_by"]
    assert exported(out) == candidate(out, record(out)["guard"]["chosen"])
    assert (out / "checkpoints" / "last.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("saved", [1, 2])
def test_stopped_at_a_checkpoint_it_goes_on_to_the_same_choice(
    folder: Path, chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: int
) -> None:
    """`saved` candidates are written, then the run ends: before the checkpoint of that step is."""
    calls = []

    def stopping(*arguments: Any) -> None:
        save_encoder(*arguments)
        calls.append(arguments)
        if len(calls) == saved:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipelines.pretrain, "save_encoder", stopping)
        for step, expected in (("prepare", 0), ("pretrain", 130)):
            assert main([step, str(folder / "recipe.toml"), "--out", str(tmp_path / "run"), *QUIET]) == expected
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    out = pretrained(folder, tmp_path / "run")
    assert record(out)["guard"] == record(chosen)["guard"]
    assert exported(out) == exported(chosen)
