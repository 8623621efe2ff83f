"""Which labelled rows are held out to choose when training stops: of every class, whole groups together."""

import numpy as np
from jaxtyping import Float64, Int64, Shaped


def classes_of(targets: Float64[np.ndarray, "n t"], outputs: int) -> Int64[np.ndarray, " n"] | None:
    """The class or level of each row, where targets are one column of whole numbers from 0 to `outputs`; else None."""
    column = targets[:, 0]
    if targets.shape[1] != 1 or not np.isin(column, np.arange(outputs + 1)).all():
        return None
    return column.astype(np.int64)


def held_out_rows(
    strata: Int64[np.ndarray, " n"] | None,
    groups: Shaped[np.ndarray, " n"],
    share: float,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " h"]:
    """Ascending places of about `share` of the rows of every class, at least one and at most half, in whole groups.

    Empty where a class cannot give a row so that half of its rows stay (fewer than two rows, or one large group), and,
    without classes, for fewer than five rows.
    """
    classes = np.zeros(len(groups), np.int64) if strata is None else strata
    if strata is None and len(groups) < 5:
        return np.empty(0, np.int64)
    _, label = np.unique(classes, return_inverse=True)
    _, member = np.unique(groups, return_inverse=True)
    size = np.bincount(label)
    count = np.zeros((member.max() + 1, len(size)), np.int64)  # rows of each class in each group
    np.add.at(count, (member, label), 1)
    wanted, most = np.maximum(1, np.rint(share * size)), size // 2
    held, taken = np.zeros(len(size), np.int64), np.zeros(len(count), bool)
    for rare in np.argsort(size, kind="stable"):  # the rarest class first: the others have more to choose from
        for group in rng.permutation(np.flatnonzero(count[:, rare])):
            if held[rare] < wanted[rare] and not taken[group] and (held + count[group] <= most).all():
                taken[group] = True
                held += count[group]
    return np.flatnonzero(taken[member]) if (held > 0).all() else np.empty(0, np.int64)
