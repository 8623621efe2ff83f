"""What a view is made of: operations on whole batches; a policy is a tuple of them."""

from typing import Protocol, runtime_checkable

import torch

from domainssl.store import Batch


@runtime_checkable
class Operation(Protocol):
    """Changes a batch, one independent draw an image, all randomness from `generator`; the input is left as it was."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch: ...


Policy = tuple[Operation, ...]


def apply_policy(policy: Policy, batch: Batch, generator: torch.Generator) -> Batch:
    """Apply the operations in order."""
    for operation in policy:
        batch = operation(batch, generator)
    return batch


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> torch.Tensor:
    """`count` float32 draws from U(low, high)."""
    return low + (high - low) * torch.rand(count, generator=generator)
