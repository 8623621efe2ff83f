"""The store: what was laid down comes back, in any order, in source units, and nothing half written is read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic_stores import NOTHING_REFUSED, blobs, write_store

from domainssl.shards import SHARD_BYTES, Layout, read_layout, shard_is_done, write_layout, write_shard
from domainssl.store import Store

BANDS = ("g", "r", "z")
LINEAR = Layout(BANDS, 4, "linear", "p" * 64)
DISPLAY = Layout(BANDS, 4, "display", "p" * 64)


def refused(*ids: str) -> pd.DataFrame:
    return pd.DataFrame({"object_id": list(ids), "reason": "unreadable", "detail": "the file ends early"})


def names(first: int, count: int) -> list[str]:
    return [f"{number:03d}" for number in range(first, first + count)]


@pytest.fixture(scope="module")
def linear(tmp_path_factory) -> tuple[Store, np.ndarray, np.ndarray]:
    """Three shards of 5, 0 and 4 objects with two refused among them; the flux of each object and its sky sigma."""
    folder = tmp_path_factory.mktemp("linear")
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(9, 3, 4, 4)).astype(np.float16).astype(np.float32)
    sky = np.exp(rng.normal(size=(9, 3), scale=5)).astype(np.float32)
    ebv = np.repeat(rng.uniform(size=(9, 1)), 3, axis=1).astype(np.float32)
    write_layout(folder, LINEAR)
    write_shard(folder, 0, names(0, 5), stored[:5], {"sky_sigma": sky[:5], "ebv": ebv[:5]}, BANDS, refused("x"))
    write_shard(folder, 1, [], stored[:0], {}, BANDS, refused("y", "z"))
    write_shard(folder, 2, names(5, 4), stored[5:], {"sky_sigma": sky[5:]}, BANDS, NOTHING_REFUSED)
    return Store(folder), stored * sky[:, :, None, None], sky


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 8), max_size=20))
def test_rows_come_back_as_flux_in_any_order(linear, rows):
    store, flux, sky = linear
    batch = store.batch(np.array(rows, np.int64))
    np.testing.assert_array_equal(batch.images.numpy(), flux[rows])
    np.testing.assert_array_equal(batch.nuisance["sky_sigma"].numpy(), sky[rows])
    assert batch.valid.shape == (len(rows), 1, 4, 4)
    assert batch.valid.all()
    assert batch.rows.tolist() == rows
    assert batch.images.dtype == torch.float32


def test_what_a_store_says_of_itself(linear):
    store, _, _ = linear
    assert len(store) == 9
    assert store.object_ids == names(0, 9)
    assert (store.bands, store.size, store.radiometry, store.preparation) == (BANDS, 4, "linear", "p" * 64)
    assert [rows.tolist() for rows in store.shard_rows()] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    ebv = store.batch(np.arange(9)).nuisance["ebv"]
    assert torch.isfinite(ebv[:5]).all()
    assert torch.isnan(ebv[5:]).all(), "unknown in a shard whose rows have none"


def test_a_batch_is_a_copy(linear):
    store, flux, _ = linear
    store.batch(np.arange(9)).images.zero_()
    np.testing.assert_array_equal(store.batch(np.arange(9)).images.numpy(), flux)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.just(3), st.just(4), st.just(4)),
        elements=st.one_of(st.just(float("nan")), st.floats(0, 1, width=16)),
    )
)
def test_pixels_without_a_value_are_invalid_and_zero(tmp_path, images):
    write_layout(tmp_path, DISPLAY)
    write_shard(tmp_path, 0, names(0, len(images)), images, {}, BANDS, NOTHING_REFUSED)
    batch = Store(tmp_path).batch(np.arange(len(images)))
    lacking = np.isnan(images).all(axis=(2, 3), keepdims=True)  # a band that is not there at all
    lost = (np.isnan(images) & ~lacking).any(axis=1, keepdims=True) | lacking.all(axis=1, keepdims=True)
    np.testing.assert_array_equal(batch.valid.numpy(), ~lost)
    np.testing.assert_array_equal(batch.images.numpy(), np.where(lost | lacking, 0, images))
    assert dict(batch.nuisance) == {}


@pytest.mark.parametrize("sigma", [1e-12, 1.0, 1e6])
def test_bright_objects_do_not_overflow(tmp_path, sigma):
    images = np.full((1, 3, 4, 4), 6e4, np.float32)
    images[0, 0] = -6e4
    sky = np.full((1, 3), sigma, np.float32)
    write_layout(tmp_path, LINEAR)
    write_shard(tmp_path, 0, ["a"], images, {"sky_sigma": sky}, BANDS, NOTHING_REFUSED)
    batch = Store(tmp_path).batch(np.array([0]))
    assert batch.valid.all()
    np.testing.assert_allclose(batch.images.numpy(), images * np.float32(sigma), rtol=1e-6)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(1e-3, 6e4), st.sampled_from([1e-9, 1.0, 1e9]))
def test_stored_flux_is_within_float16s_half_last_digit(tmp_path, value, sigma):
    images = np.full((1, 3, 4, 4), value, np.float32)
    write_layout(tmp_path, LINEAR)
    write_shard(tmp_path, 0, ["a"], images, {"sky_sigma": np.full((1, 3), sigma, np.float32)}, BANDS, NOTHING_REFUSED)
    flux = Store(tmp_path).batch(np.array([0])).images.numpy()
    np.testing.assert_allclose(flux, value * sigma, rtol=2**-11 + 1e-6)


def test_ids_stay_text(tmp_path):
    write_layout(tmp_path, DISPLAY)
    ids = ["0012", "1e5", "nan", "587722984435351614"]
    write_shard(tmp_path, 0, ids, np.zeros((4, 3, 4, 4), np.float32), {}, BANDS, NOTHING_REFUSED)
    assert Store(tmp_path).object_ids == ids


# What is missing


def test_a_folder_without_a_store(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no store yet; run the prepare step first"):
            Store(folder)


def test_a_store_of_nothing(tmp_path):
    write_layout(tmp_path, LINEAR)
    with pytest.raises(ValueError, match=r"no image could be read; quarantine.csv names the reason"):
        Store(tmp_path)
    write_shard(tmp_path, 0, [], np.zeros((0, 3, 4, 4), np.float32), {}, BANDS, refused("a", "b"))
    with pytest.raises(ValueError, match="no image could be read"):
        Store(tmp_path)
    index = pd.read_parquet(tmp_path / "shard-00000.parquet")
    assert index[["object_id", "reason", "offset"]].to_numpy().tolist() == [
        ["a", "unreadable", -1],
        ["b", "unreadable", -1],
    ]


def test_a_shard_that_is_still_missing_does_not_shift_the_others(tmp_path):
    """Shards are prepared in any order; pixels belong to the index of their own number."""
    images = blobs(6, 3, 4)
    store = write_store(tmp_path, images, bands=BANDS, per_shard=2)
    (tmp_path / "shard-00001.parquet").unlink()
    (tmp_path / "shard-00001.npy").unlink()
    left = Store(tmp_path)
    assert left.object_ids == ["object-0", "object-1", "object-4", "object-5"]
    expected = store.batch(np.array([0, 1, 4, 5])).images
    assert torch.equal(left.batch(np.arange(4)).images, expected)
    assert [rows.tolist() for rows in left.shard_rows()] == [[0, 1], [2, 3]]


# Interruption

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import domainssl.shards as shards
sys.path.insert(0, {tests!r})
from synthetic_stores import NOTHING_REFUSED
real = Path.replace
def replace(path, target):
    if path.name.startswith({victim!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, target)
Path.replace = replace
images = np.full((2, 3, 4, 4), 7, np.float32)
shards.write_shard(Path({folder!r}), 1, ["new-0", "new-1"], images, {{}}, ("g", "r", "z"), NOTHING_REFUSED)
"""


