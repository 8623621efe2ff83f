"""Votes of many people: multinomial logistic regression on the shares of the votes."""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import TrainingHalf
from domainssl.heads.labels import in_row_order, vote_shares
from domainssl.heads.linear import LinearHead, fit_shares


def fit_votes(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> LinearHead:
    """Predicts the expected share of each answer from rows of vote counts; a row counts once, however many voted.

    The strength is chosen as for the linear probe, in folds by group. An answer without a vote gets share 0.
    Raises ValueError for unknown or negative counts, rows without votes, and fewer than two answers with votes.
    """
    rows, y = in_row_order(rows, y)
    if y.shape[1] != outputs:
        raise ValueError(f"votes: {y.shape[1]} columns for {outputs} answers; give one an answer")
    shares = vote_shares(y)
    voted = int((shares.sum(axis=0) > 0).sum())
    if voted < 2:
        raise ValueError(f"votes: all {len(y)} rows have votes for one answer only; a head needs two or more")
    folds = grouped_folds(np.zeros(len(rows), dtype=np.int64), half.groups[rows], rng)
    return fit_shares(half, rows, shares, folds)
