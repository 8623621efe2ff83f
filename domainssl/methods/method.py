"""The protocol of a self-supervised method: a module that owns projector, decoder and teacher, and gives a loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.store import Batch


@dataclass(frozen=True)
class Step:
    """One forward pass: a loss for each player, the rows that it compares, and what `after_step` applies.

    The collapse monitor looks at `monitor`, without gradients, beside the encoder's features: a projector can collapse
    in the encoder's place, after which the loss is low and teaches nothing.
    """

    losses: dict[str, Tensor]
    monitor: Float[Tensor, "b d"]
    carry: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning rate: the encoder's, or those of a freshly made head."""

    part: Literal["encoder", "head"]
    parameters: list[nn.Parameter]


class Method(nn.Module, ABC):
    """A self-supervised method around an encoder; `views` is how many views of each image it takes."""

    encoder: TimmEncoder
    views: int = 2

    @abstractmethod
    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        """The losses on these views, all randomness from `generator`."""

    @abstractmethod
    def players(self) -> dict[str, list[ParamGroup]]:
        """Parameter groups by player; a player is what one optimiser trains."""

    @abstractmethod
    def after_step(self, step: Step, progress: float) -> None:
        """Apply what changes once per optimiser step (teacher, queue, centre); `progress` is 1 after the last."""

    @abstractmethod
    def exported(self) -> TimmEncoder:
        """The encoder to keep when training is over."""
