"""Burned-in marks of a cohort: one region for all its images, which the store then never shows; no torch."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from catalogs.chest_xrays.marks import hidden_region
from domainssl.shards import read_hidden, write_hidden

REVIEW_COLUMNS = ("object_id", "reason", "detail")
UNFOUND = "the header says that annotations are burned in, and none was found"


def packed(marks: Bool[np.ndarray, "y x"]) -> bytes:
    """The mask in few bytes; none at all where nothing is marked."""
    return zlib.compress(np.packbits(marks).tobytes()) if marks.any() else b""


def unpacked(data: bytes, side: int) -> Bool[np.ndarray, "y x"]:
    """What `packed` was given, on a square of `side` pixels."""
    bits = np.frombuffer(zlib.decompress(data), np.uint8) if data else np.zeros(-(-(side**2) // 8), np.uint8)
    return np.unpackbits(bits, count=side**2).astype(bool).reshape(side, side)


def hide_marks(
    store: Path, side: int, index: pd.DataFrame, declared: "pd.Series[Any]", like: Path | None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Write the cohort's hidden region into its store; counts for the manifest, and what a person has to look at.

    `index` are the stored objects (object_id, marks), `declared` what BurnedInAnnotation says of each. With `like`, the
    store of a run that is applied, its region is taken: nothing is learnt from new images.
    """
    counts = np.zeros((side, side), np.int64)
    for data in filter(None, index["marks"]):
        counts += unpacked(data, side)
    region = hidden_region(counts, len(index)) if like is None else read_hidden(like)
    region = np.zeros((side, side), bool) if region is None else region
    write_hidden(store, region)
    marked = (index["marks"].map(len) > 0).to_numpy(bool)
    elsewhere = sum(bool((unpacked(data, side) & ~region).any()) for data in filter(None, index["marks"]))
    names = index.loc[(declared == "YES").to_numpy(bool) & ~marked, "object_id"]
    review = pd.DataFrame([(name, "declared_mark", UNFOUND) for name in names], columns=list(REVIEW_COLUMNS))
    facts = {
        "images with marks": int(marked.sum()),
        "painted over elsewhere": elsewhere,
        "hidden share": round(float(region.mean()), 4),
        "to be looked at": len(review),
    }
    return facts, review
