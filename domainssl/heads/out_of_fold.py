"""What a head says of labelled rows that it has not learnt from: five heads, each of which leaves some groups out."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.heads.folds import FOLDS, grouped_folds
from domainssl.heads.head import Fit, FittedHead, TrainingHalf
from domainssl.heads.held_out import classes_of


@final
@dataclass(frozen=True)
class OutOfFold:
    """Heads, each fitted without one fold, and their predictions of it; a row's `part` is its head's place.

    NaN and -1 for rows that no head left out.
    """

    heads: tuple[FittedHead, ...]
    part: Int64[np.ndarray, " m"]
    predictions: Float64[np.ndarray, "m k"]


def out_of_fold(
    fit: Fit,
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> OutOfFold:
    """Predictions of each of `rows` by a head that was fitted to the other folds, whole groups apart.

    Folds are by class, and for several findings by whether there is any, where that tells rows apart. Rows of a class
    that has no other, and of a group that had to be torn so that a class is outside every fold, are taught and not
    asked. There are no heads for fewer than two rows of any class, and none for a fold whose other folds teach nothing.
    """
    found, part = np.full((len(rows), outputs), np.nan), np.full(len(rows), -1, np.int64)
    heads: list[FittedHead] = []
    classes = classes_of(y, outputs)
    strata = (np.nansum(y, axis=1) > 0).astype(np.int64) if classes is None else classes
    counts = np.bincount(strata)[strata]
    if classes is None and counts.min() < FOLDS:
        strata, counts = np.zeros_like(strata), np.full_like(counts, len(strata))
    several = np.flatnonzero(counts > 1)
    folds = np.full(len(rows), -1, np.int64)
    dealt = grouped_folds(strata[several], half.groups[rows[several]], rng) if len(several) else None
    if dealt is None:
        return OutOfFold((), part, found)
    folds[several] = dealt
    _, member = np.unique(half.groups[rows], return_inverse=True)
    times = np.bincount(np.unique(np.stack([member, folds]), axis=1)[0])
    whole = times[member] == 1
    for fold in range(int(folds.max()) + 1):
        left_out = folds == fold
        asked = left_out & whole
        if not asked.any():
            continue
        try:
            head = fit(half, rows[~left_out], y[~left_out], outputs, rng)
        except ValueError:  # nothing can be learnt from these
            continue
        found[asked], part[asked] = head.predict(half.x[rows[asked]]), len(heads)
        heads.append(head)
    return OutOfFold(tuple(heads), part, found)
