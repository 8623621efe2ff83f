"""Few-label results as a flat CSV and as a figure file."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reports.label_exports import COLUMNS, write_curves_svg, write_metrics_csv

ROW: dict[str, Any] = {
    "label": "type, so called", "kind": "classes", "start": "imagenet", "features": "last", "head": "linear",
    "draw": "balanced", "labels_per_class": 5, "n_labels": 15, "metric": "macro_auroc", "better": "higher",
    "value": 0.1 + 0.2, "low": 0.2, "high": 0.4, "n_groups": 30,
}  # fmt: skip


def test_csv_keeps_every_key_and_digit(tmp_path: Path) -> None:
    equal = ROW | {"metric": "equal_labels", "value": None, "low": math.nan, "beyond": ["value", "high"], "odd": 1}
    write_metrics_csv([equal, ROW | {"primary": True, "note": 'a "note"\nof two lines'}], tmp_path / "metrics.csv")
    text = (tmp_path / "metrics.csv").read_text(encoding="utf-8")
    assert "nan" not in text.lower()
    assert "\r" not in text
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == [*COLUMNS, "odd"]
    assert table["value"].isna().tolist() == [True, False]
    assert table["value"][1] == 0.1 + 0.2
    assert table["beyond"].tolist()[0] == "value;high"
    assert table["primary"].tolist()[1] is True
    assert table["note"][1] == 'a "note"\nof two lines'
    assert table["label"][0] == "type, so called"


def test_no_rows_give_a_header(tmp_path: Path) -> None:
    write_metrics_csv([], tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_svg_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    assert write_curves_svg([ROW, ROW | {"labels_per_class": 50}], "type, so called", path)
    root = ET.parse(path).getroot()
    assert root.get("width", "").endswith("pt")
    text = path.read_text(encoding="utf-8")
    assert "var(--" not in text
    assert "currentColor" not in text
    assert "system-ui" not in text
    said = "".join(root.itertext())
    assert "macro AUROC (higher is better)" in said
    assert "type, so called" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["curves.svg"]


def test_svg_without_anything_to_draw_leaves_no_file(tmp_path: Path) -> None:
    assert not write_curves_svg([ROW | {"value": None}], "type, so called", tmp_path / "curves.svg")
    assert list(tmp_path.iterdir()) == []


def test_svg_of_an_unknown_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label 'merger': no rows were measured for it; labels with rows: type, so"):
        write_curves_svg([ROW], "merger", tmp_path / "curves.svg")
