"""Measures of whether a representation has collapsed, and what to tell a person about it. Diagnostics: no gradients.

No single measure tells: a large common offset lowers the raw RankMe of a healthy representation, and a collapsed one
with a little noise has a full centred RankMe. So three are read together. All are computed in float64, whatever
precision the network ran in, since bfloat16 has no digits for an embedding that varies by a thousandth.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

# Both are passed where isotropic noise is below 0.8 % of the rms of the common embedding at d = 128, 0.2 % at d = 1280.
COLLAPSED_RANKME = 2.0
COLLAPSED_SPREAD = 0.02
# Projections of healthy trainings, from random weights and from ImageNet, spread to 0.5 and more; of BYOL without its
# predictor or stop-gradient to 0.05 to 0.19, while the encoder's features stay varied.
COLLAPSED_PROJECTIONS = 0.2
LEAST_DIRECTIONS = 8.0  # frozen ImageNet features of galaxies and radiographs have a centred RankMe of hundreds


def rankme(z: Float[Tensor, "n d"], centred: bool) -> float:
    """Effective number of directions in which embeddings vary, from 1 to min(n, d): exp of the entropy of the
    singular values, normalised to sum 1 (Garrido et al. 2023, eq. 1).

    `centred` subtracts the mean row first. 0 where all singular values are zero (or there are no rows); NaN where z
    holds NaN or infinity.
    """
    z = _exact(z)
    if not torch.isfinite(z).all():
        return math.nan
    if centred and len(z):
        z = z - z.mean(dim=0)
    singular = torch.linalg.svdvals(z)
    total = singular.sum()
    if total == 0:
        return 0.0
    share = singular / total
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def spread(z: Float[Tensor, "n d"]) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised rows, times sqrt(d).

    1 where directions are spread evenly, 0 where all rows point the same way (Chen and He 2021, who give std = 1 /
    sqrt(d)). A zero row stays zero; NaN without rows or where z holds NaN.
    """
    directions = _directions(z)
    deviation = (directions - directions.mean(dim=0)).square().mean(dim=0).sqrt()
    return float(deviation.mean() * math.sqrt(z.shape[1]))


def alignment(z1: Float[Tensor, "n d"], z2: Float[Tensor, "n d"]) -> float:
    """Mean squared distance, 0 to 4, between L2-normalised embeddings of two views of the same objects, row by row.

    Lower is more invariant; 0 also when collapsed, so read it beside `uniformity` (Wang and Isola 2020, alpha = 2).
    NaN without rows.
    """
    return float((_directions(z1) - _directions(z2)).square().sum(dim=1).mean())


def uniformity(z: Float[Tensor, "n d"], t: float | int = 2) -> float:
    """Log of the mean of exp(-t * squared distance) over all pairs of L2-normalised rows (Wang and Isola 2020).

    0 when collapsed, about -2t for directions spread evenly in many dimensions. NaN for fewer than two rows.
    """
    squares = torch.pdist(_directions(z)).square()
    return float((-t * squares).exp().mean().log())


def diagnose(record: Mapping[str, Any]) -> str | None:
    """A warning for a person where the measures say that the representation collapses; None where they do not.

    `record` holds rankme, rankme_centred and spread of the encoder's features, and optionally projection_spread, that
    of what the loss compares, and width, the number of dimensions, which lowers the least number of directions asked
    for in small embeddings.
    """
    raw, centred, spread_ = (float(record[key]) for key in ("rankme", "rankme_centred", "spread"))
    if not all(math.isfinite(value) for value in (raw, centred, spread_)):
        return "the embeddings hold NaN or infinity: training has diverged; lower the learning rate"
    if raw < COLLAPSED_RANKME and spread_ < COLLAPSED_SPREAD:
        return (
            f"the representation has collapsed: all objects get nearly the same embedding (spread {spread_:.2g}, where "
            f"1 is healthy; RankMe {raw:.1f}); lower the learning rate or keep the starting weights"
        )
    compared = float(record.get("projection_spread", math.inf))
    if compared < COLLAPSED_PROJECTIONS:
        return (
            f"the projections have collapsed: the loss compares nearly the same vector for all objects (spread "
            f"{compared:.2g}, where 1 is healthy) and teaches the encoder nothing; lower the projector's learning rate"
        )
    least = min(LEAST_DIRECTIONS, float(record.get("width", math.inf)) / 4)
    if centred < least:
        return (
            f"the representation is collapsing: objects differ in about {centred:.1f} directions only (centred RankMe, "
            f"at least {least:.3g} expected); lower the learning rate or keep the starting weights"
        )
    return None


def _exact(z: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    return z.detach().to("cpu", torch.float64)  # not every accelerator has float64


def _directions(z: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    return torch.nn.functional.normalize(_exact(z), dim=1, eps=1e-300)
