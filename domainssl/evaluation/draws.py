"""Which rows' labels a few-label experiment may see: random, balanced or at natural prevalence, nested over sizes."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, Shaped

from domainssl.options import Kind

Draw = Literal["balanced", "natural"]
FIFTHS = 5  # of real values: a "class" to be balanced over


def strata(
    kind: Kind, y: Float64[np.ndarray, "n t"], outputs: int, train: Bool[np.ndarray, " n"]
) -> Int64[np.ndarray, "n s"]:
    """What a draw is balanced over: each column numbers the rows' strata, -1 where a row is in none.

    Classes, yes/no and ordered levels are strata as they are; real values fall into fifths of the training half, votes
    under the answer that has most. Several findings give a column each, of the rows that have it, and one of the rows
    that are known to have none.
    """
    known = ~np.isnan(y).all(axis=1)
    if kind == "multilabel":
        none = known & (np.nansum(y, axis=1) == 0)
        return np.column_stack([*(np.where(y == 1, 0, -1).T), np.where(none, 0, -1)]).astype(np.int64)
    if kind == "votes":
        return np.where(known, np.nan_to_num(y).argmax(axis=1), -1)[:, None].astype(np.int64)
    if kind == "real":
        edges = np.quantile(y[train & known, 0], np.arange(1, FIFTHS) / FIFTHS) if (train & known).any() else []
        return np.where(known, np.searchsorted(edges, np.nan_to_num(y[:, 0]), side="right"), -1)[:, None]
    return np.where(known, np.nan_to_num(y[:, 0]), -1)[:, None].astype(np.int64)


def drawing_order(
    strata: Int64[np.ndarray, "n s"],
    train: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
    groups: Shaped[np.ndarray, " n"] | None = None,
    draw: Draw = "balanced",
) -> Int64[np.ndarray, " n"]:
    """Each row's place in the draws, from 0; -1 for rows without a label and rows of the test half.

    The rows with a place below m are the draw of m labels a class, so draws of several sizes are nested. Balanced: the
    first m of each stratum's queue (a row with several findings stands in several). Natural: at most m times as many
    rows as there are strata, taken at random from all.
    """
    if draw == "balanced":
        places = np.column_stack([nested_order(column, train, rng, groups) for column in strata.T])
        first = np.where(places < 0, np.iinfo(np.int64).max, places).min(axis=1)
        return np.where((places < 0).all(axis=1), -1, first)
    count = sum(len(np.unique(column[train & (column >= 0)])) for column in strata.T)
    anything = np.where((strata >= 0).any(axis=1), 0, -1)
    order = nested_order(anything, train, rng, groups)
    return np.where(order < 0, -1, order // max(count, 1))


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


def _count_within(sizes: Int[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """0, 1, …, size-1 for each size in turn."""
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    return np.asarray(np.arange(sizes.sum(), dtype=np.int64) - np.repeat(starts, sizes))
