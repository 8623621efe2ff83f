"""Several findings at once: one logistic regression an answer, over the rows where it is known."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import expit, logit

from domainssl.heads.affine import affine
from domainssl.heads.cross_entropy import minimise_cross_entropies, principal_axes
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import in_row_order, standardised_rows
from domainssl.heads.strength import cross_validated

_CONSTANT = (0.01, 0.99)  # what a constant answer is clipped to: a few rows do not prove never or always


@final
@dataclass(frozen=True)
class MultilabelHead(FittedHead):
    """sigmoid(weight @ (x - mean) / scale + bias), one row of weights an answer."""

    weight: Float64[np.ndarray, "a d"]
    bias: Float64[np.ndarray, " a"]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n a"]:
        """The probability of each answer; a row with NaN or infinity gives NaN."""
        return np.asarray(expit(affine(x, self.weight, self.bias, self.mean, self.scale)), dtype=np.float64)


def fit_multilabel(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> MultilabelHead:
    """Fits each answer as `fit_linear` fits a yes/no label to the rows where it is known, with a strength of its own.

    An answer that is the same in all its known rows is predicted as that constant, clipped to 0.01..0.99; one that no
    row knows as 0.5. Raises ValueError for values other than 0, 1 and NaN, and where no answer has both values.
    """
    rows, y = in_row_order(rows, y)
    if y.shape[1] != outputs:
        raise ValueError(f"labels: {y.shape[1]} columns for {outputs} answers; give one an answer")
    known = ~np.isnan(y)
    other = int((known & (y != 0) & (y != 1)).sum())
    if other:
        raise ValueError(f"labels: {other} values are neither 0 nor 1 nor unknown; correct them")
    yes, no = (known & (y == 1)).sum(axis=0), (known & (y == 0)).sum(axis=0)
    learnt = np.flatnonzero((yes > 0) & (no > 0))
    if len(learnt) == 0:
        raise ValueError(f"labels: none of {outputs} answers has both yes and no among {len(y)} rows; label more")

    folds = np.full((len(rows), len(learnt)), -1, dtype=np.int64)
    for column, answer in enumerate(learnt):
        there = np.flatnonzero(known[:, answer])
        dealt = grouped_folds(y[there, answer].astype(np.int64), half.groups[rows[there]], rng)
        if dealt is not None:
            folds[there, column] = dealt
    target = np.stack([y[:, learnt] == 0, y[:, learnt] == 1], axis=2).astype(np.float64)
    axes = principal_axes(standardised_rows(half, rows))
    strength = cross_validated(axes, target, folds)
    solution = minimise_cross_entropies(axes, target, known[:, learnt], strength)
    of_yes = solution[:, :, 1] - solution[:, :, 0]

    mean, scale = half.standardisation
    share = np.divide(yes, yes + no, out=np.full(outputs, 0.5), where=yes + no > 0)
    weight, bias = np.zeros((outputs, len(mean))), np.asarray(logit(np.clip(share, *_CONSTANT)), dtype=np.float64)
    weight[learnt], bias[learnt] = (axes.to_features @ of_yes[:-1]).T, of_yes[-1]
    return MultilabelHead(weight=weight, bias=bias, mean=mean, scale=scale)
