"""Figures as SVG text."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib
import pytest

from reports.figures import label_efficiency, training_curves

SVG = "{http://www.w3.org/2000/svg}"


def metric_rows(**changes: Any) -> list[dict[str, Any]]:
    """Rows as metrics.json holds them: three starts, four label counts."""
    return [
        {
            "label": "morphology", "start": start, "head": "linear", "labels_per_class": count, "metric": "macro F1",
            "value": 0.4 + 0.1 * i + 0.001 * count, "low": 0.35 + 0.1 * i, "high": 0.5 + 0.1 * i + 0.001 * count,
            "n_groups": 400,
        } | changes
        for i, start in enumerate(("random", "imagenet", "continued"))
        for count in (5, 10, 25, 100)
    ]  # fmt: skip


def training_records(epochs: int = 6) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch, "phase": "projector" if epoch <= 2 else "both", "loss": 5.0 / epoch, "rankme": 40.0 + epoch,
            "rankme_centred": 60.0 + epoch, "spread": 0.03, "alignment": 0.4, "uniformity": -3.0,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_one_panel_per_label_and_metric_and_every_start_named() -> None:
    rows = metric_rows() + metric_rows(metric="AUROC") + metric_rows(label="merger")
    found = texts(label_efficiency(rows))
    titles = [text for text in found if ": " in text]
    assert titles == ["morphology: macro F1", "morphology: AUROC", "merger: macro F1"]
    for name in ("random weights", "ImageNet", "continued pretraining"):
        assert found.count(name) == 1
    assert found.count("labels per class") == 3
    assert found.count("25") == 3


def test_curve_height_follows_the_value() -> None:
    """The line of the higher start is drawn above: SVG's y grows downwards."""
    svg = label_efficiency(metric_rows())
    heights = {}
    for name, colour in (("imagenet", "#0072b2"), ("random", "#e69f00")):
        path = re.search(
            rf'<path d="M ([^"]*?)"[^>]*stroke: [^;]*{colour}[^;]*; stroke-width: 1.8', svg, flags=re.DOTALL
        )
        assert path is not None
        heights[name] = [float(point.split()[1]) for point in path.group(1).replace("\n", "").split("L")]
    assert len(heights["imagenet"]) == 4
    assert all(upper < lower for upper, lower in zip(heights["imagenet"], heights["random"], strict=True))


def test_several_heads_are_told_apart_by_name() -> None:
    found = texts(label_efficiency(metric_rows() + metric_rows(head="knn")))
    assert "ImageNet, linear" in found
    assert "ImageNet, knn" in found


def test_differences_unknown_values_and_all_labels_are_not_drawn() -> None:
    assert label_efficiency([]) == ""
    assert label_efficiency(metric_rows(difference_to="imagenet")) == ""
    assert label_efficiency(metric_rows(value=None)) == ""
    assert label_efficiency(metric_rows(value=math.nan)) == ""
    assert label_efficiency(metric_rows(labels_per_class=None)) == ""


def test_unknown_intervals_leave_the_line() -> None:
    assert "ImageNet" in texts(label_efficiency(metric_rows(low=None, high=None)))


def test_one_label_count_and_an_unknown_start_are_drawn() -> None:
    rows = [row for row in metric_rows() if row["labels_per_class"] == 10]
    assert "zoobot" in texts(label_efficiency([*rows, rows[0] | {"start": "zoobot"}]))


def test_training_curves_show_loss_and_collapse() -> None:
    found = texts(training_curves(training_records()))
    for word in ("Loss", "RankMe", "Spread", "Alignment", "Uniformity"):
        assert any(text.startswith(word) for text in found)
    assert "projector" in found
    assert "both" in found


def test_training_without_a_measure_leaves_its_panel_out() -> None:
    records = [{"epoch": 1, "phase": "both", "loss": 2.0}, {"epoch": 1, "phase": "both", "loss": None, "rankme": None}]
    found = texts(training_curves(records))
    assert "Loss" in found
    assert not any(text.startswith("RankMe") for text in found)
    assert training_curves([]) == ""
    assert training_curves([{"epoch": 1, "phase": "both", "loss": None}]) == ""


def test_output_is_deterministic_and_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    first = label_efficiency(metric_rows()) + training_curves(training_records())
    assert first == label_efficiency(metric_rows()) + training_curves(training_records())
    assert dict(matplotlib.rcParams) == before
    assert not re.search(r"20\d\d-\d\d-\d\d", first)


def test_two_figures_on_one_page_share_no_id_and_find_their_own() -> None:
    one, two = label_efficiency(metric_rows()), training_curves(training_records())
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in (one, two)]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, two), ids, strict=True):
        assert len(own) == len(set(own))
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used
        assert used <= set(own)


def test_colours_follow_the_page() -> None:
    svg = label_efficiency(metric_rows())
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "#010203" not in svg


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a$b", r"$\frac{$", 'x" id="y', "&amp;", "]]>", "-->", "渦巻", "\u2028"]
)
def test_hostile_names_stay_text(name: str) -> None:
    svg = label_efficiency(metric_rows(label=name))
    assert f"{name}: macro F1" in texts(svg)
    assert "<script>" not in svg
