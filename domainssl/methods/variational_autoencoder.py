"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114): a code with noise, held near a normal prior.

Axes: b image, c band, h w pixel rows and columns, z latent dimension.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import PHOTOGRAPH, TimmEncoder
from domainssl.methods.decoder import decoder
from domainssl.methods.hiding import known
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

WIDEST = 8.0  # |log sigma| stays below it, smoothly: exp(2 log sigma) is finite in float32, and its gradient never 0
SHOWN, STEPS = 6, 5  # images and samples on a panel, codes between two images


@final
class VariationalAutoencoder(Method):
    """Encoder, a layer to mean and log sigma of each latent dimension, and a decoder; the encoder alone is kept.

    The loss is that of the lecture notes, reconstruction + beta * sum_j KL(q(z_j|x) || N(0, 1)), an image's mean, over
    the number of pixel values: so it needs no other learning rate at another size, and its minimum stays where it is.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        own = options.variational_autoencoder
        self.encoder = encoder
        self.latent, self.beta, self.reconstruction = own.latent, own.beta, own.reconstruction
        self.code = nn.Linear(encoder.width, 2 * own.latent)
        self.decoder = decoder(own.latent, len(encoder.input.bands), encoder.input.size)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        target = self.encoder.normalised(view.images)
        mu, log_sigma = self.posterior(view.images)
        eps = torch.randn(mu.shape, generator=generator).to(mu.device)
        outputs = self.decoder(mu + log_sigma.exp() * eps).float()
        likelihood = squared_error if self.reconstruction == "mse" else cross_entropy
        reconstruction = likelihood(outputs, target, known(view)).mean()
        divergence = divergence_from_prior(mu, log_sigma).mean()
        loss = (reconstruction + self.beta * divergence) / target[0].numel()
        parts = {"reconstruction": float(reconstruction.detach()), "divergence": float(divergence.detach())}
        return Step({"model": loss}, measures=parts)

    def posterior(self, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b z"], Float[Tensor, "b z"]]:
        """Mean and log sigma of q(z|x), diagonal, in float32."""
        mu, log_sigma = self.code(self.encoder.pooled(images)).float().chunk(2, dim=1)
        return mu, WIDEST * torch.tanh(log_sigma / WIDEST)

    def decoded(self, codes: Float[Tensor, "n z"]) -> Float[Tensor, "n c h w"]:
        """Images of codes, in source units."""
        outputs = self.decoder(codes).float()
        return self.encoder.source_values(outputs if self.reconstruction == "mse" else from_unit(outputs.sigmoid()))

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.code, self.decoder)

    @torch.no_grad()
    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        self.eval()
        images = views[0].images[:SHOWN]
        codes, _ = self.posterior(images)
        samples = self.decoded(torch.randn(2 * SHOWN, self.latent, generator=generator).to(codes.device))
        share = torch.linspace(0, 1, STEPS, device=codes.device)[:, None]
        walks = [  # from each second image to the one after it
            torch.cat([images[[i]], self.decoded(torch.lerp(codes[i], codes[i + 1], share)), images[[i + 1]]])
            for i in range(0, len(images) - 1, 2)
        ]
        found = [
            Panel(
                "Reconstructions",
                f"Images, and what their {self.latent} numbers give back",
                "images",
                torch.stack([images, self.decoded(codes)]),
                rows=("image", "reconstruction"),
            ),
            Panel("Samples", "Codes drawn from the prior", "images", samples.view(2, SHOWN, *samples.shape[1:])),
        ]
        if walks:
            note = "The outer columns are images, the others lie on the straight line between their codes"
            found.append(Panel("Interpolation", note, "images", torch.stack(walks)))
        return tuple(found)


def divergence_from_prior(mu: Float[Tensor, "b z"], log_sigma: Float[Tensor, "b z"]) -> Float[Tensor, " b"]:
    """KL(N(mu, sigma^2) || N(0, 1)) in nats, summed over the latent dimensions (appendix B of the paper), float32."""
    mu, log_sigma = mu.float(), log_sigma.float()
    return (0.5 * (mu.square() + (2 * log_sigma).exp() - 1) - log_sigma).sum(dim=1)


def squared_error(
    outputs: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], counted: Bool[Tensor, "b c h w"]
) -> Float[Tensor, " b"]:
    """Half of the squared difference, summed over what counts: -log N(target; outputs, 1) without its constant."""
    return (0.5 * (outputs - target).square() * counted).sum(dim=(1, 2, 3))


def cross_entropy(
    outputs: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], counted: Bool[Tensor, "b c h w"]
) -> Float[Tensor, " b"]:
    """Binary cross-entropy of logits `outputs` with the target on the scale 0..1, summed over what counts."""
    errors = functional.binary_cross_entropy_with_logits(outputs, to_unit(target), reduction="none")
    return (errors * counted).sum(dim=(1, 2, 3))


def to_unit(normalised: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """0..1 over the range that a photograph has after normalising; what lies outside is cut off."""
    low, high = PHOTOGRAPH
    return ((normalised - low) / (high - low)).clamp(0, 1)


def from_unit(unit: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """The inverse of `to_unit`."""
    low, high = PHOTOGRAPH
    return unit * (high - low) + low
