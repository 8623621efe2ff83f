"""Lists of labels in a whole run: what is planted is listed, files and page agree, the page to hand out has neither."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines import Run
from pipelines.cli import main
from pipelines.label_lists import NEXT_LABELS, SUSPECTS, _why
from pipelines.targets import Targets

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

[labels.marks]
kind = "multilabel"
columns = ["tail", "shell"]

[labels.brightness]
kind = "real"

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
draws = 20
starts = ["random"]
heads = ["linear"]
resamples = 20

[rank]
trees = 20
"""
COUNT, UNLABELLED = 300, 60
EMPTY = range(0, UNLABELLED, 10)  # pictures of nothing


@dataclass(frozen=True)
class Done:
    run: Run
    table: pd.DataFrame


def write_survey(folder: Path) -> pd.DataFrame:
    """Pictures of two hues, every tenth label of them wrong and some unknown, and marks that nothing shows."""
    rng = np.random.default_rng(4)
    (folder / "survey").mkdir()
    rows = []
    y, x = np.mgrid[-20:20, -20:20] + 0.5
    for number in range(COUNT):
        light = np.exp(-(x**2 + y**2) / (2 * rng.uniform(3, 8) ** 2))[..., None]
        bright = rng.uniform(0.6, 1.2)
        hue = np.array([[190, 130, 120], [120, 130, 190]][number % 2]) * bright
        shown, noise = (0, 1) if number in EMPTY else (1, 6)
        pixels = (shown * light * hue + rng.normal(20, noise, (40, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "survey" / f"o{number:03d}.png")
        seen = ("red", "blue")[number % 2]
        told = ("red", "blue")[1 - number % 2] if number % 10 in (2, 7) and number % 20 < 10 else seen
        known = number >= UNLABELLED
        marks = {name: rng.integers(2) if known else None for name in ("tail", "shell")}
        rows.append(
            {"name": f"o{number:03d}", "file": f"o{number:03d}.png", "colour": told if known else None, **marks,
             "brightness": round(bright, 3) if known else None, "seen": seen}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    table.drop(columns="seen").to_csv(folder / "survey" / "table.csv", index=False)
    return table.set_index("name")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("lists")
    table = write_survey(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.toml"), "--out", str(folder / "run"), *QUIET]) == 0
    return Done(Run(folder / "run"), table)


def test_wrong_labels_are_listed_and_those_that_mean_nothing_are_not(done: Done) -> None:
    found = done.run.suspects
    assert tuple(found.columns) == SUSPECTS
    assert set(found["label"]) == {"colour"}
    known = done.table.loc[found["object_id"]]
    assert (found["given"].to_numpy() == known["colour"].to_numpy()).all()
    wrong = (known["colour"] != known["seen"]).to_numpy()
    told = done.table.dropna(subset="colour")
    assert wrong.mean() > 0.8
    assert wrong.sum() > 0.7 * (told["colour"] != told["seen"]).sum()
    assert (found["suggested"].to_numpy() == known["seen"].to_numpy())[wrong].all()
    assert found["rank"].tolist() == list(range(1, len(found) + 1))
    assert found["score"].is_monotonic_decreasing
    halves = done.run.catalog.set_index("object_id")["half"]
    assert (halves.loc[found["object_id"]].to_numpy() == found["half"].to_numpy()).all()
    assert set(found["half"]) == {"train", "test"}


def test_the_manifest_keeps_what_was_found_of_each_question(done: Done) -> None:
    record = done.run.manifest["steps"]["classify"]
    found = {row["label"]: row for row in record["label_errors"]}
    assert list(found) == ["colour", "marks:tail", "marks:shell"]
    assert found["colour"]["suspects"] == len(done.run.suspects)
    assert found["colour"]["p"] <= found["colour"]["p_holm"] < 0.01
    assert found["colour"]["wrong"] == pytest.approx(0.1, abs=0.06)
    for mark in ("marks:tail", "marks:shell"):
        assert found[mark]["suspects"] == 0
        assert found[mark]["p_holm"] > 0.05
    assert {"suspects.csv", "next_labels.csv"} <= set(record["outputs"])


def test_what_to_label_next_is_unlabelled_and_of_the_training_half(done: Done) -> None:
    found = done.run.next_labels
    assert tuple(found.columns) == NEXT_LABELS
    halves = done.run.catalog.set_index("object_id")["half"]
    unlabelled = halves.index[:UNLABELLED]
    empty = {f"o{number:03d}" for number in EMPTY}
    open_ = {name for name in unlabelled if halves[name] == "train"} - empty
    troubled = {name for name in empty if halves[name] == "train"}
    assert troubled
    for label in ("colour", "marks", "brightness"):
        mine = found[found["label"] == label]
        assert set(mine["object_id"]) == open_
        assert mine["rank"].tolist() == list(range(1, len(open_) + 1))
        assert mine["why"].str.contains(r"^one of \d+ alike(?:, none labelled| without a label, beside)").any()
    counts = {row["label"]: row["troubled"] for row in done.run.manifest["steps"]["classify"]["to_label"]}
    assert counts == dict.fromkeys(("colour", "marks", "brightness"), len(troubled))
    assert found[found["label"] == "colour"]["why"].str.contains(r"between (?:red|blue) [1.]\.?\d+ and").any()
    assert found[found["label"] == "marks"]["why"].str.contains(r"undecided about (?:tail|shell) \(\.\d\d\)").any()
    assert (found[found["label"] == "brightness"]["uncertainty"] == 0).all()


def test_the_page_begins_each_list_with_its_finding(done: Done) -> None:
    text = done.run.files.report.read_text()
    check = text[text.index('<section id="suspects"') : text.index('<section id="next-labels"')]
    count = len(done.run.suspects)
    assert "There are more firm contradictions of a head that has not seen the labels" in check
    assert f"overlap alone: {count} of " in check
    assert '<a href="suspects.csv">' in check
    assert check.count("<img") == min(24, count)
    assert done.run.suspects["object_id"][0] in check
    label = text[text.index('<section id="next-labels"') : text.index('<section id="training"')]
    assert "without a label of colour" in label
    assert label.count("<img") == 24
    assert "No sign of wrong labels" in text[text.index('id="findings"') : text.index('id="map"')]
    assert '<a href="#next-labels">What to label next</a>' in text


def test_the_page_to_hand_out_has_neither_list(done: Done) -> None:
    folder = done.run.files.folder
    recipe = folder.parent / "recipe.toml"
    assert main(["report", str(recipe), "--out", str(folder), "--share", *QUIET]) == 0
    shared = done.run.files.shared.read_text()
    for word in ("suspects", "next-labels", "next_labels", "contradict", "label next", *done.table.index):
        assert word not in shared, word


def test_without_labels_the_lists_are_empty_tables_and_no_sections(done: Done, tmp_path: Path) -> None:
    lines = (done.run.files.folder.parent / "recipe.toml").read_text()
    start, end = lines.index("[labels.colour]"), lines.index("[store]")
    survey = done.run.files.folder.parent / "survey"
    recipe = (lines[:start] + lines[end:]).replace('"survey', f'"{survey}')
    (tmp_path / "recipe.toml").write_text(recipe)
    assert main(["run", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), *QUIET]) == 0
    plain = Run(tmp_path / "run")
    assert plain.suspects.empty
    assert tuple(plain.suspects.columns) == SUSPECTS
    assert tuple(plain.next_labels.columns) == NEXT_LABELS
    text = plain.files.report.read_text()
    assert 'id="suspects"' not in text
    assert 'id="next-labels"' not in text
    assert json.loads(plain.files.manifest.read_text())["steps"]["classify"]["label_errors"] == []


def test_why_says_what_an_object_stands_for_and_what_the_head_cannot_decide() -> None:
    asked = Targets("classes", np.zeros((1, 1)), ("smooth", "disk", "artifact"))
    prediction, between = np.array([0.38, 0.41, 0.21]), "between disk .41 and smooth .38"
    assert _why(asked, prediction, 41, 0) == f"one of 41 alike, none labelled; {between}"
    assert _why(asked, prediction, 41, 2) == f"one of 41 alike without a label, beside 2 with one; {between}"
    assert _why(asked, prediction, 1, 0) == f"like no other; {between}"
    assert _why(asked, prediction, 1, 3) == f"alone without a label among its like, beside 3 with one; {between}"
    value = Targets("real", np.zeros((1, 1)), ("z",))
    assert _why(value, np.array([3.0]), 1200, 0) == "one of 1,200 alike, none labelled"
