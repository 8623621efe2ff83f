"""Speed of batches from the store against a memory map of numpy with the same images in the same order: a ratio."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medians import medians
from synthetic_stores import blobs, write_store

COUNT, BATCH = 8192, 128


@pytest.mark.slow
@pytest.mark.parametrize(("bands", "size"), [(5, 64), (3, 128)])
def test_batches_come_at_half_the_speed_of_a_memory_map(tmp_path: Path, capsys: Any, bands: int, size: int) -> None:
    count = COUNT * 64**2 // size**2
    images = np.resize(blobs(64, bands, size), (count, bands, size, size))
    store = write_store(tmp_path / "store", images, bands=tuple("grizy"[:bands]), per_shard=count // 16)
    np.save(tmp_path / "images.npy", images.astype(np.float16))
    order = np.random.default_rng(0).permutation(count).reshape(-1, BATCH)

    def ours() -> list[torch.Tensor]:
        return [store.batch(rows).images[0, 0, 0] for rows in order]

    def memory_map() -> list[torch.Tensor]:
        mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
        return [torch.from_numpy(mapped[rows].astype(np.float32))[0, 0, 0] for rows in order]

    for mine, theirs in zip(ours(), memory_map(), strict=True):
        torch.testing.assert_close(mine, theirs)
    us, them = medians(ours, memory_map)
    rates = f"{count / us:.0f} images/s, memory map {count / them:.0f}: {them / us:.2f}x"
    with capsys.disabled():
        print(f"\n{bands} bands of {size} px: {rates}")
    assert us <= 2 * them
