"""What a head that learnt at one site is worth at another: trained on each level of an attribute, tested on every one.

Each of DRAWS heads learns from a random four fifths of a level's training groups, of each class as many labels as at
every other level. What other patients there would have taught is estimated from how these heads differ, by the share of
labels that each has seen (delete-d jackknife, Shao and Wu 1989), since a site's own luck must not pass for a loss. A
loss is the difference to heads that learnt at the tested level itself, on the same test objects. The pattern
is Zech et al. 2018, whose pneumonia network fell from an AUROC of .931 at its own hospitals to .815 at another.
Of 40 simulated runs of two sites that are one population, one named a loss with 150 training groups at each, none with
60, with 70 and 230, with other prevalences, or of four sites: intervals are up to 1.6 times too wide where labels are
few.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped

from domainssl.evaluation.audit import Attribute
from domainssl.evaluation.draws import nested_order
from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval
from domainssl.evaluation.metric import Metric
from domainssl.evaluation.multiplicity import bootstrap_p, holm
from domainssl.evaluation.question import Question
from domainssl.evaluation.subgroups import rarer_groups, unit_levels
from domainssl.evaluation.task import TASKS
from domainssl.evaluation.units import Units
from domainssl.heads.head import Fit, FittedHead, TrainingHalf

DRAWS = 20
KEPT = 0.8  # of a level's training groups, in each draw
RESAMPLES = 2000
MOST_LEVELS = 6  # those with most test groups, where there are more
MOST_LABELS = 100  # of a class
LEAST_LABELS = 5
MOST_ROWS = 10_000  # labelled ones of a level's training half that labels are drawn from
MOST_UNITS = 5000  # of a level's test half


@final
@dataclass(frozen=True)
class _Tested:
    """A level's scored units: their images among the question's rows, which unit each is of, and how often a unit is
    drawn."""

    images: Int64[np.ndarray, " i"]
    units: Units
    resamples: GroupResamples

    @property
    def truth(self) -> Float64[np.ndarray, "u t"]:
        return self.units.truth


def transfer(
    attribute: Attribute,
    label: Question,
    x: Float[np.ndarray, "n d"],
    fit: Fit,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Any] | None:
    """Facts ready for JSON; None where the attribute has fewer than two levels that can be compared.

    `x` are features of the question's rows. A level is compared where it has MINIMUM_GROUPS groups in the training
    half, and in the test half as many with and without one of the answers at least; a score is the mean over those
    answers that all levels can be asked about and that have LEAST_LABELS labels in every draw. "cells" hold the kind's
    leading metric of heads that learnt at "trained" on the test half of "tested", the mean over draws; where these are
    two, "loss" is how much worse than the heads that learnt at "tested" they are (above 0: worse), adjusted by Holm
    over all cells, and "drop" how much worse than on their own level's test half, which may be the easier one.
    """
    levels = _comparable(attribute, label)
    if len(levels) < 2:
        return None
    name, metric = next(iter(TASKS[label.kind].metrics.items()))
    rng = np.random.default_rng([seed, 91])
    heads, labels, scale = _heads(attribute, levels, label, x, fit, rng)
    tests = {level: _tested(attribute, level, label, rng, resamples) for level in levels}
    answers = _answers(label, tests, labels)
    facts: dict[str, Any] = {
        "attribute": attribute.name,
        "metric": name,
        "better": metric.better,
        "draws": len(next(iter(heads.values()))),
        "labels": int(np.median([sum(counts) for counts in labels])) if labels else 0,
        "answers": len(answers),
        "of_answers": len(label.answers),
        "levels": [
            {"level": attribute.names[level], "objects": len(test.truth), "groups": test.resamples.n_groups}
            for level, test in tests.items()
        ],
        "cells": [],
    }
    if facts["draws"] < DRAWS or not len(answers):
        return facts
    values = {
        (trained, tested): _measured(tests[tested], heads[trained], scale[trained], label, x, metric, answers)
        for trained in levels
        for tested in levels
    }
    sign = 1.0 if metric.better == "higher" else -1.0
    for (trained, tested), own in values.items():
        few = _few(tests[tested], label, answers)
        cell = {"trained": attribute.names[trained], "tested": attribute.names[tested], **_interval(own, few)}
        if trained != tested:
            loss = sign * (values[tested, tested] - own)
            cell["loss"] = {**_interval(loss, few), "p": bootstrap_p(loss[1:], few)}
            fewer = min(few, _few(tests[trained], label, answers))
            cell["drop"] = _interval(sign * (values[trained, trained] - own), fewer)
        facts["cells"].append(cell)
    across = [cell for cell in facts["cells"] if "loss" in cell]
    for cell, p in zip(across, holm([cell["loss"]["p"] for cell in across]), strict=True):
        cell["loss"]["p_holm"] = None if np.isnan(p) else float(p)
    return facts


def _comparable(attribute: Attribute, label: Question) -> list[int]:
    """Levels with enough groups in both halves, those with most test groups where they are many."""
    found: dict[int, int] = {}
    level = unit_levels(attribute, label)
    for place in range(len(attribute.names)):
        trained = label.train & label.known & (attribute.level == place)
        inside = level == place
        truth, groups = label.tested.truth[inside], label.tested.groups[inside]
        rarer = rarer_groups(label, truth, groups)
        enough = len(np.unique(groups)) >= MINIMUM_GROUPS and (len(rarer) == 0 or rarer.max() >= MINIMUM_GROUPS)
        if enough and len(np.unique(label.groups[trained])) >= MINIMUM_GROUPS:
            found[place] = len(np.unique(groups))
    return sorted(sorted(found, key=lambda place: (-found[place], place))[:MOST_LEVELS])


def _heads(
    attribute: Attribute,
    levels: Sequence[int],
    label: Question,
    x: Float[np.ndarray, "n d"],
    fit: Fit,
    rng: np.random.Generator,
) -> tuple[dict[int, list[FittedHead]], list[Int64[np.ndarray, " s"]], dict[int, float]]:
    """Heads by level; how many labels of each stratum (class) those of each draw have learnt from; and by how much
    more than the heads of a level differ from one another their mean would differ with other groups.

    A level's head sees the features of that level alone. Draws from which a head can learn nothing are left out.
    """
    strata = label.y[:, 0] if label.by_class else np.where(label.known, 0.0, np.nan)
    number = np.where(np.isnan(strata), -1, np.nan_to_num(strata)).astype(np.int64)
    known = {level: np.flatnonzero(label.train & label.known & (attribute.level == level)) for level in levels}
    own = {level: np.sort(rng.permutation(rows)[:MOST_ROWS]) for level, rows in known.items()}
    halves = {level: TrainingHalf(x[rows], label.groups[rows]) for level, rows in own.items()}
    found: dict[int, list[FittedHead]] = {level: [] for level in levels}
    seen: dict[int, list[float]] = {level: [] for level in levels}
    counts = []
    for _ in range(DRAWS):
        orders = {level: _most_groups(number[rows], label.groups[rows], rng) for level, rows in own.items()}
        available = [np.bincount(number[own[k]][orders[k] >= 0], minlength=number.max() + 1) for k in levels]
        taken = np.minimum(np.min(available, axis=0), MOST_LABELS)
        try:
            heads = {}
            for level, rows in own.items():
                order, kind = orders[level], number[rows]
                places = np.flatnonzero((order >= 0) & (order < taken[np.maximum(kind, 0)]))
                heads[level] = fit(halves[level], places, label.y[rows[places]], len(label.outputs), rng)
                share = len(places) / int((kind >= 0).sum())
                seen[level].append(share / (1 - share))
        except ValueError:  # nothing can be learnt from these
            continue
        counts.append(taken)
        for level, head in heads.items():
            found[level].append(head)
    return found, counts, {level: float(np.sqrt(np.mean(odds or [1.0]) + 1 / DRAWS)) for level, odds in seen.items()}


def _most_groups(
    number: Int64[np.ndarray, " m"], groups: Shaped[np.ndarray, " m"], rng: np.random.Generator
) -> Int64[np.ndarray, " m"]:
    """Each labelled row's place in its stratum's queue, of a random KEPT of the groups; -1 for the others."""
    names, member = np.unique(groups, return_inverse=True)
    labelled = np.unique(member[number >= 0])
    chosen = np.zeros(len(names), dtype=bool)
    chosen[rng.permutation(labelled)[: int(KEPT * len(labelled))]] = True
    return nested_order(number, chosen[member], rng, groups)


def _answers(
    label: Question, tests: Mapping[int, _Tested], labels: Sequence[Int64[np.ndarray, " s"]]
) -> Int64[np.ndarray, " a"]:
    """The answers that every level's test half can be asked about, and every head was taught."""
    if not labels or not (counted := [rarer_groups(label, t.truth, t.resamples.groups) for t in tests.values()]):
        return np.empty(0, np.int64)
    if len(counted[0]) == 0:  # levels, values and votes have no answers
        return np.zeros(1, np.int64)
    enough = np.min(counted, axis=0) >= MINIMUM_GROUPS
    fewest = np.min(labels, axis=0)
    if label.kind == "classes":
        enough &= fewest[: len(enough)] >= LEAST_LABELS
    elif label.kind == "yes_no":
        enough &= fewest.min() >= LEAST_LABELS
    return np.flatnonzero(enough)


