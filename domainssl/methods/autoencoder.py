"""Autoencoders (Hinton and Salakhutdinov 2006): an image through a few numbers and back, for several sizes of code.

A bottleneck does not prevent memorising: a decoder of some capacity keeps a list of the images and the code is a place
in it. The error on images that were not trained on tells.

Axes: b image, c band, h w pixel rows and columns.
"""

from typing import final

import torch

from domainssl.encoders import TimmEncoder
from domainssl.methods.bottlenecks import Bottlenecks
from domainssl.methods.decoder import pixel_error
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.reconstruction_panels import beside_pca, interpolation
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy


@final
class Autoencoder(Method):
    """Any encoder, and for each size of code a linear layer to it and a decoder from it; their errors are summed."""

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.bottlenecks = Bottlenecks(encoder, options.autoencoder.codes)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target = self.encoder.normalised(view.images)
        found = self.bottlenecks(self.encoder.pooled_normalised(target))
        errors = {size: pixel_error(images, target, view.valid) for size, images in found.items()}
        measures = {f"error_{size}": float(error.detach()) for size, error in errors.items()}
        return Step({"model": torch.stack(list(errors.values())).sum()}, measures=measures)

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.bottlenecks)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        images = self.encoder.normalised(views[0].images)
        found = self.bottlenecks(self.encoder.pooled_normalised(images))
        return beside_pca(self.encoder, images, found), *interpolation(self.encoder, self.bottlenecks, images)
