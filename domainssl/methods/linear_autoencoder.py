"""The linear autoencoder (Baldi and Hornik 1989): one dense layer to a few codes, one back, mean squared error.

Its minimum is principal component analysis: the decoder's columns span the space of the first components, in no
particular order or angle to one another. The biases do the centring.

Axes: b image, c band, h w pixel rows and columns.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from domainssl.dense import DenseNetwork
from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import pixel_error
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.reconstruction_panels import beside_pca, filters
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy


@final
class LinearAutoencoder(Method):
    """A dense encoder without activation, and a dense decoder that is thrown away.

    Raises ValueError for any other encoder.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        if not isinstance(encoder.network, DenseNetwork) or not encoder.network.linear:
            raise ValueError(
                f"encoder.name: linear_autoencoder needs a dense layer without activation, {encoder.name} is none; "
                "give 'dense_32'"
            )
        self.encoder = encoder
        bands, size = len(encoder.input.bands), encoder.input.size
        self.decoder = nn.Sequential(nn.Linear(encoder.width, bands * size**2), nn.Unflatten(1, (bands, size, size)))

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target = self.encoder.normalised(view.images)
        return Step({"model": pixel_error(self.reconstructed(target), target, view.valid)})

    def reconstructed(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images through the code and back, as the network takes them."""
        images: Tensor = self.decoder(self.encoder.pooled_normalised(normalised))
        return images

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.decoder)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        target = self.encoder.normalised(views[0].images)
        found = {self.encoder.width: self.reconstructed(target)}
        return beside_pca(self.encoder, target, found), *filters(self.encoder)
