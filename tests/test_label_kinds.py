"""Every kind of label in one run: its own metrics and heads, a baseline without images, and the same answers again."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from domainssl.embedding import read_parts
from domainssl.evaluation.certainty_files import load_certainty
from domainssl.evaluation.task import TASKS
from domainssl.heads.files import load_head
from domainssl.options import HEADS, ON_REQUEST
from domainssl.precision import CANDIDATES
from pipelines.cli import main

# Twenty draws of all heads of six kinds under checked types are slow; their parts are tested quickly elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("calm_runs")]

QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]
RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "pictures"
table = "survey/table.csv"
images = "survey"
columns = { id = "name", file = "file", group = "tile" }
bands = ["red", "green", "blue"]

[labels.colour]
kind = "classes"

[labels.barred]
kind = "yes_no"
yes = "barred"
prevalence = 0.1

[labels.features]
kind = "multilabel"
columns = ["tail", "shell"]
prevalence = { tail = 0.05, shell = 0.2 }

[labels.brightness]
kind = "ordered"
order = ["faint", "middling", "bright"]

[labels.photo_z]
kind = "real"
outlier = 0.15

[labels.volunteers]
kind = "votes"
columns = ["smooth", "disk", "artifact"]

[start.published]
file = "survey/published.safetensors"

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
guard = "label_free"

[rank]
trees = 20
"""
FULL = """
[classify]
labels_per_class = [2, 4]
draws = 20
starts = ["random", "scratch", "continued", "published"]
features = ["last", "stages", "symmetry"]
heads = []
unit = "patient"
metadata = ["exposure", "camera"]
resamples = 40
"""
TUNED = """
[classify]
labels_per_class = [2]
draws = 2
starts = ["random"]
heads = ["linear"]
fine_tuning = 1
resamples = 10
"""
KINDS = {
    "colour": "classes",
    "barred": "yes_no",
    "features": "multilabel",
    "brightness": "ordered",
    "photo_z": "real",
    "volunteers": "votes",
}
STARTS = ("random", "scratch", "continued", "published")
COLOURS = np.array([[220, 90, 70], [80, 210, 90], [70, 100, 220]])
THRESHOLDED = {"sensitivity", "specificity", "ppv", "npv"}


