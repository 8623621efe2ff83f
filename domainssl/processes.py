"""Several processes that train one model (torchrun): what compares across a batch sees the rows of all of them.

Every process computes the loss of the whole batch from gathered rows; the mean of the gradients over processes is then
the gradient of one process with all of the batch. Alone, every function here does nothing.
"""

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def world() -> int:
    """How many processes train together; 1 alone."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if world() > 1 else 0


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks, each as many; gradients flow back to every process."""
    return rows if world() == 1 else _Gather.apply(rows)


def own(rows: Tensor) -> Tensor:
    """This process's part of gathered rows."""
    count = len(rows) // world()
    return rows[rank() * count : (rank() + 1) * count]


def mean(value: Tensor) -> Tensor:
    """The mean over processes, without gradients."""
    if world() == 1:
        return value.detach()
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / world()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes; all run one graph, so that none lacks what another has."""
    if world() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = mean(parameter.grad)


@final
class GatheredBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of a head with the statistics of all processes' rows, on any device, unlike torch's."""

    def forward(self, rows: Tensor) -> Tensor:
        if world() == 1 or not self.training:
            return super().forward(rows)
        return own(super().forward(gathered(rows)))


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a module."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@final
class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return own(total)
