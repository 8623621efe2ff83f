"""SimCLR (Chen et al. 2020, arXiv:2002.05709): two views of an image attract, all other images repel.

Axes: b image, p projection.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch


@final
class SimCLR(Method):
    """Encoder and projection head; the head is thrown away, the encoder's pooled features are used."""

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = options.temperature
        self.projector = nn.Sequential(
            nn.Linear(encoder.width, options.projector_width, bias=False),
            nn.BatchNorm1d(options.projector_width),
            nn.ReLU(),
            nn.Linear(options.projector_width, options.projection_dim, bias=False),
        )

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        first, second = views
        images = torch.cat([first.images, second.images])  # 2b c h w: one pass, one set of projector statistics
        features = self.encoder.pooled(images).float()
        projections = self.projector(features)
        loss = nt_xent(projections[: len(first.images)], projections[len(first.images) :], self.temperature)
        return Step({"model": loss}, monitor=projections.detach().float())

    def players(self) -> dict[str, list[ParamGroup]]:
        return {
            "model": [
                ParamGroup("encoder", list(self.encoder.parameters())),
                ParamGroup("head", list(self.projector.parameters())),
            ]
        }

    def after_step(self, step: Step, progress: float) -> None:
        """Nothing: SimCLR keeps no teacher and no queue."""

    def exported(self) -> TimmEncoder:
        return self.encoder


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
