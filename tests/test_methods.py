"""What holds for every method of the registry: it trains, stops and goes on, and says what it needs."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_stores import blobs, write_store

from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.method_options import DINOOptions, IJEPAOptions, MAEOptions, MoCoOptions, SparseOptions
from domainssl.methods.method import Method
from domainssl.methods.registry import METHODS, not_applicable
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.pretraining import pretrain
from domainssl.store import Store
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.noise_to import NoiseTo
from domainssl.views.operation import Policy

BANDS = ("u", "g", "r", "i", "z")
SIZE = 32
POLICY: Policy = (AffineCrop(SIZE, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05), BlurTo(1.5), NoiseTo(2.0))
SMALL = PretrainOptions(
    epochs=2,
    batch_size=8,
    projector_epochs=1,
    projector_width=16,
    projection_dim=8,
    checkpoint_minutes=0.0,
    moco=MoCoOptions(queue=16),
    dino=DINOOptions(prototypes=16, local_crops=1),
    mae=MAEOptions(decoder_width=32, decoder_depth=1),
    ijepa=IJEPAOptions(predictor_width=32, predictor_depth=1),
    sparse_autoencoder=SparseOptions(latent=32),
)
TRAINED = [name for name in METHODS if name != "none"]


def encoder_of(name: str, bands: int) -> TimmEncoder:
    needs = METHODS[name].needs
    network = "vit_tiny_patch16_224" if "tokens" in needs else "dense_8" if "dense" in needs else "test_efficientnet"
    return create_encoder(
        network,
        "none",
        bands=BANDS[:bands],
        size=SIZE,
        sample=torch.rand(4, bands, SIZE, SIZE, generator=torch.Generator().manual_seed(0)),
        sky_sigma=np.ones(bands, np.float32),
        preparation="p",
        seed=0,
    )


def method_of(name: str, bands: int, options: PretrainOptions = SMALL) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return METHODS[name].load()(encoder_of(name, bands), dataclasses.replace(options, method=name))


def train(
    name: str, store: Store, path: Path, on_step: Callable[[int, int, float], None] = lambda *_: None
) -> tuple[Method, list[dict[str, Any]]]:
    method = method_of(name, len(store.bands))
    rows = np.arange(len(store))
    records = pretrain(
        method,
        store,
        rows,
        POLICY,
        dataclasses.replace(SMALL, method=name),
        seed=0,
        precision=Precision("float32", True),
        checkpoint=path,
        key="key",
        classes=rows % 3,
        on_step=on_step,
    )
    return method, [{k: v for k, v in record.items() if k != "images_per_second"} for record in records]


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 5], ids=["1 band", "5 bands"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    count = int(request.param)
    return write_store(tmp_path_factory.mktemp("store"), blobs(16, count, 36), bands=BANDS[:count])


class Stopped(Exception):  # noqa: N818
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_it_trains_and_a_stopped_training_goes_on_as_if_it_had_not_stopped(
    name: str, store: Store, tmp_path: Path
) -> None:
    if not_applicable(name, encoder_of(name, len(store.bands)).name, len(store.bands)):
        pytest.skip("does not apply to one band")
    before = {key: value.clone() for key, value in encoder_of(name, len(store.bands)).state_dict().items()}
    method, records = train(name, store, tmp_path / "whole.safetensors")
    assert [record["phase"] for record in records] == ["projector", "encoder", "encoder"]
    for record in records:
        assert all(math.isfinite(v) for v in record.values() if isinstance(v, float)), record
    after = method.exported().state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)

    def stop(step: int, total: int, loss: float) -> None:
        if step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        train(name, store, tmp_path / "stopped.safetensors", stop)
    again, told = train(name, store, tmp_path / "stopped.safetensors")
    assert told == records
    for key, value in again.state_dict().items():
        assert torch.equal(value, method.state_dict()[key]), key


@pytest.mark.parametrize("name", TRAINED)
def test_what_it_shows_fits_the_page(name: str, store: Store) -> None:
    bands = len(store.bands)
    if not_applicable(name, encoder_of(name, bands).name, bands):
        pytest.skip("does not apply to one band")
    method = method_of(name, bands).eval()
    generator = torch.Generator().manual_seed(0)
    batch = store.batch(np.arange(8))
    views = []
    for policy in method.policies(POLICY):
        view = batch
        for operation in policy:
            view = operation(view, generator)
        views.append(view)
    for panel in method.panels(tuple(views), generator):
        if panel.kind == "arrows":
            assert panel.values.shape[1:] == (4,)
            continue
        assert panel.values.ndim == (5 if panel.kind == "images" else 4), panel.title
        assert panel.kind == "maps" or panel.values.shape[2] == bands
        assert len(panel.rows) in (0, panel.values.shape[0])
        assert len(panel.columns) in (0, panel.values.shape[1])
        assert torch.isfinite(panel.values).all()


def test_every_method_of_the_lectures_is_here() -> None:
    assert set(METHODS) == {
        *("linear_autoencoder", "autoencoder", "denoising_autoencoder", "sparse_autoencoder"),
        *("contractive_autoencoder", "variational_autoencoder", "context_encoder", "split_brain", "colorization"),
        *("mae", "relative_patch", "jigsaw", "rotation", "exemplar", "siamese", "triplet", "simclr", "moco", "cpc"),
        *("deep_infomax", "byol", "dino", "ijepa", "none", "supervised"),
    }


@pytest.mark.parametrize("name", TRAINED)
def test_it_can_be_loaded_and_says_where_it_comes_from(name: str) -> None:
    about = METHODS[name]
    assert issubclass(about.load(), Method)  # type: ignore[arg-type]
    assert about.source
    assert about.good_for
    tables = {field.name for field in dataclasses.fields(PretrainOptions) if dataclasses.is_dataclass(field.default)}
    assert name in tables or not hasattr(PretrainOptions(), name)


def test_needs_are_refused_with_a_remedy() -> None:
    assert not_applicable("simclr", "resnet18", 1) is None
    assert "give encoder.name = 'vit" in str(not_applicable("mae", "resnet18", 3))
    assert "give encoder.name = 'dense_32'" in str(not_applicable("linear_autoencoder", "resnet18", 3))
    assert "the images have 1" in str(not_applicable("split_brain", "resnet18", 1))
    assert not_applicable("split_brain", "resnet18", 2) is None
