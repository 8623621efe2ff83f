"""Triplets (FaceNet, Schroff et al. 2015, arXiv:1503.03832): a view is closer to the other view than to other images.

Axes: n view of an image, p projection.
"""

from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.pairs import distances, projected, same_image, verified
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.store import Batch


@final
class Triplet(Method):
    """Encoder and projection head; projections are divided by their length, so that the margin has a scale (0 to 4).

    Every view of the batch is an anchor, its image's other view the positive, every view of other images a negative.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.triplet
        self.projector = perceptron(encoder.width, options.projector_width, options.projection_dim)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        rows = projected(self.encoder, self.projector, views)
        found = distances(functional.normalize(rows, dim=1))
        same = same_image(len(rows), rows.device)
        loss = triplet_loss(found, same, self.options.margin, self.options.negatives)
        return Step({"model": loss}, monitor=rows.detach(), measures=verified(found))

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector)


def triplet_loss(
    found: Float[Tensor, "n n"],
    same: Bool[Tensor, "n n"],
    margin: float | int,
    negatives: Literal["semi_hard", "hardest", "all"],
) -> Float[Tensor, ""]:
    """The mean of max(0, ||a-p||^2 - ||a-n||^2 + margin) over the chosen triplets, from distances of two views each.

    "semi_hard": negatives farther than the positive by up to the margin (FaceNet, sec. 3.2: the hardest ones lead to
    collapse early on); "hardest": the nearest negative of each anchor; "all": every triplet that violates the margin.
    0 where no triplet is chosen. Raises ValueError for fewer than 2 images.
    """
    count = len(found)
    if count < 4:
        raise ValueError(f"triplets need at least 2 images a batch for negatives, got {count // 2}")
    squared = found.square()
    anchor = torch.arange(count, device=found.device)
    positive = squared[anchor, anchor.roll(count // 2)]
    gap = squared - positive[:, None]  # n n: how much farther the negative is
    losses = (margin - gap).clamp_min(0)
    if negatives == "hardest":
        nearest = squared.masked_fill(same, torch.inf).argmin(dim=1)
        return losses[anchor, nearest].mean()
    chosen = ~same & (gap <= margin)
    if negatives == "semi_hard":
        chosen &= gap > 0
    return (losses * chosen).sum() / chosen.sum().clamp_min(1)
