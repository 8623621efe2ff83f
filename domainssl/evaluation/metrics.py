"""Weighted statistics under many sets of row weights at once, as a bootstrap needs: exact, ties included.

`weights` are non-negative float64 (row, resample), best C-contiguous, usually multiplicities: a column of them gives
what the unweighted statistic gives on rows repeated that often.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.sparse import csr_array

_NEARLY = 1e-12  # relative; fractional weights that should sum to the same differ by less


def auroc(
    scores: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float64[np.ndarray, "n r"],
    known: Bool[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " r"]:
    """Area under the ROC curve, once for every column of `weights`.

    The probability that a positive row scores above a negative one, ties counting one half (Mann and Whitney 1947).
    Rows that are not `known` are left out. NaN where the positive or the negative rows weigh nothing altogether.
    Raises ValueError where scores are NaN.
    """
    positives, negatives, tied = _ranked(scores, positive, weights, known)
    _accumulate(negatives)
    lost = np.einsum("gr,gr->r", positives, negatives[:-1])
    if tied is not None:
        lost -= np.einsum("gr,gr->r", positives, tied) / 2
    pairs = positives.sum(axis=0) * negatives[-1]
    return ratio(pairs - lost, pairs)


def average_precision(
    scores: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float64[np.ndarray, "n r"],
    known: Bool[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, " r"]:
    """Area under the precision-recall curve as a step function, once for every column of `weights`.

    The mean over positive rows of the precision among all rows that score as high or higher, which is scikit-learn's
    `average_precision_score`. Rows that are not `known` are left out. NaN where the positive rows weigh nothing.
    Raises ValueError where scores are NaN.
    """
    positives, negatives, _ = _ranked(scores, positive, weights, known)
    if len(positives) == 0:
        return np.full(weights.shape[1], np.nan)
    found = positives.copy()
    _accumulate(found)
    taken = negatives[:-1]
    taken[0] += 1e-300  # changes no sum but 0, so that 0 found of 0 taken is precision 0, which then weighs nothing
    _accumulate(taken)
    taken += found
    precision = np.divide(found, taken, out=found)
    return ratio(np.einsum("gr,gr->r", positives, precision), positives.sum(axis=0))


def weighted_mean(
    values: Float64[np.ndarray, "k n"],
    weights: Float64[np.ndarray, "n r"],
    counted: Bool[np.ndarray, "k n"] | None = None,
) -> Float64[np.ndarray, "k r"]:
    """Mean of each row of `values` over the entries that are `counted` (by default all); NaN where those weigh nothing.

    Values that are not counted may be NaN.
    """
    if counted is None:
        return ratio(values @ weights, weights.sum(axis=0))
    return ratio(np.where(counted, values, 0.0) @ weights, counted.astype(np.float64) @ weights)


def weighted_median(
    values: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, " r"]:
    """Median once for every column of `weights`; the mean of the two middle values where half the weight is at each.

    NaN where the rows weigh nothing altogether. Raises ValueError where values are NaN.
    """
    refuse_nan("values", values)
    if len(values) == 0:
        return np.full(weights.shape[1], np.nan)
    order = np.argsort(values, kind="stable")
    below = weights[order]
    _accumulate(below)
    half, last = below[-1] / 2, len(values) - 1
    lower = (below < half * (1 - _NEARLY)).sum(axis=0)
    upper = (below <= half * (1 + _NEARLY)).sum(axis=0)
    ordered = values[order]
    middle = (ordered[np.minimum(lower, last)] + ordered[np.minimum(upper, last)]) / 2
    return np.where(half > 0, middle, np.nan)


def ratio(part: Float64[np.ndarray, "*s"], whole: Float64[np.ndarray, "*#s"]) -> Float64[np.ndarray, "*s"]:
    """part / whole; NaN where the whole is not above 0."""
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def refuse_nan(name: str, values: Float[np.ndarray, "..."]) -> None:
    """Raises ValueError where values are NaN."""
    missing = int(np.isnan(values).sum())
    if missing:
        raise ValueError(f"{name}: {missing} of {values.size} values are NaN; leave their rows out")


def _ranked(
    scores: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float64[np.ndarray, "n r"],
    known: Bool[np.ndarray, " n"] | None,
) -> tuple[Float64[np.ndarray, "g r"], Float64[np.ndarray, "g+1 r"], Float64[np.ndarray, "g r"] | None]:
    """Weights at the g distinct scores that positive rows have, highest first.

    Gives the weight of the positives at each; that of the negatives at each and above it, down from the one before (and
    last, of those below all); and that of the negatives exactly at each, None where there are none. Only these sums are
    as long as there are resamples: the positives are the few in one-vs-rest.
    """
    refuse_nan("scores", scores)
    rows = np.arange(len(scores)) if known is None else np.flatnonzero(known)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    falling, is_positive = -scores[rows], positive[rows]
    steps = np.unique(falling[is_positive])
    step = np.searchsorted(steps, falling)  # the first, highest step that the row is at or above
    g = len(steps)
    positives = _sums(rows[is_positive], step[is_positive], g, weights)
    rows, step, falling = rows[~is_positive], step[~is_positive], falling[~is_positive]
    negatives = _sums(rows, step, g + 1, weights)
    ties = (step < g) & (np.append(steps, 0.0)[step] == falling)
    tied = _sums(rows[ties], step[ties], g, weights) if ties.any() else None
    return positives, negatives, tied


def _sums(
    rows: Int64[np.ndarray, " m"], group: Int64[np.ndarray, " m"], n_groups: int, weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "g r"]:
    """Sums of the weights of the rows of each group; `group` rises. The sparse product makes no copy of all weights."""
    if np.array_equal(group, np.arange(n_groups)):
        return np.asarray(weights[rows])
    starts = np.searchsorted(group, np.arange(n_groups + 1))
    return np.asarray(csr_array((np.ones(len(rows)), rows, starts), shape=(n_groups, len(weights))) @ weights)


def _accumulate(rows: Float64[np.ndarray, "g r"]) -> None:
    """np.cumsum(axis=0) in place, a whole row at a time: with many columns it takes a third of the time."""
    for above, row in pairwise(rows):
        row += above
