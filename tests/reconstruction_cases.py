"""Small encoders and batches for the tests of methods that reconstruct."""

from typing import Literal

import numpy as np
import torch
from tiny_methods import BANDS, made

from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.methods.method import Method
from domainssl.options import PretrainOptions


def encoder_of(
    name: str,
    bands: int = 2,
    size: int = 16,
    *,
    sample: torch.Tensor | None = None,
    stretch: Literal["none", "asinh", "linear"] = "none",
    seed: int = 0,
) -> TimmEncoder:
    """An encoder from random weights; with a stretch, of flux of sky sigma 1."""
    sample = images_of(4, bands, size) if sample is None else sample
    sigma = None if stretch == "none" else np.ones(bands, np.float32)
    return create_encoder(
        name,
        "none",
        bands=BANDS[:bands],
        size=size,
        sample=sample,
        sky_sigma=sigma,
        preparation="p",
        seed=seed,
        stretch="linear" if stretch == "linear" else "asinh",
    )


def method_of(encoder: TimmEncoder, options: PretrainOptions, seed: int = 0) -> Method:
    """The method that the options name, all its weights from the seed."""
    method: Method = made(options.method, encoder, options, seed)
    return method


def images_of(count: int, bands: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, bands, size, size, generator=torch.Generator().manual_seed(seed))
