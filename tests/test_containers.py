"""Containers by suffix: their items, their own table, and rows of several kinds read in order."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.galaxies.containers import CONTAINERS, items, metadata, read_containers
from catalogs.reading import Cutout, Refusal, Request

RGB = ("red", "green", "blue")


@pytest.fixture
def collection(tmp_path: Path) -> dict[str, Path]:
    """The same six galaxies in every kind of container."""
    images = np.random.default_rng(0).normal(size=(6, 3, 10, 10)).astype(np.float32)
    ids, redshift = [f"galaxy {n}" for n in range(6)], np.linspace(0, 0.5, 6)
    paths = {name: tmp_path / f"a.{name}" for name in ("npy", "npz", "h5", "parquet")}
    np.save(paths["npy"], images)
    np.savez(paths["npz"], images=images, object_id=np.array(ids), redshift=redshift.astype(">f4"))
    with h5py.File(paths["h5"], "w") as file:
        file.update({"images": images, "object_id": ids, "redshift": redshift, "item": np.arange(6)})
    rows = [{"flux": image.tolist()} for image in images]
    pq.write_table(pa.table({"image": rows, "object_id": ids, "redshift": redshift}), paths["parquet"])
    return paths


def test_items_and_metadata(collection: dict[str, Path]) -> None:
    for kind, path in collection.items():
        assert items(path) == list("012345")
        table = metadata(path)
        assert isinstance(table, pd.DataFrame), table
        assert list(table["item"]) == list("012345"), kind
        if kind != "npy":
            assert list(table) == ["item", "object_id", "redshift"]
            assert list(table["object_id"]) == [f"galaxy {n}" for n in range(6)]
            np.testing.assert_allclose(table["redshift"], np.linspace(0, 0.5, 6), rtol=1e-6)
            assert table.sort_values("redshift", ascending=False)["item"].iloc[0] == "5"


def test_rows_of_all_kinds_in_order(collection: dict[str, Path]) -> None:
    order = [("npy", "4"), ("h5", "0"), ("h5", "5"), ("npz", "4"), ("parquet", "4"), ("npy", "1"), ("png", "0")]
    rows = pd.DataFrame(
        {
            "object_id": [f"{kind} {item}" for kind, item in order],
            "paths": [(str(collection.get(kind, Path("a.png"))),) for kind, item in order],
            "item": [item for _, item in order],
        },
        index=range(100, 107),
    )
    outcomes = list(read_containers(rows, Request(RGB)))
    oracle = np.load(collection["npy"])
    for (_, item), outcome in zip(order[:-1], outcomes[:-1], strict=True):
        assert isinstance(outcome, Cutout), outcome
        np.testing.assert_array_equal(outcome.pixels, oracle[int(item)])
    assert isinstance(outcomes[-1], Refusal)
    assert outcomes[-1].reason == "format"


def test_columns_of_other_lengths_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 3, 10, 10)))
    damaged = replace(CONTAINERS[".npy"], columns=lambda path, bands: {"ra": np.zeros(2)})
    monkeypatch.setattr("catalogs.galaxies.containers.CONTAINERS", {".npy": damaged})
    answer = metadata(tmp_path / "a.npy")
    assert isinstance(answer, Refusal)
    assert answer.reason == "truncated"


def test_no_file_and_bad_files(tmp_path: Path) -> None:
    rows = pd.DataFrame({"object_id": ["a"], "paths": [()]})
    (outcome,) = read_containers(rows, Request(RGB))
    assert isinstance(outcome, Refusal)
    for suffix in (*CONTAINERS, ".txt"):
        bad = tmp_path / f"zz{suffix}"
        bad.write_bytes(b"nothing of the kind")
        for answer in (items(bad), metadata(bad), items(tmp_path / f"absent{suffix}")):
            assert isinstance(answer, Refusal), suffix
        (outcome,) = read_containers(pd.DataFrame({"object_id": ["a"], "paths": [(str(bad),)]}), Request(RGB))
        assert isinstance(outcome, Refusal)
        assert outcome.reason == "format"
