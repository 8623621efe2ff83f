"""The store: images decoded once, read back in any order as batches of source values.

Axes: b object of a batch, c band, h w pixel rows and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from domainssl.shards import FACT, FLAG_SEPARATOR, NUISANCE_SEPARATOR, read_hidden, read_layout


@dataclass(frozen=True)
class Batch:
    """Images of some rows: source values (flux, or 0..1 for pictures), 0 where `valid` is False.

    A band that an object lacks is 0 as well, the level of an empty sky, and does not count against `valid`. `nuisance`
    holds per-band values in the images' own units and pixels; NaN means unknown.
    """

    images: Float[Tensor, "b c h w"]
    valid: Bool[Tensor, "b 1 h w"]
    nuisance: Mapping[str, Float[Tensor, "b c"]]
    rows: Int64[Tensor, " b"]


def first_of(batch: Batch, count: int) -> Batch:
    """The first images of a batch."""
    nuisance = {name: values[:count] for name, values in batch.nuisance.items()}
    return Batch(batch.images[:count], batch.valid[:count], nuisance, batch.rows[:count])


@final
class Store:
    """Prepared images of a run, opened for reading; a row is an object's place in `object_ids`, `flags` and `facts`:
    columns on its file (names begin with FACT) and `marks`, those that the store has.

    Raises FileNotFoundError where nothing was prepared and ValueError where no object could be read.
    """

    def __init__(self, folder: Path) -> None:
        layout = read_layout(folder)
        self.bands, self.size, self.radiometry = layout.bands, layout.size, layout.radiometry
        self.preparation = layout.preparation
        hidden = read_hidden(folder)
        self._hidden = None if hidden is None else torch.from_numpy(hidden)
        self._shards: list[np.ndarray] = []
        shard_of, offset_of, kept = [], [], []
        for number, path in enumerate(sorted(folder.glob("shard-*.parquet"))):
            index = pd.read_parquet(path)
            accepted = index[index["offset"] >= 0]
            pixels = path.with_suffix(".npy")
            # A plain array over the map: numpy's memmap class takes longer to index than a small image to copy.
            stored = np.asarray(np.load(pixels, mmap_mode="r")) if len(accepted) else np.empty(0, np.float16)
            self._shards.append(stored)
            shard_of.append(np.full(len(accepted), number))
            offset_of.append(accepted["offset"].to_numpy())
            kept.append(accepted)
        frame = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame({"object_id": []})
        if frame.empty:
            raise ValueError("no image could be read; quarantine.csv names the reason for each")
        self.object_ids: list[str] = frame["object_id"].astype(str).tolist()
        self.flags = [tuple(text.split(FLAG_SEPARATOR)) if text else () for text in frame["flags"].astype(str)]
        told = [name for name in frame.columns if name.startswith(FACT) or name == "marks"]
        self.facts: pd.DataFrame = frame[told]
        self._shard, self._offset = np.concatenate(shard_of), np.concatenate(offset_of)
        names = {column.split(NUISANCE_SEPARATOR)[0] for column in frame.columns if NUISANCE_SEPARATOR in column}
        self.nuisance: dict[str, np.ndarray] = {
            name: frame[[f"{name}{NUISANCE_SEPARATOR}{band}" for band in self.bands]].to_numpy(np.float32)
            for name in sorted(names)
        }

    def __len__(self) -> int:
        return len(self.object_ids)

    def shard_rows(self) -> list[Int64[np.ndarray, " n"]]:
        """The rows of each shard that holds any, in order: the unit of embedding and of resuming."""
        return [np.flatnonzero(self._shard == number) for number in np.unique(self._shard)]

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Batch:
        """The images of these rows, in this order; what the store hides is invalid and 0 in all of them."""
        stored = np.empty((len(rows), len(self.bands), self.size, self.size), np.float16)
        order = np.argsort(self._shard[rows], kind="stable")  # touch each shard once
        for place in order:
            row = rows[place]
            stored[place] = self._shards[self._shard[row]][self._offset[row]]
        images = torch.from_numpy(stored.astype(np.float32))
        valid, lacking = _fill(images)
        if self._hidden is not None:
            images[:, :, self._hidden], valid[:, :, self._hidden] = 0.0, False
        nuisance = {name: torch.from_numpy(values[rows]) for name, values in self.nuisance.items()}
        if self.radiometry == "linear":
            # back to flux: colours are kept
            images *= torch.where(lacking, 0.0, nuisance["sky_sigma"])[:, :, None, None]
        return Batch(images, valid, nuisance, torch.from_numpy(rows.astype(np.int64)))


def _fill(images: Float[Tensor, "b c h w"]) -> tuple[Bool[Tensor, "b 1 h w"], Bool[Tensor, "b c"]]:
    """Put 0 where an image has no value, in place; give which pixels are valid, and which bands an object lacks."""
    valid = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    lacking = torch.zeros(images.shape[:2], dtype=torch.bool)
    # Most images are whole, which their sum tells in one pass; the others are looked at closely.
    torn = ~torch.isfinite(images.sum(dim=(1, 2, 3)))
    if torn.any():
        finite = torch.isfinite(images[torn])
        absent = ~finite.any(dim=3).any(dim=2)  # b c
        seen = (finite | absent[:, :, None, None]).all(dim=1, keepdim=True) & ~absent.all(dim=1)[:, None, None, None]
        images[torn] = torch.where(seen & finite, images[torn], torch.zeros(()))
        valid[torn], lacking[torn] = seen, absent
    return valid, lacking
