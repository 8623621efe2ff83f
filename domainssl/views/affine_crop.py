"""Rotation, flips, scaling, jitter crop and resizing, composed into one interpolation.

Axes: b image, c band, h w pixels.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch.nn import functional

from domainssl.store import Batch
from domainssl.views.operation import uniform


@final
@dataclass(frozen=True)
class AffineCrop:
    """One similarity transform an image, sampled bilinearly once into a square of `size` pixels.

    rotation: degrees, drawn from U(-rotation, rotation), 180 for any angle; flip: chance of a mirror image;
    field: range of the share of the stored frame's side that the view shows (0.8: a crop, 1: all of it);
    shift: largest jitter of the centre, as a share of the stored side.
    What lies outside the frame is its mirror image ("reflection") or invalid and 0 ("zeros"). Pixels are interpolated
    from valid ones only, and are invalid where those carry less than half of the weight.
    psf_fwhm_px follows the magnification. Where pixels shrink, the image is box-averaged first by the whole factor.
    """

    size: int
    rotation: float = 0.0
    flip: float = 0.0
    field: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    outside: Literal["reflection", "zeros"] = "reflection"

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        images = batch.images
        count, bands = images.shape[:2]
        stored = images.shape[-1]
        angle = uniform(generator, count, -self.rotation, self.rotation) * (math.pi / 180)
        mirror = torch.where(torch.rand(count, generator=generator) < self.flip, -1.0, 1.0)
        field = uniform(generator, count, *self.field)
        centre = uniform(generator, 2 * count, -2 * self.shift, 2 * self.shift).view(count, 2)
        cos, sin = torch.cos(angle) * field, torch.sin(angle) * field
        theta = torch.stack(  # b 2 3, from output to input coordinates in -1..1
            [torch.stack([cos * mirror, -sin, centre[:, 0]], 1), torch.stack([sin * mirror, cos, centre[:, 1]], 1)], 1
        ).to(images.device)
        planes = torch.cat([images, batch.valid.to(images.dtype)], 1)
        shrink = int(min(self.field) * stored / self.size)
        if shrink >= 2:
            planes = functional.adaptive_avg_pool2d(planes, stored // shrink)  # the frame keeps its edges and centre
        grid = functional.affine_grid(theta, [count, bands + 1, self.size, self.size], align_corners=False)
        sampled = functional.grid_sample(planes, grid, mode="bilinear", padding_mode=self.outside, align_corners=False)
        weight = sampled[:, -1:]
        valid = weight > 0.5
        nuisance = dict(batch.nuisance)
        if "psf_fwhm_px" in nuisance:
            nuisance["psf_fwhm_px"] = nuisance["psf_fwhm_px"] * (self.size / (stored * field))[:, None]
        return dataclasses.replace(
            batch, images=sampled[:, :-1] / weight.clamp_min(0.5) * valid, valid=valid, nuisance=nuisance
        )


def whole_frame(size: int) -> AffineCrop:
    """The view without randomness: the whole stored frame at the encoder's size, as embedding uses it."""
    return AffineCrop(size)
