"""Files that hold many galaxies each: which reader takes which, what items a file has, and what it knows of each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from catalogs.galaxies.arrays import ARRAY_SUFFIXES, columns_arrays, items_arrays, read_arrays
from catalogs.galaxies.hdf5 import HDF5_SUFFIXES, columns_hdf5, items_hdf5, read_hdf5
from catalogs.galaxies.parquet_images import (
    PARQUET_SUFFIXES,
    columns_parquet_images,
    items_parquet_images,
    read_parquet_images,
)
from catalogs.reading import Cutout, Reader, Refusal, Request


@dataclass(frozen=True)
class Container:
    """A kind of file: how its rows are read, its items listed, and its values of one an object found, by name."""

    read: Reader
    items: Callable[[Path, tuple[str, ...]], list[str] | Refusal]
    columns: Callable[[Path, tuple[str, ...]], Mapping[str, Shaped[np.ndarray, " n"]] | Refusal]


CONTAINERS: Mapping[str, Container] = {
    **dict.fromkeys(ARRAY_SUFFIXES, Container(read_arrays, items_arrays, columns_arrays)),
    **dict.fromkeys(HDF5_SUFFIXES, Container(read_hdf5, items_hdf5, columns_hdf5)),
    **dict.fromkeys(PARQUET_SUFFIXES, Container(read_parquet_images, items_parquet_images, columns_parquet_images)),
}


def items(path: Path, bands: tuple[str, ...] = ()) -> list[str] | Refusal:
    """The items that a file holds, in its order, without reading pixels; a refusal where it is no good container."""
    container = _container(path)
    return container if isinstance(container, Refusal) else container.items(path, bands)


def metadata(path: Path, bands: tuple[str, ...] = ()) -> pd.DataFrame | Refusal:
    """What a container says of its objects, one row each: `item`, and every value of one an object (ra, redshift...).

    Columns have the names and values of the file; text is decoded. A value of the file that is itself called "item"
    is left out. A file without such values gives `item` alone.
    """
    container = _container(path)
    if isinstance(container, Refusal):
        return container
    found = container.items(path, bands)
    if isinstance(found, Refusal):
        return found
    columns = container.columns(path, bands)
    if isinstance(columns, Refusal):
        return columns
    if any(len(values) != len(found) for values in columns.values()):
        return Refusal("truncated", f"the file has {len(found):,} objects and columns of other lengths")
    native = {name: values.astype(values.dtype.newbyteorder("="), copy=False) for name, values in columns.items()}
    return pd.DataFrame({**native, "item": found})[["item", *(name for name in native if name != "item")]]


def read_containers(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order, by the reader of each file's suffix; see the readers. Never raises for a bad file."""
    kinds = [_kind(paths) for paths in rows["paths"]]
    start = 0
    for kind, run in groupby(kinds):
        end = start + sum(1 for _ in run)
        if isinstance(kind, Refusal):
            yield from [kind] * (end - start)
        else:
            yield from kind.read(rows.iloc[start:end], request)
        start = end


def _kind(paths: Any) -> Container | Refusal:
    return _container(Path(paths[0])) if len(paths) else Refusal("missing", "the table names no file")


def _container(path: Path) -> Container | Refusal:
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return CONTAINERS[suffix]
    return Refusal("format", f"files of many objects end with {', '.join(CONTAINERS)}")
