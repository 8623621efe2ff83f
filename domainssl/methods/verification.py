"""Verification: two images are said to show the same where their distance is below a threshold.

Axes: n pair.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def verification_threshold(distances: Float[Tensor, " n"], same: Bool[Tensor, " n"]) -> float:
    """The threshold T of the best balanced accuracy of "same where d < T"; to be chosen on other pairs than it judges.

    Midway between two neighbouring distances, the lowest of equally good ones. NaN unless there are pairs of both
    kinds. Distances have to be finite.
    """
    distances, same = distances.detach().double(), same.detach()
    if same.all() or not same.any():
        return math.nan
    values, place = torch.unique(distances, return_inverse=True)  # ascending
    of_same, of_others = (torch.bincount(place[kind], minlength=len(values)).cumsum(0) for kind in (same, ~same))
    # Below a threshold just above each value: the share of same pairs, less that of the others.
    gain = of_same / of_same[-1] - of_others / of_others[-1]
    best = int(gain.argmax())
    if gain[best] <= 0:  # no threshold is better than none
        return float(values[0])
    above = values[best + 1] if best + 1 < len(values) else values[best] + 1
    return float((values[best] + above) / 2)


def balanced_accuracy(distances: Float[Tensor, " n"], same: Bool[Tensor, " n"], threshold: float) -> float:
    """The mean of the shares of same pairs below the threshold and of others not below; NaN without either kind."""
    below = distances.detach() < threshold
    return float((below[same].double().mean() + (~below[~same]).double().mean()) / 2)
