"""SimCLR (Chen et al. 2020, arXiv:2002.05709): two views of an image attract, all other images repel.

Axes: b image, p projection.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.processes import gathered
from domainssl.store import Batch


@final
class SimCLR(Method):
    """Encoder and projection head; the head is thrown away, the encoder's pooled features are used."""

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = options.temperature
        self.projector = perceptron(encoder.width, options.projector_width, options.projection_dim)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        first, second = views
        images = torch.cat([first.images, second.images])  # 2b c h w: one pass, one set of projector statistics
        features = self.encoder.pooled(images).float()
        projections = self.projector(features)
        one, other = (gathered(rows) for rows in projections.chunk(2))
        loss = nt_xent(one, other, self.temperature)
        return Step({"model": loss}, monitor=projections.detach().float())

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector)


def nt_xent(first: Float[Tensor, "b p"], second: Float[Tensor, "b p"], temperature: float) -> Float[Tensor, ""]:
    """NT-Xent, the mean over (i, i+N) and (i+N, i) of -log softmax of the cosine similarities over all others.

    Always in float32: at small temperatures half precision loses the loss itself. Needs b >= 2 for a negative.
    """
    count = len(first)
    if count < 2:
        raise ValueError(f"NT-Xent needs at least 2 images a batch for negatives, got {count}")
    with torch.autocast(first.device.type, enabled=False):
        rows = functional.normalize(torch.cat([first, second]).float(), dim=1)
        similarity = rows @ rows.T / temperature  # 2b 2b
        similarity = similarity.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=rows.device), -torch.inf)
        partner = torch.arange(2 * count, device=rows.device).roll(count)
        return functional.cross_entropy(similarity, partner)
