"""Linear discriminant analysis with a shrunk covariance, for few rows of many features."""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.heads.cross_entropy import principal_axes
from domainssl.heads.head import TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order, standardised_rows
from domainssl.heads.linear import LinearHead


def fit_lda(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> LinearHead:
    """Linear discriminant analysis with equal priors, whose probabilities are a softmax.

    The covariance is the pooled one within classes of the standardised features, shrunk towards a multiple of the
    identity as Ledoit and Wolf (2004) say; computed in the space of the rows. scikit-learn's shrinkage="auto" differs:
    it scales and shrinks every class by itself, which a handful of rows a class does not support; with the shrinkage
    given, it agrees. Where no class has two rows, nothing is known of the spread within classes: the covariance is the
    identity. Raises ValueError for fewer than two classes and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    present, label = np.unique(class_indices(y, outputs), return_inverse=True)
    mean, scale = half.standardisation
    axes = principal_axes(standardised_rows(half, rows))
    members = np.eye(len(present))[label]
    centres = (members.T @ axes.coordinates) / members.sum(axis=0)[:, None]
    residuals = axes.coordinates - centres[label]
    covariance = residuals.T @ residuals / len(rows)
    variance = float(np.trace(covariance)) / len(mean)
    if variance > 0:
        shrinkage = ledoit_wolf_shrinkage(residuals, len(mean))
        shrunk = (1 - shrinkage) * covariance + shrinkage * variance * np.eye(len(covariance))
        # Without shrinkage (duplicates, or very many rows) the covariance may be singular: the smallest solution.
        along = np.linalg.lstsq(shrunk, centres.T, rcond=None)[0].T
    else:
        along = centres
    weight, bias = np.zeros((outputs, len(mean))), np.full(outputs, -np.inf)
    weight[present], bias[present] = along @ axes.to_features.T, -(along * centres).sum(axis=1) / 2
    return LinearHead(weight=weight, bias=bias, mean=mean, scale=scale)


def ledoit_wolf_shrinkage(residuals: Float64[np.ndarray, "n q"], features: int) -> float:
    """The weight, 0..1, of the scaled identity in the shrunk covariance of centred rows.

    The q columns may be any rotation of the features, or fewer of them that hold all the variance (Ledoit and Wolf
    2004, A well-conditioned estimator for large-dimensional covariance matrices, lemma 3.2 to 3.5).
    """
    n = len(residuals)
    covariance = residuals.T @ residuals / n
    total = float((covariance**2).sum())
    distance = total - float(np.trace(covariance)) ** 2 / features
    error = float(((residuals**2).sum(axis=1) ** 2).sum() / n - total) / n
    return 1.0 if distance <= 0 else float(np.clip(error / distance, 0.0, 1.0))
