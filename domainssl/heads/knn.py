"""The k nearest labelled rows, for every kind of label."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64

from domainssl.heads.affine import standardised_parts
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order, standardised_rows, vote_shares
from domainssl.heads.prototype import directions

# On ImageNet features of galaxies and radiographs at 5 to 100 labels a class, 20 neighbours score between 0.005
# macro AUROC below and 0.013 above 10, and a temperature of 0.2 up to 0.02 above 0.1.
NEIGHBOURS = 20
TEMPERATURE = 0.2
# How much the similarity-weighted mean over all labelled rows counts beside that of the k nearest: a class that is not
# among them would have share 0, and AUROC ties among all such rows. Real values and votes need none.
SMOOTHING = 0.05


@final
@dataclass(frozen=True)
class KnnHead(FittedHead):
    """Means of the targets of the k nearest labelled rows, weighted by exp(cosine / temperature).

    `rows` are directions of standardised features, `targets` theirs, NaN where unknown.
    """

    rows: Float64[np.ndarray, "m d"]
    targets: Float64[np.ndarray, "m k"]
    neighbours: Int64[np.ndarray, ""]
    temperature: Float64[np.ndarray, ""]
    smoothing: Float64[np.ndarray, ""]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """Weighted means over the neighbours whose target is known; a row with NaN or infinity gives NaN."""
        known = (~np.isnan(self.targets)).astype(np.float64)
        targets = np.nan_to_num(self.targets)
        k, s = min(int(self.neighbours), len(targets)), float(self.smoothing)
        out = np.full((len(x), targets.shape[1]), np.nan)
        for places, z in standardised_parts(x, self.mean, self.scale):
            cosine = directions(z) @ self.rows.T
            weight = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / self.temperature)
            kth = np.partition(cosine, -k, axis=1)[:, -k, None]
            near = np.where(cosine >= kth, weight, 0.0)  # ties at the k-th all count, whatever their order
            near /= near.sum(axis=1, keepdims=True)
            overall = (weight @ targets) / (weight @ known)
            # Where none of the nearest knows an answer, the mean over all that do takes its place.
            held = near @ known
            share = np.where(held > 0, s, 1.0)
            out[places] = (near @ targets + share * overall) / (held + share)
        return out


def fit_knn(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> KnnHead:
    """Classes and ordered levels: the neighbours' shares.

    Raises ValueError for fewer than two classes and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    return _keep(half, rows, np.eye(outputs)[class_indices(y, outputs)], SMOOTHING)


def fit_knn_answers(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> KnnHead:
    """Several findings: each answer's share among the neighbours that know it; 0.5 where no labelled row does.

    Raises ValueError for values other than 0, 1 and NaN, and where no answer has both values.
    """
    rows, y = in_row_order(rows, y)
    if y.shape[1] != outputs or not (np.isnan(y) | (y == 0) | (y == 1)).all():
        raise ValueError(f"labels: {y.shape[1]} columns for {outputs} answers of 0, 1 or unknown; correct them")
    if not ((y == 1).any(axis=0) & (y == 0).any(axis=0)).any():
        raise ValueError(f"labels: none of {outputs} answers has both yes and no among {len(y)} rows; label more")
    return _keep(half, rows, np.where(np.isnan(y).all(axis=0), 0.5, y), SMOOTHING)


def fit_knn_values(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> KnnHead:
    """Real values: the neighbours' mean. Raises ValueError for values that are not finite."""
    rows, y = in_row_order(rows, y)
    bad = int((~np.isfinite(y)).sum())
    if bad or y.shape[1] != outputs:
        raise ValueError(f"values: {bad} are NaN or infinite, {y.shape[1]} columns for {outputs}; leave rows out")
    return _keep(half, rows, y, 0.0)


def fit_knn_votes(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> KnnHead:
    """Votes: the neighbours' mean shares. Raises ValueError for unknown or negative counts and rows without votes."""
    rows, y = in_row_order(rows, y)
    if y.shape[1] != outputs:
        raise ValueError(f"votes: {y.shape[1]} columns for {outputs} answers; give one an answer")
    return _keep(half, rows, vote_shares(y), 0.0)


def _keep(
    half: TrainingHalf, rows: Int64[np.ndarray, " m"], targets: Float64[np.ndarray, "m k"], smoothing: float
) -> KnnHead:
    mean, scale = half.standardisation
    return KnnHead(
        rows=directions(standardised_rows(half, rows)),
        targets=targets,
        neighbours=np.array(NEIGHBOURS),
        temperature=np.array(TEMPERATURE),
        smoothing=np.array(smoothing),
        mean=mean,
        scale=scale,
    )
