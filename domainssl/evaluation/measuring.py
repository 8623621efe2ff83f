"""Curves: every metric of a contender at every number of labels, with the values it has in each bootstrap resample."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from threadpoolctl import threadpool_limits

from domainssl.evaluation.contenders import Answer, Contender
from domainssl.evaluation.draws import Draw, drawing_order, strata
from domainssl.evaluation.intervals import GroupResamples, draw_weights
from domainssl.evaluation.metric import Metric
from domainssl.evaluation.question import Question

WEIGHTS_AT_ONCE = 1_000_000  # rows times resamples: 8 MB a block in float64
R = TypeVar("R")
MINIMUM_DRAWS = 20  # fewer draws understate what the choice of labels adds, so no interval is given


@final
@dataclass(frozen=True)
class Curve:
    """One metric of one contender: a value a size and draw, and in every resample (none: too few draws).

    `resampled` holds means over the draws.
    """

    by_draw: Float64[np.ndarray, "size d"]
    resampled: Float32[np.ndarray, "size r"]

    @property
    def value(self) -> Float64[np.ndarray, " size"]:
        """The mean over the draws in which the metric is defined."""
        return _mean(self.by_draw)

    def minus(self, other: "Curve") -> "Curve":
        """The paired difference; where one has more draws, by those that both have, and without resamples.

        Otherwise value and resamples alike are differences of means, each over the draws in which it is defined.
        """
        if self.by_draw.shape != other.by_draw.shape:
            both = min(self.by_draw.shape[1], other.by_draw.shape[1])
            return Curve(self.by_draw[:, :both] - other.by_draw[:, :both], self.resampled[:, :0])
        kept = min(self.resampled.shape[1], other.resampled.shape[1])
        difference = (self.value - other.value)[:, None]
        return Curve(difference, self.resampled[:, :kept] - other.resampled[:, :kept])


@final
class Measuring:
    """The draws of labels and the resamples of test groups that all contenders share, so that differences are paired.

    `draws` label sets for each number of labels, nested over the numbers. Everything random comes from `seed`.
    """

    def __init__(
        self,
        question: Question,
        metrics: Mapping[str, Metric],
        *,
        labels_per_class: Sequence[int],
        draws: int,
        draw: Draw,
        resamples: int,
        seed: int,
    ) -> None:
        if not labels_per_class or min(labels_per_class) < 1 or draws < 1 or resamples < 1:
            raise ValueError(
                f"{question.label}: labels_per_class {labels_per_class}, draws {draws}, resamples {resamples} are "
                "below 1"
            )
        self.question, self.metrics, self.draw = question, metrics, draw
        self.sizes, self.draws, self.resamples = tuple(labels_per_class), draws, resamples
        bootstrap, shares, head_seed, *draw_seeds = np.random.SeedSequence(seed).spawn(3 + draws)
        members = strata(question.kind, question.y, len(question.outputs), question.train)
        self._orders = [
            drawing_order(members, question.train, np.random.default_rng(s), question.groups, draw) for s in draw_seeds
        ]
        self._head_seed = head_seed
        self._groups = GroupResamples(question.tested.groups, resamples, bootstrap)
        self._shares_seed = shares

    def rows(self, size: int, draw: int) -> Int64[np.ndarray, " m"]:
        """The labelled rows of one draw."""
        order = self._orders[draw]
        return np.flatnonzero((order >= 0) & (order < size)).astype(np.int64)

    def n_labels(self, size: int) -> int:
        """How many labels the draws of this size have, the first one's count."""
        return len(self.rows(size, 0))

    def curves(self, contender: Contender, draws: int | None = None) -> dict[tuple[str, str | None], Curve]:
        """Curves by metric, and for metrics of classes also by (metric, class); `draws`: only the first so many.

        The macro value is the mean over the estimable classes.
        """
        count = self.draws if draws is None else min(draws, self.draws)
        intervals = count >= MINIMUM_DRAWS
        found: dict[tuple[str, str | None], Curve] = {}
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 32)) as pool:  # numpy frees the interpreter in the dear steps
            cells = [(size, draw) for size in self.sizes for draw in range(count)]
            # What is dear (fine-tuning) uses all processors itself.
            several = partial(_on_every_core, pool) if draws is None else map
            answers = list(several(lambda cell: self._answer(contender, *cell), cells))
            ones = np.ones((len(self.question.tested.truth), 1))
            for name, metric in self.metrics.items():
                if not self._can_be_had(metric, answers):
                    continue
                values = np.array([self._measure(metric, answer, ones) for answer in answers])  # cell k 1
                shape = (len(self.sizes), count, values.shape[1])
                empty = np.empty((len(self.sizes), values.shape[1], 0), np.float32)
                resampled = self._resampled(pool, metric, answers, shape) if intervals else empty
                found |= self._named(name, metric, values.reshape(shape), resampled)
        return found

    def _answer(self, contender: Contender, size: int, draw: int) -> Answer:
        rng = np.random.default_rng([*self._head_seed.generate_state(2), draw, size])
        answer = contender(self.rows(size, draw), rng)
        joined = self.question.tested.join(answer.predictions, self.question.aggregate)
        return Answer(joined, answer.thresholds)

    def _can_be_had(self, metric: Metric, answers: Sequence[Answer]) -> bool:
        available = {
            "thresholds": all(answer.thresholds is not None for answer in answers),
            "prevalence": self.question.prevalence is not None,
            "outlier": self.question.outlier is not None,
        }
        return all(available[need] for need in metric.needs)

    def _measure(
        self, metric: Metric, answer: Answer, weights: Float64[np.ndarray, "u r"]
    ) -> Float64[np.ndarray, "k r"]:
        prediction = self.question.prediction(answer.predictions, answer.thresholds)
        return metric.measure(prediction, self.question.tested.truth, weights)

    def _resampled(
        self, pool: ThreadPoolExecutor, metric: Metric, answers: Sequence[Answer], shape: tuple[int, int, int]
    ) -> Float32[np.ndarray, "size k r"]:
        """Every size's mean over the draws, as often as each was drawn, under every resample of the test groups."""
        sizes, draws, classes = shape
        found = np.empty((sizes, classes, self.resamples), np.float32)
        shares = draw_weights(draws, self.resamples, np.random.default_rng(self._shares_seed))
        at_once = max(1, WEIGHTS_AT_ONCE // len(self.question.tested.truth))
        for begin in range(0, self.resamples, at_once):
            end = min(begin + at_once, self.resamples)
            weights = self._groups.weights(begin, end)
            parts = _on_every_core(pool, lambda answer: self._measure(metric, answer, weights), answers)  # noqa: B023 - used up here
            values = np.array(parts).reshape(sizes, draws, classes, end - begin)
            found[..., begin:end] = _mean_of_draws(values, shares[begin:end])
        return found

    def _named(
        self,
        name: str,
        metric: Metric,
        values: Float64[np.ndarray, "size d k"],
        resampled: Float32[np.ndarray, "size k r"],
    ) -> dict[tuple[str, str | None], Curve]:
        if metric.of == "all":
            return {(name, None): Curve(values[:, :, 0], resampled[:, 0])}
        estimable = self.question.estimable
        by_class: dict[tuple[str, str | None], Curve] = {
            (name, answer): Curve(values[:, :, k], resampled[:, k]) for k, answer in enumerate(self.question.answers)
        }
        if not estimable.any():
            missing = np.full(values.shape[:2], np.nan)
            return {(name, None): Curve(missing, resampled[:, 0, :0]), **by_class}
        by_draw = _mean(values[:, :, estimable].transpose(0, 2, 1))
        return {(name, None): Curve(by_draw, _mean(resampled[:, estimable])), **by_class}


def _on_every_core(pool: ThreadPoolExecutor, ask: Callable[[Any], R], items: Sequence[Any]) -> list[R]:
    """What `ask` gives for each item; a thread a core and no BLAS threads below, which would wait for one another."""
    with threadpool_limits(1, user_api="blas"):
        return list(pool.map(ask, items))


def _mean_of_draws(
    values: Float64[np.ndarray, "size d k r"], shares: Float64[np.ndarray, "r d"]
) -> Float64[np.ndarray, "size k r"]:
    """The mean over the draws in which the metric is defined (nothing is called yes in some: no PPV), else NaN."""
    defined = ~np.isnan(values)
    if defined.all():
        mean: Float64[np.ndarray, "size k r"] = np.einsum("sdkr,rd->skr", values, shares)
        return mean
    total = np.einsum("sdkr,rd->skr", np.where(defined, values, 0.0), shares)
    weight = np.einsum("sdkr,rd->skr", defined.astype(np.float64), shares)
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)


def _mean(values: Float[np.ndarray, "size k *r"]) -> Float[np.ndarray, "size *r"]:
    """The mean over the second axis, of classes or draws in which the metric is defined; NaN where it is in none."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(values.dtype)
