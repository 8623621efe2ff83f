"""Vision transformers by their tokens: patches can be dropped before the blocks, and attention can be looked at.

Axes: b image, n patch token in reading order, k kept ones, d feature, g grid of patches a side, a attention head.
"""

from typing import Any, final

import torch
from jaxtyping import Float, Int64
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from domainssl.encoders import TimmEncoder


@final
class Tokens:
    """An encoder's transformer, patch tokens first embedded, then encoded, some or all of them.

    A way to use the encoder, not a module: it owns no weights.
    Raises ValueError for any other network, and for images that patches do not fill.
    """

    def __init__(self, encoder: TimmEncoder) -> None:
        if not isinstance(encoder.network, VisionTransformer):
            raise ValueError(f"{encoder.name} gives no tokens; give a plain vision transformer (vit_...)")
        self._network: Any = encoder.network
        self._encoder = encoder
        self.patch = int(self._network.patch_embed.patch_size[0])
        if encoder.input.size % self.patch:
            raise ValueError(
                f"encoder.size: {encoder.input.size} px is no multiple of the {self.patch} px patches of {encoder.name}"
            )
        self.grid = encoder.input.size // self.patch
        self.width = int(self._network.embed_dim)
        self.prefix = int(self._network.num_prefix_tokens)

    def embed(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Patch tokens with their positions, from source values; class and register tokens are not among them."""
        tokens = self._network.patch_embed(self._encoder._network_input(x))
        if tokens.ndim == 4:  # networks made for several sizes leave them on their grid
            tokens = tokens.flatten(1, 2)
        positions = self._network.pos_embed
        own = positions[:, -tokens.shape[1] :]
        embedded: Tensor = self._network.pos_drop(tokens + own)
        return embedded

    def encode(
        self, tokens: Float[Tensor, "b n d"], keep: Int64[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b m d"]:
        """Class and register tokens (`prefix` of them), then the kept patch tokens, through the blocks and the norm."""
        if keep is not None:
            tokens = tokens.gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))
        tokens = self._network.norm_pre(torch.cat([*self._prefix_tokens(len(tokens)), tokens], dim=1))
        for block in self._network.blocks:
            tokens = block(tokens)
        encoded: Tensor = self._network.norm(tokens)
        return encoded

    def attention(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b a g g"]:
        """What the class token of the last block looks at, a map for each head; shares that sum to at most 1.

        ValueError for a transformer without a class token.
        """
        if self._network.cls_token is None:
            raise ValueError(f"{self._encoder.name} has no class token whose attention could be shown")
        embedded = self.embed(x)
        tokens = self._network.norm_pre(torch.cat([*self._prefix_tokens(len(embedded)), embedded], dim=1))
        for block in self._network.blocks[:-1]:
            tokens = block(tokens)
        last = self._network.blocks[-1]
        rows = last.norm1(tokens)
        attention = last.attn
        batch, count, width = rows.shape
        heads = attention.num_heads
        queries, keys, _ = attention.qkv(rows).view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
        scores = (queries[:, :, :1] * attention.scale) @ keys.transpose(-2, -1)
        shares: Tensor = scores.float().softmax(dim=-1)[:, :, 0, self.prefix :]
        return shares.reshape(batch, heads, self.grid, self.grid)

    def _prefix_tokens(self, count: int) -> list[Tensor]:
        network = self._network
        found = []
        if network.cls_token is not None:
            token = network.cls_token
            if not network.no_embed_class:
                token = token + network.pos_embed[:, :1]
            found.append(token.expand(count, -1, -1))
        if network.reg_token is not None:
            token = network.reg_token
            if not network.no_embed_class:
                token = token + network.pos_embed[:, 1 : 1 + token.shape[1]]
            found.append(token.expand(count, -1, -1))
        return found
