"""The tables of the collections' objects: object_id, file, item where a file holds many, labels, position."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from catalogs.fetch.download import FetchError

MNIST_CLASSES = ("smooth_round", "smooth_cigar", "edge_on_disk", "unbarred_spiral")
GZ_CATALOGUE = "gz_decals_volunteers_5.parquet"
_TREE = "gz_decals"
# What Galaxy10 files may hold besides images and labels, and its name in our tables.
_BESIDE = {"ra": "ra", "dec": "dec", "redshift": "redshift", "pxscale": "pixel_scale"}


def galaxy10_table(name: str, file: str, classes: Sequence[str]) -> Callable[[Path, int | None], pd.DataFrame]:
    """A function that makes the table of a Galaxy10 file: images (row, y, x, 3), ans, and perhaps ra, dec, redshift.

    Its columns: object_id ("galaxy10_decals_00017"), file, item (the row, from 0), label, ra, dec, redshift and
    pixel_scale (arcsec) where the file has them. It raises FetchError for a file of another layout.
    """

    def table(folder: Path, limit: int | None) -> pd.DataFrame:
        return _from_hdf5(folder / file, "ans", classes, name, limit)

    return table


def galaxy_mnist_table(folder: Path, limit: int | None) -> pd.DataFrame:
    """object_id, file, item, label and split, of both halves; of `limit` rows four in five are for training."""
    halves = []
    for split, share in (("train", 0.8), ("test", 0.2)):
        path = folder / f"{split}_dataset.hdf5"
        count = None if limit is None else max(1, round(share * limit))
        halves.append(_from_hdf5(path, "labels", MNIST_CLASSES, f"galaxy_mnist_{split}", count).assign(split=split))
    return pd.concat(halves, ignore_index=True)


def gz_decals_labels() -> dict[str, tuple[str, ...]]:
    """The columns of votes of each question of the DR5 campaign."""
    from catalogs.galaxies.question_trees import questions

    return {
        question: tuple(f"{question}_{answer}" for answer in asked.answers)
        for question, asked in questions(_TREE).items()
    }


def gz_decals_table(folder: Path, limit: int | None) -> pd.DataFrame:
    """One row an image below images/: object_id (the IAU name), file, ra, dec, redshift, and the volunteers' votes.

    Counts of votes are empty for the galaxies that were not in this campaign; the debiased fractions and the totals
    stand beside them. Raises FetchError where there is no image, and for a catalogue of another layout.
    """
    files = sorted(path.relative_to(folder / "images").as_posix() for path in (folder / "images").rglob("*.png"))
    if not files:
        raise FetchError(f"{folder / 'images'} has no PNG image: the archives held none")
    chosen = [files[i] for i in spread(len(files), limit)]
    images = pd.DataFrame({"object_id": [Path(file).stem for file in chosen], "file": chosen})
    votes = [column for columns in gz_decals_labels().values() for column in columns]
    totals = [f"{question}_total-votes" for question in gz_decals_labels()]
    try:
        catalogue = pd.read_parquet(folder / GZ_CATALOGUE)
        known = catalogue[["iauname", "ra", "dec", *votes]]
    except (OSError, ValueError, KeyError) as error:
        raise FetchError(f"{GZ_CATALOGUE}: not the catalogue that was expected ({error})") from None
    beside = [
        name
        for name in ("redshift", "wrong_size_warning", *totals, *(f"{column}_debiased" for column in votes))
        if name in catalogue
    ]
    known = pd.concat([known, catalogue[beside]], axis=1).drop_duplicates("iauname")
    known[votes] = known[votes].astype("Int64")
    return images.merge(known, how="left", left_on="object_id", right_on="iauname").drop(columns="iauname")


def spread(count: int, limit: int | None) -> Int64[np.ndarray, " n"]:
    """Row numbers, evenly spread where `limit` is less than `count`: files are often sorted by class."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).astype(np.int64)


def _from_hdf5(path: Path, answers: str, classes: Sequence[str], name: str, limit: int | None) -> pd.DataFrame:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            shape = tuple(file["images"].shape)
            labels = np.asarray(file[answers])
            beside = {ours: np.asarray(file[theirs]) for theirs, ours in _BESIDE.items() if theirs in file}
    except (OSError, KeyError, AttributeError, TypeError) as error:
        raise FetchError(f"{path.name}: not the HDF5 file that was expected ({_first_line(error)})") from None
    count = len(labels) if labels.ndim == 1 else -1
    if len(shape) != 4 or shape[0] != count or any(values.shape != (count,) for values in beside.values()):
        raise FetchError(f"{path.name}: images of shape {shape} do not fit {answers} of shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or not ((labels >= 0) & (labels < len(classes))).all():
        raise FetchError(f"{path.name}: {answers} are not all numbers from 0 to {len(classes) - 1}")
    rows = spread(count, limit)
    width = len(str(count - 1))
    columns: dict[str, Any] = {
        "object_id": [f"{name}_{row:0{width}d}" for row in rows],
        "file": path.name,
        "item": rows,
        "label": [classes[int(labels[row])] for row in rows],
    }
    return pd.DataFrame({**columns, **{key: values[rows] for key, values in beside.items()}})


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
