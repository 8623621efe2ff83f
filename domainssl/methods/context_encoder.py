"""Context encoder (Pathak et al. 2016, arXiv:1604.07379): what is missing in a hole, told from what surrounds it.

L2 gives the likeliest mean, which is blurred; an adversary that tells fills from images makes them sharp.

Axes: b image, c band, h w pixel rows and columns, d channel of the feature map, y x its places.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import MapDecoder, pixel_error
from domainssl.methods.feature_map import map_and_features, map_shape
from domainssl.methods.hiding import hidden, known
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

BLOCKS, BLOCK = 8, 1 / 6  # random blocks and their side, as a share of the image's: up to a quarter is hidden
SHOWN = 6


@final
class ContextEncoder(Method):
    """Encoder, channel-wise dense layer and decoder against a discriminator with an optimiser of its own.

    The discriminator's loss sees fills without their gradients; that of the model passes through the discriminator,
    whose gradients the loop discards before the discriminator's own step.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        own, bands = options.context_encoder, len(encoder.input.bands)
        self.encoder = encoder
        self.hole, self.adversary = own.hole, own.adversary
        self.spread = ChannelWiseDense(*map_shape(encoder))
        self.decoder = MapDecoder(encoder, bands)
        self.discriminator = discriminator(bands)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        hole = self.holes(len(view.images), generator).to(view.images.device)
        return self.judged(self.fills(view.images, hole), view, hole)

    def holes(self, count: int, generator: torch.Generator) -> Bool[Tensor, "b 1 h w"]:
        """True where an image is hidden: one square of half its side in the centre, or blocks drawn for each image."""
        size = self.encoder.input.size
        if self.hole == "centre":
            side = size // 2
            corners = torch.full((count, 1, 2), (size - side) // 2)
        else:
            side = max(1, round(size * BLOCK))
            corners = torch.randint(0, size - side + 1, (count, BLOCKS, 2), generator=generator)
        place = torch.arange(size)
        inside = (place >= corners[..., None]) & (place < corners[..., None] + side)  # b block 2 place
        return (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).any(dim=1, keepdim=True)

    def fills(self, images: Float[Tensor, "b c h w"], hole: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images from those whose holes are hidden from the network; of use in the holes only."""
        found, features = map_and_features(self.encoder, hidden(self.encoder, images, hole))
        fills: Tensor = self.decoder(self.spread(found), features)
        return fills.float()

    def judged(self, fills: Float[Tensor, "b c h w"], view: Batch, hole: Bool[Tensor, "b 1 h w"]) -> Step:
        """The losses of both players on these fills; nothing outside of the holes counts."""
        target = self.encoder.normalised(view.images)
        counted = hole & known(view)
        filled = torch.where(counted, fills, target)
        error = pixel_error(fills, target, counted)
        doubted = self.discriminator(filled).float()  # logits: image rather than fill
        caught, accepted = (self.discriminator(x).float() for x in (filled.detach(), target))
        return Step(
            {
                "model": error + self.adversary * functional.softplus(-doubted).mean(),
                "discriminator": (functional.softplus(caught).mean() + functional.softplus(-accepted).mean()) / 2,
            },
            measures={"hole_error": float(error.detach()), "fooled": float((doubted > 0).float().mean())},
        )

    def players(self) -> dict[str, list[ParamGroup]]:
        # The model first: its gradients pass through the discriminator's weights, which must still be those of forward.
        opponent = [ParamGroup("head", list(self.discriminator.parameters()))]
        return {**self.one_player(self.spread, self.decoder), "discriminator": opponent}

    @torch.no_grad()
    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        self.eval()
        images = views[0].images[:SHOWN]
        hole = self.holes(len(images), generator).to(images.device)
        filled = torch.where(hole, self.encoder.source_values(self.fills(images, hole)), images)
        rows = torch.stack([images, hidden(self.encoder, images, hole), filled])
        return (Panel("Filled holes", "", "images", rows, rows=("image", "what the network sees", "filled")),)


@final
class ChannelWiseDense(nn.Module):
    """Every place of a feature map to every other, each channel by weights of its own (section 3.1 of the paper)."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, side**2, side**2) / side)
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, found: Float[Tensor, "b d y x"]) -> Float[Tensor, "b d y x"]:
        spread = torch.einsum("dmn,bdn->bdm", self.weight, found.flatten(2)) + self.bias
        return functional.gelu(spread).view(found.shape)


def discriminator(bands: int) -> nn.Sequential:
    """Logits that normalised images of any size are images rather than filled; without batch norm, image by image."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((bands, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128 * 4**2, 1))
