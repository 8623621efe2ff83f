"""Anomaly score by distance: an object is odd that has no near neighbours among the embeddings."""

import numpy as np
from jaxtyping import Float, Float32

from domainssl.neighbours import nearest


def knn_scores(
    x: Float[np.ndarray, "n d"], neighbours: int = 10, reference: Float[np.ndarray, "m d"] | None = None
) -> Float32[np.ndarray, " n"]:
    """Mean distance, 0 to 2, to the nearest others; higher is odder (Angiulli and Pizzuti 2002).

    Embeddings are centred on the mean row, since features of a frozen network share a large offset that makes all
    directions alike, and then compared by direction. Others are the other rows of `x`, or, where given, the rows of
    `reference`, on whose mean all are then centred: so new objects are scored by what a finished run has seen.
    Where fewer than `neighbours` others exist, the mean goes over those. NaN for a row that holds NaN or infinity, and
    for one without others. Raises ValueError for fewer than 1 neighbour.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: {neighbours} give no score; give 1 or more")
    others = x if reference is None else reference
    finite = np.isfinite(others).all(axis=1)
    if not finite.any():
        return np.full(len(x), np.nan, dtype=np.float32)
    mean = np.mean(others, axis=0, where=finite[:, None], dtype=np.float64).astype(np.float32)
    centred = x.astype(np.float32) - mean
    against = centred if reference is None else reference.astype(np.float32) - mean
    available = int(finite.sum()) - (reference is None)
    if available == 0:
        return np.full(len(x), np.nan, dtype=np.float32)
    distances, _ = nearest(against, centred, min(neighbours, available), exclude_self=reference is None)
    return np.where(np.isfinite(distances).all(axis=1), distances.mean(axis=1), np.nan).astype(np.float32)
