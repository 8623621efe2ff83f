"""Shortcut audit: what an embedding tells that it should not, whether that tells the label, and scores level by level.

An attribute (site, view, scanner, sharpness) is suspicious where the embedding tells it among images of one class, so
that it is not the disease that is told, and where it tells the label on its own: then a head can score by it. That it
can is no proof that it does, and an attribute may tell the label since it comes with the disease (the view with its
severity): nothing here proves or removes confounding (Zech et al. 2018).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from domainssl.evaluation.far_interval import far_interval
from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval, percentile_levels
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS
from domainssl.heads.head import TrainingHalf
from domainssl.heads.linear import fit_linear_at
from domainssl.heads.strength import DEFAULT_STRENGTH
from domainssl.options import Kind

OF_EACH = 20  # rows of every level that an attribute is learnt from at least, where there are so many
TAUGHT = 1000  # rows of the training half that an attribute is learnt from
FALSE_ALARMS = 0.05  # how often a run says of any attribute that it is told, where none is
RESAMPLES = 4000
LEAST_BEYOND = 2  # resamples beyond an end of an interval
AT_ONCE = 250  # resamples
LEVELS = ("low", "middle", "high")


@final
@dataclass(frozen=True)
class Attribute:
    """What should not matter: a level an image, -1 where unknown, and the levels' names."""

    name: str
    level: Int64[np.ndarray, " n"]
    names: tuple[str, ...]


def of_words(name: str, values: Sequence[Any]) -> Attribute:
    """Words as levels, in their order; None, NaN and "" are unknown."""
    words = ["" if value is None or value != value else str(value) for value in values]
    names = tuple(sorted(set(words) - {""}))
    place = {word: number for number, word in enumerate(names)} | {"": -1}
    return Attribute(name, np.array([place[word] for word in words], np.int64), names)


def of_numbers(name: str, values: Float[np.ndarray, " n"], train: Bool[np.ndarray, " n"]) -> Attribute:
    """Thirds of the training half's numbers; those that are not finite are unknown.

    Numbers of which a third or more are equal fall into fewer levels; where nearly all are, the others are "low".
    """
    known = np.isfinite(values)
    seen = values[known & train]
    edges = np.unique(np.quantile(seen, [1 / 3, 2 / 3])) if len(seen) else np.empty(0)
    edges = edges[edges < seen.max(initial=-np.inf)]
    if len(edges) == 0 and len(np.unique(seen)) > 1:
        edges = seen[seen < seen.max()].max(keepdims=True)
    level = np.searchsorted(edges, values, side="left")
    used = np.unique(level[known])
    place = np.full(len(edges) + 1, -1)
    place[used] = np.arange(len(used))
    names = LEVELS if len(used) == 3 else ("low", "high")[: len(used)]
    return Attribute(name, np.where(known, place[level], -1).astype(np.int64), tuple(names))


def audit(
    attributes: Sequence[Attribute],
    x: Float[np.ndarray, "n d"],
    train: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    labels: Mapping[str, Question],
    scores: Mapping[str, Float64[np.ndarray, "n _"]],
    seed: int,
) -> list[dict[str, Any]]:
    """One entry an attribute, ready for JSON: how well the embedding `x` tells it, how well it tells each label, and
    each label's own score within its levels.

    `labels` are the run's questions on the same rows and `scores` the calibrated predictions of all rows. What is
    told is measured by the macro AUROC on the test half ("among": within images of one class, averaged over classes),
    of heads that learnt from at most TAUGHT rows of the training half. Intervals are a bootstrap over groups, at a
    level that all attributes share FALSE_ALARMS (Bonferroni). Attributes without two levels that have MINIMUM_GROUPS
    groups in both halves are left out. A label's facts are "suspicious" where the embedding tells the attribute among
    images of one class and the attribute alone tells the label, both beyond chance; never so of labels that are no
    classes.
    """
    asked = [attribute for attribute in attributes if _estimable(attribute, train, groups)]
    level = 1 - FALSE_ALARMS / max(1, len(asked))
    found = []
    for number, attribute in enumerate(asked):
        rng = np.random.default_rng([seed, number])
        question = _question(attribute, train, groups)
        said = _learnt(question, x, rng)
        told = _measured(question, said, level, seed)
        entry: dict[str, Any] = {"attribute": attribute.name, "levels": list(attribute.names), "told": told}
        shown = np.eye(len(attribute.names) + 1, dtype=np.float32)[attribute.level]  # unknown is the last column
        entry["labels"] = {}
        for name, label in labels.items():
            facts: dict[str, Any] = {"within": _within(label, scores[name], attribute, seed)}
            if label.by_class:
                facts["among"] = _measured(question, said, level, seed, among=label.y[:, 0])
                facts["told"] = _measured(label, _learnt(label, shown, rng), level, seed)
            lows = [facts[key]["low"] for key in ("among", "told") if key in facts]
            facts["suspicious"] = bool(lows) and all(low is not None and low > 0.5 for low in lows)
            entry["labels"][name] = facts
        found.append(entry)
    return found


