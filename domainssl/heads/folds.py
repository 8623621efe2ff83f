"""Folds for what a head chooses within its labelled rows: by class, rows of one group together."""

import numpy as np
from jaxtyping import Int64, Shaped

FOLDS = 5


def grouped_folds(
    labels: Int64[np.ndarray, " m"], groups: Shaped[np.ndarray, " m"], rng: np.random.Generator
) -> Int64[np.ndarray, " m"] | None:
    """The fold of each row, 0..4, or fewer folds where the rarest class has fewer rows; None where it has a single one.

    Groups are dealt in random order, large ones first, each to the fold that has the least of its classes. Where this
    would leave a class in one fold alone (all its rows lie in one group), its rows are dealt out one by one, so that
    every class occurs outside every fold.
    """
    classes, label = np.unique(labels, return_inverse=True)
    totals = np.bincount(label)
    folds = min(FOLDS, int(totals.min()))
    if folds < 2:
        return None
    _, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member)
    held = np.zeros((len(sizes), len(classes)))
    np.add.at(held, (member, label), 1.0)
    filled = np.zeros((folds, len(classes)))
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in np.lexsort((rng.random(len(sizes)), -sizes)):
        share = filled / totals
        cost = share @ held[group] + 1e-6 * share.sum(axis=1)  # where equal, the emptiest fold
        fold = int(np.argmin(cost))
        fold_of_group[group] = fold
        filled[fold] += held[group]
    fold_of_row: Int64[np.ndarray, " m"] = fold_of_group[member]
    for lonely in np.flatnonzero((filled > 0).sum(axis=0) == 1):
        rows = rng.permutation(np.flatnonzero(label == lonely))
        fold_of_row[rows] = np.arange(len(rows)) % folds
    return fold_of_row
