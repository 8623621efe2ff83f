"""Relative position (Doersch et al. 2015, arXiv:1505.05192): which of its eight neighbours is this patch?

Axes: b image, k patch, d feature.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.classification import accuracy, cross_entropy
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.patches import encoded, nine_patches, one_band, patch_side, resampled
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.store import Batch, first_of
from domainssl.views.choice import upright
from domainssl.views.operation import Policy

CENTRE, NEIGHBOURS = 4, (0, 1, 2, 3, 5, 6, 7, 8)  # of nine patches in reading order

SHOWN = 8  # images on a panel


@final
class RelativePatch(Method):
    """The centre of a grid of patches beside each of its neighbours, through one encoder; a perceptron names the place.

    Without its guards the task can be solved by what lenses and atmospheres do to bands: each patch is reduced to one
    band, and some are resampled. The gap and the jitter, so that no line continues from one into the other, are always
    there.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.relative_patch
        self.side = patch_side(encoder)
        self.classifier = perceptron(2 * encoder.width, options.projector_width, len(NEIGHBOURS))

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (upright(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        patches, valid = self.patches(views[0], generator)
        logits = self.classifier(self.pairs(patches).flatten(0, 1))
        classes = torch.arange(len(NEIGHBOURS), device=logits.device).repeat(len(patches))
        counted = (valid[:, CENTRE, None] & valid[:, NEIGHBOURS]).flatten()
        loss = cross_entropy(logits, classes, counted)
        return Step({"model": loss}, measures=accuracy("accuracy", logits, classes, counted))

    def patches(self, view: Batch, generator: torch.Generator) -> tuple[Float[Tensor, "b k c s s"], Tensor]:
        """What is asked about, normalised and guarded, and which of it has enough valid pixels (b k)."""
        options = self.options
        images = self.encoder.normalised(view.images)
        patches, valid = nine_patches(images, view.valid, options.gap, options.jitter, generator)
        if options.guards:
            guarded = one_band(resampled(patches.flatten(0, 1), generator), generator)
            patches = guarded.view(patches.shape)
        return patches, valid

    def pairs(self, patches: Float[Tensor, "b k c s s"]) -> Float[Tensor, "b 8 e"]:
        """Features of the centre, then those of one neighbour, for each neighbour."""
        features = encoded(self.encoder, patches, self.side)
        neighbours = features[:, NEIGHBOURS]
        return torch.cat([features[:, CENTRE, None].expand_as(neighbours), neighbours], dim=2)

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.classifier)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        patches, _ = self.patches(first_of(views[0], SHOWN), generator)
        return (
            Panel(
                "Patches whose place is asked",
                "Each row one image: its nine patches in reading order, as the network sees them; the fifth is the "
                "centre, and the place of the others relative to it is the question.",
                "images",
                self.encoder.source_values(patches.flatten(0, 1)).view(patches.shape),
                columns=tuple(str(number) for number in range(1, 10)),
            ),
        )
