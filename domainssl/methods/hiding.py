"""Hiding a part of the input, and what of an image can be asked for.

Axes: b image, c band, h w pixel rows and columns.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from domainssl.encoders import TimmEncoder
from domainssl.store import Batch


def hidden(
    encoder: TimmEncoder, images: Float[Tensor, "b c h w"], where: Bool[Tensor, "#b #c #h #w"]
) -> Float[Tensor, "b c h w"]:
    """Source values with those at `where` put at the level that is 0 to the network; no gradient passes there."""
    level = encoder.source_values(images.new_zeros(1, images.shape[1], 1, 1))
    return torch.where(where, level, images)


def known(batch: Batch) -> Bool[Tensor, "b c h w"]:
    """What can be a target: the valid pixels of the bands that an object has (one that it lacks is 0 throughout)."""
    return batch.valid & batch.images.flatten(2).any(dim=2)[:, :, None, None]
