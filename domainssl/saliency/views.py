"""Views of an image that change no answer, and how a map of a view is turned back onto the image.

Axes: c band or map, h w pixels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from domainssl.features import SYMMETRIES, Symmetry, Transformation

SHIFT = 1 / 24  # of the image's side: less than a cell of a 7x7 map


class MapView(ABC):
    """One view: `there` makes it, `back` turns what was found on it; both leave other dimensions alone."""

    @abstractmethod
    def there(self, images: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        """The view of square images."""

    @abstractmethod
    def back(self, maps: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        """Maps of the view in the image's own pixels; NaN where the view did not show them."""


@final
@dataclass(frozen=True)
class Turned(MapView):
    """A mirror image and quarter turns, for objects that have no up."""

    transformation: Transformation

    def there(self, images: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        return self.transformation(images[None])[0]

    def back(self, maps: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        turned = torch.rot90(maps, -self.transformation.quarter_turns, (1, 2))
        return turned.flip(2) if self.transformation.mirrored else turned


@final
@dataclass(frozen=True)
class Shifted(MapView):
    """The image moved by whole pixels, down and to the right where they are positive; its edges go on beyond it."""

    down: int
    right: int

    def there(self, images: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        height, width = images.shape[1:]
        rows = (torch.arange(height, device=images.device) - self.down).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) - self.right).clamp(0, width - 1)
        return images[:, rows][:, :, columns]

    def back(self, maps: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        found = torch.full_like(maps, torch.nan)
        to_rows, from_rows = _overlap(self.down, maps.shape[1])
        to_columns, from_columns = _overlap(self.right, maps.shape[2])
        found[:, to_rows, to_columns] = maps[:, from_rows, from_columns]
        return found


def map_views(symmetry: Symmetry, size: int) -> tuple[MapView, ...]:
    """Over which views maps of images of `size` pixels are averaged: all turns and mirror images of a sky ("dihedral"),
    for all else, which has an up or a left, the image and four small shifts of it; never mirror images."""
    if symmetry == "dihedral":
        return tuple(Turned(transformation) for transformation in SYMMETRIES["dihedral"])
    step = max(1, round(SHIFT * size))
    return tuple(Shifted(down, right) for down, right in ((0, 0), (step, 0), (-step, 0), (0, step), (0, -step)))


def _overlap(moved: int, size: int) -> tuple[slice, slice]:
    """Where pixels of the image are found again in one that was moved: their places in the first and in the second."""
    return slice(max(0, -moved), size - max(0, moved)), slice(max(0, moved), size - max(0, -moved))
