"""How well a linear probe does with few labels, for features from several starts, with paired differences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Shaped

from domainssl.evaluation.draws import nested_order
from domainssl.evaluation.intervals import group_weights, percentile_interval
from domainssl.evaluation.metrics import balanced_accuracy, macro_auroc
from domainssl.heads.linear import fit_linear, standardisation

METRICS = ("macro_auroc", "balanced_accuracy")
_WEIGHTS_AT_ONCE = 4_000_000  # rows times resamples: 32 MB a copy in float64


class MetricRow(TypedDict):
    """One row of metrics.json. `low` and `high` are None where no resample defines the metric."""

    label: str
    start: str
    head: str
    labels_per_class: int
    metric: str
    value: float
    low: float | None
    high: float | None
    n_groups: int  # of the test half, with labels
    n_labels: int  # trained on, in each draw
    difference_to: NotRequired[str]
    note: NotRequired[str]


def label_efficiency(
    features: Mapping[str, Float[np.ndarray, "n _"]],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    train: Bool[np.ndarray, " n"],
    test: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    *,
    label: str,
    labels_per_class: Sequence[int],
    draws: int,
    resamples: int,
    seed: int,
) -> list[MetricRow]:
    """Scores linear probes on the test half for every start and number of labels, then every pair of starts.

    `features` maps a start ("random", "imagenet", "continued") to one row an object, `labels` are indices into
    `classes`, -1 where unlabelled, `label` names the label column. Each probe is standardised by all training rows and
    fitted to at most m rows a class, in `draws` random draws that are nested over m and the same for every start. A
    value is the mean over draws of the metric on the test rows. Its 95 % interval is a percentile bootstrap that draws
    test groups and draws of labels with replacement, jointly; all starts share the resamples, so a difference row,
    `start` minus `difference_to` (each start minus those named before it), is paired. With few draws the interval
    understates what the choice of labels adds.

    The test half is scored and nothing else. Left out, and named in `note`: classes without labelled test rows (the
    probe still may predict them) and the test rows of classes without labelled training rows. Raises ValueError where
    fewer than two classes have labels in training, or in both halves, where fewer than two test groups have labels,
    where a row lies in both halves, and where features hold NaN or infinity.
    """
    scored, note = _scored_rows(label, labels, classes, train, test)
    n_groups = len(np.unique(groups[scored]))
    if n_groups < 2:
        raise ValueError(f"{label}: {n_groups} group with labels in the test half; intervals need two or more")
    if not labels_per_class or min(labels_per_class) < 1 or draws < 1 or resamples < 1:
        raise ValueError(
            f"{label}: labels_per_class {labels_per_class}, draws {draws}, resamples {resamples} are below 1"
        )
    for start, x in features.items():
        _refuse_not_finite(start, x, train | scored)

    bootstrap_seed, *draw_seeds = np.random.SeedSequence(seed).spawn(1 + draws)
    orders = [nested_order(labels, train, np.random.default_rng(s), groups) for s in draw_seeds]
    truth = labels[scored]
    predictions = [
        probabilities
        for x in features.values()
        for probabilities in _probabilities(x, labels, len(classes), train, scored, orders, labels_per_class)
    ]
    shape = (len(METRICS), len(features), len(labels_per_class), draws)
    ones = np.ones((1, len(truth)), dtype=np.float32)
    value = _measure(predictions, truth, ones).reshape(shape).mean(axis=-1)

    rng = np.random.default_rng(bootstrap_seed)
    draw_weights = rng.multinomial(draws, [1 / draws] * draws, size=resamples) / draws  # r d
    at_once = max(1, _WEIGHTS_AT_ONCE // len(truth))
    resampled = np.empty((*shape[:-1], resamples))
    for begin in range(0, resamples, at_once):
        end = min(begin + at_once, resamples)
        weights = group_weights(groups[scored], end - begin, rng)
        measured = _measure(predictions, truth, weights).reshape(*shape, end - begin)
        resampled[..., begin:end] = np.einsum("msldr,rd->mslr", measured, draw_weights[begin:end])

    n_labels = [int(((orders[0] >= 0) & (orders[0] < per_class)).sum()) for per_class in labels_per_class]
    starts = list(features)
    pairs = [(s, None) for s in range(len(starts))] + [(s, o) for s in range(len(starts)) for o in range(s)]
    rows = []
    for m, metric in enumerate(METRICS):
        for s, other in pairs:
            for size, per_class in enumerate(labels_per_class):
                estimate, around = value[m, s, size], resampled[m, s, size]
                if other is not None:
                    estimate, around = estimate - value[m, other, size], around - resampled[m, other, size]
                low, high = percentile_interval(around)
                row: MetricRow = {
                    "label": label,
                    "start": starts[s],
                    "head": "linear",
                    "labels_per_class": int(per_class),
                    "metric": metric,
                    "value": float(estimate),
                    "low": None if np.isnan(low) else low,
                    "high": None if np.isnan(high) else high,
                    "n_groups": n_groups,
                    "n_labels": n_labels[size],
                }
                if other is not None:
                    row["difference_to"] = starts[other]
                if note:
                    row["note"] = note
                rows.append(row)
    return rows


def _scored_rows(
    label: str,
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    train: Bool[np.ndarray, " n"],
    test: Bool[np.ndarray, " n"],
) -> tuple[Bool[np.ndarray, " n"], str]:
    both = int((train & test).sum())
    if both:
        raise ValueError(f"{label}: {both} rows lie in both halves; give each group one of train and test")
    trained = np.unique(labels[train & (labels >= 0)])
    if len(trained) < 2:
        raise ValueError(
            f"{label}: {len(trained)} class(es) with labels in the training half; a probe needs two or more, label more"
        )
    tested = np.unique(labels[test & (labels >= 0)])
    scored = test & np.isin(labels, trained)
    if len(np.intersect1d(trained, tested)) < 2:
        raise ValueError(f"{label}: fewer than two classes have labels in both halves; label more test objects")
    left_out = [f"{name} (no labelled test rows)" for name in _names(classes, np.setdiff1d(trained, tested))]
    left_out += [f"{name} (no labelled training rows)" for name in _names(classes, np.setdiff1d(tested, trained))]
    return scored, f"not scored: {', '.join(left_out)}" if left_out else ""


def _names(classes: Sequence[str], indices: Int[np.ndarray, " k"]) -> list[str]:
    return [classes[int(i)] for i in indices]


def _probabilities(
    x: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    n_classes: int,
    train: Bool[np.ndarray, " n"],
    scored: Bool[np.ndarray, " n"],
    orders: Sequence[Int64[np.ndarray, " n"]],
    labels_per_class: Sequence[int],
) -> Iterator[Float64[np.ndarray, "m k"]]:
    """What the probes say about the scored rows, for every number of labels, for every draw."""
    mean, scale = standardisation(x[train])
    for per_class in labels_per_class:
        for order in orders:
            rows = np.flatnonzero((order >= 0) & (order < per_class))
            head = fit_linear(x[rows], labels[rows], n_classes, mean=mean, scale=scale)
            yield head.probabilities(x[scored])


def _measure(
    predictions: Sequence[Float64[np.ndarray, "m k"]], truth: Int[np.ndarray, " m"], weights: Float[np.ndarray, "r m"]
) -> Float64[np.ndarray, "metric p r"]:
    """Every metric of every prediction under every row of weights, in the order of METRICS."""
    areas = [macro_auroc(p, truth, weights) for p in predictions]
    recalls = [balanced_accuracy(p.argmax(axis=1), truth, p.shape[1], weights) for p in predictions]
    return np.array([areas, recalls])


def _refuse_not_finite(start: str, x: Float[np.ndarray, "n d"], used: Bool[np.ndarray, " n"]) -> None:
    bad = int((~np.isfinite(x[used])).any(axis=1).sum())
    if bad:
        raise ValueError(f"features of {start!r}: {bad} of {int(used.sum())} rows hold NaN or infinity; leave them out")
