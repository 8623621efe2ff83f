"""The last feature map of any encoder beside its pooled features, by one pass.

Axes: b image, c band, h w pixels, n token in reading order, d channel of the map, y x its places, f pooled feature.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from domainssl.encoders import TimmEncoder


def map_and_features(
    encoder: TimmEncoder, x: Float[Tensor, "b c h w"]
) -> tuple[Float[Tensor, "b d y x"], Float[Tensor, "b f"]]:
    """Feature map and pooled features of source values; a transformer's map are its patch tokens on their grid."""
    found: Tensor = encoder.network.forward_features(encoder._network_input(x))
    features: Tensor = encoder.network.forward_head(found)
    if found.ndim == 3:
        patches = found[:, encoder.network.num_prefix_tokens :].transpose(1, 2)  # b d n
        side = math.isqrt(patches.shape[2])
        found = patches.reshape(*patches.shape[:2], side, side)
    return found, features


def map_shape(encoder: TimmEncoder) -> tuple[int, int]:
    """Channels of the feature map, and its places a side."""
    training, size = encoder.training, encoder.input.size
    device = next(encoder.parameters()).device
    encoder.eval()  # an empty image is not to count in batch-norm statistics
    with torch.no_grad():
        found, _ = map_and_features(encoder, torch.zeros(1, len(encoder.input.bands), size, size, device=device))
    encoder.train(training)
    return found.shape[1], found.shape[2]
