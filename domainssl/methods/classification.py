"""Cross-entropy and accuracy of the methods whose task is to tell classes apart that no one had to label.

Axes: n example, k class.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from domainssl.processes import gathered


def cross_entropy(
    logits: Float[Tensor, "n k"], classes: Int64[Tensor, " n"], counted: Bool[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean over the counted examples of all processes, in float32; 0 where none counts."""
    with torch.autocast(logits.device.type, enabled=False):
        each = functional.cross_entropy(gathered(logits.float()), gathered(classes), reduction="none")
        weights = gathered(counted).float()
        return (each * weights).sum() / weights.sum().clamp_min(1)


def accuracy(
    name: str, logits: Float[Tensor, "n k"], classes: Int64[Tensor, " n"], counted: Bool[Tensor, " n"]
) -> dict[str, float]:
    """The share of this process's counted examples whose class has the highest logit, by `name`; {} without any."""
    if not counted.any():
        return {}
    return {name: float((logits.argmax(dim=1) == classes)[counted].float().mean())}
