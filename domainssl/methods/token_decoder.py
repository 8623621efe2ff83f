"""A small transformer that fills in the patches which an encoder has not seen; thrown away after training.

Axes: b image, m class and register tokens and kept patches, k kept patch, n patch in reading order, d feature.
"""

from typing import final

import torch
from jaxtyping import Float, Int64
from timm.models.vision_transformer import Block
from torch import Tensor, nn

HEAD = 32  # features an attention head


@final
class TokenDecoder(nn.Module):
    """From the encoded tokens of the kept patches to `outputs` numbers for every one of `patches`.

    Class and register tokens are decoded with the patches: so what a class token gathers is trained, and it is what is
    exported. ValueError for a width that is no multiple of 32.
    """

    def __init__(self, inputs: int, patches: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        if width % HEAD:
            raise ValueError(f"the decoder's width is {width}; give a multiple of {HEAD}")
        self.enter = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, patches, width))
        self.blocks = nn.Sequential(*(Block(width, width // HEAD, qkv_bias=True) for _ in range(depth)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def forward(self, encoded: Float[Tensor, "b m d"], keep: Int64[Tensor, "b k"]) -> Float[Tensor, "b n o"]:
        tokens = self.enter(encoded).float()
        prefix = tokens.shape[1] - keep.shape[1]
        absent = self.mask_token.expand(len(tokens), self.pos_embed.shape[1], -1)
        patches = absent.scatter(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]), tokens[:, prefix:])
        tokens = self.blocks(torch.cat([tokens[:, :prefix], patches + self.pos_embed], dim=1))
        outputs: Tensor = self.leave(tokens[:, prefix:])
        return outputs
