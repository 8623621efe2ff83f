"""Images from which one cue is taken, texture or shape, to ask by which of them a head goes (Geirhos et al. 2019).

A cat with an elephant's skin is an elephant to networks trained on ImageNet. Axes: b image, c band, h w pixels.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch.nn import functional

from domainssl.store import Batch

COARSE = 8  # pixels a side that are left without texture
PIECES = 4  # a side, that change places without shape


@runtime_checkable
class Images(Protocol):
    """What gives images by row: a store, or a store with changed images."""

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Batch: ...


Change = Callable[[Batch], Batch]


@final
@dataclass(frozen=True)
class ChangedImages:
    """The images of a store, each batch changed."""

    store: Images
    change: Change

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Batch:
        return self.change(self.store.batch(rows))


def without_texture(batch: Batch) -> Batch:
    """Shape and colour without texture: means of COARSE x COARSE fields of the valid pixels, with what lies between
    interpolated. A field without valid pixels takes the image's mean; which pixels are valid stays."""
    valid = batch.valid.to(batch.images.dtype)
    weight = functional.adaptive_avg_pool2d(valid, COARSE)
    total = functional.adaptive_avg_pool2d(batch.images * valid, COARSE)
    mean = (batch.images * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp_min(1.0)
    fields = torch.where(weight > 0, total / weight.clamp_min(1e-6), mean[:, :, None, None])
    smooth = functional.interpolate(fields, size=batch.images.shape[2:], mode="bilinear", align_corners=False)
    return dataclasses.replace(batch, images=smooth * valid)


def without_shape(batch: Batch) -> Batch:
    """Texture and colour without shape: PIECES x PIECES squares of each image change places (Zhang and Zhu 2019).

    The order is drawn by row: the same row is always changed alike. What is left over at the lower and right edge,
    where the side is no multiple of PIECES, stays where it is.
    """
    side = batch.images.shape[-1] // PIECES
    images, valid = batch.images.clone(), batch.valid.clone()
    for place, row in enumerate(batch.rows.tolist()):
        order = np.random.default_rng([PIECES, row]).permutation(PIECES**2)
        for to, source in enumerate(order.tolist()):
            (y, x), (v, u) = ((side * line for line in divmod(number, PIECES)) for number in (to, source))
            images[place, :, y : y + side, x : x + side] = batch.images[place, :, v : v + side, u : u + side]
            valid[place, :, y : y + side, x : x + side] = batch.valid[place, :, v : v + side, u : u + side]
    return dataclasses.replace(batch, images=images, valid=valid)


CUES: dict[str, Change] = {"without texture": without_texture, "without shape": without_shape}
