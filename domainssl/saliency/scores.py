"""Encoder and linear heads joined: what a map explains, the log-odds of one answer against all others.

Axes: b image, c band, h w pixels, d feature, k output of a head, m head.
"""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.heads.head import FittedHead
from domainssl.heads.linear import LinearHead
from domainssl.heads.multilabel import MultilabelHead


@final
class Scores(nn.Module):
    """The log-odds of the answer `output` by each of several heads, from source values: their sigmoid is `predict`'s.

    Log-odds, since logits of a softmax have no origin of their own.
    Raises ValueError for heads that are not linear, and for an answer that had no labelled row.
    """

    weight: Tensor  # m k d
    bias: Tensor  # m k
    mean: Tensor  # m d
    scale: Tensor  # m d

    def __init__(self, encoder: TimmEncoder, heads: Sequence[FittedHead], output: int) -> None:
        super().__init__()
        self.encoder, self.output = encoder, output
        for head in heads:
            if not isinstance(head, LinearHead | MultilabelHead):
                what = type(head).__name__
                raise ValueError(f"saliency: a {what} is not linear; give classify.heads that begin with 'linear'")
        self.exclusive = isinstance(heads[0], LinearHead)
        for name in ("weight", "bias", "mean", "scale"):
            values = np.stack([getattr(head, name) for head in heads])
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        if not torch.isfinite(self.bias[:, output]).all():
            raise ValueError(f"saliency: answer {output} had no labelled row; explain another")
        self.to(next(encoder.parameters()).device)
        self.eval()  # else MONAI puts the encoder back into training when it is done

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m"]:
        """Of source values as `TimmEncoder.pooled` takes them; float64."""
        return self.of_features(self.encoder.pooled(x))

    def of_features(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """The same from the encoder's features."""
        z = (features.double()[:, None] - self.mean) / self.scale  # b m d
        logits = torch.einsum("bmd,mkd->bmk", z, self.weight) + self.bias
        own = logits[:, :, self.output]
        if not self.exclusive:
            return own
        others = torch.arange(logits.shape[2], device=logits.device) != self.output
        return own - logits[:, :, others].logsumexp(dim=2)


@final
class GridScores(nn.Module):
    """The same from the last feature map, which passes the layer "last": as far back as Grad-CAM asks."""

    def __init__(self, scores: Scores) -> None:
        super().__init__()
        self.scores, self.last = scores, nn.Identity()
        self.eval()

    def forward(self, grid: Float[Tensor, "b d y x"]) -> Float[Tensor, "b m"]:
        return self.scores.of_features(self.scores.encoder.network.forward_head(self.last(grid)))
