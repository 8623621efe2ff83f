"""Nine patches of an image, and what keeps their edges, their sharpness and their bands from telling where they were.

Axes: b image, k patch in reading order, n any patch, c band, h w pixels of an image, s pixels of a patch a side,
d feature.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from domainssl.encoders import TimmEncoder

FEWEST = 10  # pixels a side that resampling leaves, 100 in all (Doersch et al. 2015, arXiv:1505.05192, sec. 3)
RESAMPLED = 0.5  # share of the patches
SMALLEST = 32  # pixels a side at which a convolutional network has something to look at
ENOUGH = 0.5  # share of valid pixels without which a patch does not count


def nine_patches(
    images: Float[Tensor, "b c h w"],
    valid: Bool[Tensor, "b 1 h w"],
    gap: float | int,
    jitter: float | int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b k c s s"], Bool[Tensor, "b k"]]:
    """A grid of 3 x 3 patches, as large as fit, in reading order, and which of them have enough valid pixels.

    `gap` is the space between neighbours, `jitter` how far each is moved at random, both as shares of a patch's side.
    Raises ValueError where jitter could make neighbours touch, and for images too small for patches of 4 pixels.
    """
    if not 0 <= jitter <= gap / 2:
        raise ValueError(f"a jitter of {jitter} lets patches with a gap of {gap} overlap; give at most half the gap")
    size = images.shape[-1]
    side, space, moved = _layout(size, gap, jitter)
    if side < 4:
        raise ValueError(f"images of {size} px give patches of {side} px; give a larger encoder.size or a smaller gap")
    start = (size - 3 * side - 2 * space) // 2
    place = start + torch.arange(3) * (side + space)
    grid = torch.stack(torch.meshgrid(place, place, indexing="ij"), dim=-1).view(1, 9, 2)
    corners = grid + torch.randint(-moved, moved + 1, (len(images), 9, 2), generator=generator)
    patches = cut(images, corners, side)
    share = cut(valid.to(images.dtype), corners, side).mean(dim=(2, 3, 4))
    return patches, share >= ENOUGH


def cut(planes: Float[Tensor, "b c h w"], corners: Int64[Tensor, "b k 2"], side: int) -> Float[Tensor, "b k c s s"]:
    """The squares of `side` pixels whose first row and column `corners` has; no pixel is interpolated."""
    reach = torch.arange(side, device=planes.device)
    rows, columns = (corners.to(planes.device)[:, :, :, None] + reach).unbind(dim=2)  # b k s
    image = torch.arange(len(planes), device=planes.device)[:, None, None, None]
    return planes.permute(0, 2, 3, 1)[image, rows[:, :, :, None], columns[:, :, None, :]].permute(0, 1, 4, 2, 3)


def resampled(patches: Float[Tensor, "n c s s"], generator: torch.Generator) -> Float[Tensor, "n c s s"]:
    """Half of the patches shrunk, each to a size of its own down to 10 pixels a side, and enlarged again.

    So that neither sharpness nor the noise's correlation tells one part of the frame from another.
    """
    side = patches.shape[-1]
    sides = torch.randint(min(FEWEST, side), side + 1, (len(patches),), generator=generator)
    sides[torch.rand(len(patches), generator=generator) >= RESAMPLED] = side
    done = patches.clone()
    for small in sorted(set(sides.tolist())):
        if small < side:
            chosen = (sides == small).to(patches.device)
            shrunk = functional.adaptive_avg_pool2d(patches[chosen], small)
            done[chosen] = functional.interpolate(shrunk, size=(side, side), mode="bilinear")
    return done


def one_band(patches: Float[Tensor, "n c s s"], generator: torch.Generator) -> Float[Tensor, "n c s s"]:
    """Each patch with all bands but one, drawn for it, dropped, so that no shift between bands is left to see.

    The paper puts noise in place of the dropped bands; here they take the kept one's values, since to a grey image an
    adapted stem answers as the network did to a grey photograph.
    """
    band = torch.randint(patches.shape[1], (len(patches),), generator=generator).to(patches.device)
    kept = patches[torch.arange(len(patches), device=patches.device), band]
    return kept[:, None].expand_as(patches)


def own_contrast(patches: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
    """Each patch's bands with mean 0 and standard deviation 1; a band without contrast becomes 0."""
    centred = patches.float() - patches.float().mean(dim=(2, 3), keepdim=True)
    spread = centred.square().mean(dim=(2, 3), keepdim=True).sqrt()
    return centred / spread.clamp_min(1e-4)


def encoded(encoder: TimmEncoder, patches: Float[Tensor, "b k c s s"], side: int) -> Float[Tensor, "b k d"]:
    """Pooled features of patches that are normalised already, each enlarged to `side` pixels, by the same weights."""
    large = functional.interpolate(patches.flatten(0, 1), size=(side, side), mode="bilinear")
    features: Tensor = encoder.network(large)
    return features.float().view(*patches.shape[:2], -1)


def patch_side(encoder: TimmEncoder) -> int:
    """The pixels a side at which patches go into this encoder: half an image's, or an image's where it takes no other.

    Convolutional networks take any size; transformers and dense layers one only.
    """
    size = encoder.input.size
    half = max(SMALLEST, size // 2)
    if half >= size:
        return size
    weight = next(encoder.parameters())
    try:
        with torch.inference_mode():
            encoder.network(weight.new_zeros(1, len(encoder.input.bands), half, half))
    except (AssertionError, RuntimeError):
        return size
    return half


def _layout(size: int, gap: float | int, jitter: float | int) -> tuple[int, int, int]:
    """Pixels of the largest patch, of the gap, and of the jitter, such that all nine fit wherever they are moved."""
    for side in range(size // 3, 0, -1):
        space = round(gap * side)
        moved = min(round(jitter * side), space // 2)
        if 3 * side + 2 * space + 2 * moved <= size:
            return side, space, moved
    return 0, 0, 0
