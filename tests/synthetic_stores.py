"""Small stores of simulated sources, for tests of what reads them."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from domainssl.shards import Layout, write_layout, write_shard
from domainssl.store import Store

NOTHING_REFUSED = pd.DataFrame({"object_id": [], "reason": [], "detail": []}, dtype=str)


def blobs(count: int, bands: int, size: int, seed: int = 0) -> np.ndarray:
    """Elliptical sources of differing size, colour and slant in Gaussian noise of sigma 1, float32 (n, band, y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = rng.normal(size=(count, bands, size, size))
    for image in images:
        angle, width, ratio = rng.uniform(0, np.pi), size * rng.uniform(0.05, 0.2), rng.uniform(0.3, 1)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        profile = np.exp(-0.5 * ((u / width) ** 2 + (v / width / ratio) ** 2))
        image += rng.uniform(5, 60, size=(bands, 1, 1)) * profile
    return images.astype(np.float32)


def write_store(
    folder: Path,
    images: np.ndarray,
    *,
    bands: tuple[str, ...],
    per_shard: int = 16,
    radiometry: Literal["linear", "display"] = "linear",
    sky_sigma: float = 1.0,
) -> Store:
    """Lay images (in units of the sky sigma where linear) down in several shards and open them; ids are "object-7"."""
    count = len(images)
    write_layout(folder, Layout(bands, images.shape[-1], radiometry, "p" * 64))
    for number, start in enumerate(range(0, count, per_shard)):
        chunk = images[start : start + per_shard]
        nuisance = {"sky_sigma": np.full(chunk.shape[:2], sky_sigma, np.float32)} if radiometry == "linear" else {}
        ids = [f"object-{row}" for row in range(start, start + len(chunk))]
        write_shard(folder, number, ids, chunk, nuisance, bands, NOTHING_REFUSED)
    return Store(folder)
