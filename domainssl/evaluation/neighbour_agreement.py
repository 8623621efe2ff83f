"""Whether objects that lie near each other in an embedding have the same answer to a question."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int64, Shaped
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval
from domainssl.evaluation.reliability import one_a_group
from domainssl.neighbours import nearest

RESAMPLES = 1000


@final
@dataclass(frozen=True)
class Agreement:
    """The share of objects whose nearest other has their answer, 0 to 1, with its 95 % interval.

    `chance` is what a random other object gives, `p` one-sided against it, `groups` how many objects were asked for,
    one a group.
    """

    rate: float
    low: float
    high: float
    chance: float
    p: float
    groups: int


def neighbour_agreement(
    vectors: Float[np.ndarray, "n d"],
    rows: Int64[np.ndarray, " m"],
    answers: Int64[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
    most: int = 20_000,
) -> Agreement | None:
    """How often the nearest object of another group, by cosine similarity, has the same answer.

    Of the objects at `rows` one random one of each group takes part, of more groups at most `most`. Objects that are
    near to each other are right or wrong together, so the interval is a bootstrap over parts of the graph of nearest
    neighbours that hang together, and `p` comes from answers permuted on the same graph. Rows that hold NaN or infinity
    count as absent; None for fewer than 10 groups or two answers. Of equally near objects the first row counts.
    """
    rows = np.sort(rng.permutation(rows[one_a_group(groups[rows], rng)])[:most])
    rows = rows[np.isfinite(vectors[rows]).all(axis=1)]
    told, n = answers[rows], len(rows)
    _, kind, sizes = np.unique(told, return_inverse=True, return_counts=True)
    if n < MINIMUM_GROUPS or len(sizes) < 2:
        return None
    x = vectors[rows]
    other = nearest(x, x, 1, exclude_self=True)[1][:, 0]
    right = (kind[other] == kind).astype(np.float64)
    graph = coo_array((np.ones(n), (np.arange(n), other)), shape=(n, n))
    parts, part = connected_components(graph, directed=False)
    drawn = GroupResamples(np.arange(parts), RESAMPLES, int(rng.integers(2**32))).multiplicity.astype(np.float64)
    counts, hits = np.bincount(part).astype(np.float64), np.bincount(part, weights=right)
    low, high = percentile_interval((hits @ drawn) / (counts @ drawn), n_groups=max(2, parts))
    rate = float(right.mean())
    as_many = 0
    for _ in range(RESAMPLES):
        permuted = rng.permutation(kind)
        as_many += float((permuted[other] == permuted).mean()) >= rate
    p = (1 + as_many) / (1 + RESAMPLES)
    chance = float(((sizes[kind] - 1) / (n - 1)).mean())
    return Agreement(rate, low, high, chance, p, n)
