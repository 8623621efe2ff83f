"""Sky noise: from the object's own to a higher level, band by band."""

import dataclasses
from dataclasses import dataclass
from typing import final

import torch

from domainssl.store import Batch
from domainssl.views.operation import uniform


@final
@dataclass(frozen=True)
class NoiseTo:
    """Add Gaussian noise so that the sky sigma becomes U(1, factor) times the object's own, one factor an image.

    Needs the nuisance "sky_sigma" in the images' units; a band whose sigma is NaN gets no noise. Invalid pixels stay 0.
    Resampling and blur before this one average noise away, which sky_sigma does not follow: after AffineCrop and BlurTo
    the pixels scatter by 0.4 to 0.9 of the told level, the more noise is added the closer.
    """

    factor: float = 2.0

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        own = batch.nuisance["sky_sigma"]
        factor = uniform(generator, len(own), 1.0, self.factor)[:, None]
        added = torch.nan_to_num(own * torch.sqrt(factor**2 - 1), nan=0.0)
        noise = torch.randn(batch.images.shape, generator=generator) * added[:, :, None, None]
        nuisance = {**batch.nuisance, "sky_sigma": own * factor}
        return dataclasses.replace(batch, images=batch.images + noise * batch.valid, nuisance=nuisance)


@final
@dataclass(frozen=True)
class PictureNoise:
    """Add Gaussian noise of a sigma drawn from U(0, largest) to display values, clipped to 0..1."""

    largest: float = 0.03

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        sigma = uniform(generator, len(batch.images), 0.0, self.largest)[:, None, None, None]
        noise = torch.randn(batch.images.shape, generator=generator) * sigma
        return dataclasses.replace(batch, images=((batch.images + noise) * batch.valid).clamp(0.0, 1.0))
