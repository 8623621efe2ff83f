"""Burned-in marks of a cohort: one region for all its images, which the store then never shows; no torch."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from catalogs.chest_xrays.marks import hidden_region
from catalogs.quarantine import COLUMNS
from domainssl.shards import read_hidden, write_hidden

DECLARED = "the header says that annotations are burned in; the detector may have missed some"


def packed(marks: Bool[np.ndarray, "y x"]) -> bytes:
    """The mask in few bytes; none at all where nothing is marked."""
    return zlib.compress(np.packbits(marks).tobytes()) if marks.any() else b""


def unpacked(data: bytes, side: int) -> Bool[np.ndarray, "y x"]:
    """What `packed` was given, on a square of `side` pixels."""
    bits = np.frombuffer(zlib.decompress(data), np.uint8) if data else np.zeros(-(-(side**2) // 8), np.uint8)
    return np.unpackbits(bits, count=side**2).astype(bool).reshape(side, side)


def to_review(object_ids: "pd.Series[str]", declared: "pd.Series[Any]") -> pd.DataFrame:
    """Of these stored objects, those whose headers declare burned-in annotations (`declared` is BurnedInAnnotation):
    object_id, reason, detail."""
    rows = [(name, "declared_mark", DECLARED) for name in object_ids[(declared == "YES").to_numpy(bool)]]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def hide_marks(store: Path, side: int, index: pd.DataFrame, like: Path | None) -> dict[str, Any]:
    """Write the cohort's hidden region into its store; counts for the manifest.

    `index` are the stored objects' marks. With `like`, the store of a run that is applied, its region is taken: nothing
    is learnt from new images.
    """
    counts = np.zeros((side, side), np.int64)
    for data in filter(None, index["marks"]):
        counts += unpacked(data, side)
    region = hidden_region(counts, len(index)) if like is None else read_hidden(like)
    region = np.zeros((side, side), bool) if region is None else region
    write_hidden(store, region)
    elsewhere = sum(bool((unpacked(data, side) & ~region).any()) for data in filter(None, index["marks"]))
    return {
        "images with marks": int((index["marks"].map(len) > 0).sum()),
        "painted over elsewhere": elsewhere,
        "hidden share": round(float(region.mean()), 4),
    }
