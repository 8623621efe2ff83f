"""Laying prepared images down as `.npy` shards with a Parquet index each; numpy only, for reading processes."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

SHARD_BYTES = 256 * 2**20
NUISANCE_SEPARATOR = ":"
FLAG_SEPARATOR = ";"
HIDDEN = "hidden.npy"
FACT = "file_"  # how columns of facts begin


@dataclass(frozen=True)
class Layout:
    """What every shard of a store holds: float16 (object, band, y, x), NaN where invalid.

    "linear" values are in units of the object's own sky sigma in that band, whose value is in the index, so that
    float16 does not overflow and flux = value * sky_sigma; "display" values lie in 0..1.
    """

    bands: tuple[str, ...]
    size: int
    radiometry: Literal["linear", "display"]
    preparation: str

    def rows_per_shard(self, count: int) -> int:
        """Rows of the catalog that one shard covers: at most 256 MB, and about 16 shards for a small catalog."""
        fits = SHARD_BYTES // (2 * len(self.bands) * self.size**2)
        return int(max(1, min(fits, max(64, -(-count // 16)))))


def write_layout(folder: Path, layout: Layout) -> None:
    """Write `layout.json`, the description that `Store` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "layout.json", json.dumps(layout.__dict__, indent=1).encode())


def read_layout(folder: Path) -> Layout:
    """Read `layout.json`; FileNotFoundError where the store was not prepared."""
    path = folder / "layout.json"
    if not path.is_file():
        raise FileNotFoundError("the run has no store yet; run the prepare step first")
    fields = json.loads(path.read_text())
    return Layout(**{**fields, "bands": tuple(fields["bands"])})


def layout_of(folder: Path) -> Layout | None:
    """The layout of a store that was begun; None where there is none."""
    return read_layout(folder) if (folder / "layout.json").is_file() else None


def write_hidden(folder: Path, region: Bool[np.ndarray, "y x"]) -> None:
    """Write which pixels no image of the store ever shows."""
    part = folder / "hidden.npy.part"
    with part.open("wb") as file:
        np.save(file, region)
    part.replace(folder / HIDDEN)


def read_hidden(folder: Path) -> Bool[np.ndarray, "y x"] | None:
    """What `write_hidden` wrote; None where nothing is hidden."""
    path = folder / HIDDEN
    region = np.load(path) if path.is_file() else np.zeros((0, 0), bool)
    return region if region.any() else None


def shard_is_done(folder: Path, number: int) -> bool:
    """Whether a shard was finished: its index is written last."""
    return (folder / f"shard-{number:05d}.parquet").is_file()


def write_shard(
    folder: Path,
    number: int,
    object_ids: Sequence[str],
    images: Float[np.ndarray, "n c h w"],
    nuisance: Mapping[str, Float[np.ndarray, "n c"]],
    bands: tuple[str, ...],
    refused: pd.DataFrame,
    flags: Sequence[tuple[str, ...]] = (),
    units: Sequence[str] = (),
    fingerprints: Sequence[bytes] = (),
    marks: Sequence[bytes] = (),
    facts: Sequence[Any] = (),
) -> None:
    """Write one shard atomically: `images` float16, then the index of what it holds and what was refused.

    `refused` has the columns object_id, reason, detail. `flags` are notes on each image, `units` those of its flux,
    `fingerprints` what it is compared with others by, `marks` where something is burned in, `facts` dataclasses of
    what its file says (a field a column, whose names begin with FACT); none where not given. An empty shard is legal:
    all its rows were refused.
    """
    (folder / f"shard-{number:05d}.parquet").unlink(missing_ok=True)  # no old index beside new pixels
    path = folder / f"shard-{number:05d}.npy"
    temporary = path.with_suffix(".npy.part")
    with temporary.open("wb") as file:
        np.save(file, images.astype(np.float16))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    columns: dict[str, object] = {"object_id": list(object_ids), "offset": np.arange(len(object_ids), dtype=np.int64)}
    for name, values in nuisance.items():
        for place, band in enumerate(bands):
            columns[f"{name}{NUISANCE_SEPARATOR}{band}"] = values[:, place].astype(np.float32)
    joined = [FLAG_SEPARATOR.join(notes) for notes in flags] if flags else ""
    columns |= {"flags": joined, "unit": list(units) or "", "fingerprint": list(fingerprints) or b""}
    columns["marks"] = list(marks) or b""
    told = pd.DataFrame([asdict(fact) for fact in facts]).add_prefix(FACT)
    columns |= {str(name): told[name].to_numpy() for name in told}
    accepted = pd.DataFrame(columns, index=range(len(object_ids))).assign(reason="", detail="")
    refused = refused.assign(offset=-1, flags="", unit="", fingerprint=b"", marks=b"")
    index = pd.concat([accepted, refused], ignore_index=True) if len(refused) else accepted
    part = folder / f"shard-{number:05d}.parquet.part"
    index.astype({"object_id": str, "offset": np.int64, "flags": str, "unit": str}).to_parquet(part, index=False)
    part.replace(folder / f"shard-{number:05d}.parquet")


def _replace(path: Path, content: bytes) -> None:
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(content)
    part.replace(path)
