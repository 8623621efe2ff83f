"""What was measured with few labels, for other programs and for papers: a flat CSV, and the curves as an SVG file."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.atomic import replacing
from reports.figures import label_efficiency
from reports.metric_rows import columns_of

COLUMNS = (
    "label", "kind", "start", "features", "head", "draw", "labels_per_class", "n_labels", "metric", "class", "better",
    "value", "low", "high", "n_groups", "difference_to", "difference_to_features", "difference_to_head", "p", "p_holm",
    "primary", "beyond", "below", "note",
)  # fmt: skip


def write_metrics_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """All rows of metrics.json as CSV: `COLUMNS`, then any other keys in alphabetical order; UTF-8, `\\n` line ends.

    None, NaN and absent keys are empty cells, lists are joined by ";", true and false stay words. No rows give the
    header only.
    """
    others = sorted({key for row in rows for key in row} - set(COLUMNS))
    with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [*COLUMNS, *others]
        writer.writerow(names)
        writer.writerows([[_text(row.get(name)) for name in names] for row in rows])


def write_curves_svg(rows: Sequence[Mapping[str, Any]], label: str, path: Path) -> bool:
    """The curves of one label column as a file of its own, in black ink on white; False, and no file, without any.

    Raises ValueError for a label without rows.
    """
    column = next((column for column in columns_of(rows) if column.label == label), None)
    if column is None:
        known = ", ".join(column.label for column in columns_of(rows)) or "none"
        raise ValueError(f"label {label!r}: no rows were measured for it; labels with rows: {known}")
    figure = label_efficiency(column, name="curves", alone=True)
    if figure:
        with replacing(path) as partial:
            partial.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{figure}\n', encoding="utf-8", newline="\n")
    return bool(figure)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ";".join(map(_text, value))
    return str(value)
