"""Brightness and contrast of pictures; all bands alike, so that colours stay."""

import dataclasses
from dataclasses import dataclass
from typing import final

import torch

from domainssl.store import Batch
from domainssl.views.operation import uniform


@final
@dataclass(frozen=True)
class Brightness:
    """Display values become clip(gain * x + offset, 0, 1) with one gain and one offset an image for all bands.

    gain is drawn from U(1 - contrast, 1 + contrast), offset from U(-brightness, brightness); invalid pixels stay 0.
    """

    brightness: float = 0.1
    contrast: float = 0.2

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        count = len(batch.images)
        gain = uniform(generator, count, 1 - self.contrast, 1 + self.contrast)[:, None, None, None]
        offset = uniform(generator, count, -self.brightness, self.brightness)[:, None, None, None]
        changed = (gain * batch.images + offset).clamp(0.0, 1.0)
        return dataclasses.replace(batch, images=changed * batch.valid)
