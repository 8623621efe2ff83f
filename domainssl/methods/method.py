"""The protocol of a self-supervised method: a module that owns projector, decoder and teacher, and gives a loss."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.store import Batch
from domainssl.views.operation import Policy


@dataclass(frozen=True)
class Step:
    """One forward pass: a loss for each player, the rows that it compares, and what `after_step` applies.

    The collapse monitor looks at `monitor`, without gradients, beside the encoder's features: a projector can collapse
    in the encoder's place, after which the loss is low and teaches nothing. None for methods that compare no rows.
    `measures` are means over the batch that a person wants to see beside the loss (accuracy of a pretext task).
    """

    losses: dict[str, Tensor]
    monitor: Float[Tensor, "b d"] | None = None
    carry: dict[str, Tensor] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning rate: the encoder's, or those of a freshly made head."""

    part: Literal["encoder", "head"]
    parameters: list[nn.Parameter]


@dataclass(frozen=True)
class Cohort:
    """The images that are learnt from: their rows in the store, and, where a method learns classes, each one's.

    A class is a number from 0; -1 is unknown.
    """

    rows: Int64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"] | None = None


@dataclass(frozen=True)
class Panel:
    """A picture for the page: rows and columns of images in source units, of maps 0..1, or arrows on a plane.

    `values`: images (row, column, band, y, x); maps (row, column, y, x); arrows (n, 4) of x, y and their ends.
    """

    title: str
    note: str
    kind: Literal["images", "maps", "arrows"]
    values: Float[Tensor, "..."]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class Method(nn.Module, ABC):
    """A self-supervised method around an encoder; made as `Method(encoder, options)`, all weights from torch's seed."""

    encoder: TimmEncoder

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        """How each of its views of a batch is made, given the domain's policy; two alike unless said otherwise."""
        return policy, policy

    def begin(self, cohort: Cohort) -> Cohort:
        """Told once, before the optimisers are made, what will be learnt from; returns the part of it that it takes."""
        return cohort

    @abstractmethod
    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        """The losses on these views, all randomness from `generator`."""

    @abstractmethod
    def players(self) -> dict[str, list[ParamGroup]]:
        """Parameter groups by player; a player is what one optimiser trains."""

    def after_step(self, step: Step, progress: float) -> None:
        """Apply what changes once per optimiser step (teacher, queue, centre); `progress` is 1 after the last."""

    def exported(self) -> TimmEncoder:
        """The encoder to keep when training is over."""
        return self.encoder

    def panels(self, views: tuple[Batch, ...], generator: torch.Generator) -> tuple[Panel, ...]:
        """What the page shows of this method, in evaluation mode and without gradients; nothing for most."""
        return ()

    def one_player(self, *heads: nn.Module) -> dict[str, list[ParamGroup]]:
        """The usual answer of `players`: the encoder, and freshly made parts, trained by one loss "model"."""
        fresh = [parameter for head in heads for parameter in head.parameters()]
        return {"model": [ParamGroup("encoder", list(self.encoder.parameters())), ParamGroup("head", fresh)]}
