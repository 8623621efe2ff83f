"""Baselines of a whole run: what is planted in files, numbers and colours is found by itself, and nothing else."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_runs import calm

from domainssl.evaluation.audit import Attribute, of_words
from domainssl.evaluation.certainty import fit_certainty
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS
from domainssl.heads.head import TrainingHalf
from pipelines.attributes import attributes
from pipelines.audit import audited_places
from pipelines.baselines import HEAD, TOLD, _one_hot, _without_image
from pipelines.cli import main
from pipelines.number_ranges import RANGE
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel
from pipelines.progress import Quiet
from pipelines.recipe import RecipeError, load_recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import Context
from pipelines.targets import Targets

RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "pictures"
table = "survey/table.csv"
images = "survey"
columns = { id = "name", file = "file", group = "number" }
bands = ["red", "green", "blue"]

[labels.hue]
kind = "yes_no"

[labels.origin]
kind = "classes"

[labels.luck]
kind = "yes_no"

[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 0

[classify]
labels_per_class = [2]
draws = 2
starts = ["random"]
heads = ["linear"]
resamples = 10
cues = 200
"""
COUNT = 240


def write_survey(folder: Path) -> None:
    """Pictures whose hue is in every pixel, and whose origin only file and number tell: low numbers, no alpha."""
    rng = np.random.default_rng(6)
    (folder / "survey").mkdir()
    rows = []
    for place in range(COUNT):
        hue = int(rng.integers(2))
        early = place < COUNT // 2
        light = rng.normal(110, 25, (40, 40, 1)) + np.array([[-20, 0, 20], [20, 0, -20]][hue])
        pixels = light.clip(0, 255).astype(np.uint8)
        alpha = np.full((40, 40, 1), 255, np.uint8)
        image = Image.fromarray(pixels if early else np.concatenate([pixels, alpha], 2))
        image.save(folder / "survey" / f"o{place:03d}.png")
        row = {"name": f"o{place:03d}", "file": f"o{place:03d}.png", "number": f"N{7 * place + 1000}", "hue": hue}
        row |= {"origin": "early" if early else "late", "luck": int(rng.integers(2)), "petroMag_r": rng.normal(17, 1)}
        rows.append(row | {"ra": (350 + 20 * rng.random()) % 360, "dec": rng.normal()})
    pd.DataFrame(rows).to_csv(folder / "survey" / "table.csv", index=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("baselines")
    write_survey(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    quiet = ["--quiet", "--workers", "1", "--device", "cpu"]
    with calm():
        for step in ("prepare", "embed", "classify"):
            assert main([step, str(folder / "recipe.toml"), "--out", str(folder / "run"), *quiet]) == 0
        yield folder / "run"


def entries(run: Path) -> dict[str, dict[str, Any]]:
    return {entry["label"]: entry for entry in json.loads((run / "baselines.json").read_text())}


def test_a_label_of_files_and_numbers_needs_no_image(run: Path) -> None:
    found = entries(run)
    values = found["origin"]["without_image"]["values"]
    assert values["told"]["low"] > 0.95
    assert values["head"]["low"] < 0.6
    assert found["origin"]["without_image"]["differences"][0]["high"] < -0.3
    for label in ("hue", "luck"):
        assert found[label]["without_image"]["values"]["told"]["low"] < 0.55
    audit = {entry["attribute"]: entry["labels"]["origin"] for entry in json.loads((run / "audit.json").read_text())}
    for name in ("file_format", RANGE):
        assert audit[name]["told"]["low"] > 0.7
        assert audit[name]["among"]["value"] is None or audit[name]["among"]["low"] < 0.5
        assert not audit[name]["suspicious"]
    assert audit["brightness"]["told"]["low"] < 0.5


def test_a_label_of_colours_is_told_by_colours_alone(run: Path) -> None:
    cues = {label: entry["cues"]["values"] for label, entry in entries(run).items()}
    assert cues["hue"]["colours learnt"]["low"] > 0.9
    assert cues["hue"]["without shape learnt"]["low"] > 0.8
    assert cues["luck"]["colours learnt"]["low"] < 0.5 < cues["luck"]["colours learnt"]["high"]
    assert cues["origin"]["colours learnt"]["low"] < 0.5
    images = entries(run)["hue"]["cues"]["images"]
    assert sum(images.values()) <= 200
    assert min(images.values()) > 80
    assert "marks hidden" not in cues["hue"]  # galaxies have none


def context(run: Path) -> Context:
    recipe = load_recipe(run.parent / "recipe.toml")
    return Context(recipe, RunFolder.open(run, create=False), 1, "cpu", Quiet())


def test_what_the_catalog_has_is_asked_about(run: Path) -> None:
    objects = Objects(context(run))
    found = attributes(objects, np.arange(COUNT), "galaxies", {"hue", "origin", "luck"})
    told = {one.name: one for one in found.told}
    assert set(told) >= {RANGE, "magnitude", "sky", "file_bytes", "file_rows", "file_columns", "file_format"}
    assert told["file_format"].names == ("PNG 8 bits colour", "PNG 8 bits colour and alpha")
    assert told["file_rows"].names == ("low",)  # 40 in all
    assert len(told["sky"].names) == 9
    ra = objects.frame["ra"].to_numpy()
    west = np.char.startswith(np.array(told["sky"].names)[told["sky"].level], "ra low")
    assert ra[west].min() > 349  # counted from the gap, across 0 h
    assert {one.name for one in found.measured} >= {"brightness", "sharpness", "crop", "flux", "radius", "offset_x"}
    assert [len(one.names) for one in found.fine] == [10]
    assert "magnitude" not in {
        one.name for one in attributes(objects, np.arange(COUNT), "galaxies", {"petroMag_r"}).told
    }
    nothing = attributes(objects, np.empty(0, np.int64), "galaxies", set())
    assert nothing.told == nothing.measured == ()


def test_runs_prepared_before_are_asked_what_they_know(run: Path, tmp_path: Path) -> None:
    old = tmp_path / "run"
    shutil.copytree(run, old)
    shutil.copy(run.parent / "recipe.toml", tmp_path)
    shutil.copytree(run.parent / "survey", tmp_path / "survey")
    for path in (old / "store").glob("shard-*.parquet"):
        index = pd.read_parquet(path)
        index.drop(columns=[name for name in index if name.startswith("file_") or name == "marks"]).to_parquet(path)
    catalog = pd.read_parquet(old / "catalog.parquet")
    catalog.drop(columns=RANGE).to_parquet(old / "catalog.parquet")
    found = attributes(Objects(context(old)), np.arange(COUNT), "galaxies", set())
    assert {one.name for one in found.told} >= {"magnitude", "sky"}
    assert not {one.name for one in found.told} & {RANGE, "file_bytes"}
    assert found.fine == ()


def test_too_few_images_are_refused(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"classify\.cues: 39 images are too few"):
        load_recipe(run.parent / "recipe.toml", ["classify.cues=39"])


@pytest.mark.slow
def test_without_images_to_change_the_rest_is_the_same(run: Path) -> None:
    recipe, setting = run.parent / "recipe.toml", "classify.cues=0"
    out = run.parent / "without"
    shutil.copytree(run, out)
    quiet = ["--quiet", "--workers", "1", "--device", "cpu", "--set", setting]
    assert main(["classify", str(recipe), "--out", str(out), *quiet]) == 0
    assert all(entry["cues"] is None for entry in entries(out).values())
    assert entries(out)["origin"]["without_image"] == entries(run)["origin"]["without_image"]


def test_of_very_many_objects_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y, groups = rng.integers(2, size=4000).astype(float), np.arange(4000)
    train = groups % 2 == 0
    question = Question("q", "yes_no", y[:, None], ("no", "yes"), train, ~train, groups, groups)
    x = (y[:, None] + rng.normal(size=(4000, 3))).astype(np.float32)
    fit = TASKS["yes_no"].heads["linear"]
    known = np.flatnonzero(train)
    taught = (TrainingHalf(x[known], groups[known]), np.arange(len(known)), y[known, None], 2)
    head, certainty = fit(*taught, rng), fit_certainty("yes_no", fit, *taught, rng)
    told = of_words("told", np.where(rng.random(4000) < 0.9, y, 1 - y).astype(str).tolist())
    monkeypatch.setattr("pipelines.audit.MOST", 600)
    places = audited_places([question], 4000, 0)
    whole = PredictedLabel(
        Targets("yes_no", y[:, None], ("no", "yes")), question, fit, head, certainty, np.column_stack([1 - y, y])
    )
    one = whole.part(places)
    assert one is not None
    assert (one.scores[:, 1] == one.question.y[:, 0]).all()
    part = Attribute("told", told.level[places], told.names)
    found = _without_image(one, x[places], {TOLD: _one_hot([part]), "none": _one_hot([])}, [0, 1])
    assert 250 < found["groups"] < 350
    assert set(found["values"]) == {HEAD, TOLD}
    assert found["values"][TOLD]["value"] == pytest.approx(0.9, abs=0.04)
    assert found["values"][HEAD]["value"] == pytest.approx(0.89, abs=0.04)  # of a distance of sqrt(3)
