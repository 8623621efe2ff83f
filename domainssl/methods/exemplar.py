"""Exemplar networks (Dosovitskiy et al. 2014, arXiv:1406.6909): each of many patches, distorted, is its own class.

Axes: b image, c band, h w pixels, k distortion, s pixels of a patch a side.
"""

from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.classification import accuracy, cross_entropy
from domainssl.methods.method import Cohort, Method, Panel, ParamGroup, Step
from domainssl.methods.patches import encoded, patch_side
from domainssl.methods.perceptron import perceptron
from domainssl.options import PretrainOptions
from domainssl.store import Batch, first_of
from domainssl.views.operation import Policy, uniform

PATCH = 32  # pixels a side, of images at the encoder's size
SHIFT, SCALE, ANGLE = 0.2, (0.7, 1.4), 20.0  # share of a patch, factor, degrees: sec. 3.1 of the paper
PLACE = 0  # stream of random numbers

SHOWN = 8  # images on a panel


@final
class Exemplar(Method):
    """One patch of each of `classes` images, from where gradients are considerable; a linear layer names the image.

    Patches are cut from stored images in one interpolation with all of their distortion.
    """

    classifier: nn.Linear

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.options = options.exemplar
        self.side = patch_side(encoder)
        self.share = min(PATCH, encoder.input.size // 2) / encoder.input.size  # of the frame's side
        self.projector = perceptron(encoder.width, options.projector_width, options.projection_dim)
        self.dim = options.projection_dim
        self.rows = torch.zeros(0, dtype=torch.int64)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        """Stored images as they are."""
        return ((),)

    def begin(self, cohort: Cohort) -> Cohort:
        """Take `classes` images, evenly spread over the cohort, and make the classifier; all others are left out."""
        count = min(self.options.classes, len(cohort.rows))
        chosen = np.linspace(0, len(cohort.rows) - 1, count).round().astype(int)
        kept = Cohort(cohort.rows[chosen], None if cohort.classes is None else cohort.classes[chosen])
        self.rows = torch.from_numpy(np.sort(kept.rows))
        with torch.random.fork_rng(devices=[]):
            self.classifier = nn.Linear(self.dim, count)
        for parameter in self.classifier.parameters():  # all classes alike: nobody sets the global seed here
            nn.init.zeros_(parameter)
        return kept

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        view = views[0]
        patches = self.distorted(view, self.options.distortions, generator)
        logits = self.classifier(self.projector(encoded(self.encoder, patches, self.side).flatten(0, 1)))
        classes = torch.searchsorted(self.rows, view.rows.cpu()).to(logits.device)
        classes = classes.repeat_interleave(self.options.distortions)
        counted = view.valid.flatten(1).any(dim=1).repeat_interleave(self.options.distortions)
        loss = cross_entropy(logits, classes, counted)
        return Step({"model": loss}, measures=accuracy("accuracy", logits, classes, counted))

    def distorted(self, view: Batch, count: int, generator: torch.Generator) -> Float[Tensor, "b k c s s"]:
        """`count` distortions of each image's patch, normalised: moved, scaled, turned, and coloured if asked for."""
        images = self.encoder.normalised(view.images)
        number = len(images) * count
        middles = gradient_places(images, view.valid, view.rows, self.share).repeat_interleave(count, dim=0)
        middles = middles + self.share * uniform(generator, 2 * number, -SHIFT, SHIFT).view(number, 2)
        scale = self.share * torch.exp(uniform(generator, number, *np.log(SCALE).tolist()))
        angle = torch.deg2rad(uniform(generator, number, -ANGLE, ANGLE))
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        place = 2 * middles - 1
        theta = torch.stack([torch.stack([cos, -sin, place[:, 0]], 1), torch.stack([sin, cos, place[:, 1]], 1)], 1)
        shape = [number, images.shape[1], self.side, self.side]
        grid = functional.affine_grid(theta.to(images.device), shape, align_corners=False)
        repeated = images.repeat_interleave(count, dim=0)
        patches = functional.grid_sample(repeated, grid, padding_mode="reflection", align_corners=False)
        if self.options.colour > 0:
            patches = coloured(patches, self.options.colour, generator)
        return patches.view(len(images), count, *patches.shape[1:])

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector, self.classifier)

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        patches = self.distorted(first_of(views[0], SHOWN), 8, generator)
        return (
            Panel(
                "Distortions of exemplars",
                "Each row one class: distortions of one patch of one image, as the network sees them.",
                "images",
                self.encoder.source_values(patches.flatten(0, 1)).view(patches.shape),
            ),
        )


def gradient_places(
    images: Float[Tensor, "b c h h"], valid: Bool[Tensor, "b 1 h h"], rows: Int64[Tensor, " b"], share: float
) -> Float[Tensor, "b 2"]:
    """The middle (x, y) of one patch an image, as shares 0..1 of the frame, always the same for a row.

    Drawn with a probability that grows as the mean squared gradient within the patch; gradients at invalid pixels do
    not count. The patch lies within the frame. Any place is as likely as another where an image is flat.
    """
    size = images.shape[-1]
    side = max(2, round(share * size))
    known = valid[:, :, 1:, 1:] & valid[:, :, 1:, :-1] & valid[:, :, :-1, 1:]
    down, right = images[:, :, 1:] - images[:, :, :-1], images[:, :, :, 1:] - images[:, :, :, :-1]
    energy = (down[:, :, :, 1:].square() + right[:, :, 1:].square()).sum(dim=1, keepdim=True).float() * known
    likely = functional.avg_pool2d(energy, side - 1, stride=1).flatten(1).cpu().double()
    likely = torch.where(likely.sum(dim=1, keepdim=True) > 0, likely, 1.0)
    cumulative = likely.cumsum(dim=1)
    draws = [np.random.default_rng([PLACE, row]).random() for row in rows.tolist()]
    threshold = torch.tensor(draws, dtype=torch.float64)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    across = size - side + 1
    corner = torch.stack([index % across, index // across], dim=1)
    return ((corner + side / 2) / size).float()


def coloured(
    patches: Float[Tensor, "n c s s"], strength: float | int, generator: torch.Generator
) -> Float[Tensor, "n c s s"]:
    """Each band's contrast and brightness changed by draws of its own, in units of its own contrast."""
    count, bands = patches.shape[:2]
    contrast, brightness = uniform(generator, 2 * count * bands, -strength, strength).view(2, count, bands, 1, 1)
    mean = patches.mean(dim=(2, 3), keepdim=True)
    spread = (patches - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
    factor, offset = contrast.exp().to(patches.device), brightness.to(patches.device)
    changed: Tensor = (patches - mean) * factor + mean + offset * spread
    return changed
