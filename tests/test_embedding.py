"""Embeddings: whole frames through the encoder, whatever the batch, and the same numbers back from the files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from synthetic_stores import blobs, write_store

from domainssl import embedding
from domainssl.embedding import embed, read_parts, write_part
from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.precision import Precision
from domainssl.store import Store

BANDS = ("g", "r", "z")
FLOAT32 = Precision("float32", True)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    images = blobs(21, 3, 36)
    images[5, :, :6] = np.nan  # a masked edge
    return write_store(tmp_path_factory.mktemp("store"), images, bands=BANDS, per_shard=8, sky_sigma=0.02)


@pytest.fixture(scope="module")
def encoder(store) -> TimmEncoder:
    return create_encoder(
        "test_efficientnet",
        "none",
        bands=BANDS,
        size=32,
        sample=store.batch(np.arange(len(store))).images,
        sky_sigma=np.full(3, 0.02, np.float32),
        preparation=store.preparation,
        seed=0,
    )


# Features


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to 1e-5 of the features' own size: those of a random network are small."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_features_are_those_of_whole_frames(store, encoder):
    rows = np.array([17, 0, 5, 20, 5])
    features = embed(encoder, store, rows, precision=FLOAT32)
    batch = store.batch(rows)
    flux, valid = batch.images, batch.valid.float()
    resized, weight = (torch.nn.functional.interpolate(x, size=32, mode="bilinear") for x in (flux, valid))
    frames = torch.where(weight > 0.5, resized / weight.clamp_min(0.5), torch.zeros(()))
    with torch.inference_mode():
        expected = encoder.pooled(frames)
    assert_close(features, expected.numpy())
    assert_close(features[2], features[4])
    assert (features.std(axis=0) > 0.01 * np.abs(features).mean(axis=0)).any(), "all frames look alike"


def test_neither_batch_nor_order_matters(store, encoder, monkeypatch):
    rows = np.arange(len(store))
    expected = embed(encoder, store, rows, precision=FLOAT32)
    for size in (1, 5, 21):
        monkeypatch.setattr(embedding, "BATCH", size)
        assert_close(embed(encoder, store, rows, precision=FLOAT32), expected)
    shuffled = np.random.default_rng(0).permutation(rows)
    assert_close(embed(encoder, store, shuffled, precision=FLOAT32), expected[shuffled])
    np.testing.assert_array_equal(embed(encoder, store, rows, precision=FLOAT32), expected)


def test_the_encoder_is_used_as_at_inference_and_left_so(store, encoder, monkeypatch):
    rows, counted = np.arange(11), []
    expected = embed(encoder, store, rows, precision=FLOAT32)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    monkeypatch.setattr(embedding, "BATCH", 4)
    encoder.train()
    features = embed(encoder, store, rows, precision=FLOAT32, on_batch=counted.append)
    assert_close(features, expected)
    assert not encoder.training
    assert counted == [4, 4, 3]
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_no_rows_give_no_features(store, encoder):
    assert embed(encoder, store, np.empty(0, np.int64), precision=FLOAT32).shape == (0, encoder.width)


def test_half_precision_gives_nearly_the_same_in_float32(store, encoder):
    rows = np.arange(8)
    features = embed(encoder, store, rows, precision=Precision("bfloat16", True))
    expected = embed(encoder, store, rows, precision=FLOAT32)
    assert features.dtype == np.float32
    cosine = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.99


# Files


def parts(count: int = 7, width: int = 5, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = [f"{seed}-{row:03d}" for row in range(count)]
    return (
        ids,
        rng.uniform(0, 360, count),
        rng.uniform(-90, 90, count),
        rng.normal(size=(count, width)).astype(np.float32),
    )


def test_parts_come_back_in_order_as_float16(tmp_path):
    expected, names = [], []
    for number in (10, 2, 0):
        ids, ra, dec, features = parts(seed=number)
        write_part(tmp_path / f"part-{number:05d}.parquet", ids, ra, dec, features, "model")
    for number in (0, 2, 10):
        ids, _, _, features = parts(seed=number)
        names += ids
        expected.append(features.astype(np.float16).astype(np.float32))
    ids, features, model = read_parts(tmp_path)
    assert ids == names
    np.testing.assert_array_equal(features, np.concatenate(expected))
    assert features.dtype == np.float32
    assert model == "model"
    assert not list(tmp_path.glob("*.part"))


def test_what_other_programs_find_in_a_part(tmp_path):
    ids, ra, dec, features = parts()
    ra[2], dec[2] = np.nan, np.nan
    path = tmp_path / "part-00000.parquet"
    write_part(path, ids, ra, dec, features, "ab12")
    table = pq.read_table(path)
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), 5)
    assert [table.schema.field(name).type for name in ("object_id", "ra", "dec")] == [pa.string(), *[pa.float64()] * 2]
    assert table.schema.metadata == {b"dimension": b"5", b"model": b"ab12"}
    np.testing.assert_array_equal(table.column("ra").to_numpy(), ra)
    np.testing.assert_array_equal(table.column("dec").to_numpy(), dec)
    np.testing.assert_array_equal(np.stack(table.column("embedding").to_pylist()), features.astype(np.float16))
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    only = pq.read_table(path, columns=["object_id"])  # ids without reading vectors
    assert only.column("object_id").to_pylist() == ids


def test_a_part_of_nothing(tmp_path):
    ids, ra, dec, features = parts(0)
    write_part(tmp_path / "part-00000.parquet", ids, ra, dec, features, "m")
    ids, ra, dec, features = parts(3)
    write_part(tmp_path / "part-00001.parquet", ids, ra, dec, features, "m")
    found, vectors, _ = read_parts(tmp_path)
    assert found == ids
    assert vectors.shape == (3, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 7e4, -7e4])
def test_features_that_float16_cannot_hold_are_refused(tmp_path, value):
    ids, ra, dec, features = parts()
    features[3, 1] = value
    with pytest.raises(ValueError, match="not finite or beyond float16; the encoder's weights are broken"):
        write_part(tmp_path / "part-00000.parquet", ids, ra, dec, features, "m")
    assert not list(tmp_path.iterdir())
    features[3, 1] = 65504
    write_part(tmp_path / "part-00000.parquet", ids, ra, dec, features, "m")
    assert read_parts(tmp_path)[1][3, 1] == 65504


def test_no_parts_and_parts_of_two_encoders(tmp_path):
    with pytest.raises(ValueError, match="no embeddings yet; run the embed step first"):
        read_parts(tmp_path)
    for number, model in enumerate(("old", "new")):
        write_part(tmp_path / f"part-{number:05d}.parquet", *parts(seed=number), model)
    with pytest.raises(ValueError, match="come from 2 different encoders; run the embed step again"):
        read_parts(tmp_path)


def test_an_unfinished_part_is_not_read(tmp_path):
    write_part(tmp_path / "part-00000.parquet", *parts(), "m")
    (tmp_path / "part-00001.parquet.part").write_bytes(b"PAR1 half a")
    assert len(read_parts(tmp_path)[0]) == 7
