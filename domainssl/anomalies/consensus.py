"""One ranking out of several detectors': the mean of each object's place in theirs."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64
from scipy.stats import rankdata


def consensus(
    scores: Mapping[str, Float[np.ndarray, " n"]], against: Mapping[str, Float[np.ndarray, " m"]] | None = None
) -> Float64[np.ndarray, " n"]:
    """Each object's rank as a share, 0 to 1 (1 the oddest), averaged over detectors, whose scores have no common unit.

    A detector's share is (rank - 1) / (n - 1) among those it scored, ties at their mean rank, 0.5 for a single one.
    With `against`, the scores of a finished run's objects, it is the share of those that are less odd, equal ones
    counted half. NaN of a detector leaves the mean over the others; NaN where none has a share.
    Raises ValueError for no detector, for one that `against` lacks, and for scores of different lengths.
    """
    lengths = {name: len(values) for name, values in scores.items()}
    if not lengths:
        raise ValueError("scores: no detector to take the mean over; give one or more")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"scores: {lengths} objects; every detector has to score the same ones, in one order")
    if against is not None and (missing := sorted(set(scores) - set(against))):
        raise ValueError(f"against: no scores of {', '.join(missing)}; rank with the detectors of the finished run")
    shares = np.stack(
        [_ranks(values) if against is None else _less_odd(values, against[name]) for name, values in scores.items()]
    )
    told = ~np.isnan(shares)
    count = told.sum(axis=0)
    total = np.where(told, shares, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _ranks(values: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    shares = np.full(len(values), np.nan)
    told = ~np.isnan(values)
    count = int(told.sum())
    shares[told] = (rankdata(values[told]) - 1) / (count - 1) if count > 1 else 0.5
    return shares


def _less_odd(values: Float[np.ndarray, " n"], against: Float[np.ndarray, " m"]) -> Float64[np.ndarray, " n"]:
    known = np.sort(against[~np.isnan(against)])
    if len(known) == 0:
        return np.full(len(values), np.nan)
    below, up_to = np.searchsorted(known, values, "left"), np.searchsorted(known, values, "right")
    return np.where(np.isnan(values), np.nan, (below + up_to) / (2 * len(known)))
