"""Class probabilities of labelled rows by linear heads that have seen nothing of their groups."""

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from domainssl.heads.affine import softmax
from domainssl.heads.cross_entropy import PrincipalAxes, minimise_cross_entropies
from domainssl.heads.folds import FOLDS, grouped_folds
from domainssl.heads.strength import STRENGTHS

_TOLERANCE = 1e-3  # of the gradient at zero, as where strengths are chosen: probabilities are compared, not reported


def whole_group_folds(
    labels: Int64[np.ndarray, " m"], groups: Shaped[np.ndarray, " m"], rng: np.random.Generator
) -> Int64[np.ndarray, " m"]:
    """The fold of each row, 0..4; -1 for rows that are in none, neither learnt from nor predicted.

    These are the rows of classes that fewer than 5 groups have, and of groups that `grouped_folds` would tear apart to
    have a class outside every fold; without them the folds are dealt anew. All rows are -1 where fewer than two classes
    are left. No rows give no folds.
    """
    fold_of_row = np.full(len(labels), -1, dtype=np.int64)
    _, member = np.unique(groups, return_inverse=True)
    kept = np.ones(len(labels), dtype=bool)
    while True:
        frequent = [c for c in np.unique(labels) if len(np.unique(member[kept & (labels == c)])) >= FOLDS]
        if len(frequent) < 2:
            return fold_of_row
        rows = np.flatnonzero(kept & np.isin(labels, frequent))
        dealt = grouped_folds(labels[rows], member[rows], rng)
        assert dealt is not None  # every class that is left has five rows or more
        pairs = np.unique(np.stack([member[rows], dealt]), axis=1)
        dealt_groups, times = np.unique(pairs[0], return_counts=True)
        torn = dealt_groups[times > 1]
        if len(torn) == 0:
            fold_of_row[rows] = dealt
            return fold_of_row
        kept &= ~np.isin(member, torn)


def linear_out_of_fold(
    axes: PrincipalAxes,
    labels: Int64[np.ndarray, " m"],
    outputs: int,
    folds: Int64[np.ndarray, " m"],
    c: float | None = None,
) -> tuple[Float64[np.ndarray, "m k"], float]:
    """Probabilities of each row, 0 to 1, by a linear head that learnt the other folds, and its inverse strength c.

    `axes` are those of all rows, `folds` from 0 up: rows that are in none must be left out before. A class without a
    row has probability 0. Without `c`, the strengths are tried from the strongest penalty on until the mean loss of the
    held-out rows rises, and the best one's probabilities are given: choosing costs no fit beyond those.
    Raises ValueError for fewer than two folds.
    """
    count = int(folds.max(initial=-1)) + 1
    if count < 2 or folds.min() < 0:
        raise ValueError(f"folds: {count} of them, from {folds.min(initial=0)} up; give two or more, from 0 up")
    present = np.unique(labels)
    held = folds[:, None] == np.arange(count)
    shares = (labels[:, None] == present).astype(np.float64)
    problem = np.broadcast_to(shares[:, None], (len(labels), count, len(present)))
    best, least, chosen, solution = np.empty(0), np.inf, float("nan"), None
    for strength in STRENGTHS if c is None else (c,):
        at = np.full(count, strength)
        solution = minimise_cross_entropies(axes, problem, ~held, at, start=solution, tolerance=_TOLERANCE)
        found = np.empty(shares.shape)
        for fold in range(count):
            logits = axes.coordinates[held[:, fold]] @ solution[:-1, fold] + solution[-1, fold]
            found[held[:, fold]] = softmax(logits)
        loss = -float(np.log(np.maximum(found[shares == 1], 1e-300)).mean())
        if not loss < least:
            break
        best, least, chosen = found, loss, strength
    probabilities = np.zeros((len(labels), outputs))
    probabilities[:, present] = best
    return probabilities, chosen
