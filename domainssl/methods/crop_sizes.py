"""Which sizes an encoder takes beside its own, for methods that show it patches and small crops."""

import copy

import torch

from domainssl.encoders import TimmEncoder


def crop_size(encoder: TimmEncoder, size: int) -> int:
    """`size` pixels a side where the encoder takes that, else its own size.

    Most convolutional networks take any; transformers and dense layers are made for one, and get small fields of view
    resampled to it, at the cost of whole images.
    """
    own = encoder.input
    with torch.inference_mode():
        try:
            copy.deepcopy(encoder).eval().pooled(torch.zeros(1, len(own.bands), size, size))
        except (AssertionError, RuntimeError):
            return own.size
    return size
