"""Plain numbers of an image that no diagnosis or class should hang on: brightness, contrast, sharpness, frame."""

import numpy as np
import torch
from jaxtyping import Float32, Int64

from domainssl.store import Store

_BATCH = 256


def image_measures(store: Store, rows: Int64[np.ndarray, " n"]) -> dict[str, Float32[np.ndarray, " n"]]:
    """By name one number a row, over valid pixels and all bands.

    brightness: the mean; contrast: the standard deviation; sharpness: that of the differences between neighbours in
    units of the contrast (0 flat to about 1.4 noise); frame: the share of pixels without a value, which tells the shape
    of the image before it was made square. NaN for an image without valid pixels, and sharpness of a constant one.
    """
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = store.batch(rows[start : start + _BATCH])
        valid = batch.valid.float()
        count = valid.sum(dim=(1, 2, 3)) * batch.images.shape[1]
        mean = (batch.images * valid).sum(dim=(1, 2, 3)) / count
        centred = (batch.images - mean[:, None, None, None]) * valid
        contrast = ((centred**2).sum(dim=(1, 2, 3)) / count).sqrt()
        both = valid[..., 1:] * valid[..., :-1]
        steps = (batch.images.diff(dim=3) * both) ** 2
        step = (steps.sum(dim=(1, 2, 3)) / (both.sum(dim=(1, 2, 3)) * batch.images.shape[1])).sqrt()
        sharpness = torch.where(contrast > 0, step / contrast, torch.nan)
        frame = 1 - valid.mean(dim=(1, 2, 3))
        parts.append(torch.stack([mean, contrast, sharpness, frame]))
    found = torch.cat(parts, dim=1).numpy() if parts else np.empty((4, 0), np.float32)
    return dict(zip(("brightness", "contrast", "sharpness", "frame"), found, strict=True))
