"""Targets as heads need them: checked, in the order of the rows."""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.heads.head import TrainingHalf


def in_row_order(
    rows: Int64[np.ndarray, " m"], y: Float64[np.ndarray, "m t"]
) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, "m t"]]:
    """Rows and targets by ascending row, so that folds do not depend on the order in which rows are named.

    Raises ValueError for no rows.
    """
    if len(rows) == 0:
        raise ValueError("labels: no labelled rows; a head needs some")
    order = np.argsort(rows, kind="stable")
    return rows[order], y[order]


def class_indices(y: Float64[np.ndarray, "m t"], outputs: int) -> Int64[np.ndarray, " m"]:
    """The class or level of each row. Raises ValueError where they are not all in 0..outputs-1, or fewer than two."""
    if y.shape[1] != 1:
        raise ValueError(f"labels: {y.shape[1]} columns; classes and levels are one")
    values = y[:, 0]
    if len(values) and not ((values >= 0) & (values < outputs) & (values == np.floor(values))).all():
        raise ValueError(f"labels: {values.min()}..{values.max()} are not all whole numbers in 0..{outputs - 1}")
    present = len(np.unique(values))
    if present < 2:
        raise ValueError(f"labels: {present} class(es) among {len(values)} rows; a head needs two or more")
    return values.astype(np.int64)


def vote_shares(y: Float64[np.ndarray, "m t"]) -> Float64[np.ndarray, "m t"]:
    """Votes as shares of the row's votes. Raises ValueError for negative or unknown votes, and for rows without any."""
    bad = int((~(y >= 0)).any(axis=1).sum())
    if bad:
        raise ValueError(f"votes: {bad} of {len(y)} rows hold negative or unknown counts; leave them out")
    total = y.sum(axis=1, keepdims=True)
    empty = int((total == 0).sum())
    if empty:
        raise ValueError(f"votes: {empty} of {len(y)} rows have no votes; leave them out")
    shares: Float64[np.ndarray, "m t"] = y / total
    return shares


def standardised_rows(half: TrainingHalf, rows: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m d"]:
    """Chosen rows, standardised by the whole training half."""
    mean, scale = half.standardisation
    z: Float64[np.ndarray, "m d"] = (half.x[rows].astype(np.float64) - mean) / scale
    return z
