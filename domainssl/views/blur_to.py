"""PSF blur: from the object's own PSF to a wider one, band by band.

Axes: b image, c band, h w pixels, t kernel taps.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from domainssl.store import Batch
from domainssl.views.operation import uniform

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@final
@dataclass(frozen=True)
class BlurTo:
    """Blur each band to a Gaussian width drawn from U(1, factor) times its own: adds sqrt(final^2 - own^2).

    The object's own width is psf_fwhm_px / 2.355; `unknown_sigma` pixels stand in where it is NaN or not given.
    The factor is one draw an image, so that bands keep their order of sharpness. Invalid pixels stay 0 and give nothing
    to their neighbours.
    """

    factor: float = 1.5
    unknown_sigma: float = 1.0
    chance: float = 1.0

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        count, bands = batch.images.shape[:2]
        own = batch.nuisance.get("psf_fwhm_px", torch.full((count, bands), math.nan)) / FWHM_PER_SIGMA
        own = torch.where(torch.isnan(own), self.unknown_sigma, own)
        factor = uniform(generator, count, 1.0, self.factor)[:, None]
        used = torch.rand(count, generator=generator)[:, None] < self.chance
        added = torch.where(used, own * torch.sqrt(factor**2 - 1), torch.zeros(()))
        nuisance = {**batch.nuisance, "psf_fwhm_px": torch.sqrt(own**2 + added**2) * FWHM_PER_SIGMA}
        images = gaussian_blur(batch.images, added)
        if not batch.valid.all():
            valid = batch.valid.to(images.dtype).expand_as(images)
            images = images / gaussian_blur(valid, added).clamp_min(1e-6) * valid
        return dataclasses.replace(batch, images=images, nuisance=nuisance)


def gaussian_blur(
    images: Float[Tensor, "b c h w"], sigma: Float[Tensor, "b c"], longest: int = 15
) -> Float[Tensor, "b c h w"]:
    """Convolve each band of each image with its own Gaussian (pixels; 0 leaves it as it is), edges reflected.

    Kernels reach 3 sigma, at most `longest` pixels from the centre and less than the image's side.
    """
    count, bands, height, width = images.shape
    widest = float(sigma.max()) if sigma.numel() else 0.0
    reach = min(max(math.ceil(3 * widest), 1), longest, height - 1, width - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype)
    spread = sigma.reshape(-1, 1).clamp_min(1e-3)  # 1e-3 px: a kernel of one tap
    kernel = torch.exp(-0.5 * (offsets / spread) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # b*c t
    planes = functional.pad(images.reshape(1, count * bands, height, width), (reach,) * 4, mode="reflect")
    planes = functional.conv2d(planes, kernel[:, None, :, None], groups=count * bands)
    planes = functional.conv2d(planes, kernel[:, None, None, :], groups=count * bands)
    return planes.view(count, bands, height, width)