@pytest.mark.parametrize("victim", ["shard-00001.npy", "shard-00001.parquet"])
@pytest.mark.parametrize("present", [False, True], ids=["first time", "again"])
def test_a_kill_while_writing_leaves_no_half_shard(tmp_path, victim, present):
    images = np.zeros((4, 3, 4, 4), np.float32)
    write_store(tmp_path, images[: 4 if present else 2], bands=BANDS, per_shard=2, radiometry="display")
    assert shard_is_done(tmp_path, 1) == present
    script = KILLED.format(tests=str(Path(__file__).parent), victim=victim, folder=str(tmp_path))
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == -9
    assert list(tmp_path.glob("*.part"))
    assert not shard_is_done(tmp_path, 1)
    store = Store(tmp_path)
    assert store.object_ids == ["object-0", "object-1"]
    assert (store.batch(np.arange(2)).images == 0).all()
    # Written again, the shard is whole.
    write_shard(tmp_path, 1, ["a", "b"], images[:2] + 1, {}, BANDS, NOTHING_REFUSED)
    again = Store(tmp_path)
    assert again.object_ids == ["object-0", "object-1", "a", "b"]
    assert (again.batch(np.array([3, 0])).images[:, 0, 0, 0] == torch.tensor([1.0, 0.0])).all()


# Layout


def test_a_layout_survives_its_file(tmp_path):
    write_layout(tmp_path / "store", LINEAR)
    assert read_layout(tmp_path / "store") == LINEAR
    assert not list((tmp_path / "store").glob("*.part"))


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(8, 512), st.integers(0, 10**7))
def test_shards_stay_below_their_limit_and_hold_at_least_one_row(bands, size, count):
    layout = Layout(tuple(f"b{i}" for i in range(bands)), size, "linear", "")
    rows = layout.rows_per_shard(count)
    assert rows >= 1
    assert rows == 1 or rows * bands * size**2 * 2 <= SHARD_BYTES
    assert Layout(("g",), 64, "linear", "").rows_per_shard(100) == 64
