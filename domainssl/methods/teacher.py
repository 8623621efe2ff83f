"""Teachers that follow an online network by an exponential moving average, for BYOL, MoCo, DINO and I-JEPA.

A teacher is float32 in storage and in arithmetic, whatever the online network computes in: in bfloat16 its small steps
would round to none. Its float buffers are averaged like its parameters. No gradient reaches it.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from domainssl.processes import batch_norms

M = TypeVar("M", bound=nn.Module)


def teacher_of(online: M) -> M:
    """A float32 copy without gradients, whose running statistics a forward pass leaves to `follow`."""
    teacher = copy.deepcopy(online).float().requires_grad_(False)
    for norm in batch_norms(teacher):
        norm.momentum = 0.0
    return teacher


def follow(online: nn.Module, teacher: nn.Module, momentum: float) -> None:
    """Move the teacher to `momentum` of itself and the rest of the online network; once per optimiser step."""
    with torch.no_grad():
        for kind in (nn.Module.parameters, nn.Module.buffers):
            for leader, follower in zip(kind(online), kind(teacher), strict=True):
                if follower.is_floating_point():
                    follower.lerp_(leader.float(), 1 - momentum)
                else:
                    follower.copy_(leader)  # the number of batches seen


def same_modes(online: nn.Module, teacher: nn.Module) -> None:
    """Training or evaluation mode of each layer as its online counterpart has it."""
    for leader, follower in zip(online.modules(), teacher.modules(), strict=True):
        follower.training = leader.training


@contextmanager
def teaching(followed: Iterable[tuple[nn.Module, nn.Module]], device_type: str) -> Iterator[None]:
    """Where teachers of these (online, teacher) pairs run: in the online modes, in float32, without gradients."""
    for online, teacher in followed:
        same_modes(online, teacher)
    with torch.no_grad(), torch.autocast(device_type, enabled=False):
        yield


def momentum_at(base: float, progress: float) -> float:
    """The share of itself that a teacher keeps at a step: from `base` to exactly 1, half a cosine (BYOL, sec. 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
