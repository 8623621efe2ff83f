"""How many of an object's volunteers will give an answer: the beta-binomial margin of a Dirichlet-multinomial.

Of concentrations alpha with total s, the votes for one answer of N are beta-binomial with alpha and s - alpha (Skellam
1948). Axes: n row, k answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

_NUMBERS_AT_ONCE = 4_000_000  # rows times answers times possible counts: 32 MB
MOST_VOTES = 1000  # beyond, shares are as good as continuous, and a row costs more for nothing


@final
@dataclass(frozen=True)
class VoteIntervals:
    """Counts from `low` to `high`, both within, for each answer, and the probability `expected` of lying there.

    It is above what was asked for, since counts are whole numbers. -1 and NaN in rows that have no votes or whose
    concentrations are NaN.
    """

    low: Int64[np.ndarray, "n k"]
    high: Int64[np.ndarray, "n k"]
    expected: Float64[np.ndarray, "n k"]


def vote_intervals(
    concentration: Float64[np.ndarray, "n k"], votes: Int64[np.ndarray, " n"], coverage: float
) -> VoteIntervals:
    """Central intervals: at most (1 - coverage) / 2 of the probability lies below them, and as much above.

    `votes` is how many people answer, 0..MOST_VOTES. Raises ValueError for other numbers, and for a coverage that is
    not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage: {coverage} is not between 0 and 1; give 0.9 for 90 % intervals")
    if len(votes) and not (votes.min() >= 0 and votes.max() <= MOST_VOTES):
        raise ValueError(f"votes: {votes.min()}..{votes.max()} are not all in 0..{MOST_VOTES}; give fewer")
    shape = concentration.shape
    low, high = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    expected = np.full(shape, np.nan)
    tail = (1 - coverage) / 2
    for rows in _alike(concentration, votes):
        chance = vote_probabilities(concentration[rows], int(votes[rows[0]]))
        below = chance.cumsum(axis=2)
        last = below.shape[2] - 1
        # A last digit must not decide: where exactly the tail lies below, the next count begins the interval.
        first = np.minimum((below <= tail + 1e-12).sum(axis=2), last)
        end = np.minimum((below < 1 - tail - 1e-12).sum(axis=2), last)
        before = np.where(first > 0, np.take_along_axis(below, np.maximum(first - 1, 0)[..., None], 2)[..., 0], 0.0)
        low[rows], high[rows] = first, end
        expected[rows] = np.take_along_axis(below, end[..., None], 2)[..., 0] - before
    return VoteIntervals(low, high, expected)


def vote_probabilities(concentration: Float64[np.ndarray, "n k"], votes: int) -> Float64[np.ndarray, "n k v"]:
    """The probability of 0, 1, .. `votes` votes for each answer; NaN where the concentrations are NaN.

    From ratios of neighbouring counts, whose logarithms are added: none is too small for float64.
    """
    alpha = concentration[:, :, None]
    beta = concentration.sum(axis=1)[:, None, None] - alpha
    count = np.arange(votes)
    ratio = (votes - count) / (count + 1) * (alpha + count) / (beta + votes - 1 - count)
    logs = np.concatenate([np.zeros_like(alpha), np.log(ratio).cumsum(axis=2)], axis=2)
    odds = np.exp(logs - logs.max(axis=2, keepdims=True))
    chance: Float64[np.ndarray, "n k v"] = odds / odds.sum(axis=2, keepdims=True)
    return chance


def _alike(
    concentration: Float64[np.ndarray, "n k"], votes: Int64[np.ndarray, " n"]
) -> Iterator[Int64[np.ndarray, " m"]]:
    """Rows of one number of votes, as many as fit; those that nothing can be said of are left out."""
    sound = np.isfinite(concentration).all(axis=1)
    for number in np.unique(votes[sound & (votes > 0)]):
        rows = np.flatnonzero(sound & (votes == number))
        most = max(1, _NUMBERS_AT_ONCE // int((number + 1) * concentration.shape[1]))
        for start in range(0, len(rows), most):
            yield rows[start : start + most]
