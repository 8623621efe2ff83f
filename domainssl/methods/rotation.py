"""Rotation (Gidaris et al. 2018, arXiv:1803.07728): was this image turned by 0, 90, 180 or 270 degrees?

Axes: b image, c band, h w pixels.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.classification import accuracy, cross_entropy
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import upright
from domainssl.views.operation import Policy

TURNS = 4
UNSEEN = 10  # each image whose row is a multiple of this is asked about and not learnt from


@final
class Rotation(Method):
    """Each image in all four rotations, as in the paper; a perceptron on the features names the rotation.

    Where nothing in the images has a direction there is nothing to learn, and accuracy stays at 1/4. A network with
    enough weights learns the training images by heart all the same, so that a tenth of them is kept for
    `accuracy_unseen`, by which `orientation_leak` judges; `accuracy` is that of the others.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = perceptron(encoder.width, options.projector_width, TURNS)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (upright(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        view = views[0]
        images = four_ways(view.images, view.valid)
        logits = self.classifier(self.encoder.pooled(images).float())
        classes = torch.arange(TURNS, device=logits.device).repeat_interleave(len(view.images))
        seen = (view.rows % UNSEEN != 0).repeat(TURNS)
        loss = cross_entropy(logits, classes, seen)
        measures = accuracy("accuracy", logits, classes, seen) | accuracy("accuracy_unseen", logits, classes, ~seen)
        return Step({"model": loss}, measures=measures)

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.classifier)


def four_ways(images: Float[Tensor, "b c h h"], valid: Bool[Tensor, "b 1 h h"]) -> Float[Tensor, "4*b c h h"]:
    """All images turned by 0, then all by 90, 180 and 270 degrees, pixels moved and none interpolated.

    A pixel that is invalid in any of the four is 0 in all of them: otherwise a hidden corner or a border would tell the
    rotation.
    """
    turned = [torch.rot90(valid, turn, (2, 3)) for turn in range(TURNS)]
    everywhere = torch.stack(turned).all(dim=0)
    whole = images * everywhere
    return torch.cat([torch.rot90(whole, turn, (2, 3)) for turn in range(TURNS)])
