"""The linear probe: multinomial logistic regression on frozen, standardised features."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64

from domainssl.heads.affine import affine, softmax
from domainssl.heads.cross_entropy import minimise_cross_entropies, principal_axes
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order, standardised_rows
from domainssl.heads.strength import DEFAULT_STRENGTH, cross_validated


@final
@dataclass(frozen=True)
class LinearHead(FittedHead):
    """softmax(weight @ (x - mean) / scale + bias); the bias of a class that had no labelled row is -inf."""

    weight: Float64[np.ndarray, "k d"]
    bias: Float64[np.ndarray, " k"]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """Class probabilities of each row; a row with NaN or infinity gives NaN."""
        return softmax(affine(x, self.weight, self.bias, self.mean, self.scale))


def fit_linear(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> LinearHead:
    """A linear probe whose strength is chosen by stratified, grouped cross-validation within the labelled rows.

    Where a class has a single row there is nothing to validate on, and the strength is the default.
    Raises ValueError for fewer than two classes and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    labels = class_indices(y, outputs)
    folds = grouped_folds(labels, half.groups[rows], rng)
    return fit_shares(half, rows, np.eye(outputs)[labels], folds)


def fit_linear_at(
    half: TrainingHalf, rows: Int64[np.ndarray, " m"], y: Float64[np.ndarray, "m t"], outputs: int, c: float
) -> LinearHead:
    """A linear probe of the given inverse strength c; errors as `fit_linear`.

    It minimises c * sum of cross-entropies + |weight|^2 / 2 on standardised features, the bias not penalised: the
    optimum of scikit-learn's LogisticRegression(C=c); for two classes, of C=2c. Classes are not weighted: draws are
    balanced already.
    """
    rows, y = in_row_order(rows, y)
    return fit_shares(half, rows, np.eye(outputs)[class_indices(y, outputs)], None, c)


def fit_shares(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    shares: Float64[np.ndarray, "m k"],
    folds: Int64[np.ndarray, " m"] | None,
    c: float = DEFAULT_STRENGTH,
) -> LinearHead:
    """A linear probe of class shares (one-hot, or those of votes); with folds, the strength is chosen, else it is c."""
    present = np.flatnonzero(shares.sum(axis=0) > 0)
    target = shares[:, None, present]
    axes = principal_axes(standardised_rows(half, rows))
    strength = np.array([c]) if folds is None else cross_validated(axes, target, folds[:, None])
    solution = minimise_cross_entropies(axes, target, np.ones((len(rows), 1), dtype=bool), strength)[:, 0]
    mean, scale = half.standardisation
    weight, bias = np.zeros((shares.shape[1], len(mean))), np.full(shares.shape[1], -np.inf)
    weight[present], bias[present] = (axes.to_features @ solution[:-1]).T, solution[-1]
    return LinearHead(weight=weight, bias=bias, mean=mean, scale=scale)
