"""Corruption of what a network takes, for the denoising autoencoder (Vincent et al. 2010, sec. 3.3).

Axes: b image, c band, h w pixel rows and columns.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.method_options import DenoisingOptions


def corrupted(
    images: Float[Tensor, "b c h w"],
    valid: Bool[Tensor, "b 1 h w"],
    options: DenoisingOptions,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b c h w"], Bool[Tensor, "b 1 h w"]]:
    """Corrupted images and which pixels were drawn; `images` are normalised, and left as they are.

    "gaussian" adds noise of `strength` times the standard deviation of the image's valid pixels, band by band, to every
    pixel, so a band that an object lacks gets none. "masking" sets a share `strength` of the pixels to 0, which is the
    mean of the network's inputs, and "salt_and_pepper" to the image's largest or smallest value in each band by a fair
    coin a pixel. Of each image exactly that share is drawn (rounded), all bands of a pixel together: else one band
    would tell what another hides.
    """
    device = images.device
    count, _, height, width = images.shape
    if options.corruption == "gaussian":
        noise = torch.randn(images.shape, generator=generator).to(device)
        return images + options.strength * _spread(images, valid) * noise, torch.ones_like(valid)
    ranks = torch.rand(count, height * width, generator=generator).argsort(dim=1).argsort(dim=1).to(device)
    drawn = (ranks < round(options.strength * height * width)).view(count, 1, height, width)
    if options.corruption == "masking":
        return images.masked_fill(drawn, 0.0), drawn
    salt = (torch.rand(drawn.shape, generator=generator) < 0.5).to(device)
    extremes = torch.where(salt, images.amax((2, 3), keepdim=True), images.amin((2, 3), keepdim=True))
    return torch.where(drawn, extremes, images), drawn


def _spread(images: Float[Tensor, "b c h w"], valid: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c 1 1"]:
    pixels = valid.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (images * valid).sum((2, 3), keepdim=True) / pixels
    return (((images - mean).square() * valid).sum((2, 3), keepdim=True) / pixels).sqrt()
