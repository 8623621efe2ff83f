"""Rectangular blocks of patches, drawn for I-JEPA: what is seen and what is to be predicted.

Axes: b image, m target block, t patch of a target, k patch of the context, g row or column of patches.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

ASPECT = (0.75, 1.5)  # height over width of targets


@final
@dataclass(frozen=True)
class Blocks:
    """Numbers of patches in reading order; no patch of an image is in its context and in one of its targets."""

    context: Int64[Tensor, "b k"]
    targets: Int64[Tensor, "b m t"]


def draw_blocks(
    count: int,
    grid: int,
    targets: int,
    target_area: tuple[float, float],
    context_area: tuple[float, float],
    generator: torch.Generator,
) -> Blocks:
    """A context and `targets` blocks for each of `count` images, areas as shares of the grid (Assran et al. 2023, 3).

    One size of blocks is drawn for all images, so that they can be stacked; each has places of its own, equally likely
    anywhere in the grid. The context is a square without the targets; where images keep different numbers of patches
    random ones are dropped, where none is left all patches outside the targets are taken. Always ends, with at least
    one patch of context. Raises ValueError for a grid of a single patch.
    """
    if grid < 2:
        raise ValueError(f"encoder.size: blocks need a grid of at least 2 patches a side, the images have {grid}")
    size = _extent(grid, target_area, ASPECT, generator)
    if size == (grid, grid):
        size = (grid, grid - 1)  # something has to be left to see
    top, left = _places(count, targets, grid, size, generator)
    covered = _inside(top, left, grid, size).any(dim=1)
    # On small grids the targets may cover everything: then all of them stand where the first one does.
    full = covered.all(dim=(1, 2))
    top[full], left[full] = top[full, :1], left[full, :1]
    covered = _inside(top, left, grid, size).any(dim=1)

    square = _extent(grid, context_area, (1.0, 1.0), generator)
    seen = _inside(*_places(count, 1, grid, square, generator), grid, square)[:, 0] & ~covered
    seen = torch.where(seen.any(dim=(1, 2), keepdim=True), seen, ~covered).flatten(1)
    kept = int(seen.sum(dim=1).min())
    lots = torch.rand(seen.shape, generator=generator).masked_fill(~seen, -1.0)
    context = lots.topk(kept, dim=1).indices.sort(dim=1).values

    rows = top[:, :, None] + torch.arange(size[0])
    columns = left[:, :, None] + torch.arange(size[1])
    return Blocks(context, (rows[:, :, :, None] * grid + columns[:, :, None, :]).flatten(2))


def _extent(
    grid: int, area: tuple[float, float], aspect: tuple[float, float], generator: torch.Generator
) -> tuple[int, int]:
    first, second = torch.rand(2, generator=generator).tolist()
    patches = (area[0] + (area[1] - area[0]) * first) * grid**2
    ratio = aspect[0] + (aspect[1] - aspect[0]) * second
    height, width = round(math.sqrt(patches * ratio)), round(math.sqrt(patches / ratio))
    return min(max(height, 1), grid), min(max(width, 1), grid)


def _places(
    count: int, blocks: int, grid: int, size: tuple[int, int], generator: torch.Generator
) -> tuple[Int64[Tensor, "b m"], Int64[Tensor, "b m"]]:
    top, left = (torch.randint(grid - side + 1, (count, blocks), generator=generator) for side in size)
    return top, left


def _inside(
    top: Int64[Tensor, "b m"], left: Int64[Tensor, "b m"], grid: int, size: tuple[int, int]
) -> Bool[Tensor, "b m g g"]:
    places = torch.arange(grid)
    rows = (places >= top[:, :, None]) & (places < top[:, :, None] + size[0])
    columns = (places >= left[:, :, None]) & (places < left[:, :, None] + size[1])
    return rows[:, :, :, None] & columns[:, :, None, :]
