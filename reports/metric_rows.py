"""Rows of metrics.json put in order for figures, tables and sentences: which lead, their names, their digits.

Rows without `features`, `draw` or `better` count as last, balanced and higher.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

START_NAMES = {
    "random": "random weights",
    "scratch": "from scratch",
    "imagenet": "ImageNet",
    "continued": "continued pretraining",
    "metadata": "metadata only",
}
# What one of `labels_per_class` is counted for.
UNITS = {"ordered": "level", "multilabel": "finding", "real": "fifth", "votes": "answer"}
LEADING = ("dirichlet", "linear")  # heads: of votes, of the others
LARGE = 0.1  # of an AUROC: a collection that would not show such a gap has not been shown to be free of gaps
EQUAL_LABELS = "equal_labels"
WITHOUT_IMAGES = "columns"  # the features of a baseline that sees metadata only
METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "auprc_no_skill": "AUPRC without skill",
    "f1": "F1",
    "mcc": "MCC",
    "ece": "expected calibration error",
    "mad": "median absolute error",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "r2": "R²",
    "nmad": "σ NMAD",
    "sigma_nmad": "σ NMAD",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
    "kappa": "Cohen's κ",
    "quadratic_kappa": "quadratic weighted κ",
    "quadratic_weighted_kappa": "quadratic weighted κ",
    "spearman": "Spearman's ρ",
}
_NO_SKILL = {"auroc": 0.5, "kappa": 0.0, "quadratic_kappa": 0.0, "quadratic_weighted_kappa": 0.0, "mcc": 0.0, "r2": 0.0}


@dataclass(frozen=True)
class Column:
    """The rows of one label column, and what leads among them.

    `metric`, `head`, `features` are those of the primary endpoint where the column has it; else those of its first
    difference with a p-value; else the first metric, and the first of LEADING on last where there are such rows.
    """

    label: str
    rows: tuple[Row, ...]
    metric: str
    head: str
    features: str

    @property
    def kind(self) -> str:
        return str(self.rows[0].get("kind") or "")

    @property
    def draw(self) -> str:
        """How the labels of what leads were drawn: balanced, where any were."""
        return "balanced" if any(drawn_as(row) == "balanced" for row in self.rows) else drawn_as(self.rows[0])

    def values(self, draw: str | None = None, metric: str | None = None) -> list[Row]:
        """The leading values of every start: of the leading head and features, or of the first a start has."""
        plain = [
            row for row in self.rows
            if not row.get("difference_to") and row["metric"] == (metric or self.metric)
            and row.get("class") is None and drawn_as(row) == (draw or self.draw)
        ]  # fmt: skip
        kept = []
        for start in starts_in(plain):
            own = [row for row in plain if row["start"] == start]
            settings = list(dict.fromkeys(setting(row) for row in own))
            lead = (self.head, self.features)
            kept += [row for row in own if setting(row) == (lead if lead in settings else settings[0])]
        return kept

    def differences(self, draw: str | None = None, metric: str | None = None) -> list[Row]:
        """Paired differences between starts on the leading head and features, the metric's macro value."""
        return [
            row for row in self.rows
            if row.get("difference_to") and row["metric"] == (metric or self.metric)
            and row.get("class") is None and drawn_as(row) == (draw or self.draw)
            and compared_setting(row) == (self.head, self.features)
            and setting(row) in ((self.head, self.features), (self.head, WITHOUT_IMAGES))
        ]  # fmt: skip

    def to_imagenet(self, draw: str | None = None, metric: str | None = None) -> list[Row]:
        """Of these, continued minus ImageNet, the fewest labels first."""
        found = [
            r for r in self.differences(draw, metric) if (r["start"], r["difference_to"]) == ("continued", "imagenet")
        ]
        return sorted(found, key=lambda row: size_order(row["labels_per_class"]))

    def equal_labels(self) -> list[Row]:
        """How many labels ImageNet needs for what continued has, the fewest first."""
        found = [
            row for row in self.rows
            if row["metric"] == EQUAL_LABELS and row["start"] == "continued" and drawn_as(row) == self.draw
            and setting(row) == (self.head, self.features)
        ]  # fmt: skip
        return sorted(found, key=lambda row: size_order(row["labels_per_class"]))

    def headline(self, size: int | None) -> Row | None:
        """The primary endpoint; else continued minus ImageNet with `size` labels, or with the fewest there are."""
        for row in self.rows:
            if row.get("primary"):
                return row
        found = self.to_imagenet()
        return next((row for row in found if row["labels_per_class"] == size), found[0] if found else None)

    def digits(self, metric: str | None = None) -> int:
        """Decimals that suit the size of this metric's values."""
        mine = [row for row in self.rows if row["metric"] == (metric or self.metric) and is_number(row.get("value"))]
        plain = [row for row in mine if not row.get("difference_to")]
        largest = max((abs(float(row["value"])) for row in plain or mine), default=1.0)
        return next((digits for limit, digits in ((100, 1), (10, 2), (0.05, 3), (0.005, 4)) if largest >= limit), 5)

    def better(self, metric: str | None = None) -> str:
        """Which direction is better: higher, lower or neither."""
        found = (row.get("better") for row in self.rows if row["metric"] == (metric or self.metric))
        return next((str(one) for one in found if one), "higher")

    def no_skill(self, metric: str | None = None) -> float | None:
        """What guessing gives: .5 for AUROC, the mean of the rows that measured it for AUPRC; None where unknown."""
        name = metric or self.metric
        known = [
            float(row["value"]) for row in self.rows
            if row["metric"] in (f"{name}_no_skill", f"{_bare(name)}_no_skill") and not row.get("difference_to")
            and row.get("class") is None and drawn_as(row) == self.draw and is_number(row["value"])
        ]  # fmt: skip
        return sum(known) / len(known) if known else _NO_SKILL.get(_bare(name))

    def unit(self) -> str:
        """What the labels are counted by: labels per class, level, finding, fifth; labels alone where they are all."""
        sized = [row for row in self.rows if row["labels_per_class"] and row.get("n_labels")]
        if sized and all(row["n_labels"] == row["labels_per_class"] for row in sized):
            return "labels"
        return f"labels per {UNITS.get(self.kind, 'class')}"


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The label columns in order of appearance."""
    found = []
    for label in dict.fromkeys(str(row["label"]) for row in rows):
        own = tuple(row for row in rows if str(row["label"]) == label)
        measured = [row for row in own if row["metric"] != EQUAL_LABELS] or list(own)
        known = {setting(row) for row in measured}
        leading = next(((head, "last") for head in LEADING if (head, "last") in known), None)
        usual = [row for row in measured if setting(row) == leading] or measured
        macro = [row for row in usual if row.get("class") is None] or usual
        lead = next(
            (r for key in ("primary", "p_holm", "p") for r in macro if r.get(key) not in (None, False)), macro[0]
        )
        lead = next((row for row in own if row.get("primary")), lead)
        found.append(Column(label, own, str(lead["metric"]), *setting(lead)))
    return found


def setting(row: Row) -> tuple[str, str]:
    """Head and features of a row."""
    return str(row["head"]), str(row.get("features") or "last")


def compared_setting(row: Row) -> tuple[str, str]:
    """Head and features of what a difference is compared to."""
    head, features = setting(row)
    return str(row.get("difference_to_head") or head), str(row.get("difference_to_features") or features)


def drawn_as(row: Row) -> str:
    """How the labels were drawn: balanced or natural."""
    return str(row.get("draw") or "balanced")


def starts_in(rows: Iterable[Row]) -> list[str]:
    """The starts that occur: the known ones first, others in order of appearance."""
    given = dict.fromkeys(str(row["start"]) for row in rows)
    return [start for start in START_NAMES if start in given] + [s for s in given if s not in START_NAMES]


def start_name(start: str) -> str:
    """How a start is called in figures and tables."""
    return START_NAMES.get(start, start)


def class_metric_name(metric: str, kind: str) -> str:
    """How a metric of a single class is called: macro_auroc is AUROC, a class's balanced accuracy is recall."""
    return "recall" if (metric, kind) == ("balanced_accuracy", "classes") else metric_name(_bare(metric))


