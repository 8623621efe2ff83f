"""Whether scores are probabilities: the reliability curve, the expected calibration error, and what chance gives."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Float64, Shaped

BINS = 10
SIMULATED = 1000
MINIMUM = 200  # groups; of 100, scores that are all ten points too high pass two times in three
NOTICED = 0.05  # the p-value below which scores are said to be off: so often calibrated ones are, by chance
TOLERATED = 0.03  # the error beyond chance up to which scores are called probabilities all the same
Called = Literal["probability", "score"]


@final
@dataclass(frozen=True)
class Reliability:
    """How often what was said with a probability came true, on rows one a group.

    `said` and `seen` are means of bins of equal numbers of rows, `counts` their sizes. `error` is the expected
    calibration error, the mean over rows of |said - seen| (Naeini et al. 2015); `expected` is what calibrated scores
    like these would have by chance, `noticed` what one in twenty of them would exceed, below which no error is seen,
    and `p` how often they would have as much.
    """

    said: Float64[np.ndarray, " b"]
    seen: Float64[np.ndarray, " b"]
    counts: Float64[np.ndarray, " b"]
    error: float
    expected: float
    noticed: float
    p: float
    groups: int

    @property
    def called(self) -> Called:
        """A score is called a probability where enough groups were asked and it is not off beyond chance by more than
        a tolerated error."""
        sound = self.p >= NOTICED or self.error - self.expected <= TOLERATED
        return "probability" if self.groups >= MINIMUM and sound else "score"


def reliability(
    said: Float64[np.ndarray, " n"],
    true: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
) -> Reliability:
    """Reliability of probabilities from 0 to 1, of one random row of every group.

    Rows of a group are no fresh evidence, and with one each the chance of calibrated scores can be simulated: truths
    are drawn with the probabilities that were said (Broecker and Smith 2007, consistency resampling).
    Raises ValueError for no rows and for NaN.
    """
    if not len(said) or np.isnan(said).any():
        raise ValueError(f"scores: {len(said)} rows, {int(np.isnan(said).sum())} with NaN; leave them out")
    rows = one_a_group(groups, rng)
    order = rows[np.argsort(said[rows], kind="stable")]
    parts = np.array_split(order, min(BINS, len(order)))
    counts = np.array([len(part) for part in parts], np.float64)
    starts = np.cumsum([0, *map(len, parts[:-1])])
    means = np.add.reduceat(said[order], starts) / counts
    seen = np.add.reduceat(true[order].astype(np.float64), starts) / counts
    drawn = rng.random((SIMULATED, len(order))) < said[order]
    by_chance = _error(np.add.reduceat(drawn.astype(np.float64), starts, axis=1) / counts, means, counts)
    error = float(_error(seen, means, counts))
    p = float((1 + (by_chance >= error - 1e-12).sum()) / (1 + SIMULATED))
    return Reliability(
        means, seen, counts, error, float(by_chance.mean()), float(np.quantile(by_chance, 1 - NOTICED)), p, len(order)
    )


def one_a_group(groups: Shaped[np.ndarray, " n"], rng: np.random.Generator) -> Shaped[np.ndarray, " g"]:
    """One random row of every group, ascending."""
    shuffled = rng.permutation(len(groups))
    _, first = np.unique(groups[shuffled], return_index=True)
    return np.sort(shuffled[first])


def _error(
    seen: Float64[np.ndarray, "*s b"], said: Float64[np.ndarray, " b"], counts: Float64[np.ndarray, " b"]
) -> Float64[np.ndarray, "*s"]:
    return np.asarray((np.abs(seen - said) * counts).sum(axis=-1) / counts.sum())
