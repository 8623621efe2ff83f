"""Whether a difference is more than chance, and whether it still is where many were looked at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64
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
    if n_groups is None:
        return p
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
