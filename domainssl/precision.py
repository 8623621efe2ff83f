"""Which number format and memory format an encoder is fastest in on this machine: timed, since no rule holds."""

import statistics
import time
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


def time_training_step(encoder: TimmEncoder, batch: int = 16, repeats: int = 5) -> dict[Precision, float]:
    """Seconds (median of `repeats`, after one warm-up) of a forward and backward pass in each candidate format.

    The candidates take turns, so that what else the machine does slows all of them. In evaluation mode, so that
    batch-norm statistics stay; the weights keep their values, in the last format's layout.
    """
    encoder.eval()
    device = next(encoder.parameters()).device.type
    size, bands = encoder.input.size, len(encoder.input.bands)
    images = torch.zeros(batch, bands, size, size, device=device)

    def step(precision: Precision) -> float:
        precision.arrange(encoder)
        start = time.perf_counter()
        with precision.autocast(device):
            loss = encoder.pooled(images).float().square().mean()
        gradients = torch.autograd.grad(loss, [p for p in encoder.parameters() if p.requires_grad], allow_unused=True)
        found = [gradient for gradient in gradients if gradient is not None]
        if found:
            found[-1].flatten()[0].item()  # an accelerator has then done what was asked of it
        return time.perf_counter() - start

    rounds = [[step(precision) for precision in CANDIDATES] for _ in range(1 + repeats)]
    return {precision: statistics.median(times) for precision, *times in zip(CANDIDATES, *rounds[1:], strict=True)}


def choose(seconds: dict[Precision, float]) -> Precision:
    """float32 channels last, unless another format is faster by more than timing noise (a factor of 1.3)."""
    default = CANDIDATES[0]
    best = min(seconds, key=lambda precision: seconds[precision])
    return best if seconds[best] * CLEARLY_FASTER < seconds[default] else default
