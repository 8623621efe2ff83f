"""InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 4): find the positive among candidates; for CPC and MoCo.

Axes: n query, k candidate.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def info_nce(
    scores: Float[Tensor, "n k"], positive: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Each query's -log softmax of its positive's score, always in float32, and the information that it shows.

    A score of -inf is no candidate. With K of them, log K - loss is in nats and never exceeds log K; its mean is a
    lower bound of the mutual information of query and positive (eq. 5).
    """
    with torch.autocast(scores.device.type, enabled=False):
        losses = functional.cross_entropy(scores.float(), positive, reduction="none")
        candidates = (scores > -torch.inf).sum(dim=1)
        return losses, (candidates.log() - losses).detach()
