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

    Kernels reach 3 sigma of the widest, at most `longest` pixels from the centre and less than the image's side.
    Rows and columns are multiplied by a matrix each, at these sizes twice as fast on a CPU as a grouped convolution.
    """
    height, width = images.shape[2:]
    widest = float(sigma.max()) if sigma.numel() else 0.0
    reach = min(max(math.ceil(3 * widest), 1), longest, height - 1, width - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    spread = sigma.reshape(-1, 1).clamp_min(1e-3)  # 1e-3 px: a kernel of one tap
    kernel = torch.exp(-0.5 * (offsets / spread) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # b*c t
    columns = _convolution(kernel, height)
    rows = columns if width == height else _convolution(kernel, width)
    planes = images.reshape(-1, height, width)
    return (columns @ planes @ rows.transpose(1, 2)).view(images.shape)


def _convolution(kernel: Float[Tensor, "n t"], side: int) -> Float[Tensor, "n side side"]:
    """Matrices that convolve a line of `side` pixels, reflected at both ends, with each kernel."""
    count, taps = kernel.shape
    pixels = torch.arange(side, device=kernel.device)[:, None]
    source = (pixels + torch.arange(-(taps // 2), taps // 2 + 1, device=kernel.device)).abs()
    source = side - 1 - (side - 1 - source).abs()  # side t: which pixel each tap reads
    matrix = torch.zeros(count, side, side, dtype=kernel.dtype, device=kernel.device)
    return matrix.scatter_add_(2, source.expand(count, -1, -1), kernel[:, None].expand(-1, side, -1))
