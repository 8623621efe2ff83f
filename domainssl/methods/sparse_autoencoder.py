"""Sparse autoencoders (Ng 2011, CS294A lecture notes, sec. 3): a large code of which few units speak for any image.

Axes: b image, c band, h w pixel rows and columns, d feature, j unit of the code.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from domainssl.dense import DenseNetwork
from domainssl.encoders import TimmEncoder
from domainssl.method_options import SparseOptions
from domainssl.methods.decoder import decoder, pixel_error
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.reconstruction_panels import filters, pictures
from domainssl.options import PretrainOptions
from domainssl.processes import gathered
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy


@final
class SparseAutoencoder(Method):
    """A code of rectified ("l1") or sigmoid ("kl") units on the pooled features, and a decoder.

    The loss is the mean squared error of a pixel plus `weight` times the penalty. "l1" is the sum of the units, a mean
    over images. "kl" compares each unit's mean activation with `rho`: a mean over all processes and over the forwards
    of the past, the gradient being that of the newest, a share 1 - `memory` of it.
    """

    mean_activation: Tensor

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = sparse = options.sparse_autoencoder
        bands, size = len(encoder.input.bands), encoder.input.size
        network = encoder.network
        own = isinstance(network, DenseNetwork) and not network.linear
        self.layer = nn.Identity() if own else units_of(encoder.width, sparse)
        units = encoder.width if own else sparse.latent
        self.decoder = decoder(units, bands, size)
        self.register_buffer("mean_activation", torch.full((units,), torch.nan))  # of no forward yet

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target = self.encoder.normalised(view.images)
        code = self.code(target)
        error = pixel_error(self.decoder(code), target, view.valid)
        with torch.autocast(code.device.type, enabled=False):
            batch = gathered(code.float()).mean(dim=0)
            memory = torch.where(self.mean_activation.isnan(), 0.0, self.options.memory)
            estimate = memory * self.mean_activation.nan_to_num() + (1 - memory) * batch
            penalty = batch.sum() if self.options.penalty == "l1" else divergence(self.options.rho, estimate)
        loss = error + self.options.weight * penalty
        measures = {"error": float(error.detach()), "mean_activation": float(batch.detach().mean())}
        return Step({"model": loss}, carry={"mean_activation": estimate.detach()}, measures=measures)

    def code(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b j"]:
        """The units' activations, 0 or more."""
        code: Tensor = self.layer(self.encoder.pooled_normalised(normalised))
        return code

    def after_step(self, step: Step, progress: float) -> None:
        """Remember the mean activations."""
        self.mean_activation.copy_(step.carry["mean_activation"])

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.layer, self.decoder)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        images = self.encoder.normalised(views[0].images)
        columns = {"image": images, "reconstruction": self.decoder(self.code(images))}
        return pictures(self.encoder, columns, "Reconstructions from the sparse code", ""), *filters(self.encoder)


def units_of(width: int, options: SparseOptions) -> nn.Sequential:
    """The code's layer; sigmoids start with a mean activation of about `rho`, from 0.5 they would take long to fall."""
    linear = nn.Linear(width, options.latent)
    if options.penalty == "l1":
        return nn.Sequential(linear, nn.ReLU())
    nn.init.constant_(linear.bias, math.log(options.rho / (1 - options.rho)))
    return nn.Sequential(linear, nn.Sigmoid())


def divergence(rho: float, mean: Float[Tensor, " j"]) -> Float[Tensor, ""]:
    """Sum over units of KL(rho || mean), of Bernoulli variables with these means; 0 where all are `rho`.

    Means are held 1e-6 inside 0 and 1, where the divergence is infinite.
    """
    mean = mean.clamp(1e-6, 1 - 1e-6)
    return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()
