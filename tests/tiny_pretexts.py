"""Methods on tiny random encoders, and batches for them, for tests of what a method asks."""

from collections.abc import Callable
from typing import Any

import torch
from tiny_methods import BANDS, made

from domainssl.encoders import create_encoder
from domainssl.methods.method import Method, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch


def tiny(name: str, bands: int = 2, size: int = 32, encoder: str = "test_efficientnet", **options: Any) -> Method:
    """The method by its name; weights always the same."""
    network = create_encoder(
        encoder,
        "none",
        bands=BANDS[:bands],
        size=size,
        sample=torch.rand(2, bands, size, size),
        sky_sigma=None,
        preparation="p",
        seed=0,
    )
    method: Method = made(
        name, network, PretrainOptions(method=name, **{"projector_width": 32, "projection_dim": 8, **options})
    )
    return method


def train(
    method: Method, images: Callable[[int], tuple[Batch, ...]], steps: int, rate: float = 3e-3, seed: int = 0
) -> list[Step]:
    """A few steps of AdamW on `images(step)`; what each step gave."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(method.train().parameters(), lr=rate)
    done = []
    for number in range(steps):
        step = method(images(number), generator)
        optimiser.zero_grad()
        step.losses["model"].backward()
        optimiser.step()
        done.append(step)
    return done


def mean_of(steps: list[Step], name: str) -> float:
    """The mean of a measure over the steps that have it."""
    values = [step.measures[name] for step in steps if name in step.measures]
    return sum(values) / len(values)
