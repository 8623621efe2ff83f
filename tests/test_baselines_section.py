"""The page's section on baselines: verdicts that the paired intervals allow, in words that claim no more; escaped."""

from typing import Any

import pytest

from domainssl.cues import COARSE, PIECES
from reports.baselines import baselines_section


def number(value: float | None, half: float = 0.03) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half}


def table(values: dict[str, float | None], pairs: list[tuple[str, str]], better: str = "higher") -> dict[str, Any]:
    def minus(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    return {
        "metric": "macro_auroc",
        "better": better,
        "groups": 1200,
        "values": {name: number(value) for name, value in values.items()},
        "differences": [{"of": a, "to": b, **number(minus(values[a], values[b]))} for a, b in pairs],
    }


def entry(
    told: float | None = 0.6, smooth: float | None = 0.6, moved: float | None = 0.8, **more: Any
) -> dict[str, Any]:
    marks = more.get("marks")
    head = None if told is None else 0.8
    image = table(
        {"head": head, "told": told, "told and measured": told}, [("head", "told")], more.get("better", "higher")
    )
    plain = {"whole": None if smooth is None else 0.9, "without texture": smooth, "without shape": moved}
    plain |= {"marks hidden": marks} if marks else {}
    values = plain | {
        f"{name} learnt": value for name, value in {**plain, "colours": more.get("colours", 0.55)}.items()
    }
    pairs = [("without texture", "without shape"), ("whole learnt", "colours learnt")]
    pairs += [("whole", "marks hidden")] if marks else []
    cues = {"images": {"train": 500, "test": 480}, **table(values, pairs)}
    names = {"told": ["<view>", "number_range"], "told and measured": ["<view>", "number_range", "brightness"]}
    return {
        "label": "<sick>",
        "attributes": names,
        "marks": {"kept": bool(marks), "images": 12},
        "without_image": image,
        "cues": cues,
    }


@pytest.mark.parametrize(
    ("told", "words", "state"),
    [
        (0.6, "The head sees more than table and files tell.", "better"),
        (0.79, "The head is not clearly ahead of what needs no image.", "unclear"),
        (0.95, "A score higher than the head's needs no image.", "worse"),
        (None, "alone tell of this label is not estimable: too few test groups", "unknown"),
    ],
)
def test_what_needs_no_image_stands_beside_the_head(told: float | None, words: str, state: str) -> None:
    text = baselines_section([entry(told)])
    assert f'<div class="verdict {state}"><p><strong>' in text
    assert words in text
    if told is not None:
        assert "&lt;view&gt; and number range" in text
        assert f"alone reach macro AUROC {told:.3f}" in text
        assert "in 1,200 test groups, where the head reaches 0.800 (0.770 to 0.830)." in text


@pytest.mark.parametrize(
    ("smooth", "moved", "words"),
    [
        (0.6, 0.8, "goes by texture more than by shape"),
        (0.8, 0.6, "goes by shape more than by texture"),
        (0.7, 0.71, "more by texture or by shape is not clear"),
        (None, None, "is not estimable"),
    ],
)
def test_the_cue_is_named_where_the_difference_allows_it(smooth: float, moved: float, words: str) -> None:
    text = baselines_section([entry(smooth=smooth, moved=moved)])
    assert words in text
    assert ("Without texture it keeps 25&nbsp;%" in text) == (smooth == 0.6)
    assert f"{COARSE} × {COARSE}" in text
    assert f"{PIECES} × {PIECES}" in text


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (0.7, "owes something to burned-in marks"),
        (0.9, "No part of the head's score"),
        (0.99, "raises the head's score"),
    ],
)
def test_marks_hidden_and_shown(hidden: float, words: str) -> None:
    text = baselines_section([entry(marks=hidden)])
    assert words in text
    assert f"0.900 (0.870 to 0.930) with the marks shown, {hidden:.3f}" in text
    assert "--set store.marks=keep" not in text
    without = baselines_section([entry()])
    assert "with the marks shown" not in without
    assert "found in 12 images and are hidden in all" in without
    assert "domainssl run RECIPE --out OTHER --set store.marks=keep" in without
    assert "hidden in all" not in baselines_section([entry() | {"marks": {"kept": False, "images": 0}}])


@pytest.mark.parametrize(
    ("colours", "words"),
    [
        (0.6, "The embedding tells more than colours do"),
        (0.89, "The embedding is not clearly ahead of colours that stand anywhere"),
        (0.97, "Colours tell more than the embedding"),
        (None, "What colours alone tell of this label is not estimable"),
    ],
)
def test_colours_alone_stand_beside_the_embedding(colours: float | None, words: str) -> None:
    text = baselines_section([entry(colours=colours)])
    assert words in text
    if colours is not None:
        assert f"from 500 training images, colours or grey levels alone reach macro AUROC {colours:.3f}" in text


def test_errors_are_better_lower() -> None:
    assert "The head sees more than" in baselines_section([entry(0.95, better="lower")])
    assert "A score higher" in baselines_section([entry(0.6, better="lower")])


def test_it_claims_no_more_and_escapes_and_is_nothing_for_nothing() -> None:
    text = baselines_section([entry() | {"cues": None}])
    assert "neither removes all confounding nor proves" in text
    assert "<sick>" not in text
    assert "<view>" not in text
    assert "texture more" not in text
    assert baselines_section([]) == ""
    bare = entry()
    del bare["without_image"]["values"]["told"]
    assert "tells two objects apart" in baselines_section([bare])
