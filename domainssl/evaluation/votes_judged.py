"""What the test half says of predicted vote distributions: coverage of their intervals, and how likely votes are."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from domainssl.evaluation.dirichlet_multinomial import log_likelihood
from domainssl.evaluation.intervals import GroupResamples, percentile_interval
from domainssl.evaluation.vote_intervals import MOST_VOTES, vote_intervals

COVERAGES = (0.9, 0.5)  # the first is that of predictions.parquet; of the second it shows where they are too wide
MINIMUM = 100  # groups; of fewer, coverage is not known to six points
TOLERATED = 0.03  # how far coverage may be from what is expected and intervals still be called calibrated
RESAMPLES = 1000
# Groups that are asked at most: of so many the interval of a coverage is half a point wide, and more take longer.
MOST_GROUPS = 20_000
_AT_ONCE = 100  # resamples
Called = Literal["calibrated", "too narrow", "too wide", "not estimable"]


def judged_votes(
    names: Sequence[str],
    concentration: Float64[np.ndarray, "n k"],
    pooled: Float64[np.ndarray, " k"],
    counts: Float64[np.ndarray, "n k"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """Numbers ready for JSON from test rows: predicted concentrations, and the votes that were given.

    Coverage is the share of (row, answer) whose votes lie within the interval for as many people as voted; beside it
    stands what the prediction itself expects, which is above the nominal share since counts are whole, and the
    difference of the two with the 95 % interval of a bootstrap over groups. `pooled` are concentrations that know no
    image: "gain" is by how many nats a vote is likelier than by them. Rows with unknown votes, without votes, with
    more than MOST_VOTES or with NaN concentrations are left out; None where none remain. "called" is "not estimable"
    of fewer than MINIMUM groups.
    """
    total = counts.sum(axis=1)
    sound = np.isfinite(concentration).all(axis=1) & (total > 0.5) & (total <= MOST_VOTES)  # NaN is not
    rows = np.flatnonzero(sound)
    _, member = np.unique(groups[rows], return_inverse=True)
    chosen = rng.permutation(int(member.max(initial=-1)) + 1)[:MOST_GROUPS]
    kept = np.isin(member, chosen)
    rows, (_, member) = rows[kept], np.unique(member[kept], return_inverse=True)
    if not len(rows):
        return None
    alpha, given = concentration[rows], counts[rows]
    votes = np.rint(total[rows]).astype(np.int64)
    sums = [np.ones(len(rows)), total[rows]]
    sums += [log_likelihood(given, alpha), log_likelihood(given, np.broadcast_to(pooled, given.shape))]
    inside = [_inside(alpha, given, votes, coverage) for coverage in COVERAGES]
    sums += [part for pair in inside for part in (pair[0].mean(axis=1), pair[1].mean(axis=1))]
    values = np.stack([np.bincount(member, weights=part) for part in sums])
    drawn = _resampled(values, rng)
    levels = [
        {"promised": coverage, **_level(values.sum(axis=1), drawn, 4 + 2 * place)}
        for place, coverage in enumerate(COVERAGES)
    ]
    hit, expected = inside[0]
    by_answer = {
        name: {"value": float(hit[:, k].mean()), "expected": float(expected[:, k].mean())}
        for k, name in enumerate(names)
    }
    facts = {"groups": values.shape[1], "needed": MINIMUM, "rows": len(rows), "votes": float(np.median(total[rows]))}
    called = _called(levels, values.shape[1])
    gained = _gain(values.sum(axis=1), drawn)
    return {"called": called, **facts, "tolerated": TOLERATED, "levels": levels, "answers": by_answer, "nats": gained}


def _inside(
    alpha: Float64[np.ndarray, "n k"], given: Float64[np.ndarray, "n k"], votes: Int64[np.ndarray, " n"], level: float
) -> tuple[Float64[np.ndarray, "n k"], Float64[np.ndarray, "n k"]]:
    """1 where the votes lie within the interval, else 0, and with what probability they were expected to."""
    found = vote_intervals(alpha, votes, level)
    count = np.rint(given)  # debiased votes are fractions
    return ((count >= found.low) & (count <= found.high)).astype(np.float64), found.expected


def _resampled(values: Float64[np.ndarray, "s g"], rng: np.random.Generator) -> Float64[np.ndarray, "s r"]:
    """Sums over the groups of each resample."""
    number = values.shape[1]
    resamples = GroupResamples(np.arange(number), RESAMPLES, int(rng.integers(2**32)))
    parts = [values @ resamples.weights(start, start + _AT_ONCE) for start in range(0, RESAMPLES, _AT_ONCE)]
    return np.concatenate(parts, axis=1)


def _level(sums: Float64[np.ndarray, " s"], drawn: Float64[np.ndarray, "s r"], place: int) -> dict[str, float]:
    value, expected = sums[place] / sums[0], sums[place + 1] / sums[0]
    low, high = percentile_interval((drawn[place] - drawn[place + 1]) / drawn[0])
    return {"value": float(value), "expected": float(expected), "low": low, "high": high}


def _gain(sums: Float64[np.ndarray, " s"], drawn: Float64[np.ndarray, "s r"]) -> dict[str, float]:
    low, high = percentile_interval((drawn[2] - drawn[3]) / drawn[1])
    return {
        "value": float(sums[2] / sums[1]),
        "pooled": float(sums[3] / sums[1]),
        "gain": float((sums[2] - sums[3]) / sums[1]),
        "low": low,
        "high": high,
    }


def _called(levels: Sequence[dict[str, float]], groups: int) -> Called:
    """Off is what is beyond chance (the interval of the difference leaves out 0) and beyond what is tolerated."""
    if groups < MINIMUM:
        return "not estimable"
    beyond = [level["value"] - level["expected"] for level in levels if level["low"] > 0 or level["high"] < 0]
    worst = max(beyond, key=abs, default=0.0)
    if abs(worst) <= TOLERATED:
        return "calibrated"
    return "too narrow" if worst < 0 else "too wide"
