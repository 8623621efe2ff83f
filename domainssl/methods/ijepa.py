"""I-JEPA (Assran et al. 2023, arXiv:2301.08243): from what is seen, predict a teacher's representation of what is not.

No pixels are predicted, and nothing but the frame is varied. The teacher sees the whole image; its tokens in a few
blocks are the targets. The encoder sees a context without them.

Axes: b image, c band, h w pixel rows and columns, n patch, k patch of the context, t patch of a target, m token of
the context with class token, d feature of the encoder, e feature of the predictor.
"""

from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.method_options import IJEPAOptions
from domainssl.methods.blocks import draw_blocks
from domainssl.methods.decoder import mean_of
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.places import valid_places
from domainssl.methods.teacher import follow, momentum_at, teacher_of, teaching
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.tokens import Tokens
from domainssl.views.choice import framed
from domainssl.views.operation import Policy

HEAD_WIDTH = 32  # of the predictor's attention


@final
class IJEPA(Method):
    """Encoder, predictor and a teacher that averages the encoder; the encoder is kept.

    The predictor also sees the class token of the context: it is what `pooled` gives of most transformers, and would
    else learn nothing in the last block. Each image of a batch has blocks of its own places, of one size for all.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.own, self.momentum = options.ijepa, options.teacher_momentum
        self.encoder = encoder
        self.grid = Tokens(encoder).grid
        self.predictor = Predictor(Tokens(encoder).width, self.grid, self.own)
        self.teacher_encoder = teacher_of(encoder)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (framed(policy),)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        areas = self.own.target_area, self.own.context_area
        blocks = draw_blocks(len(view.images), self.grid, self.own.targets, *areas, generator)
        context, asked = blocks.context.to(view.images.device), blocks.targets.to(view.images.device).unbind(1)
        tokens = Tokens(self.encoder)
        seen = tokens.encode(tokens.embed(view.images), keep=context)
        found = torch.stack([self.predictor(seen, context, block) for block in asked], dim=1)
        targets = self.targets(view.images)
        wanted = torch.stack([chosen(targets, block) for block in asked], dim=1)
        valid = valid_places(view.valid, self.grid, self.grid)
        counted = torch.stack([valid.gather(1, block) for block in asked], dim=1)
        return Step({"model": smooth_l1(found.flatten(1, 2), wanted.flatten(1, 2), counted.flatten(1))})

    def targets(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """The teacher's patch tokens of whole images, each normalised to mean 0 and variance 1 over its features."""
        with teaching(self._followed(), images.device.type):
            tokens = Tokens(self.teacher_encoder)
            encoded = tokens.encode(tokens.embed(images.float()))[:, tokens.prefix :]
            return functional.layer_norm(encoded, encoded.shape[-1:])

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.predictor)

    def after_step(self, step: Step, progress: float) -> None:
        """Move the teacher towards the encoder; the momentum rises to 1 with `progress`."""
        for online, teacher in self._followed():
            follow(online, teacher, momentum_at(self.momentum, progress))

    def _followed(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return ((self.encoder, self.teacher_encoder),)


@final
class Predictor(nn.Module):
    """A narrow transformer that is asked, by mask tokens with positions, for the tokens of a block."""

    positions: Tensor  # n e

    def __init__(self, width: int, grid: int, options: IJEPAOptions) -> None:
        super().__init__()
        inner = options.predictor_width
        if inner % HEAD_WIDTH:
            raise ValueError(f"pretrain.ijepa.predictor_width: {inner} is no multiple of {HEAD_WIDTH}")
        self.enter = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, inner))
        self.blocks = nn.Sequential(*(Block(inner, inner // HEAD_WIDTH) for _ in range(options.predictor_depth)))
        self.norm = nn.LayerNorm(inner)
        self.leave = nn.Linear(inner, width)
        self.register_buffer("positions", build_sincos2d_pos_embed([grid, grid], inner), persistent=False)

    def forward(
        self, seen: Float[Tensor, "b m d"], context: Int64[Tensor, "b k"], block: Int64[Tensor, "b t"]
    ) -> Float[Tensor, "b t d"]:
        tokens, prefix = self.enter(seen), seen.shape[1] - context.shape[1]  # the class token has no place
        placed = tokens[:, prefix:] + self.positions[context]
        asked = self.mask_token + self.positions[block]
        tokens = self.blocks(torch.cat([tokens[:, :prefix], placed, asked], dim=1))
        found: Tensor = self.leave(self.norm(tokens[:, -block.shape[1] :]))
        return found


def chosen(tokens: Float[Tensor, "b n d"], block: Int64[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
    """The tokens at these places."""
    return tokens.gather(1, block[:, :, None].expand(-1, -1, tokens.shape[2]))


def smooth_l1(
    found: Float[Tensor, "b t d"], wanted: Float[Tensor, "b t d"], counted: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """Mean Huber loss (quadratic below 1) over the features of counted places, in float32; 0 where none is."""
    each = functional.smooth_l1_loss(found.float(), wanted.float(), reduction="none").mean(dim=-1)
    return mean_of(each, counted)