def picture(colour: int, level: int, barred: bool, tail: bool, radius: float, rng: np.random.Generator) -> np.ndarray:
    """A blob whose hue, brightness, bar, tail and size are what the labels say."""
    y, x = np.mgrid[-20:20, -20:20] + 0.5
    light = np.exp(-(x**2 + (3 * y if barred else y) ** 2) / (2 * radius**2))
    light += 0.8 * tail * (np.abs(y - 14) < 2)
    pixels = light[..., None] * COLOURS[colour] * (0.35, 0.65, 1.0)[level] + rng.normal(8, 2, (40, 40, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def write_survey(folder: Path, groups: int, seed: int) -> None:
    """Pictures of `groups` tiles, every third of them with two, and a table with all kinds of label."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows = []
    for tile in range(groups):
        colour, level, barred, tail = tile % 3, tile // 3 % 3, tile % 2 == 1, bool(rng.random() < 0.4)
        shell, radius = bool(rng.random() < 0.3), rng.uniform(2.5, 7)
        for copy in range(2 if tile % 3 == 0 else 1):
            name = f"o{tile:03d}{'ab'[copy]}"
            Image.fromarray(picture(colour, level, barred, tail, radius, rng)).save(folder / f"{name}.png")
            unknown = rng.random(6) < 0.1
            votes = rng.multinomial(10, np.eye(3)[colour] * 0.7 + 0.1)
            rows.append(
                {
                    "name": name,
                    "file": f"{name}.png",
                    "tile": f"tile {tile}",
                    "colour": ("red", "green", "blue")[colour],
                    "barred": None if unknown[0] else "barred" if barred else "plain",
                    "tail": None if unknown[1] else int(tail),
                    "shell": None if unknown[2] else int(shell),
                    "brightness": None if unknown[3] else ("faint", "middling", "bright")[level],
                    "photo_z": None if unknown[4] else round(radius / 10, 3),
                    **dict(zip(("smooth", "disk", "artifact"), votes, strict=True)),
                    "exposure": None if unknown[5] else 100 + 20 * level + int(rng.integers(9)),
                    "camera": ("north", "south")[colour == 2],
                }
            )
    # One tile whose two pictures carry different colours: no unit to score.
    torn = next(row for row in rows if row["tile"] == "tile 3")
    torn["colour"] = "green"
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)


def run(folder: Path, name: str, tail: str) -> Path:
    recipe = folder / f"{name}.toml"
    recipe.write_text(RECIPE + tail)
    assert main(["run", str(recipe), "--out", str(folder / name), *QUIET]) == 0
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    write_survey(folder / "survey", 100, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = timm.create_model("test_efficientnet", pretrained=False)
    save_file(network.state_dict(), folder / "survey" / "published.safetensors")
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    return run(folder, "every", FULL)


def rows_of(run: Path) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"metrics.json holds {word}, which is no JSON")

    rows: list[dict[str, Any]] = json.loads((run / "metrics.json").read_text(), parse_constant=refuse)
    return rows


@pytest.fixture(scope="module")
def rows(done: Path) -> list[dict[str, Any]]:
    return rows_of(done)


def values(rows: list[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    """Rows that are no differences and hold what is wanted."""
    return [row for row in rows if "difference_to" not in row and wanted.items() <= row.items()]


@pytest.mark.parametrize(("label", "kind"), KINDS.items())
def test_every_kind_has_its_metrics_and_heads(done: Path, rows: list[dict[str, Any]], label: str, kind: str) -> None:
    mine = values(rows, label=label)
    assert {row["kind"] for row in mine} == {kind}
    assert {row["metric"] for row in mine} == set(TASKS[kind].metrics)
    assert {row["head"] for row in mine} == set(HEADS[kind]) - set(ON_REQUEST)
    assert {row["start"] for row in mine} == {*STARTS, "metadata"}
    assert {row["labels_per_class"] for row in mine} == {2, 4}
    known = [row for row in mine if row["value"] is not None]
    assert len(known) > 0.9 * len(mine)
    inside = [row["low"] - 1e-6 <= row["value"] <= row["high"] + 1e-6 for row in known if row["low"] is not None]
    assert np.mean(inside) > 0.99
    assert sum(row["low"] is not None for row in known) > 0.9 * len(known)
    classes = {row.get("class") for row in mine}
    named = {
        "classes": {"red", "green", "blue"},
        "yes_no": {"barred"},
        "multilabel": {"tail", "shell"},
    }
    assert classes == {None, *named.get(kind, ())}


@pytest.mark.parametrize("label", ["barred", "features"])
def test_thresholds_are_chosen_for_the_first_head_alone(done: Path, rows: list[dict[str, Any]], label: str) -> None:
    first = HEADS[KINDS[label]][0]
    thresholded = [row for row in values(rows, label=label) if row["metric"] in THRESHOLDED]
    assert {(row["head"], row["features"]) for row in thresholded} == {(first, "last"), (first, "columns")}
    assert {row["metric"] for row in thresholded} == THRESHOLDED


def test_metadata_is_a_start_without_images(done: Path, rows: list[dict[str, Any]]) -> None:
    baseline = [row for row in rows if row["start"] == "metadata" or row["features"] == "columns"]
    assert {(row["start"], row["features"]) for row in baseline} == {("metadata", "columns")}
    assert all(row["head"] == HEADS[row["kind"]][0] for row in baseline)
    compared = {row["difference_to"] for row in baseline if "difference_to" in row}
    assert compared == set(STARTS)


def test_other_features_have_the_first_head_alone(done: Path, rows: list[dict[str, Any]]) -> None:
    for feature in ("stages", "symmetry"):
        mine = values(rows, features=feature)
        assert {(row["label"], row["head"]) for row in mine} == {(k, HEADS[kind][0]) for k, kind in KINDS.items()}
        assert {row["start"] for row in mine} == set(STARTS)


def test_what_is_planted_is_learnt(rows: list[dict[str, Any]]) -> None:
    def best(label: str, metric: str) -> float:
        found = values(rows, label=label, metric=metric, start="published", labels_per_class=4)
        return max(row["value"] for row in found if "class" not in row)

    assert best("colour", "macro_auroc") > 0.9
    assert best("barred", "auroc") > 0.6
    assert best("brightness", "quadratic_kappa") > 0.3
    assert best("photo_z", "r2") > 0.2
    plain = values(rows, label="colour", metric="macro_auroc", start="metadata", labels_per_class=4)
    assert max(row["value"] for row in plain if "class" not in row) < best("colour", "macro_auroc")


@pytest.mark.parametrize("label", KINDS)
def test_differences_are_paired(rows: list[dict[str, Any]], label: str) -> None:
    """Each is the difference of two rows that are there, and narrower than if its sides knew nothing of each other."""

    def key(row: Mapping[str, Any], *who: str) -> tuple[Any, ...]:
        return (*who, row["metric"], row["labels_per_class"], row.get("class"))

    mine = [row for row in rows if row["label"] == label]
    known = {key(row, row["start"], row["features"], row["head"]): row for row in values(mine)}
    found = [row for row in mine if "difference_to" in row and row["metric"] != "equal_labels"]
    assert {row["metric"] for row in found} == {
        name for name, metric in TASKS[KINDS[label]].metrics.items() if metric.better != "neither"
    }
    narrower = []
    for row in found:
        ours = known[key(row, row["start"], row["features"], row["head"])]
        theirs = known[key(row, row["difference_to"], row["difference_to_features"], row["difference_to_head"])]
        if ours["value"] is None or theirs["value"] is None:
            assert row["value"] is None
            continue
        assert row["value"] == pytest.approx(ours["value"] - theirs["value"], abs=1e-9)
        if None not in (row["low"], ours["low"], theirs["low"]):
            apart = math.hypot(ours["high"] - ours["low"], theirs["high"] - theirs["low"])
            narrower.append((row["high"] - row["low"]) < apart)
    assert len(narrower) > 15
    assert np.mean(narrower) > 0.6
    pairs = {(row["start"], row["difference_to"]) for row in found if row["features"] == "last"}
    assert {
        ("scratch", "random"),
        ("continued", "random"),
        ("continued", "scratch"),
        ("published", "continued"),
    } <= pairs


def test_without_imagenet_there_is_no_endpoint_and_no_number_of_equal_labels(rows: list[dict[str, Any]]) -> None:
    assert not [row for row in rows if "p" in row or "primary" in row or row["metric"] == "equal_labels"]


def test_a_tile_of_two_colours_is_no_unit(rows: list[dict[str, Any]], done: Path) -> None:
    catalog = pd.read_parquet(done / "catalog.parquet")
    tested = catalog[catalog["half"] == "test"]
    torn = tested.groupby("group")["colour"].nunique() > 1
    (count,) = {row["n_groups"] for row in values(rows, label="colour", draw="balanced")}
    assert count == len(torn) - torn.sum()
    if torn.any():
        assert all("1 unit(s) left out" in row["note"] for row in values(rows, label="colour"))


def test_predictions_have_a_score_for_every_answer(done: Path) -> None:
    found = pd.read_parquet(done / "predictions.parquet")
    answers = {
        "colour": ["blue", "green", "red"],
        "barred": ["plain", "barred"],
        "features": ["tail", "shell"],
        "brightness": ["faint", "middling", "bright"],
        "photo_z": [],
        "volunteers": ["smooth", "disk", "artifact"],
    }
    expected = [name for label, of in answers.items() for name in (label, *(f"{label}:{answer}" for answer in of))]
    trust = [name for name in found if name.endswith(("::set90", "::far", "::low90", "::high90"))]
    volunteers = [f"volunteers:{answer}::{side}90" for answer in answers["volunteers"] for side in ("low", "high")]
    assert [name for name in trust if "volunteers:" in name and "::far" not in name] == volunteers
    assert [name for name in found if name not in trust] == ["object_id", *expected]
    for label in ("colour", "barred", "brightness"):
        for held, likeliest in zip(found.get(f"{label}::set90", []), found[label], strict=False):
            assert set(held.split(";")) <= set(answers[label])
            assert label == "brightness" or likeliest in held.split(";")
    written = pd.read_csv(done / "predictions.csv")
    assert list(written) == list(found)
    assert written["object_id"].astype(str).tolist() == found["object_id"].tolist()
    catalog = pd.read_parquet(done / "catalog.parquet")
    assert set(found["object_id"]) == set(catalog["object_id"])
    for label in ("colour", "barred", "brightness", "volunteers"):
        scores = found[[f"{label}:{answer}" for answer in answers[label]]].to_numpy()
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
        assert set(found[label]) <= set(answers[label])
        if label != "brightness":
            assert [answers[label][k] for k in scores.argmax(axis=1)] == found[label].tolist()
    scores = found[["features:tail", "features:shell"]].to_numpy() >= 0.5
    assert found["features"].tolist() == [";".join(np.array(["tail", "shell"])[row]) for row in scores]
    assert found["photo_z"].dtype == np.float32
    truth = catalog.set_index("object_id")["colour"].reindex(found["object_id"]).to_numpy()
    assert (found["colour"].to_numpy() == truth).mean() > 0.8


def test_heads_are_files_for_these_features_alone(done: Path) -> None:
    _, embedded, model = read_parts(done / "embeddings")
    predictions = pd.read_parquet(done / "predictions.parquet")
    for label, kind in KINDS.items():
        path = done / "heads" / f"{label}.safetensors"
        head, outputs, saved_kind, name = load_head(path, features_id=model)
        assert (saved_kind, name) == (kind, HEADS[kind][0])
        columns = [label] if kind == "real" else [f"{label}:{output}" for output in outputs]
        certainty = load_certainty(done / "heads" / label, features_id=model)
        said = certainty.calibrated(head.predict(embedded))
        np.testing.assert_allclose(said, predictions[columns].to_numpy(), atol=1e-5)
        with pytest.raises(ValueError, match="the head reads features"):
            load_head(path, features_id="f" * 64)


def test_the_page_and_its_tables_name_every_label(done: Path, rows: list[dict[str, Any]]) -> None:
    page = (done / "report.html").read_text()
    with (done / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    for label in KINDS:
        assert f"<h3>{label} " in page
        curves = (done / f"curves-{label}.svg").read_text()
        assert curves.startswith("<?xml")
        assert "<path" in curves or "<polyline" in curves
        assert sum(row["label"] == label for row in table) == sum(row["label"] == label for row in rows)


def test_run_again_nothing_is_done(done: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.name not in ("manifest.json", ".lock")}
    assert main(["run", str(folder / f"{done.name}.toml"), "--out", str(done), *QUIET[1:]]) == 0
    said = capsys.readouterr().err
    assert said.count("done before, skipped") == 6
    changed = [path.name for path, when in before.items() if path.is_file() and path.stat().st_mtime_ns != when]
    assert changed in ([], ["recipe.toml"])


def test_applied_to_its_own_objects_it_answers_the_same(
    done: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the run's own number format too, whichever is the fastest when it is applied."""
    seconds = {precision: 1.0 - 0.4 * number for number, precision in enumerate(CANDIDATES)}
    monkeypatch.setattr("pipelines.starts.time_training_step", lambda *_, **__: seconds)
    survey = folder / "survey"
    command = ["apply", str(done), str(survey / "table.csv"), "--images", str(survey), "--out", str(tmp_path / "out")]
    assert main([*command, *QUIET]) == 0
    first, again = (pd.read_parquet(path / "predictions.parquet") for path in (done, tmp_path / "out"))
    pd.testing.assert_frame_equal(first, again)
    formats = [json.loads((path / "manifest.json").read_text())["precision"] for path in (done, tmp_path / "out")]
    assert formats[0] == formats[1]


def test_fine_tuning_takes_part_for_every_kind(folder: Path) -> None:
    recipe, out = folder / "tuned.toml", folder / "tuned"
    recipe.write_text(RECIPE.replace("epochs = 1\nproj", "epochs = 0\nproj") + TUNED)
    for step in ("prepare", "embed", "classify"):
        assert main([step, str(recipe), "--out", str(out), *QUIET]) == 0
    rows = rows_of(out)
    tuned = [row for row in rows if row["head"] == "fine_tuning"]
    for label, kind in KINDS.items():
        mine = values(tuned, label=label)
        assert {(row["start"], row["features"]) for row in mine} == {("random", "images")}
        available = {name for name, metric in TASKS[kind].metrics.items() if "thresholds" not in metric.needs}
        assert {row["metric"] for row in mine} == available
        assert all(row["value"] is not None and row["low"] is None for row in mine)
        compared = [row for row in tuned if row["label"] == label and "difference_to" in row]
        first = "linear" if "linear" in HEADS[kind] else HEADS[kind][0]  # which the recipe asks for
        assert {(row["difference_to"], row["difference_to_head"]) for row in compared} == {("random", first)}
