"""Anomaly score by distance: an object is odd that has no near neighbours among the embeddings."""

import numpy as np
from jaxtyping import Float, Float32

from domainssl.anomalies.preparation import standardisation
from domainssl.neighbours import nearest


def knn_scores(
    x: Float[np.ndarray, "n d"], neighbours: int = 10, reference: Float[np.ndarray, "m d"] | None = None
) -> Float32[np.ndarray, " n"]:
    """Mean distance, 0 to 2, to the nearest others; higher is odder (Angiulli and Pizzuti 2002).

    Each feature is standardised over all rows; then rows are compared by direction. Others are the other rows of `x`,
    or, where given, the rows of `reference`, by which all are then standardised: so new objects are scored by what a
    finished run has seen.
    Where fewer than `neighbours` others exist, the mean goes over those. NaN for a row that holds NaN or infinity, and
    for one without others. Raises ValueError for fewer than 1 neighbour.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: {neighbours} give no score; give 1 or more")
    others = x if reference is None else reference
    finite = np.isfinite(others).all(axis=1)
    available = int(finite.sum()) - (reference is None)
    if available < 1:
        return np.full(len(x), np.nan, dtype=np.float32)
    standardised = standardisation(others[finite])
    asked = standardised(x)
    against = asked if reference is None else standardised(reference)
    distances, _ = nearest(against, asked, min(neighbours, available), exclude_self=reference is None)
    return np.where(np.isfinite(distances).all(axis=1), distances.mean(axis=1), np.nan).astype(np.float32)
