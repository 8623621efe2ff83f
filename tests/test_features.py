"""Kinds of features: exact symmetries, stages that end with the last features, whatever the batch."""

import numpy as np
import pytest
import timm
import torch
from synthetic_stores import blobs, write_store

from domainssl import embedding
from domainssl.embedding import embed
from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.features import FEATURES, SYMMETRIES, Transformation, width
from domainssl.precision import Precision
from domainssl.store import Store

BANDS = ("g", "r", "z")
FLOAT32 = Precision("float32", True)
IMAGES = blobs(11, 3, 36, seed=4)


def encoder_of(name: str = "test_efficientnet", bands: tuple[str, ...] = BANDS, size: int = 32) -> TimmEncoder:
    encoder = create_encoder(
        name,
        "none",
        bands=bands,
        size=size,
        sample=torch.from_numpy(IMAGES),
        sky_sigma=np.ones(3, np.float32),
        preparation="p" * 64,
        seed=0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a network as it comes has the same statistics everywhere
        for key, value in encoder.network.state_dict().items():
            if key.endswith("running_mean"):
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    return encoder


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    return encoder_of()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("store"), IMAGES, bands=BANDS, per_shard=4)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_symmetry_is_a_group_of_different_transformations(symmetry):
    x = torch.arange(9.0).view(1, 1, 3, 3)
    images = {tuple(t(x).flatten().tolist()) for t in SYMMETRIES[symmetry]}
    assert len(images) == len(SYMMETRIES[symmetry]) == {"none": 1, "mirror": 2, "dihedral": 8}[symmetry]
    for first in SYMMETRIES[symmetry]:
        assert {tuple(second(first(x)).flatten().tolist()) for second in SYMMETRIES[symmetry]} == images


def test_turned_and_flipped_images_have_the_same_dihedral_features(tmp_path, store, encoder):
    settings: dict = {"precision": FLOAT32, "features": "symmetry", "symmetry": "dihedral"}
    rows = np.arange(len(IMAGES))
    expected = embed(encoder, store, rows, **settings)
    last = embed(encoder, store, rows, precision=FLOAT32)
    for number, transformation in enumerate(SYMMETRIES["dihedral"][1:]):
        changed = transformation(torch.from_numpy(IMAGES)).contiguous().numpy()
        (tmp_path / str(number)).mkdir()
        other = write_store(tmp_path / str(number), changed, bands=BANDS)
        assert_close(embed(encoder, other, rows, **settings), expected)
        assert np.abs(embed(encoder, other, rows, precision=FLOAT32) - last).max() > 1e-2 * np.abs(last).max()


def test_mirror_features_are_the_mean_of_two_and_know_up_from_down(tmp_path, store, encoder):
    settings: dict = {"precision": FLOAT32, "features": "symmetry", "symmetry": "mirror"}
    rows = np.arange(len(IMAGES))
    found = embed(encoder, store, rows, **settings)
    (tmp_path / "left").mkdir()
    (tmp_path / "up").mkdir()
    mirrored = write_store(tmp_path / "left", np.ascontiguousarray(IMAGES[..., ::-1]), bands=BANDS)
    upside_down = write_store(tmp_path / "up", np.ascontiguousarray(IMAGES[..., ::-1, :]), bands=BANDS)
    both = [embed(encoder, s, rows, precision=FLOAT32) for s in (store, mirrored)]
    assert_close(found, (both[0] + both[1]) / 2)
    assert_close(embed(encoder, mirrored, rows, **settings), found)
    assert np.abs(embed(encoder, upside_down, rows, **settings) - found).max() > 1e-2 * np.abs(found).max()


def test_a_domain_without_symmetry_gets_the_last_features(store, encoder):
    rows = np.arange(5)
    last = embed(encoder, store, rows, precision=FLOAT32)
    np.testing.assert_array_equal(embed(encoder, store, rows, precision=FLOAT32, features="symmetry"), last)
    np.testing.assert_array_equal(embed(encoder, store, rows, precision=FLOAT32, symmetry="dihedral"), last)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_byobnet", "test_convnext", "test_mambaout"])
def test_stages_end_with_the_last_features(store, name):
    encoder = encoder_of(name)
    rows = np.arange(5)
    found = embed(encoder, store, rows, precision=FLOAT32, features="stages")
    assert found.shape == (5, width(encoder, "stages"))
    last = embed(encoder, store, rows, precision=FLOAT32)
    np.testing.assert_array_equal(found[:, -encoder.width :], last)
    assert found[:, : -encoder.width].std(axis=0).max() > 0


def test_stages_are_means_of_the_networks_own_feature_maps(store, encoder):
    oracle = timm.create_model("test_efficientnet", features_only=True, pretrained=False).eval()
    oracle.load_state_dict(encoder.network.state_dict(), strict=False)
    batch = embedding.whole_frame(32)(store.batch(np.arange(4)), torch.Generator())
    with torch.inference_mode():
        maps = oracle(encoder.normalised(batch.images))
    expected = torch.cat([stage.mean((2, 3)) for stage in maps], 1).numpy()
    found = embed(encoder, store, np.arange(4), precision=FLOAT32, features="stages")
    assert_close(found[:, : -encoder.width], expected)


@pytest.mark.parametrize("features", FEATURES)
def test_the_batch_does_not_matter(store, encoder, monkeypatch, features):
    settings: dict = {"precision": FLOAT32, "features": features, "symmetry": "dihedral"}
    expected = embed(encoder, store, np.arange(11), **settings)
    for size in (1, 4):
        monkeypatch.setattr(embedding, "BATCH", size)
        assert_close(embed(encoder, store, np.arange(11), **settings), expected)


def test_a_network_without_stages_names_the_remedy(store):
    encoder = encoder_of("test_vit", size=160)
    with pytest.raises(ValueError, match='test_vit has no stages; choose features "last", or a convolutional encoder'):
        width(encoder, "stages")
    with pytest.raises(ValueError, match="test_vit has no stages"):
        embed(encoder, store, np.arange(2), precision=FLOAT32, features="stages")
    with pytest.raises(ValueError, match="test_vit has no stages"):
        encoder.stages(torch.zeros(1, 3, 160, 160))


def test_quarter_turns_are_counter_clockwise():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    assert Transformation(False, 1)(x)[0, 0].tolist() == [[2.0, 4.0], [1.0, 3.0]]
    assert Transformation(True, 0)(x)[0, 0].tolist() == [[2.0, 1.0], [4.0, 3.0]]
