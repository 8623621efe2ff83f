"""Figures as SVG text."""

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import matplotlib
import pytest

from reports.figures import label_efficiency, training_curves
from reports.metric_rows import columns_of

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


def curve(rows: list[dict[str, Any]], **options: Any) -> str:
    """The figure of the first label column."""
    return label_efficiency(columns_of(rows)[0], **options)


def difference(start: str, count: int, value: float) -> dict[str, Any]:
    row = metric_rows(start=start, value=value, low=value - 0.01, high=value + 0.01, difference_to="imagenet")[0]
    return row | {"labels_per_class": count}


def test_every_start_is_named_once_and_the_axes_say_what_is_better() -> None:
    found = texts(curve(metric_rows(n_labels=60) + metric_rows(metric="AUROC")))
    for name in ("random weights", "ImageNet", "continued pretraining"):
        assert found.count(name) == 1
    assert "macro F1 (higher is better)" in found
    assert found.count("labels per class") == found.count("labels in all") == 1
    assert found.count("25") == 1
    assert found.count("60") == 4
    assert "macro F1 (lower is better)" in texts(curve(metric_rows(better="lower")))
    assert "macro F1" in texts(curve(metric_rows(better="neither")))


def test_the_difference_to_imagenet_has_its_panel() -> None:
    rows = metric_rows() + [difference(start, 5, 0.1) for start in ("continued", "random")]
    assert "Paired difference to ImageNet" in texts(curve(rows))
    assert "Paired difference to ImageNet" not in texts(curve(metric_rows()))
    assert curve(rows) == curve(rows[:-1])  # of random weights it would dwarf that of continued pretraining


def test_no_skill_is_dashed_where_the_metric_has_one() -> None:
    assert "no skill" not in texts(curve(metric_rows()))
    assert "no skill" in texts(curve(metric_rows(metric="macro_auroc")))
    auprc = metric_rows(metric="macro_auprc")
    assert "no skill" not in texts(curve(auprc))
    assert "no skill" in texts(curve(auprc + metric_rows(metric="auprc_no_skill", value=0.11)))


def test_a_figure_has_a_title_and_a_description() -> None:
    root = ET.fromstring(curve(metric_rows(), name="x"))
    words = {element.get("id"): element.text for element in root if element.tag in (f"{SVG}title", f"{SVG}desc")}
    assert root.get("role") == "img"
    assert root.get("aria-labelledby", "").split() == list(words) == ["x-title", "x-desc"]
    assert words["x-title"] == "morphology: macro F1 against the number of labels"
    assert "ImageNet: 0.505 with 5 to 0.600 with 100 labels per class" in str(words["x-desc"])


def test_curve_height_follows_the_value() -> None:
    """The line of the higher start is drawn above: SVG's y grows downwards."""
    svg = curve(metric_rows())
    heights = {}
    for name, colour in (("imagenet", "#0072b2"), ("random", "#e69f00")):
        path = re.search(
            rf'<path d="M ([^"]*?)"[^>]*stroke: [^;]*{colour}[^;]*; stroke-width: 1.8', svg, flags=re.DOTALL
        )
        assert path is not None
        heights[name] = [float(point.split()[1]) for point in path.group(1).replace("\n", "").split("L")]
    assert len(heights["imagenet"]) == 4
    assert all(upper < lower for upper, lower in zip(heights["imagenet"], heights["random"], strict=True))


def test_differences_unknown_values_and_all_labels_are_not_drawn() -> None:
    for changes in ({"difference_to": "imagenet"}, {"value": None}, {"value": math.nan}, {"labels_per_class": None}):
        assert curve(metric_rows(**changes)) == ""


def test_other_heads_features_classes_and_natural_draws_are_not_drawn() -> None:
    rows = metric_rows()
    for changes in ({"head": "knn"}, {"features": "stages"}, {"class": "spiral"}, {"draw": "natural"}):
        assert curve(rows + metric_rows(**changes)) == curve(rows)


def test_unknown_intervals_leave_the_line() -> None:
    assert "ImageNet" in texts(curve(metric_rows(low=None, high=None)))


def test_one_label_count_and_an_unknown_start_are_drawn() -> None:
    rows = [row for row in metric_rows() if row["labels_per_class"] == 10]
    assert "zoobot" in texts(curve([*rows, rows[0] | {"start": "zoobot"}]))


def test_training_curves_show_loss_and_collapse() -> None:
    found = texts(training_curves(training_records()))
    for word in ("Loss", "RankMe", "Spread", "Alignment", "Uniformity"):
        assert any(text.startswith(word) for text in found)
    assert "projector" in found
    assert "both" in found


def test_a_method_s_own_numbers_have_panels_by_their_first_word() -> None:
    own = {"accuracy": 0.4, "accuracy_unseen": 0.3, "error_2": 0.2, "error_8": 0.1, "hole_error": 0.02, "fooled": 0.3}
    found = texts(training_curves([record | own for record in training_records()]))
    for title in ("Accuracy of the pretext task", "Error of reconstruction", "Hole error", "Fooled", "Loss"):
        assert title in found
    for series in ("all", "unseen", "2", "8"):
        assert series in found
    assert "Accuracy of the pretext task" not in texts(training_curves(training_records()))


def test_the_probe_is_joined_over_the_epochs_without_it() -> None:
    records = [record | {"probe": 0.7 if record["epoch"] % 3 == 0 else None} for record in training_records()]
    assert "Probe of the guard (higher: better)" in texts(training_curves(records))
    assert "Probe of the guard (higher: better)" not in texts(training_curves(training_records()))


def test_training_without_a_measure_leaves_its_panel_out() -> None:
    records = [{"epoch": 1, "phase": "both", "loss": 2.0}, {"epoch": 1, "phase": "both", "loss": None, "rankme": None}]
    found = texts(training_curves(records))
    assert "Loss" in found
    assert not any(text.startswith("RankMe") for text in found)
    assert training_curves([]) == ""
    assert training_curves([{"epoch": 1, "phase": "both", "loss": None}]) == ""


def test_output_is_deterministic_and_leaves_no_global_state() -> None:
    before = dict(matplotlib.rcParams)
    first = curve(metric_rows()) + training_curves(training_records())
    assert first == curve(metric_rows()) + training_curves(training_records())
    assert dict(matplotlib.rcParams) == before
    assert not re.search(r"20\d\d-\d\d-\d\d", first)


def test_two_figures_on_one_page_share_no_id_and_find_their_own() -> None:
    one, two = curve(metric_rows()), training_curves(training_records())
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in (one, two)]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, two), ids, strict=True):
        assert len(own) == len(set(own))
        used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used
        assert used <= set(own)


def test_colours_follow_the_page() -> None:
    svg = curve(metric_rows())
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "#010203" not in svg


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a$b", r"$\frac{$", 'x" id="y', "&amp;", "]]>", "-->", "渦巻", "\u2028"]
)
def test_hostile_names_stay_text(name: str) -> None:
    svg = curve(metric_rows(label=name))
    assert f"{name}: macro F1 against the number of labels" in "".join(ET.fromstring(svg).itertext())
    assert name in texts(curve(metric_rows(label=name), alone=True))
    assert "<script>" not in svg
