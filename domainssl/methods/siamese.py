"""Siamese networks with a margin (Hadsell et al. 2006): two views of an image close, other images at least m apart.

Axes: n view of an image, p projection.
"""

from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.pairs import distances, projected, same_image, verified
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.store import Batch


@final
class Siamese(Method):
    """Encoder and projection head; every pair of views of the batch is compared, by projections of any length."""

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.siamese
        self.projector = perceptron(encoder.width, options.projector_width, options.projection_dim)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        rows = projected(self.encoder, self.projector, views)
        found = distances(rows)
        loss = margin_loss(found, same_image(len(rows), rows.device), self.options.margin, self.options.form)
        return Step({"model": loss}, monitor=rows.detach(), measures=verified(found))

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector)


def margin_loss(
    found: Float[Tensor, "n n"],
    same: Bool[Tensor, "n n"],
    margin: float | int,
    form: Literal["plain", "squared"],
) -> Float[Tensor, ""]:
    """The mean over same pairs of d, plus that over others of max(0, m - d); or of the squares of both.

    `found` has the distances of all pairs, each twice; the diagonal is left out. Two means rather than one, since a
    batch has far more pairs of different images. Hadsell et al. 2006, eq. 4, without its halves; in the plain form
    y d + (1 - y) max(0, m - d), y 1 for same pairs. Raises ValueError without pairs of either kind.
    """
    others = ~same
    same = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    if not same.any() or not others.any():
        raise ValueError("a margin needs two views and at least 2 images a batch; give a larger pretrain.batch_size")
    attracted, repelled = found[same], (margin - found[others]).clamp_min(0)
    if form == "squared":
        attracted, repelled = attracted.square(), repelled.square()
    return attracted.mean() + repelled.mean()
