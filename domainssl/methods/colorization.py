"""Colorization (Zhang et al. 2016, arXiv:1603.08511): the colours of an image, told from its luminance.

Luminance is the mean of the normalised bands, colour what each band differs from it, for any number of bands.

Axes: b image, c band, h w pixel rows and columns, k class.
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.decoder import MapDecoder, mean_of, pixel_error
from domainssl.methods.feature_map import map_and_features
from domainssl.methods.hiding import known
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

WIDEST, FINENESS = 3.0, 4.0  # the outermost bounds of colour classes in normalised units; how much finer those near 0
SHOWN = 6


@final
class Colorization(Method):
    """Encoder and a decoder to each band's colour, by regression or by classes; the encoder sees luminance alone.

    It takes the luminance in every band, which is grey, the level at which each band's weights were adapted.
    ValueError for images of one band.
    """

    bounds: Tensor

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        own, bands = options.colorization, len(encoder.input.bands)
        if bands < 2:
            raise ValueError(f"colorization predicts bands from their mean, the images have {bands}")
        self.encoder = encoder
        self.classes = own.classes if own.target == "classes" else 0
        self.decoder = MapDecoder(encoder, bands * max(1, self.classes))
        self.register_buffer("bounds", class_bounds(self.classes), persistent=False)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        counted = known(view)
        luminance, colour = parted(self.encoder.normalised(view.images), counted)
        outputs = self.outputs(luminance)
        if not self.classes:
            return Step({"model": pixel_error(outputs[:, :, 0], colour, counted)})
        truth = torch.bucketize(colour, self.bounds)
        right = (outputs.detach().argmax(dim=2) == truth) & counted
        share = float(right.sum() / counted.sum().clamp_min(1))
        return Step({"model": class_error(outputs, truth, counted)}, measures={"accuracy": share})

    def outputs(self, luminance: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c k h w"]:
        """Logits of each band's colour classes, or, by regression, one colour (k = 1), from nothing but luminance."""
        bands = len(self.encoder.input.bands)
        grey = self.encoder.source_values(luminance.expand(-1, bands, -1, -1))
        outputs: Tensor = self.decoder(*map_and_features(self.encoder, grey))
        return outputs.float().view(len(grey), bands, -1, *grey.shape[2:])

    def colours(self, luminance: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """The predicted colour; of classes, the mean of their centres by their probabilities."""
        outputs = self.outputs(luminance)
        if not self.classes:
            return outputs[:, :, 0]
        edges = torch.cat([self.bounds[:1], self.bounds, self.bounds[-1:]])
        return torch.einsum("bckhw,k->bchw", outputs.softmax(dim=2), (edges[1:] + edges[:-1]) / 2)

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.decoder)

    @torch.no_grad()
    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        self.eval()
        images = views[0].images[:SHOWN]
        luminance, _ = parted(self.encoder.normalised(images), known(views[0])[:SHOWN])
        grey, found = luminance.expand_as(images), luminance + self.colours(luminance)
        rows = torch.stack([images, *map(self.encoder.source_values, (grey, found))])
        return (Panel("Predicted colours", "", "images", rows, rows=("image", "what the network sees", "predicted")),)


def parted(
    normalised: Float[Tensor, "b c h w"], counted: Bool[Tensor, "b c h w"]
) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b c h w"]]:
    """Luminance (the mean of the bands that count; 0 without any) and each band's difference from it."""
    number = counted.sum(dim=1, keepdim=True).clamp_min(1)
    luminance = (normalised * counted).sum(dim=1, keepdim=True) / number
    return luminance, normalised - luminance


def class_bounds(classes: int) -> Float[Tensor, " bounds"]:
    """The `classes` - 1 bounds between classes of colour, symmetric about 0 and finest there; none below 2."""
    if classes < 2:
        return torch.empty(0)
    even = torch.linspace(-1, 1, classes - 1) if classes > 2 else torch.zeros(1)
    return WIDEST * torch.sinh(FINENESS * even) / math.sinh(FINENESS)


def class_error(
    outputs: Float[Tensor, "b c k h w"], truth: Int64[Tensor, "b c h w"], counted: Bool[Tensor, "b c h w"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of the pixels and bands that count, in float32; 0 without any."""
    errors = functional.cross_entropy(outputs.float().transpose(1, 2), truth, reduction="none")
    return mean_of(errors, counted)