def metric_name(metric: str) -> str:
    """How a metric is called: macro_auroc is macro AUROC."""
    if metric.startswith("macro_"):
        return f"macro {metric_name(metric.removeprefix('macro_'))}"
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def sizes_in(rows: Iterable[Row]) -> list[int | None]:
    """The numbers of labels that occur, in order; None (all labels) is the last."""
    return sorted({row["labels_per_class"] for row in rows}, key=size_order)


def size_order(size: int | None) -> float:
    """Sorts numbers of labels; None stands for all of them."""
    return math.inf if size is None else float(size)


def is_number(value: Any) -> bool:
    """Whether a value is there and finite."""
    return value is not None and math.isfinite(float(value))


def verdict(row: Row) -> str:
    """better, worse, higher, lower, unclear or unknown: what a difference's interval, and its p-value if any, allow.

    A bound at zero does not exclude zero; where the row has a p-value (after Holm if given), it must be below .05 too.
    """
    if not all(is_number(row.get(name)) for name in ("value", "low", "high")):
        return "unknown"
    side = 1 if row["low"] > 0 else -1 if row["high"] < 0 else 0
    p = row.get("p_holm") if is_number(row.get("p_holm")) else row.get("p")
    if side == 0 or (is_number(p) and float(p) >= 0.05):  # type: ignore[arg-type]
        return "unclear"
    direction = row.get("better") or "higher"
    if direction == "neither":
        return "higher" if side > 0 else "lower"
    return "better" if (side > 0) == (direction == "higher") else "worse"


def _bare(metric: str) -> str:
    return metric.removeprefix("macro_")
