"""How well an embedding tells whose image it is: whether the nearest other image is of the same patient.

Radiographs are biometric: a network trained for it re-identifies patients from two images with an AUROC of 0.994
(Packhäuser et al. 2022, Scientific Reports 12, 14851). This measures what an embedding gives away that was trained for
something else; a network trained to re-identify would do better, so a low rate proves no anonymity.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped

from domainssl.evaluation.intervals import MINIMUM_GROUPS, GroupResamples, percentile_interval
from domainssl.neighbours import nearest


@final
@dataclass(frozen=True)
class Retrieval:
    """The share of images whose nearest other image is of the same group (precision at 1), 0 to 1.

    `low` and `high` bound its 95 % interval, `chance` is what a random other image gives, `queries` are the images
    asked for and `groups` theirs.
    """

    rate: float
    low: float
    high: float
    chance: float
    queries: int
    groups: int


def same_group_retrieval(
    vectors: Float[np.ndarray, "n d"],
    groups: Shaped[np.ndarray, " n"],
    *,
    seed: int = 0,
    resamples: int = 1000,
    most: int = 20_000,
) -> Retrieval | None:
    """Precision at 1 by cosine similarity, over the images whose group has another image.

    All images can be found, also those whose group has no other; at most `most` random ones of the others are asked
    for, since the time goes by their number times that of all. The interval is a bootstrap over groups, the images that
    can be found fixed; where every answer is right, or wrong, it has no width. Rows that hold NaN or infinity count as
    absent, and None is given where fewer than 10 groups have two images. Of equally near images (duplicates) the first
    row counts.
    Raises ValueError for `most` or `resamples` below 1.
    """
    if most < 1:
        raise ValueError(f"most: {most} images give no rate; give 1 or more")
    present: Bool[np.ndarray, " n"] = np.isfinite(vectors).all(axis=1)
    x = vectors[present]
    _, member, sizes = np.unique(groups[present], return_inverse=True, return_counts=True)
    if (sizes > 1).sum() < MINIMUM_GROUPS:
        return None
    several: Int64[np.ndarray, " m"] = np.flatnonzero(sizes[member] > 1)
    asked = np.sort(np.random.default_rng([seed, 0]).permutation(several)[:most])
    _, found = nearest(x, x[asked], 2)
    # A query finds itself, unless two duplicates of it stand before it: then the first of them is the nearest other.
    other = np.where(found[:, 0] == asked, found[:, 1], found[:, 0])
    right = (member[other] == member[asked]).astype(np.float64)
    chance = float(((sizes[member[asked]] - 1) / (len(x) - 1)).mean())
    names, place = np.unique(member[asked], return_inverse=True)
    drawn = GroupResamples(names, resamples, seed).multiplicity.astype(np.float64)
    counts, hits = np.bincount(place).astype(np.float64), np.bincount(place, weights=right)
    low, high = percentile_interval((hits @ drawn) / (counts @ drawn), n_groups=max(2, len(names)))
    return Retrieval(float(right.mean()), low, high, chance, len(asked), len(names))
