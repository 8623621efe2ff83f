"""Sentences on the page claim no more than their intervals, and pictures of flux keep their noise in bounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_stores import write_store

from pipelines.findings import change_sentences, trouble_sentence
from pipelines.recipe import parse_recipe
from pipelines.report import provenance, white_balance


def difference(size: int, value: float | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    row = {"label": "kind", "kind": "classes", "start": "continued", "difference_to": "imagenet", "head": "linear"}
    row |= {"features": "last", "draw": "balanced", "metric": "macro_auroc", "better": "higher"}
    return row | {"labels_per_class": size, "value": value, "low": low, "high": high, **more}


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.04, 0.01, 0.07, "is better than ImageNet alone"),
        (-0.04, -0.07, -0.01, "is worse than ImageNet alone"),
        (0.01, -0.02, 0.04, "no clear difference"),
        (0.01, 0.0, 0.04, "no clear difference"),
        (None, None, None, "not estimable"),
        (0.01, None, None, "no interval"),
        (0.0, 0.0, 0.0, "have the same macro AUROC in every draw"),
    ],
)
def test_a_difference_is_said_with_its_interval(
    value: float | None, low: float | None, high: float | None, words: str
) -> None:
    (said,) = change_sentences([difference(5, value, low, high)])
    assert said.startswith("kind: With 5 labels per class, ")
    assert words in said


def test_the_primary_endpoint_leads_and_no_other_size_is_said_to_be_clear_where_its_p_is_not() -> None:
    rows = [
        difference(1, 0.03, -0.02, 0.07, p_holm=0.26),
        difference(20, 0.07, 0.03, 0.11, p=0.003, primary=True),
        difference(100, 0.047, 0.004, 0.092, p_holm=0.11),
    ]
    (said,) = change_sentences(rows)
    assert said.startswith("kind: With 20 labels per class, continued pretraining is better than ImageNet alone")
    assert said.endswith(
        "Continued pretraining: better than ImageNet with 20 labels per class; not told apart from ImageNet with 1 and "
        "100 labels per class."
    )
    natural = [{**row, "draw": "natural"} for row in rows]
    assert change_sentences(natural) == [said]  # a recipe may draw no others
    other = [{**row, "label": "bar", "primary": False} for row in rows]
    assert [one.split(",")[0] for one in change_sentences(rows + other)] == [
        f"{label}: With 20 labels per class" for label in ("kind", "bar")
    ]


def test_provenance_names_no_path() -> None:
    recipe = parse_recipe(
        'domain = "galaxies"\n[[catalog]]\nname = "a"\ntable = "/secret/t.csv"\nimages = "/secret/i"\nbands = ["g"]\n'
        'match = [{ table = "/secret/m.csv", columns = ["b"] }]\nebv_map = "/secret/map"\n'
        '[encoder]\nweights = "/secret/encoder.safetensors"\n'
        '[start.other]\nfile = "/secret/other.safetensors"\n[start.named]\nfile = "/secret/x"\nencoder = "resnet18"\n'
    )
    found = provenance({"steps": {}}, recipe.model_dump(mode="json"))
    assert "secret" not in str(found)
    assert found["recipe"]["catalog"]["a"]["bands"] == ["g"]
    assert found["recipe"]["start"] == {"other": "a .safetensors file", "named": "resnet18"}


def test_white_balance_makes_a_common_colour_white_without_lifting_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flux = np.zeros((40, 3, 16, 16), np.float32)
    flux[:, :, 4:12, 4:12] = np.array([10.0, 20.0, 40.0], np.float32)[:, None, None]  # one colour for all objects
    images = flux + rng.normal(size=flux.shape).astype(np.float32)
    scale = white_balance(write_store(tmp_path, images, bands=("g", "r", "z")))
    shown = np.array([10.0, 20.0, 40.0]) / scale
    assert shown.max() / shown.min() < 1.6
    assert scale.min() >= 0.5


def test_trouble_is_counted_by_kind_and_only_what_was_looked_for_is_named() -> None:
    ranked = pd.DataFrame({"trouble": ["", "cut", "inverted;rotated", ""]})
    said = trouble_sentence(ranked, upright=True)
    assert said.startswith("2 of 4 ranked images are in input trouble (")
    assert all(f"1 {kind}" in said for kind in ("cut", "inverted", "rotated"))
    sound = pd.DataFrame({"trouble": ["", ""]})
    assert "inverted" in trouble_sentence(sound, upright=True)
    assert "inverted" not in trouble_sentence(sound, upright=False)
