"""Which number format and memory format an encoder is fastest in on this machine: timed, since no rule holds."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from domainssl.encoders import TimmEncoder


@dataclass(frozen=True)
class Precision:
    """float32, or bfloat16 autocast; channels last or contiguous."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True

    def autocast(self, device: str) -> torch.autocast:
        """The context that a forward pass runs in."""
        return torch.autocast(device, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def arrange(self, module: nn.Module) -> None:
        """Lay the module's weights out in this memory format, in place."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)


CANDIDATES = (Precision("float32", True), Precision("float32", False), Precision("bfloat16", True))
CLEARLY_FASTER = 1.3  # another choice changes the numbers in their last digits: only for a gain beyond noise


def time_training_step(encoder: TimmEncoder, batch: int = 16, repeats: int = 3) -> dict[Precision, float]:
    """Seconds (median of `repeats`, after one warm-up) of a forward and backward pass in each candidate format.

    In evaluation mode, so that batch-norm statistics stay; the weights keep their values, in the last format's layout.
    """
    encoder.eval()
    device = next(encoder.parameters()).device.type
    size, bands = encoder.input.size, len(encoder.input.bands)
    images = torch.zeros(batch, bands, size, size, device=device)

    def step() -> None:
        with precision.autocast(device):
            loss = encoder.pooled(images).float().square().mean()
        torch.autograd.grad(loss, [p for p in encoder.parameters() if p.requires_grad], allow_unused=True)

    seconds = {}
    for precision in CANDIDATES:
        precision.arrange(encoder)
        seconds[precision] = _median_seconds(step, repeats)
    return seconds


def choose(seconds: dict[Precision, float]) -> Precision:
    """float32 channels last, unless another format is faster by more than timing noise (a factor of 1.3)."""
    default = CANDIDATES[0]
    best = min(seconds, key=lambda precision: seconds[precision])
    return best if seconds[best] * CLEARLY_FASTER < seconds[default] else default


def _median_seconds(step: Callable[[], None], repeats: int) -> float:
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
