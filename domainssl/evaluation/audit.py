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

from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS
from domainssl.heads.head import TrainingHalf
from domainssl.heads.linear import fit_linear_at
from domainssl.heads.strength import DEFAULT_STRENGTH
from domainssl.options import Kind

TAUGHT = 1000  # rows of the training half that an attribute is learnt from
FALSE_ALARMS = 0.05  # how often a run says of any attribute that it is told, where none is
RESAMPLES = 2000
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

    Numbers of which a third or more are equal fall into fewer levels.
    """
    known = np.isfinite(values)
    seen = values[known & train]
    edges = np.unique(np.quantile(seen, [1 / 3, 2 / 3])) if len(seen) else np.empty(0)
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

    `labels` are the run's questions on the same rows and `scores` what their heads predict of all rows. What is told is
    measured by the macro AUROC on the test half ("among": within images of one class, averaged over classes), of heads
    that learnt from at most TAUGHT rows of the training half. Intervals are a bootstrap over groups, at a level that
    all attributes share FALSE_ALARMS (Bonferroni). Attributes with fewer than two levels of MINIMUM_GROUPS groups in
    either half are left out.
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
            entry["labels"][name] = facts
        found.append(entry)
    return found


def suspicious(entry: Mapping[str, Any], label: str) -> bool:
    """Whether the embedding tells the attribute among images of one class, and the attribute the label, beyond chance.

    Never so of labels that are no classes: of these it is not measured.
    """
    facts = entry["labels"][label]
    return all(key in facts and facts[key]["low"] is not None and facts[key]["low"] > 0.5 for key in ("among", "told"))


def _estimable(attribute: Attribute, train: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> bool:
    def levels(half: Bool[np.ndarray, " n"]) -> int:
        counts = [len(np.unique(groups[half & (attribute.level == k)])) for k in range(len(attribute.names))]
        return sum(count >= MINIMUM_GROUPS for count in counts)

    return min(levels(train), levels(~train)) >= 2


def _question(attribute: Attribute, train: Bool[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> Question:
    y = np.where(attribute.level < 0, np.nan, attribute.level.astype(np.float64))[:, None]
    return Question(attribute.name, "classes", y, attribute.names, train, ~train, groups, np.arange(len(y)))


def _learnt(question: Question, x: Float[np.ndarray, "n d"], rng: np.random.Generator) -> Float64[np.ndarray, "u k"]:
    """What a linear head on `x` says of the test half, learnt from some rows of the training half."""
    known = np.flatnonzero(question.train & question.known)
    rows = np.sort(rng.permutation(known)[:TAUGHT])
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
    """The kind's leading metric on the test half with its interval at `level`; None where it is not estimable.

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
    weights = np.column_stack([np.ones(len(truth)), resamples.weights(0, RESAMPLES)])
    parts, fewest = [], []
    for rows in inside:
        rarer = [_rarer(question, truth, groups, rows, answer) for answer in range(len(question.answers))]
        answers = [answer for answer, count in enumerate(rarer) if count >= MINIMUM_GROUPS]
        if metric.of == "classes" and answers:
            own = metric.measure(prediction, truth, np.ascontiguousarray(weights * rows[:, None]))[answers]
            parts.append(own.mean(axis=0))
            fewest.append(min(rarer[answer] for answer in answers))
        elif metric.of == "all" and question.not_estimable(metric) is None:
            parts.append(metric.measure(prediction, truth, weights)[0])
            fewest.append(question.rarer_groups(metric))
    facts: dict[str, Any] = {"metric": name, "value": None, "low": None, "high": None, "groups": question.n_groups}
    if not parts:
        return facts
    values = np.mean(parts, axis=0)
    low, high = percentile_interval(values[1:], level, max(2, min(fewest)))
    return {**facts, "value": float(values[0]), "low": float(low), "high": float(high)}


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
