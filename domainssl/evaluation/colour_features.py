"""How bright and of which colours the pixels of an image are, whatever stands where: a baseline without any shape."""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from domainssl.store import Store

PIXELS = 4096  # of each image, the same places in all
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BATCH = 128


def colour_features(store: Store, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n d"]:
    """One row an image: mean, standard deviation and QUANTILES of the valid pixels in every band, and of the
    differences between neighbouring bands, pixel by pixel.

    Linear flux goes through asinh in units of the run's median sky sigma of that band, so that differences are colours
    (luptitudes, Lupton et al. 1999). Measured on at most PIXELS pixels an image, of drawn places; 0 for an image
    without valid ones. A band that an object lacks is the level of an empty sky.
    """
    places = torch.from_numpy(np.random.default_rng(0).permutation(store.size**2)[:PIXELS])
    levels = torch.tensor(QUANTILES)
    unit = torch.ones(len(store.bands))
    if store.radiometry == "linear":
        known = torch.from_numpy(store.nuisance["sky_sigma"].copy()).nanmedian(dim=0).values
        unit = torch.where(known > 0, known, torch.ones(()))
    parts: list[Tensor] = []
    for start in range(0, len(rows), _BATCH):
        batch = store.batch(rows[start : start + _BATCH])
        values = batch.images.flatten(2)[:, :, places]
        values = torch.asinh(values / unit[:, None]) if store.radiometry == "linear" else values
        values = torch.cat([values, -values.diff(dim=1)], dim=1)  # b, bands and colours, pixel
        seen = batch.valid.flatten(2)[:, :, places]
        values = torch.where(seen, values, torch.nan)
        mean = values.nanmean(dim=2)
        spread = ((values - mean[:, :, None]) ** 2).nanmean(dim=2).sqrt()
        quantiles = values.nanquantile(levels, dim=2).permute(1, 2, 0).flatten(1)
        parts.append(torch.cat([mean, spread, quantiles], dim=1).nan_to_num(0.0))
    width = (2 * len(store.bands) - 1) * (2 + len(QUANTILES))
    return torch.cat(parts).numpy().astype(np.float32) if parts else np.empty((0, width), np.float32)
