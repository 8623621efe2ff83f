"""Where in an image its light is, and how far it reaches: crop and position, magnitude and size."""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from domainssl.store import Batch, Store

_BATCH = 256
_DARK = 0.02  # of the range of pictures: collimated or cut away
_EDGE = 1 / 16  # of the side: where the background is measured


def place_measures(
    store: Store, rows: Int64[np.ndarray, " n"], *, sources: bool
) -> dict[str, Float32[np.ndarray, " n"]]:
    """By name one number a row, over valid pixels and the mean of the bands.

    offset_x, offset_y: where the centre of light lies from the middle of the frame, in half sides, right and down. Of
    pictures, crop: the share of all pixels that is black, as beyond a collimator or a cut. For images of one source in
    the middle of a sky (`sources`), after the median of the outermost sixteenth is taken away: flux, the sum within a
    circle of half the side, and radius, in which half of that lies, in half sides; NaN without positive flux. NaN for
    an image without valid pixels, the offsets also without light.
    """
    parts = [_measured(store.batch(rows[n : n + _BATCH]), store, sources) for n in range(0, len(rows), _BATCH)]
    names = ["offset_x", "offset_y"]
    names += ["crop"] if store.radiometry == "display" else []
    names += ["flux", "radius"] if sources else []
    if not parts:
        return {name: np.empty(0, np.float32) for name in names}
    return {name: torch.cat([part[name] for part in parts]).numpy().astype(np.float32) for name in names}


def _measured(batch: Batch, store: Store, sources: bool) -> dict[str, Tensor]:
    valid = batch.valid[:, 0]
    grey = batch.images.mean(dim=1) * valid
    count = valid.sum(dim=(1, 2))
    along = (torch.arange(store.size) + 0.5) / (store.size / 2) - 1
    found = {}
    light = grey.clamp_min(0.0)
    total = light.sum(dim=(1, 2))
    for name, dim in (("offset_x", 1), ("offset_y", 2)):
        middle = (valid.sum(dim=dim) * along).sum(dim=1) / count  # of the frame, which may be letterboxed or hidden
        centre = (light.sum(dim=dim) * along).sum(dim=1) / total
        found[name] = torch.where(total > 0, centre - middle, torch.nan)
    if store.radiometry == "display":
        found["crop"] = ((grey <= _DARK) & valid).sum(dim=(1, 2)) / count
    return found | (_source(grey, valid, along) if sources else {})


def _source(grey: Tensor, valid: Tensor, along: Tensor) -> dict[str, Tensor]:
    """Flux and half-light radius by a curve of growth over rings of one pixel."""
    side = len(along)
    edge = max(1, round(side * _EDGE))
    rim = torch.ones(side, side, dtype=torch.bool)
    rim[edge:-edge, edge:-edge] = False
    sky = torch.where(valid & rim, grey, torch.nan).flatten(1).nanmedian(dim=1).values.nan_to_num(0.0)
    light = (grey - sky[:, None, None]) * valid
    ring = (torch.hypot(along[:, None], along[None, :]) * (side / 2)).long()
    rings = side // 2
    sums = torch.stack([light[:, ring == number].sum(dim=1) for number in range(rings)], dim=1)
    growth = sums.cumsum(dim=1)
    flux = growth[:, -1]
    radius = ((growth >= flux[:, None] / 2).float().argmax(dim=1) + 1) / rings
    some = flux > 0
    return {"flux": torch.where(some, flux, torch.nan), "radius": torch.where(some, radius, torch.nan)}
