"""Split-brain autoencoder (Zhang et al. 2017, arXiv:1611.09842): two halves of the bands predict each other.

The paper trains a network for each half and joins their features. Here one encoder takes all bands, sees each image
twice, every time with one half at the level that is 0 to it, and is exported as it is, to see both halves at once.

Axes: b image, c band, h w pixel rows and columns.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import MapDecoder, pixel_error
from domainssl.methods.feature_map import map_and_features
from domainssl.methods.hiding import hidden, known
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

SHOWN = 6


@final
class SplitBrain(Method):
    """Encoder and a decoder to all bands, of which those that were hidden count; halves in the order of the bands.

    ValueError for images of one band.
    """

    halves: Tensor

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        bands = len(encoder.input.bands)
        if bands < 2:
            raise ValueError(f"split_brain predicts bands from other bands, the images have {bands}")
        self.encoder = encoder
        self.decoder = MapDecoder(encoder, bands)
        second = torch.arange(bands) >= bands // 2
        self.register_buffer("halves", torch.stack([second, ~second])[:, None, :, None, None], persistent=False)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target, counted = self.encoder.normalised(view.images), known(view)
        first, second = (pixel_error(self.predicted(view.images, half), target, half & counted) for half in self.halves)
        return Step(
            {"model": first + second},
            measures={"second_half": float(first.detach()), "first_half": float(second.detach())},
        )

    def predicted(self, images: Float[Tensor, "b c h w"], half: Bool[Tensor, "1 c 1 1"]) -> Float[Tensor, "b c h w"]:
        """Normalised bands of images of which `half` is hidden; of use in that half only.

        Each half by a pass of its own: in one pass, batch norms that train would tell each half of the other.
        """
        found, features = map_and_features(self.encoder, hidden(self.encoder, images, half))
        predicted: Tensor = self.decoder(found, features)
        return predicted.float()

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.decoder)

    @torch.no_grad()
    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        self.eval()
        images = views[0].images[:SHOWN]
        second, first = (self.encoder.source_values(self.predicted(images, half)) for half in self.halves)
        crossed = torch.where(self.halves[0], second, first)
        note = "Below, each half of the bands as predicted from the other"
        return (Panel("Predicted bands", note, "images", torch.stack([images, crossed]), rows=("image", "predicted")),)
