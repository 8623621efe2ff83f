"""Which rows' labels a few-label experiment may see: random, balanced by class, nested over the numbers of labels."""

import numpy as np
from jaxtyping import Bool, Int, Int64, Shaped


def nested_order(
    labels: Int[np.ndarray, " n"],
    train: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> Int64[np.ndarray, " n"]:
    """Each row's place, from 0, in a random queue of its class; -1 for unlabelled rows (label < 0) and test rows.

    The rows with a place below m are a draw of at most m labels a class, so draws of several sizes from one order are
    nested: their curves are smoother and their differences paired. With `groups`, every group of a class gives one row
    before any gives a second, since two radiographs of one patient teach less than two patients; ids are sorted first,
    so the order of the rows matters only within a group.
    """
    order = np.full(len(labels), -1, dtype=np.int64)
    rows = np.flatnonzero(train & (labels >= 0))
    if len(rows) == 0:
        return order
    ids = rows if groups is None else groups[rows]
    _, group = np.unique(ids, return_inverse=True)
    classes, label = np.unique(labels[rows], return_inverse=True)
    cells, cell = np.unique(label * (group.max() + 1) + group, return_inverse=True)  # class and group
    cell_key, row_key = rng.random(len(cells)), rng.random(len(rows))
    turn = np.empty(len(rows), dtype=np.int64)
    turn[np.lexsort((row_key, cell))] = _count_within(np.bincount(cell, minlength=len(cells)))
    queue = np.lexsort((row_key, cell_key[cell], turn, label))
    order[rows[queue]] = _count_within(np.bincount(label, minlength=len(classes)))
    return order


def draw_labels(
    labels: Int[np.ndarray, " n"],
    train: Bool[np.ndarray, " n"],
    per_class: int,
    rng: np.random.Generator,
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> Int64[np.ndarray, " m"]:
    """Ascending indices of at most `per_class` random rows of each class from the training half; all where fewer.

    Generators in the same state give nested draws: the set of 5 labels a class lies inside that of 10.
    See `nested_order`. Raises ValueError where per_class is below 1.
    """
    if per_class < 1:
        raise ValueError(f"per_class: {per_class} labels per class cannot train a head; give 1 or more")
    order = nested_order(labels, train, rng, groups)
    return np.flatnonzero((order >= 0) & (order < per_class)).astype(np.int64)


def _count_within(sizes: Int[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """0, 1, …, size-1 for each size in turn."""
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    return np.asarray(np.arange(sizes.sum(), dtype=np.int64) - np.repeat(starts, sizes))
