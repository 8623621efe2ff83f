"""Files of many objects as rows of a catalog: an object an item of an array, a table of images, or an image HDU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catalogs.galaxies.containers import CONTAINERS, metadata
from catalogs.galaxies.fits_files import image_hdus
from catalogs.reading import Refusal


def is_container(name: str) -> bool:
    """Whether a file of this name holds many objects, by its suffix in any case."""
    return name.lower().endswith(tuple(CONTAINERS))


def container_table(path: Path, bands: tuple[str, ...]) -> pd.DataFrame:
    """The objects of one container: `item`, `file`, and what it knows of each (ra, dec, redshift, labels...).

    Where it cannot be read, one row without an item, so that reading it says why.
    """
    found = metadata(path, bands)
    if isinstance(found, Refusal):
        return pd.DataFrame({"item": [None], "file": [str(path)]}, dtype=object)
    return found.assign(file=str(path))


def expanded(table: pd.DataFrame, images: Path, bands: tuple[str, ...], *, object_per_hdu: bool) -> pd.DataFrame:
    """A scanned table of `id` and `file` with a row for every object of files that hold several.

    Such rows have their `item`, the id "file/item", and what the file knows of each object; others stay as they are,
    with None. Files whose items cannot be listed keep one row, so that reading them says why.
    """
    many = [is_container(file) or object_per_hdu for file in table["file"]]
    if not any(many):
        return table
    parts = [
        _objects(row, images, bands) if several else pd.DataFrame({"id": [row.id], "file": [row.file]}, dtype=object)
        for row, several in zip(_rows(table), many, strict=True)
    ]
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(item=whole["item"].astype(object).where(whole["item"].notna(), None))


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    return table[["id", "file"]].itertuples(index=False)


def _objects(row: Any, images: Path, bands: tuple[str, ...]) -> pd.DataFrame:
    path = images / row.file
    if is_container(row.file):
        found = container_table(path, bands)
    else:
        hdus = image_hdus(path)
        items = [None] if isinstance(hdus, Refusal) else [str(image.index) for image in hdus]
        found = pd.DataFrame({"item": items}, dtype=object)
    several = found["item"].notna() & (len(found) > 1)
    ids = np.where(several, row.id + "/" + found["item"].astype(str), row.id)
    return found.assign(id=ids, file=row.file)
