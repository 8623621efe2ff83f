"""The check on randomised weights: do maps change when what was learnt is taken away? (Adebayo et al. 2018).

Axes: o object, r randomisation, h w pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from domainssl.evaluation.intervals import MINIMUM_GROUPS, draw_weights, percentile_interval

BOUND = 0.5  # of the mean rank correlation: above, a map is more of the image than of what was learnt
RESAMPLES = 2000

Verdict = Literal["passed", "image", "open", "few"]


@final
@dataclass(frozen=True)
class Agreement:
    """How alike maps of trained and of randomised weights are: the mean rank correlation, with its 95 % interval.

    `unsigned` is the mean of its absolute value, `objects` those of which it is defined, `randomisations` how many
    there were. NaN where no object has a value; without an interval (NaN) below ten objects.
    """

    value: float
    low: float
    high: float
    unsigned: float
    objects: int
    randomisations: int


def rank_correlation(first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"]) -> float:
    """Spearman's, over the pixels that are finite in both maps; NaN where the first is the same everywhere, or nowhere.

    0 where only the second is, an empty one most of all: it has nothing in common with the first. To leave it out
    would leave those by which a random head happened to agree.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any() or np.ptp(first[both]) == 0:
        return float("nan")
    if np.ptp(second[both]) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(first[both]), rankdata(second[both]))[0, 1])


def agreement(correlations: Float[np.ndarray, "o r"], rng: np.random.Generator) -> Agreement:
    """The mean of objects' means over the randomisations, and its interval by resampling both.

    Objects are one a group. A correlation that is not defined (NaN: of an empty map) has no say.
    """
    objects, draws = correlations.shape
    defined = np.isfinite(correlations)
    counted = int(defined.any(axis=1).sum())
    value, unsigned = (float(_means(part, defined, np.ones((1, objects)), np.full((1, draws), 1 / draws))[0])
                       for part in (correlations, np.abs(correlations)))  # fmt: skip
    low = high = float("nan")
    if counted >= MINIMUM_GROUPS:
        times = rng.multinomial(objects, np.full(objects, 1 / objects), size=RESAMPLES).astype(np.float64)
        resampled = _means(correlations, defined, times, draw_weights(draws, RESAMPLES, rng))
        low, high = percentile_interval(resampled, n_groups=counted)
    return Agreement(value, low, high, unsigned, counted, draws)


def verdict(found: Sequence[Agreement]) -> Verdict:
    """What the agreements with each kind of randomised weights say of the maps.

    "image": one of them is clearly above the bound, so the maps show the image and not what was learnt; "passed": all
    are clearly below; "few": too few objects for an interval; else "open".
    """
    if any(one.low > BOUND for one in found):
        return "image"
    if any(np.isnan(one.low) for one in found):
        return "few"
    return "passed" if all(one.high < BOUND for one in found) else "open"


def _means(
    values: Float[np.ndarray, "o r"],
    defined: np.ndarray,
    times: Float[np.ndarray, "n o"],
    weights: Float[np.ndarray, "n r"],
) -> Float[np.ndarray, " n"]:
    """Weighted means over what is defined, objects by `times` and randomisations by `weights`; NaN where nothing is."""
    total = np.einsum("no,nr,or->n", times, weights, np.where(defined, values, 0.0), optimize=True)
    weight = np.einsum("no,nr,or->n", times, weights, defined.astype(np.float64), optimize=True)
    means: Float[np.ndarray, " n"] = np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)
    return means
