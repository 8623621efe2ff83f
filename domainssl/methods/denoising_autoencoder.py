"""Denoising autoencoders (Vincent et al. 2010): the image as it was, from a corrupted one.

Copying the input does not solve this, so a code may be as large as one likes; what is learnt is where images lie, and
from a point beside them the way back.

Axes: b image, c band, h w pixel rows and columns.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.method_options import denoising_problems
from domainssl.methods.bottlenecks import Bottlenecks
from domainssl.methods.corruption import corrupted
from domainssl.methods.decoder import pixel_error
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.reconstruction_panels import filters, pictures, way_back
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy


@final
class DenoisingAutoencoder(Method):
    """The codes and decoders of `autoencoder`; the encoder sees the corrupted image, the target is the view itself.

    The loss is alpha times the squared differences at the corrupted pixels plus beta times those at the others
    (eq. 6 of the paper), over the number of valid pixels, summed over the sizes of code.
    Raises ValueError for options that `denoising_problems` finds fault with.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        problems = denoising_problems(options.denoising_autoencoder)
        if problems:
            raise ValueError("; ".join(problems))
        self.encoder = encoder
        self.options = options.denoising_autoencoder
        self.bottlenecks = Bottlenecks(encoder, options.autoencoder.codes)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target = self.encoder.normalised(view.images)
        noisy, drawn = corrupted(target, view.valid, self.options, generator)
        found = self.bottlenecks(self.encoder.pooled_normalised(noisy))
        weight = self.weight(drawn)
        errors = [pixel_error(images, target, view.valid, weight) for images in found.values()]
        return Step({"model": torch.stack(errors).sum()})

    def weight(self, drawn: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """How much each pixel counts: alpha where it was drawn to be corrupted, beta elsewhere."""
        return torch.where(drawn, float(self.options.alpha), float(self.options.beta))

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.bottlenecks)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        images = self.encoder.normalised(views[0].images)
        noisy, _ = corrupted(images, views[0].valid, self.options, generator)
        found = self.bottlenecks(self.encoder.pooled_normalised(noisy))
        columns = {"image": images, "corrupted": noisy} | {f"code of {size}": x for size, x in found.items()}
        title = f"Denoising: {self.options.corruption.replace('_', ' ')}, strength {self.options.strength:g}"
        shown = pictures(self.encoder, columns, title, "The network sees the second column and is asked for the first.")
        return shown, *filters(self.encoder), *way_back(self.encoder, self.bottlenecks, images)
