"""The page, figure and table of a sweep: what stands where, what escapes, what is left out."""

import csv
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from reports.sweep import SweepPage, SweptVariant, curves, draw, write_sweep


def row(start: str, value: float | None, **more: Any) -> dict[str, Any]:
    usual = {"label": "shape", "kind": "classes", "head": "linear", "features": "last", "draw": "balanced"}
    bounds = {"low": None if value is None else value - 0.02, "high": None if value is None else value + 0.03}
    counts = {"labels_per_class": 5, "n_labels": 10, "n_groups": 40}
    return {
        **usual,
        "start": start,
        "metric": "macro_auroc",
        "better": "higher",
        "value": value,
        **bounds,
        **counts,
    } | more


def rows(own: float, reference: float = 0.7) -> list[dict[str, Any]]:
    found = []
    for count in (5, 10):
        gain = count / 1000
        found += [
            row("imagenet", reference + gain, labels_per_class=count),
            row("continued", own + gain, labels_per_class=count),
            row("continued", 0.5, labels_per_class=count, metric="balanced_accuracy"),
            row("continued", 0.6, labels_per_class=count, head="knn"),
            row("continued", 0.4, labels_per_class=count, **{"class": "round"}),
            row("continued", own - reference, labels_per_class=count, difference_to="imagenet", p_holm=0.0004),
            row("continued", 0.9, labels_per_class=count, difference_to="imagenet", difference_to_head="knn"),
        ]
    return found


def variant(name: str, own: float, **more: Any) -> SweptVariant:
    return SweptVariant(name, {"pretrain.temperature": name.partition("=")[2]}, rows(own, **more))


TWO = (variant("temperature=0.1", 0.8), variant("temperature=0.2", 0.75))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", "", html, flags=re.DOTALL)))


def test_the_table_of_the_page_has_value_interval_and_paired_difference(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, SweepPage("Galaxies", "two variants", TWO))
    said = text_of(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "evaluation.html"
    assert "0.805 (0.785 to 0.835) +0.100 (+0.080 to +0.130), p &lt; 0.001" in said
    assert "0.755 (0.735 to 0.785) +0.050 (+0.030 to +0.080)" in said
    assert "0.600" not in said  # another head
    assert "0.400" not in said  # one class
    assert "+0.900" not in said  # a difference between heads
    assert "40 test groups" in said
    assert "2 variants were scored on the same test objects" in said


def test_the_csv_has_a_line_a_row_and_variant(tmp_path: Path) -> None:
    write_sweep(tmp_path, SweepPage("t", "s", TWO))
    with (tmp_path / "evaluation.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(TWO[0].rows)
    assert list(lines[0])[:4] == ["variant", "pretrain.temperature", "label", "kind"]
    assert [line["pretrain.temperature"] for line in lines[:: len(TWO[0].rows)]] == ["0.1", "0.2"]
    for line, given in zip(lines, [*TWO[0].rows, *TWO[1].rows], strict=True):
        assert float(line["value"]) == given["value"]
        assert line["difference_to"] == given.get("difference_to", "")


def test_the_figure_has_a_line_a_variant_and_imagenet_once_if_it_is_the_same(tmp_path: Path) -> None:
    write_sweep(tmp_path, SweepPage("t", "s", TWO))
    alone = (tmp_path / "evaluation.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(alone)
    inside = draw(curves(TWO))
    assert inside in (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    for figure in (alone, inside):
        for words in ("temperature=0.1", "temperature=0.2", "macro AUROC (higher is better)", "labels per class"):
            assert words in figure
        assert figure.count(">ImageNet<") == 1
        assert "ImageNet as in that variant" not in figure
    other = draw(curves((TWO[0], variant("temperature=0.2", 0.75, reference=0.6))))
    assert ">ImageNet<" not in other
    assert "dashed: ImageNet as in that variant" in other


def test_equal_pages_are_equal_files_without_script_or_address(tmp_path: Path) -> None:
    names = ("evaluation.csv", "evaluation.svg", "evaluation.html")
    page = SweepPage("t", "s", TWO, provenance={"seed": 0})
    write_sweep(tmp_path / "a", page)
    write_sweep(tmp_path / "b", page)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    html = (tmp_path / "a" / "evaluation.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!#)', html)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(names)


def test_what_comes_from_data_is_escaped_and_notices_are_shown(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    swept = SweptVariant(f"v={evil}", {"k": evil}, [{**one, "label": evil, "note": evil} for one in rows(0.8)], evil)
    page = SweepPage(evil, evil, (swept,), notices=("Research use only.", evil), failed=(evil,), provenance={"x": evil})
    html = write_sweep(tmp_path, page).read_text(encoding="utf-8")
    assert evil not in html
    assert "Research use only." in html
    assert "No results, since a step failed: &lt;img" in html
    assert evil not in (tmp_path / "evaluation.svg").read_text(encoding="utf-8")


def test_each_label_has_a_panel_and_a_variant_without_scores_a_dash(tmp_path: Path) -> None:
    both = [*rows(0.8), *({**one, "label": "merging", "metric": "auroc"} for one in rows(0.6))]
    bare = [one for one in both if one["start"] == "imagenet"]
    swept = (SweptVariant("epochs=1", {}, both), SweptVariant("epochs=0", {}, bare, "was not pretrained."))
    said = text_of(write_sweep(tmp_path, SweepPage("t", "s", swept)).read_text(encoding="utf-8"))
    assert said.count("40 test groups") == 2
    assert "epochs=0 linear – –" in said
    assert "epochs=0: was not pretrained." in said
    figure = draw(curves(swept))
    assert ">shape<" in figure
    assert ">merging<" in figure
    assert ">epochs=0<" not in figure


@pytest.mark.parametrize("value", [None, float("nan")])
def test_without_a_score_files_say_so(value: float | None, tmp_path: Path) -> None:
    unknown = [row("continued", None) | {"value": value}]
    for variants in ([SweptVariant("a=1", {}, unknown)], [SweptVariant("a=1", {}, [])]):
        html = write_sweep(tmp_path, SweepPage("t", "s", variants)).read_text(encoding="utf-8")
        assert "There is no score to draw." in html
        assert "No score." in (tmp_path / "evaluation.svg").read_text(encoding="utf-8")


def test_many_variants_are_told_apart() -> None:
    figure = draw(curves([variant(f"temperature={number}", 0.5 + number / 100) for number in range(12)]))
    looks = re.findall(r'id="sweep-line2d_\d+"', figure)
    assert len(looks) > 12
    assert all(f">temperature={number}<" in figure for number in range(12))
