"""From a code or a feature map back to an image, for the methods that reconstruct; thrown away after training.

Targets are images as the network takes them (`TimmEncoder.normalised`), so that no band counts by its units.
"""

import math
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.methods.feature_map import map_shape
from domainssl.processes import mean

SMALLEST = 4  # pixels a side from which images are grown


def decoder(code: int, bands: int, size: int, width: int = 128) -> nn.Sequential:
    """A network from `code` numbers to an image of `size` pixels a side: doublings, each with a convolution."""
    start = (nn.Linear(code, width * SMALLEST**2), nn.Unflatten(1, (width, SMALLEST, SMALLEST)))
    return nn.Sequential(*start, *_growing(SMALLEST, bands, size, width))


@final
class MapDecoder(nn.Module):
    """A network from an encoder's feature map, and its pooled features laid under every place, to `outputs` maps.

    Without the pooled features, the layers on the way to them alone (a class token's, the last of MobileNet V3) would
    not be trained, and they are what is exported.
    """

    def __init__(self, encoder: TimmEncoder, outputs: int, width: int = 128) -> None:
        super().__init__()
        channels, side = map_shape(encoder)
        self.local = nn.Conv2d(channels, width, 1)
        self.whole = nn.Linear(encoder.width, width)
        self.grow = nn.Sequential(nn.GELU(), *_growing(side, outputs, encoder.input.size, width))

    def forward(self, found: Float[Tensor, "b d y x"], features: Float[Tensor, "b f"]) -> Float[Tensor, "b o h w"]:
        outputs: Tensor = self.grow(self.local(found) + self.whole(features)[:, :, None, None])
        return outputs


def _growing(side: int, outputs: int, size: int, width: int) -> list[nn.Module]:
    """Layers from `width` maps of `side` pixels a side to `outputs` of `size`."""
    doublings = max(0, math.ceil(math.log2(size / side)))
    layers: list[nn.Module] = []
    for number in range(doublings):
        following = max(16, width >> (number + 1))
        before = max(16, width >> number) if number else width
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, following, 3, padding=1), nn.GELU()]
    last = max(16, width >> doublings) if doublings else width
    return [*layers, nn.Conv2d(last, outputs, 3, padding=1), nn.Upsample(size=(size, size), mode="bilinear")]


def pixel_error(
    found: Float[Tensor, "b c h w"],
    target: Float[Tensor, "b c h w"],
    valid: Bool[Tensor, "b #c h w"],
    weight: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared difference over valid pixels (of all bands, or band by band), in float32; 0 where none is valid.

    Squares count `weight` times; the mean is over the valid pixels all the same.
    """
    squares = (found.float() - target.float()).square()
    return mean_of(squares if weight is None else squares * weight, valid.expand_as(squares))


def mean_of(values: Float[Tensor, "*s"], counted: Bool[Tensor, "*s"]) -> Float[Tensor, ""]:
    """The mean of the values that count; 0 without any.

    Of several processes the mean of what each gets is that of all values that count.
    """
    return (values * counted).sum() / mean(counted.sum().float()).clamp_min(1)
