"""Rows of metrics.json from curves: values, paired differences, and how many reference labels are worth as much."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from domainssl.evaluation.contenders import Cell
from domainssl.evaluation.intervals import percentile_interval
from domainssl.evaluation.label_ratio import EqualLabels, equal_labels, equal_labels_with_intervals
from domainssl.evaluation.measuring import Curve, Measuring
from domainssl.evaluation.multiplicity import bootstrap_p, holm

# In metrics.json `value` is None where a metric is not estimable or undefined, and `low` and `high` also where fewer
# than 20 draws were made; `note` says why. `labels_per_class` counts every label that the head, its strength and its
# thresholds saw, but not those by which the exported checkpoint was chosen (the page says how many); `n_labels` are
# those of the first draw, all classes together. `difference_to` is a start: what the row's start, head and features
# are better by than that start's, with the head and features named beside it. `p` stands on the confirmatory
# differences, `p_holm` on all of them but the one that is `primary`. In rows whose metric is "equal_labels", `beyond`
# and `below` name those of value, low and high that lie outside of the numbers of labels tried; the largest or
# smallest stands in their place.
MetricRow = TypedDict(
    "MetricRow",
    {
        "label": str,
        "kind": str,
        "start": str,
        "features": str,
        "head": str,
        "draw": str,
        "labels_per_class": int,
        "n_labels": int,
        "metric": str,
        "better": str,
        "value": float | None,
        "low": float | None,
        "high": float | None,
        "n_groups": int,
        "class": str,
        "difference_to": str,
        "difference_to_head": str,
        "difference_to_features": str,
        "p": float,
        "p_holm": float,
        "primary": bool,
        "beyond": list[str],
        "below": list[str],
        "note": str,
    },
    total=False,
)
Curves = Mapping[tuple[str, str | None], Curve]
EQUAL_LABELS, IMAGENET = "equal_labels", "imagenet"


def rows_of(measuring: Measuring, curves: Mapping[Cell, Curves], reference: Cell) -> list[MetricRow]:
    """All rows of one label and kind of draw, the reference head's and features' first.

    Differences, all paired: each start minus those named before it for the reference's head and features; every other
    cell minus the reference, and minus the reference's start with its own head and features.
    """
    main = [cell for cell in curves if _alike(cell, reference)]
    others = [cell for cell in curves if cell not in main]
    rows = [row for cell in main for row in _values(measuring, cell, curves[cell], by_class=True)]
    for number, cell in enumerate(main):
        for other in main[:number]:
            rows += _differences(measuring, cell, other, curves, by_class=reference == other)
    for cell in main if reference.start == IMAGENET else []:
        if cell != reference:
            rows += _equal_labels(measuring, cell, curves[cell], reference, curves[reference])
    rows += [row for cell in others for row in _values(measuring, cell, curves[cell], by_class=False)]
    for cell in others:
        own = Cell(reference.start, cell.features, cell.head)
        for other in (own, reference):
            if other in curves and other != cell:
                rows += _differences(measuring, cell, other, curves, by_class=False)
    return rows


def mark_primary(rows: Sequence[MetricRow], label: str, metric: str, labels_per_class: int) -> None:
    """Name the primary endpoint among the confirmatory differences (those with a p), and adjust the others' by Holm."""
    family = [row for row in rows if "p" in row]
    for row in family:
        if (row["label"], row["metric"], row["labels_per_class"]) == (label, metric, labels_per_class):
            row["primary"] = True
    rest = [row for row in family if "primary" not in row]
    for row, adjusted in zip(rest, holm([row["p"] for row in rest]), strict=True):
        row["p_holm"] = float(adjusted)


def confirm(rows: Sequence[MetricRow], measuring: Measuring, curves: Mapping[Cell, Curves], reference: Cell) -> None:
    """Give the confirmatory differences their p: continued minus ImageNet, in the primary metric, at every size."""
    cell = Cell("continued", reference.features, reference.head)
    metric = next(iter(measuring.metrics))
    if cell not in curves or reference.start != IMAGENET:
        return
    ours, theirs = curves[cell][metric, None], curves[reference][metric, None]
    if ours.resampled.shape[1] == 0:
        return
    for row in rows:
        same = (row["start"], row["features"], row["head"], row["metric"]) == (*_key(cell), metric)
        if same and row.get("difference_to") == reference.start and "class" not in row and row["value"] is not None:
            size = measuring.sizes.index(row["labels_per_class"])
            groups = max(2, measuring.question.rarer_groups(measuring.metrics[metric]))
            p = bootstrap_p(ours.resampled[size] - theirs.resampled[size], groups)
            if not np.isnan(p):
                row["p"] = p


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell.start, cell.features, cell.head


