"""Consistency training in a whole run: views of the training half alone, a head beside others, what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_runs import SMALL, calm

from domainssl.embedding import read_parts
from domainssl.options import HEADS, ON_REQUEST
from pipelines.classify import heads_of
from pipelines.cli import main
from pipelines.recipe import RecipeError, parse_recipe

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

"""
CONSISTENT = [
    "classify.consistency=2", 'classify.heads=["linear","self_training"]', "classify.labels_per_class=[3]",
    "classify.draws=20", "pretrain.epochs=0", 'classify.starts=["random"]',
]  # fmt: skip


def parsed(*overrides: str) -> object:
    return parse_recipe(RECIPE + SMALL, Path("/data"), overrides)


def test_views_for_kinds_of_labels_without_such_a_head_are_refused():
    with pytest.raises(RecipeError, match=r"classify\.consistency: 2 views are for labels of kind classes or yes_no"):
        parsed("labels.colour.kind=real", "classify.heads=[]", "classify.consistency=2")
    with pytest.raises(RecipeError, match=r"classify\.consistency: -1 is too small"):
        parsed("classify.consistency=-1")
    parsed("classify.consistency=2")


def test_heads_on_request_take_part_where_they_are_named():
    for kind in ("classes", "yes_no"):
        assert set(ON_REQUEST) < set(HEADS[kind])
        assert not set(ON_REQUEST) & set(heads_of(parsed("classify.heads=[]"), kind))
    named = parsed('classify.heads=["linear","self_training"]')
    assert heads_of(named, "classes") == ("linear", "self_training")


@pytest.mark.slow
def test_a_run_embeds_views_of_the_training_half_and_scores_the_head_beside_the_others(tmp_path):
    rng = np.random.default_rng(4)
    (tmp_path / "survey").mkdir()
    y, x = np.mgrid[-20:20, -20:20] + 0.5
    rows = []
    for number in range(160):
        light = np.exp(-(x**2 + y**2) / (2 * rng.uniform(3, 8) ** 2))[..., None]
        hue = np.array([[200, 120, 110], [110, 120, 200]][number % 2])
        pixels = (light * hue + rng.normal(20, 6, (40, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "survey" / f"o{number:03d}.png")
        known = ("red", "blue")[number % 2] if number >= 20 else None
        rows.append({"name": f"o{number:03d}", "file": f"o{number:03d}.png", "colour": known})
    pd.DataFrame(rows).to_csv(tmp_path / "survey" / "table.csv", index=False)
    (tmp_path / "recipe.toml").write_text(RECIPE + SMALL)
    command = [str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--quiet", "--workers", "1"]
    sets = [word for value in CONSISTENT for word in ("--set", value)]
    with calm():
        assert main(["run", *command, *sets, "--device", "cpu"]) == 0
    run = tmp_path / "run"
    ids, flat, _ = read_parts(run / "starts" / "random" / "views")
    halves = pd.read_parquet(run / "catalog.parquet").set_index("object_id")["half"]
    assert set(halves[ids]) == {"train"}
    assert set(ids) == set(halves.index[halves == "train"])
    _, last, _ = read_parts(run / "starts" / "random" / "last")
    assert flat.shape[1] == 3 * last.shape[1]
    metrics = [row for row in json.loads((run / "metrics.json").read_text()) if row["metric"] == "macro_auroc"]
    heads = {row["head"] for row in metrics if "difference_to" not in row}
    assert heads == {"linear", "self_training", "consistency"}
    beside = [row for row in metrics if row["head"] == "consistency" and row.get("difference_to_head") == "linear"]
    assert beside
    assert all(row["low"] <= row["value"] <= row["high"] for row in beside)
    assert "consistency" in (run / "report.html").read_text()