def _tested(attribute: Attribute, level: int, label: Question, rng: np.random.Generator, resamples: int) -> _Tested:
    inside = np.flatnonzero(unit_levels(attribute, label) == level)
    kept = np.sort(rng.permutation(inside)[:MOST_UNITS])
    place = np.full(len(label.tested.truth), -1, np.int64)
    place[kept] = np.arange(len(kept))
    member = np.where(label.tested.member >= 0, place[label.tested.member], -1)
    images = np.flatnonzero(label.scored)[member >= 0]
    groups = label.tested.groups[kept]
    units = Units(label.kind, member[member >= 0], label.tested.truth[kept], groups, 0)
    return _Tested(images, units, GroupResamples(groups, resamples, int(rng.integers(2**32))))


def _measured(
    test: _Tested,
    heads: Sequence[FittedHead],
    scale: float,
    label: Question,
    x: Float[np.ndarray, "n d"],
    metric: Metric,
    answers: Int64[np.ndarray, " a"],
) -> Float64[np.ndarray, " r"]:
    """The mean over heads, then the metric in every resample, each of which is of one head: the first heads' first.

    In the resamples, heads lie `scale` times as far from their mean.
    """
    blocks = np.array_split(np.arange(test.resamples.resamples), len(heads))
    whole, parts = [], []
    for head, block in zip(heads, blocks, strict=True):
        told = test.units.join(head.predict(x[test.images]), label.aggregate)
        weights = test.resamples.weights(int(block[0]), int(block[-1]) + 1)
        both = np.concatenate([np.ones((len(weights), 1)), weights], axis=1)
        found = metric.measure(label.prediction(told, None), test.truth, both)[answers].mean(axis=0)
        whole.append(found[0])
        parts.append(found[1:])
    mean = float(np.mean(whole))
    parts = [part + (scale - 1) * (value - mean) for part, value in zip(parts, whole, strict=True)]
    return np.concatenate([[mean], *parts])


def _few(test: _Tested, label: Question, answers: Int64[np.ndarray, " a"]) -> int:
    """Groups of the rarest side of the answers."""
    rarer = rarer_groups(label, test.truth, test.resamples.groups)
    return max(2, int(rarer[answers].min()) if len(rarer) else test.resamples.n_groups)


def _interval(values: Float64[np.ndarray, " r"], groups: int) -> dict[str, float]:
    """The value, and the percentile interval of its resamples."""
    low, high = percentile_interval(values[1:], n_groups=groups)
    return {"value": float(values[0]), "low": low, "high": high}
