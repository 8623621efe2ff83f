"""Which saliency method can work with which encoder; imports no torch, so that a recipe that cannot fails at once."""

import math
import re

from domainssl.methods.registry import DENSE, TRANSFORMERS
from domainssl.options import SaliencyMethod

LEAST_GRID = 7  # cells a side: below, a map names a third of the image at best
# Input pixels a cell of the last feature map, by how timm's name begins; of others the network itself must be asked.
STRIDES: dict[str, int] = dict.fromkeys(
    (
        *("tf_efficientnet", "efficientnet", "mobilenetv", "resnet", "densenet", "convnext", "regnet"),
        *("test_efficientnet", "test_resnet", "test_convnext"),
    ),
    32,
)


def not_applicable(method: SaliencyMethod, encoder: str, size: int, stride: int | None = None) -> str | None:
    """Why these maps cannot be made of timm's `encoder` at images of `size` pixels, with a remedy; None if they can.

    `stride` is that of the last feature map where it is known better than by the encoder's name; a stride that is not
    known speaks against nothing.
    """
    if method == "attention":
        if not encoder.startswith(TRANSFORMERS):
            return f"'attention' is of vision transformers, and {encoder} is none; give 'grad_cam' or 'occlusion'"
        patch = re.search(r"patch(\d+)", encoder)
        stride = stride or (int(patch[1]) if patch else None)
        return None if stride is None else too_coarse(method, encoder, size, size // stride, stride)
    if method == "grad_cam":
        if encoder.startswith(TRANSFORMERS):
            return f"'grad_cam' needs a feature map, and {encoder} gives tokens; give 'attention' or 'occlusion'"
        if encoder.startswith(DENSE):
            return f"'grad_cam' needs a feature map, and {encoder} is one dense layer; give 'occlusion'"
        stride = stride or next((cell for name, cell in STRIDES.items() if encoder.startswith(name)), None)
        return None if stride is None else too_coarse(method, encoder, size, math.ceil(size / stride), stride)
    return None


def too_coarse(method: SaliencyMethod, encoder: str, size: int, grid: int, stride: int) -> str | None:
    """What is said where a map would have fewer than 7x7 cells; None where it has them."""
    if grid >= LEAST_GRID:
        return None
    return (
        f"{encoder} makes a {grid}x{grid} grid of {size} px, too coarse for {method!r}; "
        f"give encoder.size = {LEAST_GRID * stride} or more, or saliency = 'occlusion'"
    )