def _estimable(attribute: Attribute, train: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> bool:
    """Whether two levels have enough groups in both halves."""

    def frequent(half: Bool[np.ndarray, " n"], level: int) -> bool:
        return len(np.unique(groups[half & (attribute.level == level)])) >= MINIMUM_GROUPS

    return sum(frequent(train, k) and frequent(~train, k) for k in range(len(attribute.names))) >= 2


def _question(attribute: Attribute, train: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Question:
    y = np.where(attribute.level < 0, np.nan, attribute.level.astype(np.float64))[:, None]
    return Question(attribute.name, "classes", y, attribute.names, train, ~train, groups, np.arange(len(y)))


def _learnt(question: Question, x: Float[np.ndarray, "n d"], rng: np.random.Generator) -> Float64[np.ndarray, "u k"]:
    """What a linear head on `x` says of the test half, learnt from some rows of the training half."""
    known = rng.permutation(np.flatnonzero(question.train & question.known))
    classes = question.y[known, 0]
    first = [known[classes == one][:OF_EACH] for one in np.unique(classes)]  # or a rare one may not be among them
    rows = np.unique(np.concatenate([*first, known[: TAUGHT - sum(map(len, first))]]))
    half = TrainingHalf(x[rows], question.groups[rows])
    head = fit_linear_at(half, np.arange(len(rows)), question.y[rows], len(question.outputs), DEFAULT_STRENGTH)
    return question.tested.join(head.predict(x[question.scored]), question.aggregate)


def _measured(
    question: Question,
    predictions: Float64[np.ndarray, "u k"],
    level: float,
    seed: int,
    among: Float64[np.ndarray, " n"] | None = None,
) -> dict[str, Any]:
    """The kind's leading metric on the test half with its interval at `level`; None where either is not estimable.

    `among` are classes of the rows: then the mean of what it is within each that has enough groups.
    """
    kind: Kind = "classes" if question.kind == "ordered" else question.kind
    name, metric = next(iter(TASKS[kind].metrics.items()))
    truth = question.tested.truth
    inside = [np.ones(len(truth), bool)]
    if among is not None:
        of_unit = among[question.scored]
        inside = [of_unit == one for one in np.unique(of_unit[~np.isnan(of_unit)])]
    prediction, groups = question.prediction(predictions, None), question.tested.groups
    resamples = GroupResamples(groups, RESAMPLES, seed)
    blocks = [(start, min(start + AT_ONCE, RESAMPLES)) for start in range(0, RESAMPLES, AT_ONCE)]

    def measure(rows: Bool[np.ndarray, " u"]) -> Float64[np.ndarray, "k r"]:
        """The metric as it is, then in every resample."""
        some = (np.ones((len(truth), 1)), *(resamples.weights(*block) for block in blocks))
        found = [metric.measure(prediction, truth, np.ascontiguousarray(w * rows[:, None])) for w in some]
        return np.concatenate(found, axis=1)

    parts, fewest = [], []
    for rows in inside:
        rarer = [_rarer(question, truth, groups, rows, answer) for answer in range(len(question.answers))]
        answers = [answer for answer, count in enumerate(rarer) if count >= MINIMUM_GROUPS]
        if metric.of == "classes" and answers:
            parts.append(measure(rows)[answers].mean(axis=0))
            fewest.append(min(rarer[answer] for answer in answers))
        elif metric.of == "all" and question.not_estimable(metric) is None:
            parts.append(measure(rows)[0])
            fewest.append(question.rarer_groups(metric))
    facts: dict[str, Any] = {"metric": name, "value": None, "low": None, "high": None, "groups": question.n_groups}
    if not parts:
        return facts
    values = np.mean(parts, axis=0)
    facts["value"] = float(values[0])
    tail, _ = percentile_levels(level, max(2, min(fewest)))
    if tail * RESAMPLES >= LEAST_BEYOND:  # else the interval would end at the outermost resample
        facts["low"], facts["high"] = percentile_interval(values[1:], level, max(2, min(fewest)))
    elif metric.of == "classes":  # areas under a curve
        facts["low"], facts["high"] = far_interval(facts["value"], values[1:], level, max(2, min(fewest)))
    return facts


def _rarer(
    question: Question,
    truth: Float64[np.ndarray, "u t"],
    groups: Shaped[np.ndarray, " u"],
    rows: Bool[np.ndarray, " u"],
    answer: int,
) -> int:
    """How many groups of these rows have the answer, or have not, whichever are fewer."""
    column = truth[:, answer] if question.kind == "multilabel" else truth[:, 0]
    sought = 1 if question.kind in ("multilabel", "yes_no") else answer
    known = rows & ~np.isnan(column)
    return min(len(np.unique(groups[known & (column == sought)])), len(np.unique(groups[known & (column != sought)])))


def _within(
    label: Question, scores: Float64[np.ndarray, "n k"], attribute: Attribute, seed: int
) -> list[dict[str, Any]]:
    """The label's own score among the test rows of each level, with the number of their groups: exploratory."""
    found = []
    for k, name in enumerate(attribute.names):
        inside = label.test & (attribute.level == k)
        if not (inside & label.known).any():
            continue
        try:
            part = Question(
                label.label, label.kind, label.y, label.outputs, label.train, inside, label.groups, label.units,
                label.aggregate,
            )  # fmt: skip
        except ValueError:  # one class alone
            groups = len(np.unique(label.groups[inside & label.known]))
            found.append({"level": name, "metric": None, "value": None, "low": None, "high": None, "groups": groups})
            continue
        predictions = part.tested.join(scores[part.scored], label.aggregate)
        found.append({"level": name, **_measured(part, predictions, 0.95, seed)})
    return found
