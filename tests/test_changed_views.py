"""Features of changed views: the first shows the frame under a symmetry, the others what the policy makes of it."""

import numpy as np
import pytest
import torch
from synthetic_stores import blobs, write_store

from domainssl import changed_views
from domainssl.changed_views import embed_views
from domainssl.embedding import embed
from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.features import SYMMETRIES
from domainssl.precision import Precision
from domainssl.store import Store
from domainssl.views.affine_crop import AffineCrop, whole_frame
from domainssl.views.operation import apply_policy

BANDS = ("g", "r", "z")
POLICY = (AffineCrop(32, rotation=180.0, field=(0.7, 1.0)),)
FLOAT32 = Precision("float32", True)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    images = blobs(12, 3, 36)
    images[:, :, :10] += 1.0  # not the same upside down
    images[:, :, :, :6] += 0.5
    return write_store(tmp_path_factory.mktemp("store"), images, bands=BANDS, per_shard=8, sky_sigma=0.02)


@pytest.fixture(scope="module")
def encoder(store) -> TimmEncoder:
    return create_encoder(
        "test_efficientnet", "none", bands=BANDS, size=32, sample=store.batch(np.arange(len(store))).images,
        sky_sigma=np.full(3, 0.02, np.float32), preparation=store.preparation, seed=0,
    )  # fmt: skip


def views(encoder: TimmEncoder, store: Store, symmetry: str = "dihedral", seed: int = 0, **changes) -> np.ndarray:
    rows = changes.pop("rows", np.arange(12))
    return embed_views(encoder, store, rows, POLICY, 2, symmetry=symmetry, seed=seed, precision=FLOAT32, **changes)


def same(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    size = np.abs(expected).max()
    return (np.abs(found - expected) < 1e-4 * size).all(axis=1)


def test_the_weak_view_is_the_frame_under_one_of_the_symmetries(store, encoder):
    found = views(encoder, store)
    assert found.shape == (12, 3, encoder.width)
    frames = apply_policy((whole_frame(32),), store.batch(np.arange(12)), torch.Generator()).images
    with torch.inference_mode():
        every = [encoder.pooled(change(frames)).numpy() for change in SYMMETRIES["dihedral"]]
    hits = np.stack([same(found[:, 0], each) for each in every])
    assert hits.any(axis=0).all()
    assert len(set(hits.argmax(axis=0))) > 2  # drawn for each image
    plain = embed(encoder, store, np.arange(12), precision=FLOAT32)
    assert same(views(encoder, store, symmetry="none")[:, 0], plain).all()


def test_strong_views_differ_from_the_frame_and_from_each_other_and_repeat_themselves(store, encoder):
    found = views(encoder, store)
    for a, b in ((0, 1), (1, 2)):
        assert not same(found[:, a], found[:, b]).any()
    np.testing.assert_array_equal(views(encoder, store), found)
    assert not same(views(encoder, store, seed=1)[:, 1], found[:, 1]).any()


def test_every_batch_has_draws_of_its_own_and_reports_its_rows(store, encoder, monkeypatch):
    monkeypatch.setattr(changed_views, "BATCH", 5)
    done: list[int] = []
    found = views(encoder, store, on_batch=done.append)
    assert done == [5, 5, 2]
    assert same(views(encoder, store, rows=np.arange(5, 10))[:, 1], found[5:10, 1]).all()
    assert views(encoder, store, rows=np.arange(0)).shape == (0, 3, encoder.width)
