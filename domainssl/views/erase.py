"""Random erasing: a rectangle of the image is taken away, so that no one part of it decides alone."""

import dataclasses
import math
from dataclasses import dataclass
from typing import final

import torch

from domainssl.store import Batch
from domainssl.views.operation import uniform


@final
@dataclass(frozen=True)
class Erase:
    """Erase, with `chance`, one rectangle an image in all its bands (Zhong et al. 2020).

    area: range of the rectangle's share of the frame; aspect: range of its height over its width, drawn on a log scale
    so that lying and standing ones are alike; sides are rounded to pixels, at least 1 and at most the frame's, and the
    place is uniform among those inside the frame.
    The rectangle takes the mean of the image's valid pixels, band by band. In a display image that is neither a bright
    nor a dark shape; in linear flux it is the level of the sky and a little more, with no noise of its own. Random
    values would teach the network noise that no instrument makes, and invalid pixels, which are 0, would be a black
    shape to it. `valid` stays as it was, and so do pixels that are invalid.
    """

    chance: float = 0.5
    area: tuple[float, float] = (0.02, 0.2)
    aspect: tuple[float, float] = (0.3, 3.3)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        count, _, height, width = batch.images.shape
        used = torch.rand(count, generator=generator) < self.chance
        pixels = uniform(generator, count, *self.area) * (height * width)
        ratio = torch.exp(uniform(generator, count, math.log(self.aspect[0]), math.log(self.aspect[1])))
        tall = torch.sqrt(pixels * ratio).round().clamp(1, height)
        wide = torch.sqrt(pixels / ratio).round().clamp(1, width)
        top = (torch.rand(count, generator=generator) * (height - tall + 1)).floor()
        left = (torch.rand(count, generator=generator) * (width - wide + 1)).floor()
        row, column = torch.arange(height)[None, :], torch.arange(width)[None, :]
        rows = (row >= top[:, None]) & (row < (top + tall)[:, None])  # b h
        columns = (column >= left[:, None]) & (column < (left + wide)[:, None])  # b w
        inside = (rows[:, :, None] & columns[:, None, :] & used[:, None, None])[:, None]  # b 1 h w
        total = (batch.images * batch.valid).sum((2, 3), keepdim=True)
        mean = total / batch.valid.sum((2, 3), keepdim=True).clamp_min(1)
        return dataclasses.replace(batch, images=torch.where(inside & batch.valid, mean, batch.images))
