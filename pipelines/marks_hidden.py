"""Burned-in marks hidden after the fact, in a run that keeps them: the same images with marks and without."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool

from catalogs.chest_xrays.marks import hidden_region, painted_over
from domainssl.cues import Change
from domainssl.store import Batch, Store
from pipelines.marks import unpacked


def marks_hidden(store: Store) -> Change | None:
    """What `store.marks = "hide"` would do to a batch of this store: the cohort's region invalid, marks elsewhere
    painted over. None where no image has a mark, or nobody looked."""
    packs = (
        [data if isinstance(data, bytes) else b"" for data in store.facts["marks"]] if "marks" in store.facts else []
    )
    if not any(packs):
        return None
    counts = np.zeros((store.size, store.size), np.int64)
    for data in filter(None, packs):
        counts += unpacked(data, store.size)
    return _Hidden(hidden_region(counts, len(packs)), tuple(packs))


@final
@dataclass(frozen=True, eq=False)
class _Hidden:
    region: Bool[np.ndarray, "y x"]
    packs: tuple[bytes, ...]  # by row of the store

    def __call__(self, batch: Batch) -> Batch:
        images, valid = batch.images.clone(), batch.valid.clone()
        region = torch.from_numpy(self.region)
        for place, row in enumerate(batch.rows.tolist()):
            if not self.packs[row]:
                continue
            marks = unpacked(self.packs[row], images.shape[-1])
            seen = valid[place, 0].numpy()
            for band in range(images.shape[1]):
                plane = np.where(seen, images[place, band].numpy(), np.float32("nan"))
                images[place, band] = torch.from_numpy(np.nan_to_num(painted_over(plane, marks)))
        images[:, :, region], valid[:, :, region] = 0.0, False
        return replace(batch, images=images, valid=valid)
