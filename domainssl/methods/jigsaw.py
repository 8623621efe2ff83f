"""Jigsaw puzzles (Noroozi and Favaro 2016, arXiv:1603.09246): how were the nine patches of an image shuffled?

Axes: b image, k patch, c band, s pixels of a patch a side, d feature, n permutation.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.methods.classification import accuracy, cross_entropy
from domainssl.methods.method import Method, Panel, ParamGroup, Step
from domainssl.methods.patches import encoded, nine_patches, own_contrast, patch_side
from domainssl.methods.perceptron import perceptron
from domainssl.methods.permutations import unlike_permutations
from domainssl.options import PretrainOptions
from domainssl.store import Batch, first_of
from domainssl.views.choice import upright
from domainssl.views.operation import Policy

MOST = 6  # patches with enough valid pixels; where the store hides a corner, no image has nine

SHOWN = 8  # images on a panel


@final
class Jigsaw(Method):
    """Shuffled patches through one encoder, each by itself; a perceptron on all features names the permutation.

    Each patch has its own mean and standard deviation taken away, band by band, since brightness falls off smoothly and
    would order them by itself. Gap and jitter keep edges from continuing from one into the next.
    """

    permutations: Tensor

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.jigsaw
        self.side = patch_side(encoder)
        found = torch.from_numpy(unlike_permutations(self.options.permutations)).long()
        self.register_buffer("permutations", found, persistent=False)
        self.classifier = perceptron(9 * encoder.width, options.projector_width, len(found))

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (upright(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        patches, classes, counted = self.puzzles(views[0], generator)
        logits = self.classifier(encoded(self.encoder, patches, self.side).flatten(1))
        loss = cross_entropy(logits, classes, counted)
        return Step({"model": loss}, measures=accuracy("accuracy", logits, classes, counted))

    def puzzles(
        self, view: Batch, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b k c s s"], Int64[Tensor, " b"], Tensor]:
        """Shuffled patches, by which permutation, and whether most of the nine have enough valid pixels (b)."""
        options = self.options
        images = self.encoder.normalised(view.images)
        patches, valid = nine_patches(images, view.valid, options.gap, options.jitter, generator)
        patches = own_contrast(patches.flatten(0, 1)).view(patches.shape)
        classes = torch.randint(len(self.permutations), (len(patches),), generator=generator).to(patches.device)
        image = torch.arange(len(patches), device=patches.device)[:, None]
        return patches[image, self.permutations[classes]], classes, valid.sum(dim=1) >= MOST

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.classifier)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        patches, _, _ = self.puzzles(first_of(views[0], SHOWN), generator)
        return (
            Panel(
                "Jigsaw puzzles",
                "Each row one image: its nine patches, shuffled, each with its own mean and contrast taken away, as "
                "the network sees them.",
                "images",
                self.encoder.source_values(patches.flatten(0, 1)).view(patches.shape),
                columns=tuple(str(number) for number in range(1, 10)),
            ),
        )
