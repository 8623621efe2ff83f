"""Sets of classes that hold the truth as often as promised, whatever the head (Vovk et al. 2005; Sadinle et al. 2019).

A class is left out of an image's set where its score is lower than that of the truth in nine tenths of the calibrating
rows. These may be in parts, each scored by a head that did not learn from it, and an image is compared with each part
by that part's head (cross-conformal prediction, Vovk 2015), so that no label is set aside. The promise is a mean over
calibrating rows: what one set of n of them gives is a draw from a Beta distribution, whose 95 % range is .75 to .99 for
20 rows, .84 to .95 for 100, .87 to .92 for 500 (`coverage_range`). It is exact for one part; for five, in simulation
with linear heads of any strength, the mean coverage is .890 to .938 for 30 rows and .900 to .917 for 120 (promised .9).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import beta

COVERAGE = 0.9


def least_rows(coverage: float = COVERAGE) -> int:
    """How many calibrating rows a promise needs: 9 for 90 %."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def sets(
    conformity: Sequence[Float64[np.ndarray, " _"]],
    scores: Sequence[Float64[np.ndarray, "n k"]],
    coverage: float = COVERAGE,
) -> Bool[np.ndarray, "n k"]:
    """Which classes are in each row's set: those whose rank among the calibrating rows is no extreme one.

    `conformity` are the scores of the truth of each part's calibrating rows, `scores` those of all classes by that
    part's head. Rows must be exchangeable: one of each group. A row with NaN has every class: nothing is known of it.
    Raises ValueError for fewer than `least_rows` calibrating rows, for NaN in them and where coverage is not within
    0..1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage: {coverage} is not between 0 and 1; give 0.9 for sets of 90 %")
    rows = sum(map(len, conformity))
    if rows < least_rows(coverage):
        raise ValueError(
            f"calibrating rows: {rows} are too few for sets of {coverage:.0%}; give {least_rows(coverage)}"
        )
    lower = np.ones(scores[0].shape)
    for part, asked in zip(conformity, scores, strict=True):
        if np.isnan(part).any():
            raise ValueError(f"calibrating rows: {int(np.isnan(part).sum())} scores are NaN; leave them out")
        lower += np.searchsorted(np.sort(part), asked, side="right")
    return np.asarray((lower / (rows + 1) > round(1 - coverage, 9)) | np.isnan(sum(scores)))


def coverage_range(rows: int, coverage: float = COVERAGE) -> tuple[float, float]:
    """Within which the coverage of sets lies for 95 % of the sets of so many calibrating rows (Vovk 2012)."""
    place = math.ceil(round((rows + 1) * coverage, 9))  # 0.9 * 10 is above 9 by its last digit
    low, high = beta.ppf([0.025, 0.975], place, rows + 1 - place)
    return float(low), float(high)
