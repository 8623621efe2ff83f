"""How well a head does for the old and the young, the bright and the faint: every metric level by level, and gaps.

All of it is exploratory. Whether a label's score differs between the levels of an attribute is asked once an attribute,
of one metric (`compared_metric`): over all pairs of levels by max-T, then over all attributes and labels of a run by
Holm. The bootstrap draws groups for all levels at once, so that a patient who is in two of them is no fresh evidence.
Of 200 simulated runs of five attributes without a gap, 1 to 2 % named one (150 test groups of two images, three
levels).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from domainssl.evaluation.audit import Attribute
from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval, percentile_levels
from domainssl.evaluation.metric import Metric, Prediction
from domainssl.evaluation.multiplicity import holm, largest_p
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS
from domainssl.evaluation.units import Units
from domainssl.options import Kind

FALSE_ALARMS = 0.05  # how often a run names any gap, where there is none
RESAMPLES = 2000
AT_ONCE = 250  # resamples
MOST_UNITS = 10_000  # of the test half that are asked about, at random where there are more


@final
@dataclass(frozen=True)
class Answered:
    """A label, what its head says of all rows (calibrated where the run could), and where a score becomes a yes."""

    question: Question
    scores: Float64[np.ndarray, "n k"]
    thresholds: Float64[np.ndarray, " a"] | None = None


@final
@dataclass(frozen=True)
class _Scored:
    """The units that are asked about: what is said of them, what is true, whose they are, how often each is drawn."""

    prediction: Prediction
    truth: Float64[np.ndarray, "u t"]
    groups: Shaped[np.ndarray, " u"]
    rows: Int64[np.ndarray, " u"]  # among the label's units
    resamples: GroupResamples


@final
@dataclass(frozen=True)
class _Level:
    """One level's counts, and the metric that is compared: as it is, then in every resample, a row an answer."""

    name: str
    objects: int
    groups: int
    rarer: Int64[np.ndarray, " a"]
    compared: Float64[np.ndarray, "k r"]


