"""Contractive autoencoders (Rifai et al. 2011): a code that hardly moves when the image changes a little.

Axes: b image, c band, h w pixel rows and columns, j unit of the code.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from domainssl.dense import DenseNetwork
from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import decoder, pixel_error
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.reconstruction_panels import filters, pictures
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy


@final
class ContractiveAutoencoder(Method):
    """The squared Frobenius norm of the code's Jacobian by the image, as the network takes it, is penalised.

    The loss is the mean squared error of a pixel plus `weight` times the norm.
    Of a dense encoder the code is its output, the norm exact, and the decoder has the encoder's weights, transposed:
    with weights of its own it could undo any shrinking of the code (sec. 5 of the paper). Other encoders get a layer of
    `latent` sigmoids on their pooled features and a decoder of its own, whose `weight_decay` stands against that; there
    the norm is estimated. Where batch norm uses the batch's statistics, the Jacobian is that of the whole batch.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.contractive_autoencoder
        bands, size = len(encoder.input.bands), encoder.input.size
        self.layer: nn.Module = nn.Identity()
        self.decoder: nn.Module = Transposed(bands, size)
        if not isinstance(encoder.network, DenseNetwork):
            self.layer = nn.Sequential(nn.Linear(encoder.width, self.options.latent), nn.Sigmoid())
            self.decoder = decoder(self.options.latent, bands, size)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        images = self.encoder.normalised(view.images)
        dense = isinstance(self.encoder.network, DenseNetwork)
        code = self.code(images.requires_grad_(not dense))
        error = pixel_error(self.decoded(code), images.detach(), view.valid)
        norm = self.exact_norm(code) if dense else estimated_norm(code, images, self.options.probes, generator)
        measures = {"error": float(error.detach()), "jacobian_norm": float(norm.detach())}
        return Step({"model": error + self.options.weight * norm}, measures=measures)

    def code(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b j"]:
        """The units' activations."""
        code: Tensor = self.layer(self.encoder.pooled_normalised(normalised))
        return code

    def decoded(self, code: Float[Tensor, "b j"]) -> Float[Tensor, "b c h w"]:
        """The image, as the network takes it, that a code stands for."""
        images: Tensor
        if isinstance(self.decoder, Transposed):
            images = self.decoder(code, self.encoder.network.stem.weight)
        else:
            images = self.decoder(code)
        return images

    def exact_norm(self, code: Float[Tensor, "b j"]) -> Float[Tensor, ""]:
        """Of a dense encoder, a mean over images: the slope of each unit times its weights, squared and summed."""
        network = self.encoder.network
        with torch.autocast(code.device.type, enabled=False):
            rows = network.stem.weight.float().flatten(1).square().sum(dim=1)  # j
            code = code.float()
            slopes = torch.ones_like(code) if network.linear else code * (1 - code)
            norms: Tensor = slopes.square() @ rows  # b
            return norms.mean()

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.layer, self.decoder)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        images = self.encoder.normalised(views[0].images)
        columns = {"image": images, "reconstruction": self.decoded(self.code(images))}
        return pictures(self.encoder, columns, "Reconstructions from the contractive code", ""), *filters(self.encoder)


@final
class Transposed(nn.Module):
    """A dense layer from codes to images with the weights of the encoder, and a bias of its own."""

    def __init__(self, bands: int, size: int) -> None:
        super().__init__()
        self.shape = (bands, size, size)
        self.bias = nn.Parameter(torch.zeros(bands * size**2))

    def forward(self, code: Float[Tensor, "b j"], weight: Float[Tensor, "j c h w"]) -> Float[Tensor, "b c h w"]:
        rows: Tensor = code @ weight.flatten(1) + self.bias
        return rows.view(-1, *self.shape)


def estimated_norm(
    code: Float[Tensor, "b j"], images: Float[Tensor, "b c h w"], probes: int, generator: torch.Generator
) -> Float[Tensor, ""]:
    """The squared Frobenius norm of d code / d images, a mean over images, without bias: E |J^T v|^2 = |J|^2.

    The signs v are +1 or -1 at random (Hutchinson 1990, Commun. Stat. Simul. Comput. 19, 433). `code` is of `images`,
    which require a gradient.
    """
    total = code.new_zeros((), dtype=torch.float32)
    for _ in range(probes):
        signs = torch.randint(0, 2, code.shape, generator=generator).to(code) * 2 - 1
        (gradient,) = torch.autograd.grad(code, images, signs, create_graph=True)
        total = total + gradient.float().square().sum()
    return total / (probes * len(code))
