"""Maps of what an answer comes from: Grad-CAM and occlusion sensitivity by MONAI, and the attention of transformers.

Axes: b view of one image, c band, h w pixels, m head.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.heads.head import FittedHead
from domainssl.options import SaliencyMethod
from domainssl.saliency.applies import LEAST_GRID, not_applicable, too_coarse
from domainssl.saliency.scores import GridScores, Scores
from domainssl.saliency.views import MapView
from domainssl.tokens import Tokens

MASK = 1 / 4  # side of the square that occludes, of the image's
STEPS = 3  # by which the mask moves on by its own side
AT_ONCE = 64
BORDER = 1 / 8  # of the side: where pictures show their background


def grad_cam(
    encoder: TimmEncoder,
    heads: Sequence[FittedHead],
    output: int,
    views: Float[Tensor, "b c h w"],
    fill: Float[Tensor, "b c h w"],
) -> Float[Tensor, "m b h w"]:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on the last feature map, 0 where nothing speaks for it.

    `fill` is not used. Raises ValueError for encoders without a feature map, and for one below 7x7.
    """
    from monai.visualize import GradCAM  # here: it takes seconds

    with torch.no_grad():
        grid = encoder.grid(views)
    cells, size = int(grid.shape[-1]), views.shape[-2:]
    _refuse(too_coarse("grad_cam", encoder.name, encoder.input.size, cells, -(-encoder.input.size // cells)))
    scores = GridScores(Scores(encoder, heads, output))
    method = GradCAM(scores, "last", upsampler=lambda _: partial(_enlarged, size=size), postprocessing=_as_it_is)
    with torch.enable_grad():
        maps = [method(grid.requires_grad_(), class_idx=number).detach() for number in range(len(heads))]
    scores.zero_grad(set_to_none=True)  # of layers between the map and the features
    return torch.stack(maps)[:, :, 0].float()


def occlusion(
    encoder: TimmEncoder,
    heads: Sequence[FittedHead],
    output: int,
    views: Float[Tensor, "b c h w"],
    fill: Float[Tensor, "b c h w"],
    mask: int | None = None,
) -> Float[Tensor, "m b h w"]:
    """By how much the log-odds fall where a square passes (Zeiler and Fergus 2014), 0 where they rise.

    It has `mask` pixels a side (a quarter of the image's), moves by a third of that, and shows `fill` in place of the
    image; a pixel's value is the mean over the squares that cover it. MONAI's soft mask leaves so much of a sharp thing
    that it was missed. Raises ValueError where the square has fewer than 7x7 places.
    """
    from monai.visualize import OcclusionSensitivity  # here: it takes seconds

    side = views.shape[-1]
    mask = mask or mask_side(side)
    step = max(1, mask // STEPS)
    places = max(0, side - mask) // step + 1
    if places < LEAST_GRID:
        raise ValueError(
            f"a mask of {mask} px has {places}x{places} places on {side} px, too few; give a larger encoder.size"
        )
    scores = Scores(encoder, heads, output)
    found = []
    # MONAI puts one number in: what it is shown is the image's difference to what shall stand in its place.
    for view, behind in zip(views, fill, strict=True):
        method = OcclusionSensitivity(
            _Above(scores, behind[None]),
            mask_size=mask,
            n_batch=AT_ONCE,
            verbose=False,
            mode=0.0,
            overlap=1 - (step + 0.5) / mask,  # MONAI rounds the step down
            activate=False,
        )
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using a non-tuple sequence")  # MONAI's own indexing
            covered, _ = method((view - behind)[None])
            found.append((scores(view[None])[:, :, None, None] - torch.as_tensor(covered))[0])
    return torch.stack(found, dim=1).clamp_min(0).float()


def attention(
    encoder: TimmEncoder,
    heads: Sequence[FittedHead],
    output: int,
    views: Float[Tensor, "b c h w"],
    fill: Float[Tensor, "b c h w"],
) -> Float[Tensor, "m b h w"]:
    """What the class token of a transformer's last block looks at, the mean over its attention heads.

    It is of the image: `heads` and `output` have no say in it, and one map stands for all heads (m is 1).
    Raises ValueError for other networks, and where patches make less than a 7x7 grid.
    """
    _refuse(not_applicable("attention", encoder.name, encoder.input.size))
    tokens = Tokens(encoder)
    _refuse(too_coarse("attention", encoder.name, encoder.input.size, tokens.grid, tokens.patch))
    with torch.no_grad():
        shares = tokens.attention(views).mean(dim=1, keepdim=True)
    return _enlarged(shares, views.shape[-2:]).transpose(0, 1)


Maps = Callable[[TimmEncoder, Sequence[FittedHead], int, Tensor, Tensor], Tensor]
SALIENCY: Mapping[SaliencyMethod, Maps] = {"grad_cam": grad_cam, "occlusion": occlusion, "attention": attention}


@final
@dataclass(frozen=True)
class Pictured:
    """One image as the encoder takes it: source values, 0 where they are hidden or invalid, and which are valid."""

    image: Float[Tensor, "c h w"]
    valid: Bool[Tensor, "1 h w"]
    radiometry: Literal["linear", "display"]

    def background(self) -> Float[Tensor, "c h w"]:
        """What stands where nothing is: an empty sky (0) in linear images, the median of the border in pictures.

        Pixels without a value keep what the encoder is shown there. The border is the outer eighth, or all valid
        pixels where none of it is valid.
        """
        if self.radiometry == "linear" or not self.valid.any():
            return torch.zeros_like(self.image)
        edge = max(1, round(BORDER * self.image.shape[-1]))
        border = self.valid[0].clone()
        border[edge:-edge, edge:-edge] = False
        there = border if border.any() else self.valid[0]
        level = self.image[:, there].median(dim=1).values
        return torch.where(self.valid, level[:, None, None], self.image)


def saliency(
    method: SaliencyMethod,
    encoder: TimmEncoder,
    heads: Sequence[FittedHead],
    output: int,
    shown: Pictured,
    views: Sequence[MapView],
) -> Float32[np.ndarray, "m h w"]:
    """A map of one image for the answer `output` by each head, averaged over views: 0..1, 1 at its largest.

    NaN on pixels that are hidden or invalid; 0 throughout where nothing speaks for the answer. The encoder is used in
    evaluation mode, on its own device. Raises ValueError as the method does.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    seen, fill = (
        torch.stack([view.there(planes) for view in views]).to(device) for planes in (shown.image, shown.background())
    )
    found = SALIENCY[method](encoder, heads, output, seen, fill).cpu()
    turned = torch.stack([view.back(found[:, place]) for place, view in enumerate(views)])
    mean = torch.where(shown.valid, turned.nanmean(dim=0), torch.nan)
    largest = mean.nan_to_num(nan=0.0).amax(dim=(1, 2), keepdim=True)
    scaled = mean / torch.where(largest > 0, largest, 1.0)
    return np.asarray(scaled.numpy(), np.float32)


def mask_side(size: int) -> int:
    """The side in pixels of the mask that occludes images of `size` pixels."""
    return round(MASK * size)


@final
class _Above(nn.Module):
    """The scores of an image given as its difference to `behind`."""

    def __init__(self, scores: Scores, behind: Float[Tensor, "1 c h w"]) -> None:
        super().__init__()
        self.scores, self.behind = scores, behind
        self.eval()

    def forward(self, difference: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m"]:
        found: Tensor = self.scores(difference + self.behind)
        return found.float()


def _enlarged(maps: Float[Tensor, "b c y x"], size: torch.Size) -> Float[Tensor, "b c h w"]:
    return functional.interpolate(maps, size=tuple(size), mode="bilinear")


def _as_it_is(maps: Any) -> Any:
    return maps  # MONAI's own scaling turns the smallest into the largest


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise ValueError(f"saliency: {reason}")
