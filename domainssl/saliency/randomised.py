"""Encoders and heads that learnt nothing, whose maps those of the trained ones must differ from (Adebayo et al. 2018,
arXiv:1810.03292: randomised parameters, randomised labels).

Axes: b image, c band, h w pixels.
"""

import dataclasses

import numpy as np
import timm
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from domainssl.encoders import TimmEncoder
from domainssl.heads.head import Fit, FittedHead, TrainingHalf
from domainssl.heads.linear import LinearHead
from domainssl.heads.multilabel import MultilabelHead
from domainssl.imagenet import size_argument


def random_encoder(encoder: TimmEncoder, sample: Float[Tensor, "b c h w"], rng: np.random.Generator) -> TimmEncoder:
    """The same network from random weights, on the same device, in evaluation mode.

    Batch norms take their statistics from `sample` (source values): else what a random network gives is hardly of the
    image, and to differ from it would prove little.
    """
    size = size_argument(encoder.name, encoder.input.size)
    with torch.random.fork_rng(devices=[]):  # timm initialises from the global generator
        torch.manual_seed(int(rng.integers(2**63)))
        network = timm.create_model(
            encoder.name, pretrained=False, in_chans=len(encoder.input.bands), num_classes=0, **size
        )
    found = TimmEncoder(encoder.name, network, encoder.input).eval().to(sample.device)
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            found.pooled(sample)
    return found.eval()


def random_head(
    head: LinearHead | MultilabelHead,
    encoder: TimmEncoder,
    sample: Float[Tensor, "b c h w"],
    rng: np.random.Generator,
) -> LinearHead | MultilabelHead:
    """The head with each answer's weights dealt anew, which standardises features of `encoder` as it gives them."""
    with torch.no_grad():
        features = encoder.pooled(sample).float().cpu().numpy()
    mean, scale = TrainingHalf(features, np.arange(len(features))).standardisation
    return dataclasses.replace(head, weight=rng.permuted(head.weight, axis=1), mean=mean, scale=scale)


def permuted_head(
    fit: Fit,
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> FittedHead:
    """A head fitted to labels that were dealt anew among the labelled rows; errors as those of `fit`."""
    return fit(half, rows, y[rng.permutation(len(y))], outputs, rng)
