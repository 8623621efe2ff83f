"""How good features are for a label, estimated within the training half: to choose between checkpoints."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Shaped

from domainssl.evaluation.constant_answers import constant_answer
from domainssl.evaluation.draws import nested_order, strata
from domainssl.evaluation.metric import Prediction
from domainssl.evaluation.task import TASKS
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import TrainingHalf
from domainssl.options import Kind

REPEATS = 4  # draws of labels in each fold
FEWEST = 2  # labelled rows of a class that takes part


@final
@dataclass(frozen=True)
class Probe:
    """Labelled rows of the training half, and the folds and draws on which every candidate is tried.

    `y` are targets without unlabelled rows, `outputs` the number of predictions. Each fold is scored by the kind's
    first head and metric, learnt from at most `per_class` rows a class of the other folds.
    """

    kind: Kind
    y: Float64[np.ndarray, "n t"]
    outputs: int
    groups: Shaped[np.ndarray, " n"]
    per_class: int
    seed: int

    def scores(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " s"]:
        """One score a fold and draw, higher is better, the same folds and draws for every `x`; empty where the labels
        are too few for folds, or of one class."""
        task = TASKS[self.kind]
        fit, metric = next(iter(task.heads.values())), next(iter(task.metrics.values()))
        members = strata(self.kind, self.y, self.outputs, np.ones(len(x), dtype=bool))
        stratum = (np.nansum(self.y, axis=1) > 0).astype(np.int64) if self.kind == "multilabel" else members[:, 0]
        names, counts = np.unique(stratum, return_counts=True)
        frequent = np.isin(stratum, names[counts >= FEWEST])  # a class of one row can be learnt or scored, not both
        if len(np.unique(stratum[frequent])) < 2:
            return np.empty(0)
        rng = np.random.default_rng([self.seed, 77])
        fold_of_row = np.full(len(x), -1)
        dealt = grouped_folds(stratum[frequent], self.groups[frequent], rng)
        assert dealt is not None  # every class that is left has two rows or more
        fold_of_row[frequent] = dealt
        half, found = TrainingHalf(x, self.groups), []
        for fold in range(int(fold_of_row.max()) + 1):
            inside = np.flatnonzero(fold_of_row == fold)
            for _ in range(REPEATS):
                others = (fold_of_row != fold) & frequent
                places = [nested_order(column, others, rng, self.groups) for column in members.T]
                drawn = np.any([(place >= 0) & (place < self.per_class) for place in places], axis=0)
                rows = np.flatnonzero(drawn).astype(np.int64)
                if constant_answer(self.kind, self.y[rows], self.outputs) is not None:
                    continue
                head = fit(half, rows, self.y[rows], self.outputs, rng)
                weights = np.ones((len(inside), 1))
                values = metric.measure(Prediction(head.predict(x[inside])), self.y[inside], weights)
                if np.isfinite(values).any():
                    found.append(float(np.nanmean(values)))
        sign = -1.0 if metric.better == "lower" else 1.0
        return sign * np.array(found)