def subgroups(
    attributes: Sequence[Attribute], labels: Sequence[Answered], seed: int, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """One entry a label, ready for JSON: "levels", every metric in each level of each attribute, and "gaps".

    Intervals are 95 % each, percentiles of a bootstrap over test groups, expanded for few of them. An answer of which a
    level has fewer than MINIMUM_GROUPS groups with, or without, counts in none of its means; where none is left, or a
    level has fewer groups altogether, the value is None. A gap is between the two levels of an attribute that differ
    most clearly in one metric (`compared_metric`), each by the mean over those answers that both can be asked about;
    `p_holm` is None where no two levels can be compared, and `noticed` the gap below which nothing would be said of
    these two. Attributes without two levels in the test half are left out.
    """
    entries, chance = [], []
    for number, label in enumerate(labels):
        question = label.question
        entry: dict[str, Any] = {"label": question.label, "kind": question.kind, "levels": [], "gaps": []}
        scored = _scored(label, np.random.default_rng([seed, number]), resamples, seed)
        for attribute in attributes:
            level = unit_levels(attribute, question)[scored.rows]
            if len(np.unique(level[level >= 0])) < 2:
                continue
            found = [
                _measured(label, scored, attribute.name, name, level == place, entry["levels"])
                for place, name in enumerate(attribute.names)
                if (level == place).any()
            ]
            gap, chance_of = _gap(question, attribute.name, found)
            entry["gaps"].append(gap)
            chance.append(chance_of)
        entries.append(entry)
    gaps = [gap for entry in entries for gap in entry["gaps"]]
    adjusted = holm([np.nan if gap["p"] is None else gap["p"] for gap in gaps])
    asked = sum(gap["p"] is not None for gap in gaps)
    for gap, p, chance_of in zip(gaps, adjusted, chance, strict=True):
        gap["p_holm"] = None if np.isnan(p) else float(p)
        gap["noticed"] = None if chance_of is None else _noticed(*chance_of, FALSE_ALARMS / asked)
    return entries


def _scored(label: Answered, rng: np.random.Generator, resamples: int, seed: int) -> _Scored:
    question = label.question
    tested: Units = question.tested
    predictions = tested.join(label.scores[question.scored], question.aggregate)
    known = np.flatnonzero(~np.isnan(predictions).any(axis=1))
    rows = np.sort(rng.permutation(known)[:MOST_UNITS])
    groups = tested.groups[rows]
    prediction = question.prediction(predictions[rows], label.thresholds)
    return _Scored(prediction, tested.truth[rows], groups, rows, GroupResamples(groups, resamples, seed))


def unit_levels(attribute: Attribute, question: Question) -> Int64[np.ndarray, " u"]:
    """Each unit's level; -1 where its images have several, or one that is unknown."""
    member, level = question.tested.member, attribute.level[question.scored]
    low, high = (np.full(len(question.tested.truth), fill, np.int64) for fill in (np.iinfo(np.int64).max, -1))
    kept = member >= 0
    np.minimum.at(low, member[kept], level[kept])
    np.maximum.at(high, member[kept], level[kept])
    return np.where(low == high, low, -1)


def _measured(
    label: Answered,
    scored: _Scored,
    attribute: str,
    name: str,
    inside: Bool[np.ndarray, " u"],
    levels: list[dict[str, Any]],
) -> _Level:
    """Appends the level's entry to `levels`."""
    question, truth, groups = label.question, scored.truth[inside], scored.groups[inside]
    prediction = Prediction(
        scored.prediction.scores[inside],
        scored.prediction.thresholds,
        scored.prediction.prevalence,
        scored.prediction.outlier,
    )
    counted = len(np.unique(groups))
    rarer = rarer_groups(question, truth, groups)
    values = _values(prediction, truth, scored.resamples, inside, question)
    metrics = []
    for metric_name, of in _metrics(prediction, question).items():
        answers = np.flatnonzero(rarer >= MINIMUM_GROUPS)
        few = int(rarer[answers].min(initial=counted)) if of.of == "classes" or question.kind == "yes_no" else counted
        estimable = counted >= MINIMUM_GROUPS and (len(answers) > 0 or (of.of == "all" and question.kind != "yes_no"))
        row: dict[str, Any] = {"metric": metric_name, "better": of.better, "value": None, "low": None, "high": None}
        if estimable:
            mean = _mean(values[metric_name], answers if of.of == "classes" else np.array([0]))
            row["value"] = _or_none(mean[0])
            low, high = percentile_interval(mean[1:], n_groups=max(2, few))
            if low < high:  # else all were right, or none, of which resamples know no other outcome
                row |= {"low": float(low), "high": float(high)}
        if of.of == "classes" and len(question.answers) > 1:
            row["answers"] = len(answers)
        metrics.append(row)
    levels.append(
        {
            "attribute": attribute,
            "level": name,
            "objects": len(truth),
            "groups": counted,
            "of_answers": len(question.answers),
            "metrics": metrics,
        }
    )
    return _Level(name, len(truth), counted, rarer, values[compared_metric(question.kind)])


def compared_metric(kind: Kind) -> str:
    """By what levels are compared: the kind's leading metric, but for those that hang on how much the truth varies in a
    level: R2 falls where it varies little, and a cross-entropy holds the truth's own."""
    return {"real": "mad", "votes": "vote_error"}.get(kind) or next(iter(TASKS[kind].metrics))


def _metrics(prediction: Prediction, question: Question) -> Mapping[str, Metric]:
    """The kind's metrics, of which this prediction has all that they need."""
    return {
        name: metric
        for name, metric in TASKS[question.kind].metrics.items()
        if all(getattr(prediction, need) is not None for need in metric.needs)
    }


def _values(
    prediction: Prediction,
    truth: Float64[np.ndarray, "v t"],
    resamples: GroupResamples,
    inside: Bool[np.ndarray, " u"],
    question: Question,
) -> dict[str, Float64[np.ndarray, "k _"]]:
    """Every metric as it is, then in every resample."""
    count = resamples.resamples
    blocks = [(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]
    parts: dict[str, list[np.ndarray]] = {}
    for begin, end in [(0, 0), *blocks]:
        weights = np.ascontiguousarray(resamples.weights(begin, end)[inside]) if end else np.ones((len(truth), 1))
        for name, metric in _metrics(prediction, question).items():
            parts.setdefault(name, []).append(metric.measure(prediction, truth, weights))
    return {name: np.concatenate(found, axis=1) for name, found in parts.items()}


def rarer_groups(
    question: Question, truth: Float64[np.ndarray, "u t"], groups: Shaped[np.ndarray, " u"]
) -> Int64[np.ndarray, " a"]:
    """Of each answer how many groups have it, or have it not, whichever are fewer; no answers of ordered levels, real
    values and votes."""
    if question.kind not in ("classes", "yes_no", "multilabel"):
        return np.empty(0, np.int64)
    found = []
    for answer in range(len(question.answers)):
        column = truth[:, answer] if question.kind == "multilabel" else truth[:, 0]
        sought = answer if question.kind == "classes" else 1
        known = ~np.isnan(column)
        found.append(
            min(len(np.unique(groups[known & (column == sought)])), len(np.unique(groups[known & (column != sought)])))
        )
    return np.array(found, np.int64)


def _gap(
    question: Question, attribute: str, levels: Sequence[_Level]
) -> tuple[dict[str, Any], tuple[Float64[np.ndarray, " r"], int] | None]:
    """The clearest difference of two levels; how far chance takes the farthest of all, in its unit, and the groups of
    the rarer side of these two."""
    name = compared_metric(question.kind)
    of = TASKS[question.kind].metrics[name]
    gap: dict[str, Any] = {"attribute": attribute, "metric": name, "better": of.better, "levels": None, "p": None}
    pairs, means, fewest = [], [], []
    for pair in combinations(levels, 2):
        if of.of == "classes":
            answers = np.flatnonzero(np.min([level.rarer for level in pair], axis=0) >= MINIMUM_GROUPS)
            few = [int(level.rarer[answers].min(initial=level.groups)) for level in pair]
        else:
            answers, few = np.array([0]), [level.groups for level in pair]
        if len(answers) and min(few) >= MINIMUM_GROUPS:
            pairs.append(pair)
            means.append(np.stack([_mean(level.compared, answers) for level in pair]))
            fewest.append(min(few))
    if not pairs:
        return gap, None
    differences = np.array([first - second for first, second in means])
    groups = np.array(fewest, np.int64)
    p, place = largest_p(differences[:, 0], differences[:, 1:], groups)
    if place < 0:
        return gap, None
    spread = np.nanstd(differences[:, 1:], axis=1)
    used = spread > 0
    away = np.abs(differences[used, 1:] - differences[used, :1]) / spread[used, None]
    low, high = percentile_interval(differences[place, 1:], n_groups=fewest[place])
    order = (0, 1) if differences[place, 0] >= 0 else (1, 0)  # the higher value first
    ends = (low, high) if order == (0, 1) else (-high, -low)
    gap |= {
        "levels": [pairs[place][side].name for side in order],
        "values": [float(means[place][side, 0]) for side in order],
        "objects": [pairs[place][side].objects for side in order],
        "groups": [pairs[place][side].groups for side in order],
        "pairs": len(pairs),
        "difference": abs(float(differences[place, 0])),
        "low": float(ends[0]),
        "high": float(ends[1]),
        "p": p,
    }
    return gap, (np.nan_to_num(away).max(axis=0) * spread[place], fewest[place])


def _noticed(away: Float64[np.ndarray, " r"], groups: int, p: float) -> float:
    """The difference whose p-value is `p`; beyond what the resamples reach, the farthest of them."""
    tail, _ = percentile_levels(1 - p, max(2, groups))
    return float(np.quantile(away, 1 - min(1.0, 2 * tail)))


def _mean(values: Float64[np.ndarray, "k r"], answers: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " r"]:
    """The mean over the answers; NaN where it is undefined for one of them."""
    return np.asarray(values[answers].mean(axis=0))


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