def _alike(cell: Cell, reference: Cell) -> bool:
    """The reference's head on its features; a baseline without images has features of its own."""
    return cell.head == reference.head and cell.features in (reference.features, "columns")


def _values(measuring: Measuring, cell: Cell, curves: Curves, *, by_class: bool) -> list[MetricRow]:
    rows = []
    for (metric, answer), curve in curves.items():
        if answer is None or by_class:
            rows += _rows(measuring, cell, metric, answer, curve)
    return rows


def _differences(
    measuring: Measuring, cell: Cell, other: Cell, curves: Mapping[Cell, Curves], *, by_class: bool
) -> list[MetricRow]:
    rows = []
    for (metric, answer), curve in curves[cell].items():
        theirs = curves[other].get((metric, answer))
        if theirs is None or measuring.metrics[metric].better == "neither" or (answer is not None and not by_class):
            continue
        for row in _rows(measuring, cell, metric, answer, curve.minus(theirs)):
            row["difference_to"] = other.start
            row["difference_to_head"] = other.head
            row["difference_to_features"] = other.features
            rows.append(row)
    return rows


def _rows(measuring: Measuring, cell: Cell, metric: str, answer: str | None, curve: Curve) -> list[MetricRow]:
    question = measuring.question
    of = measuring.metrics[metric]
    place = None if answer is None else question.answers.index(answer)
    why_not = question.not_estimable(of, place)
    rows = []
    for size, (labels, value) in enumerate(zip(measuring.sizes, curve.value, strict=True)):
        low, high = percentile_interval(curve.resampled[size], n_groups=max(2, question.rarer_groups(of, place)))
        row = _row(measuring, cell, metric, of.better, labels)
        if why_not is None:
            row |= {"value": _or_none(value), "low": _or_none(low), "high": _or_none(high)}
        if answer is not None:
            row["class"] = answer
        if note := why_not or question.note:
            row["note"] = note
        rows.append(row)
    return rows


def _row(measuring: Measuring, cell: Cell, metric: str, better: str, labels: int) -> MetricRow:
    question = measuring.question
    return {
        "label": question.label,
        "kind": question.kind,
        "start": cell.start,
        "features": cell.features,
        "head": cell.head,
        "draw": measuring.draw,
        "labels_per_class": int(labels),
        "n_labels": measuring.n_labels(labels),
        "metric": metric,
        "better": better,
        "value": None,
        "low": None,
        "high": None,
        "n_groups": question.n_groups,
    }


def _equal_labels(measuring: Measuring, cell: Cell, ours: Curves, reference: Cell, theirs: Curves) -> list[MetricRow]:
    """With how many labels the reference does as well, in the primary metric."""
    metric, of = next(iter(measuring.metrics.items()))
    sizes, curve, other = measuring.sizes, ours[metric, None], theirs[metric, None]
    why_not = measuring.question.not_estimable(of)
    assert of.better != "neither"
    if curve.resampled.shape[1]:
        found = equal_labels_with_intervals(
            other.value,
            curve.value,
            other.resampled.T,
            curve.resampled.T,
            sizes,
            of.better,
            n_groups=max(2, measuring.question.rarer_groups(of)),
        )
    else:
        values = equal_labels(other.value, curve.value, sizes, of.better)
        found = tuple(EqualLabels(m, float(v), np.nan, np.nan) for m, v in zip(sizes, values, strict=True))
    rows = []
    for equal in found:
        row = _row(measuring, cell, EQUAL_LABELS, "higher", equal.labels)
        row |= {"difference_to": reference.start, "difference_to_head": reference.head}
        row["difference_to_features"] = reference.features
        ends: dict[str, Any] = {"value": equal.value, "low": equal.low, "high": equal.high}
        if why_not is None:
            row |= {name: _or_none(np.clip(end, sizes[0], sizes[-1])) for name, end in ends.items()}  # type: ignore[typeddict-item]
            for key, outside in (("beyond", np.inf), ("below", -np.inf)):
                if names := [name for name, end in ends.items() if end == outside]:
                    row[key] = names  # type: ignore[literal-required]
        else:
            row["note"] = why_not
        rows.append(row)
    return rows


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
