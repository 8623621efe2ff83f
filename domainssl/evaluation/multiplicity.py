"""Whether a difference is more than chance, and whether it still is where many were looked at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.stats import norm, t


def bootstrap_p(differences: Float[np.ndarray, " r"], n_groups: int | None = None) -> float:
    """Two-sided p-value of a paired difference, from its bootstrap values: does the interval reach to 0?

    Twice the smaller share of values on either side of 0, values at 0 on both and one more on either, so that it is
    never below 2 / (r + 1) (Davison and Hinkley 1997, 4.4); at most 1. With `n_groups` it is the p-value that inverts
    the expanded `percentile_interval` of as many groups: larger, and below 0.05 where that leaves out 0. NaN values,
    resamples in which the difference is undefined, are left out; NaN where none remains, and for fewer than two groups.
    """
    defined = differences[~np.isnan(differences)]
    if defined.size == 0 or (n_groups is not None and n_groups < 2):
        return float("nan")
    fewer: int = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p: float = min(1.0, 2 * (1 + fewer) / (1 + defined.size))
    return p if n_groups is None else _of_few(p, n_groups)


def largest_p(
    observed: Float64[np.ndarray, " m"],
    resampled: Float64[np.ndarray, "m r"],
    n_groups: Int64[np.ndarray, " m"],
) -> tuple[float, int]:
    """The p-value of the clearest of several differences, adjusted for all of them, and its place.

    The clearest has most standard errors, those of its bootstrap values; the p-value is the share of resamples in which
    any difference lies as many of its own away from what was observed (max-T, Westfall and Young 1993), widened as in
    `bootstrap_p` by the `n_groups` of that difference. Below 0.05 with probability 5 % where all of them are 0.
    Differences without spread are left out, undefined resamples count as not far away; (NaN, -1) where none is left.
    """
    defined = (~np.isnan(resampled)).sum(axis=1) > 1
    usable = np.flatnonzero(defined & ~np.isnan(observed) & (n_groups > 1))
    spread = np.nanstd(resampled[usable], axis=1)
    usable, spread = usable[spread > 0], spread[spread > 0]
    if not len(usable):
        return float("nan"), -1
    size = np.abs(observed[usable])
    away = np.abs(resampled[usable] - observed[usable, None]) / spread[:, None]
    farthest = np.nan_to_num(away).max(axis=0)
    place = int((size / spread).argmax())
    p = (1 + int((farthest >= (size / spread)[place]).sum())) / (1 + len(farthest))
    return _of_few(p, int(n_groups[usable[place]])), int(usable[place])


def _of_few(p: float, n_groups: int) -> float:
    """The p-value of a bootstrap that drew from so few groups, by which intervals are expanded."""
    deviation = -norm.ppf(p / 2) / np.sqrt(n_groups / (n_groups - 1))
    return float(2 * t.sf(deviation, n_groups - 1))


def holm(p: Sequence[float] | Float[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """P-values adjusted for all that were looked at: below 0.05 with probability 5 % at most if there is nothing.

    Step-down: the smallest of m times m, the next times m - 1, … made monotone, at most 1; valid for dependent tests
    (Holm 1979). NaN passes through and does not count as a test. Raises ValueError where a p is not within 0..1.
    """
    given = np.asarray(p, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(given))
    outside = given[tested][(given[tested] < 0) | (given[tested] > 1)]
    if outside.size:
        raise ValueError(f"p: {outside[0]} is not within 0..1; give p-values")
    ascending = tested[np.argsort(given[tested], kind="stable")]
    adjusted = given.copy()
    stepped = given[ascending] * np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted
