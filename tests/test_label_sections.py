"""The lists of labels on the page: sentences claim what was found, texts stay texts, long or torn lists are errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_page import HOSTILE, NO_FIGURES, full_page, written

from pipelines.label_sections import next_labels_sentence, suspect_sentences
from reports.label_lists import MOST, LabelList


def record(label: str, **changes: Any) -> dict[str, Any]:
    usual = {
        "label": label,
        "judged": 1435,
        "right": 0.9,
        "wrong": 0.1031,
        "p": 1e-9,
        "p_holm": 2e-9,
        "suspects": 145,
        "sign": True,
    }
    return usual | {"planted": 144, "precision": 0.48, "before": 0.51} | changes


def clear(label: str, p: float | None) -> dict[str, Any]:
    return record(label, p=p, p_holm=p, suspects=0, sign=False)


def shown(count: int = 2, text: str = "x", **changes: Any) -> LabelList:
    rows = [{"rank": i + 1, "object_id": f"object-{i}", "score": 0.5, "notes": [text]} for i in range(count)]
    parts = {"anchor": "suspects", "heading": "Labels to check", "finding": text, "advice": text, "file": "s.csv"}
    return LabelList(**({**parts, "rows": rows, "pictures": np.zeros((count, 8, 8, 3), np.uint8)} | changes))


def test_signs_come_with_counts_and_with_what_the_list_is_worth() -> None:
    said = suspect_sentences([record("type"), clear("bar", 0.314), record("ring", suspects=1, wrong=0.02)])
    assert said[0] == (
        "There are more firm contradictions of a head that has not seen the labels than classes that overlap explain: "
        "some labels are wrong, or the embedding misleads the head. Listed, with many that may be overlap alone: "
        "145 of type (at most 10 % of its labels, overlap included), 1 of ring (at most 2.0 % of its labels, overlap "
        "included)."
    )
    assert said[1] == (
        "type: with 144 labels made wrong on purpose, 48 % of the first places of such a list were those and "
        "51 % had been suspects before."
    )
    assert said[-1] == "No sign of wrong labels beyond what classes that overlap explain: bar (p = 0.31)."
    assert len(said) == 4
    weak = suspect_sentences([record("type", right=0.61)])
    assert weak[1] == (
        "type: the head predicts 61 % of the labels that it has not seen; with less than 70 %, more than half of such "
        "a list was overlap in simulations."
    )
    assert len(suspect_sentences([record("type", right=0.7)])) == 2


def test_nothing_is_claimed_where_nothing_could_be_tested() -> None:
    assert suspect_sentences([]) == []
    assert suspect_sentences([clear("type", None)]) == []
    many = suspect_sentences([clear(f"finding:{i}", 1.0) for i in range(14)])
    assert many[0].endswith("finding:5 (p = 1.00) and 8 more.")


def test_what_is_proposed_is_counted() -> None:
    some = {"label": "type", "labelled": 240, "candidates": 12_000, "chosen": 100, "troubled": 0, "drawn": False}
    none = some | {"label": "bar", "candidates": 0, "chosen": 0}
    assert next_labels_sentence([some, none]) == (
        "To label next in the training half: 100 of 12,000 without a label of type (240 have one)."
    )
    assert next_labels_sentence([none]) is None
    drawn = next_labels_sentence([some | {"labelled": 12, "drawn": True}])
    assert drawn is not None
    assert (
        "(12 have one; drawn at random, since choosing was not seen to help with fewer than 5 a class on average)"
        in drawn
    )
    left_out = next_labels_sentence([some | {"troubled": 1}])
    assert left_out is not None
    assert left_out.endswith("(240 have one). Left out: 1 image in input trouble.")


def test_a_list_stands_after_the_anomalies_and_in_the_contents(tmp_path: Path) -> None:
    text, parsed, _ = written(tmp_path, full_page(label_lists=[shown()], **NO_FIGURES))
    assert [a["id"] for tag, a in parsed.elements if tag == "section"][3:5] == ["anomalies", "suspects"]
    assert '<a href="#suspects">Labels to check</a>' in text
    section = text[text.index('<section id="suspects"') : text.index('<section id="training"')]
    assert section.count("<img") == 2
    assert '<a href="s.csv">' in section
    assert 'data-row="1"' in section  # its place on the map


def test_a_list_without_rows_is_left_out(tmp_path: Path) -> None:
    text, _, _ = written(tmp_path, full_page(label_lists=[shown(0)], **NO_FIGURES))
    assert "suspects" not in text
    assert "Labels to check" not in text


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_labels_stay_text(tmp_path: Path, bad: str) -> None:
    _, plain, _ = written(tmp_path, full_page(label_lists=[shown()], **NO_FIGURES))
    _, parsed, _ = written(tmp_path, full_page(label_lists=[shown(text=bad, heading=bad)], **NO_FIGURES))
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in plain.elements]
    assert sum(bad.replace("\ud800", "?") in text for text in parsed.texts) >= 5


def test_too_many_rows_and_missing_pictures_are_errors() -> None:
    with pytest.raises(ValueError, match=f"{MOST + 1} rows on the page; give the first {MOST}"):
        shown(MOST + 1)
    with pytest.raises(ValueError, match="1 pictures for 2 rows"):
        shown(pictures=np.zeros((1, 8, 8, 3), np.uint8))
