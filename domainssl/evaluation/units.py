"""What is scored: images, or studies and patients whose images' predictions are joined to one."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from domainssl.options import Kind

Aggregate = Literal["mean", "max"]


@final
@dataclass(frozen=True)
class Units:
    """Which unit each image belongs to (-1: of a unit that is left out), and each unit's target and group.

    `dropped` counts units that are left out because their images carry different classes or levels.
    """

    kind: Kind
    member: Int64[np.ndarray, " n"]
    truth: Float64[np.ndarray, "u t"]
    groups: Shaped[np.ndarray, " u"]
    dropped: int

    def join(self, predictions: Float64[np.ndarray, "n k"], how: Aggregate) -> Float64[np.ndarray, "u k"]:
        """One prediction a unit: the mean of its images' predictions, or for yes/no and findings the largest yes."""
        kept = self.member >= 0
        member, values = self.member[kept], predictions[kept]
        if how == "max":
            joined = np.full((len(self.truth), values.shape[1]), -np.inf)
            np.maximum.at(joined, member, values)
            if self.kind == "yes_no":
                joined[:, 0] = 1 - joined[:, 1]
            return joined
        joined = np.zeros((len(self.truth), values.shape[1]))
        np.add.at(joined, member, values)
        return joined / np.bincount(member, minlength=len(joined))[:, None]


def make_units(
    kind: Kind, y: Float64[np.ndarray, "n t"], ids: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]
) -> Units:
    """Units of images that share an id; a unit's group is that of its first image.

    A unit is yes (or has a finding) where one of its images is; unknown answers do not count against known ones. Real
    values are averaged, votes added up. A unit whose images carry different classes or levels is left out.
    """
    names, first, member = np.unique(ids, return_index=True, return_inverse=True)
    truth = np.full((len(names), y.shape[1]), np.nan)
    known = ~np.isnan(y)
    if kind in ("classes", "ordered"):
        low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        np.minimum.at(low, member, y[:, 0])
        np.maximum.at(high, member, y[:, 0])
        kept = low == high
        truth[:, 0] = np.where(kept, low, np.nan)
    else:
        kept = np.ones(len(names), dtype=bool)
        for answer in range(y.shape[1]):
            rows = known[:, answer]
            if kind in ("yes_no", "multilabel"):
                highest = np.full(len(names), -1.0)
                np.maximum.at(highest, member[rows], y[rows, answer])
                truth[:, answer] = np.where(highest < 0, np.nan, highest)
            else:
                total = np.bincount(member[rows], weights=y[rows, answer], minlength=len(names))
                count = np.bincount(member[rows], minlength=len(names))
                with np.errstate(invalid="ignore"):
                    truth[:, answer] = np.where(count > 0, total if kind == "votes" else total / count, np.nan)
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    return Units(kind, place[member].astype(np.int64), truth[kept], groups[first][kept], int((~kept).sum()))
