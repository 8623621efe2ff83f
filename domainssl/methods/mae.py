"""Masked autoencoder (He et al. 2022, arXiv:2111.06377): most patches are hidden, their pixels told from the others.

Axes: b image, c band, h w pixels, n patch in reading order, k kept and i hidden ones, q pixel of a patch, d feature.
"""

from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import mean_of
from domainssl.methods.hiding import hidden, known
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.token_decoder import TokenDecoder
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.tokens import Tokens
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

GREY_LEVEL = 1 / 255  # the noise of a stored picture
SHOWN = 6


@final
class MAE(Method):
    """A vision transformer that sees the kept patches, and a small decoder to the pixels of the hidden ones.

    ValueError for any other network, as `Tokens`.
    """

    sigma: Tensor

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        own, bands = options.mae, len(encoder.input.bands)
        self.encoder, self.tokens = encoder, Tokens(encoder)
        patches, pixels = self.tokens.grid**2, self.tokens.patch**2
        self.masked = min(max(1, round(own.mask_ratio * patches)), patches - 1)
        self.decoder = TokenDecoder(self.tokens.width, patches, bands * pixels, own.decoder_width, own.decoder_depth)
        spec = encoder.input
        sigma = (GREY_LEVEL,) * bands if spec.stretch == "none" else spec.scale
        self.register_buffer("sigma", torch.tensor(sigma).view(1, -1, 1, 1), persistent=False)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        keep, masked = self.split(len(view.images), generator)
        outputs = self.decoder(self.encoded(view.images, keep), keep)
        return Step({"model": self.error(outputs, view, masked)})

    def split(self, count: int, generator: torch.Generator) -> tuple[Int64[Tensor, "b k"], Int64[Tensor, "b i"]]:
        """The patches that are kept and those that are hidden, both in order, as many of each in every image."""
        order = torch.rand(count, self.tokens.grid**2, generator=generator).argsort(dim=1).to(self.sigma.device)
        return order[:, self.masked :].sort(dim=1).values, order[:, : self.masked].sort(dim=1).values

    def encoded(self, images: Float[Tensor, "b c h w"], keep: Int64[Tensor, "b k"]) -> Float[Tensor, "b m d"]:
        """Class and register tokens and the kept patches; the hidden ones end here."""
        return self.tokens.encode(self.tokens.embed(images), keep)

    def error(self, outputs: Float[Tensor, "b n o"], view: Batch, masked: Int64[Tensor, "b i"]) -> Float[Tensor, ""]:
        """Mean squared difference of the hidden patches' known pixels from `targets`, in float32."""
        counted = self.patches(known(view))
        target, _, _ = self.targets(self.patches(self.encoder.normalised(view.images)), counted)
        squares = (outputs.float().view(target.shape) - target).square()
        return mean_of(squares, counted & self.asked(masked))

    def targets(
        self, patches: Float[Tensor, "b n c q"], counted: Bool[Tensor, "b n c q"]
    ) -> tuple[Float[Tensor, "b n c q"], Float[Tensor, "b n c 1"], Float[Tensor, "b n c 1"]]:
        """Pixels less their patch's mean, over its spread, band by band; with the mean and the spread.

        The spread is sqrt(variance + noise^2). The paper normalises over all bands of a patch: there the noisiest band
        has nearly all of the variance. Without the noise, a patch of sky would have as much of it as one of an object.
        """
        mean, variance = moments(patches, counted)
        spread = (variance + self.noise(mean).square() + 1e-6).sqrt()
        return (patches - mean) / spread, mean, spread

    def noise(self, levels: Float[Tensor, "b n c 1"]) -> Float[Tensor, "b n c 1"]:
        """What one sky sigma (of a picture: one grey level) more makes of these normalised levels; less where bright.

        The same at all levels would, after asinh, be more than most contrasts within an object.
        """
        levels = levels.transpose(1, 2)  # b c n 1
        more: Tensor = self.encoder.normalised(self.encoder.source_values(levels) + self.sigma) - levels
        return more.transpose(1, 2)

    def asked(self, masked: Int64[Tensor, "b i"]) -> Bool[Tensor, "b n 1 1"]:
        """True for these patches."""
        none = torch.zeros(len(masked), self.tokens.grid**2, dtype=torch.bool, device=masked.device)
        return none.scatter(1, masked, True)[:, :, None, None]

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.decoder)

    def patches(self, images: Tensor) -> Tensor:
        """Images (b c h w) as patches (b n c q)."""
        grid, patch, (count, bands) = self.tokens.grid, self.tokens.patch, images.shape[:2]
        cut = images.reshape(count, bands, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)  # b y x c p p
        return cut.reshape(count, grid**2, bands, patch**2)

    def images(self, patches: Tensor) -> Tensor:
        """The inverse of `patches`."""
        grid, patch, (count, _, bands, _) = self.tokens.grid, self.tokens.patch, patches.shape
        cut = patches.reshape(count, grid, grid, bands, patch, patch).permute(0, 3, 1, 4, 2, 5)  # b c y p x p
        return cut.reshape(count, bands, grid * patch, grid * patch)

    @torch.no_grad()
    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        self.eval()
        images = views[0].images[:SHOWN]
        keep, masked = self.split(len(images), generator)
        truth = self.patches(self.encoder.normalised(images))
        _, mean, spread = self.targets(truth, self.patches(known(views[0])[:SHOWN]))
        outputs = self.decoder(self.encoded(images, keep), keep).float().view(truth.shape)
        where = self.images(self.asked(masked).expand(truth.shape))
        found = torch.where(where, self.encoder.source_values(self.images(outputs * spread + mean)), images)
        return (
            Panel(
                "Reconstructed patches",
                "A hidden patch's mean and contrast are those of the image, its pattern is the network's",
                "images",
                torch.stack([images, hidden(self.encoder, images, where), found]),
                rows=("image", "what the network sees", "reconstruction"),
            ),
        )


def moments(
    patches: Float[Tensor, "b n c q"], counted: Bool[Tensor, "b n c q"]
) -> tuple[Float[Tensor, "b n c 1"], Float[Tensor, "b n c 1"]]:
    """Mean and variance of what counts of each patch, band by band; 0 where nothing does."""
    number = counted.sum(dim=3, keepdim=True).clamp_min(1)
    mean = (patches * counted).sum(dim=3, keepdim=True) / number
    return mean, ((patches - mean).square() * counted).sum(dim=3, keepdim=True) / number
