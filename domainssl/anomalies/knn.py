"""Anomaly score by distance: an object is odd that has no near neighbours among the embeddings."""

import numpy as np
from jaxtyping import Float, Float32

from domainssl.neighbours import nearest


def knn_scores(
    x: Float[np.ndarray, "n d"], neighbours: int = 10, reference: Float[np.ndarray, "m d"] | None = None
) -> Float32[np.ndarray, " n"]:
    """Mean distance, 0 to 2, to the nearest others; higher is odder (Angiulli and Pizzuti 2002).

    Each feature is standardised over all rows, since features of a network share a large offset and a few of them vary
    most, which makes all directions alike; then rows are compared by direction. Against centring alone this found more
    of the planted rarities of a simulated survey, and as many perturbed galaxies among real pictures. Others are the
    other rows of `x`, or, where given, the rows of `reference`, by which all are then standardised: so new objects are
    scored by what a finished run has seen.
    Where fewer than `neighbours` others exist, the mean goes over those. NaN for a row that holds NaN or infinity, and
    for one without others. Raises ValueError for fewer than 1 neighbour.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: {neighbours} give no score; give 1 or more")
    others = x if reference is None else reference
    finite = np.isfinite(others).all(axis=1)
    if not finite.any():
        return np.full(len(x), np.nan, dtype=np.float32)
    mean, scale = _standardisation(others[finite])
    centred = (x.astype(np.float32) - mean) / scale
    against = centred if reference is None else (reference.astype(np.float32) - mean) / scale
    available = int(finite.sum()) - (reference is None)
    if available == 0:
        return np.full(len(x), np.nan, dtype=np.float32)
    distances, _ = nearest(against, centred, min(neighbours, available), exclude_self=reference is None)
    return np.where(np.isfinite(distances).all(axis=1), distances.mean(axis=1), np.nan).astype(np.float32)


def _standardisation(rows: Float[np.ndarray, "n d"]) -> tuple[Float32[np.ndarray, " d"], Float32[np.ndarray, " d"]]:
    """Mean and standard deviation; the latter at least 1 % of its median, or dead features would rule, and never 0."""
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    floor = 0.01 * float(np.median(scale)) or 1.0
    return mean.astype(np.float32), np.maximum(scale, floor).astype(np.float32)
