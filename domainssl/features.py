"""Which features of an image an encoder gives: the last ones, those of every stage, or a mean over symmetries.

Axes: b image, c band, h w pixel rows and columns, d feature.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from domainssl.encoders import TimmEncoder

Features = Literal["last", "stages", "symmetry"]
Symmetry = Literal["none", "mirror", "dihedral"]


@final
@dataclass(frozen=True)
class Transformation:
    """A mirror image (left to right), if asked, then quarter turns counter-clockwise: exact, no pixel is interpolated.

    Takes square images where the number of turns is odd.
    """

    mirrored: bool
    quarter_turns: int

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
        return torch.rot90(images.flip(3) if self.mirrored else images, self.quarter_turns, (2, 3))


# The transformations that leave a domain's objects what they are; each set is a group, so that a mean over it is the
# same for an image and its transformed copies. "mirror" is for images with an up, "dihedral" for those without (sky).
SYMMETRIES: dict[Symmetry, tuple[Transformation, ...]] = {
    "none": (Transformation(False, 0),),
    "mirror": (Transformation(False, 0), Transformation(True, 0)),
    "dihedral": tuple(Transformation(mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}


@final
@dataclass(frozen=True)
class Kind:
    """How many features a kind has, and how they come from source values; `symmetry` is the domain's."""

    width: Callable[[TimmEncoder], int]
    values: Callable[[TimmEncoder, Tensor, tuple[Transformation, ...]], Tensor]


def width(encoder: TimmEncoder, features: Features) -> int:
    """The number of features an image gets; ValueError for "stages" where the network has none."""
    return FEATURES[features].width(encoder)


def _last_width(encoder: TimmEncoder) -> int:
    return encoder.width


def _last(
    encoder: TimmEncoder, images: Float[Tensor, "b c h w"], symmetry: tuple[Transformation, ...]
) -> Float[Tensor, "b d"]:
    return encoder.pooled(images).float()


def _stages_width(encoder: TimmEncoder) -> int:
    return sum(encoder.stage_widths()) + encoder.width


def _stages(
    encoder: TimmEncoder, images: Float[Tensor, "b c h w"], symmetry: tuple[Transformation, ...]
) -> Float[Tensor, "b d"]:
    maps, pooled = encoder.stages(images)
    return torch.cat([*(stage.float().mean((2, 3)) for stage in maps), pooled.float()], 1)


def _symmetric(
    encoder: TimmEncoder, images: Float[Tensor, "b c h w"], symmetry: tuple[Transformation, ...]
) -> Float[Tensor, "b d"]:
    total = encoder.pooled(symmetry[0](images)).float()
    for transformation in symmetry[1:]:
        total = total + encoder.pooled(transformation(images)).float()
    return total / len(symmetry)


# last: the network's pooled features. stages: the mean of each stage's feature map, earliest first, then the last ones;
# early stages hold texture and small structure that ImageNet's last layer has given up. symmetry: the last ones,
# averaged over the domain's symmetries, at the price of as many passes.
FEATURES: dict[Features, Kind] = {
    "last": Kind(_last_width, _last),
    "stages": Kind(_stages_width, _stages),
    "symmetry": Kind(_last_width, _symmetric),
}
