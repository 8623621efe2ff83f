"""Methods around tiny encoders, views of random images, and short trainings, for tests of methods."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from domainssl.encoders import InputSpec, TimmEncoder, create_encoder
from domainssl.methods.method import Method
from domainssl.methods.registry import METHODS
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.pretraining import pretrain
from domainssl.store import Batch, Store
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.noise_to import NoiseTo
from domainssl.views.operation import Policy

BANDS = ("u", "g", "r", "i", "z")
SMALL = PretrainOptions(projector_width=24, projection_dim=8, teacher_momentum=0.9)


def convolutional(bands: int = 2, size: int = 64, seed: int = 0) -> TimmEncoder:
    """A network whose last feature map has a place for each 32 pixels."""
    return create_encoder(
        "test_efficientnet",
        "none",
        bands=BANDS[:bands],
        size=size,
        sample=torch.rand(2, bands, size, size),
        sky_sigma=None,
        preparation="p",
        seed=seed,
    )


def for_store(store: Store, size: int, seed: int = 0) -> TimmEncoder:
    """A convolutional encoder, from random weights, that normalises the store's images."""
    return create_encoder(
        "test_efficientnet",
        "none",
        bands=store.bands,
        size=size,
        sample=store.batch(np.arange(len(store))).images,
        sky_sigma=np.ones(len(store.bands), np.float32),
        preparation=store.preparation,
        seed=seed,
    )


def transformer(bands: int = 2, size: int = 64, patch: int = 16, seed: int = 0) -> TimmEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(
            "test_vit", img_size=size, patch_size=patch, in_chans=bands, num_classes=0, dynamic_img_size=False
        )
    flat = (0.5,) * bands
    spec = InputSpec(BANDS[:bands], size, "none", (1.0,) * bands, flat, flat, "p")
    return TimmEncoder("test_vit", network, spec).eval()


def made(name: str, encoder: TimmEncoder, options: PretrainOptions = SMALL, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = METHODS[name].load()(encoder, options)
    assert isinstance(method, Method)
    return method


def batch_of(images: torch.Tensor, valid: torch.Tensor | None = None, first: int = 0) -> Batch:
    """A batch of these images, all valid unless said otherwise, in rows from `first` on."""
    if valid is None:
        valid = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    return Batch(images, valid, {}, first + torch.arange(len(images)))


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views_of(count: int = 4, number: int = 2, bands: int = 2, size: int = 64, seed: int = 0) -> tuple[Batch, ...]:
    images = torch.rand(number, count, bands, size, size, generator=torch.Generator().manual_seed(seed))
    return tuple(batch_of(view) for view in images)


def weights(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in module.state_dict().items() if name.startswith(prefix)}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def assert_grouped_and_trained(method: Method, loss: torch.Tensor) -> None:
    """Every parameter but a teacher's belongs to one player and gets a gradient, a teacher's neither."""
    online = {name: p for name, p in method.named_parameters() if not name.startswith("teacher_")}
    teacher = [p for name, p in method.named_parameters() if name.startswith("teacher_")]
    grouped = [id(p) for groups in method.players().values() for group in groups for p in group.parameters]
    assert sorted(grouped) == sorted(map(id, online.values()))
    loss.backward()
    assert [name for name, parameter in online.items() if parameter.grad is None] == []
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher)
    assert all(parameter.dtype == torch.float32 for parameter in teacher)


def policy_of(size: int) -> Policy:
    return (AffineCrop(size, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05), BlurTo(1.5), NoiseTo(2.0))


def train(
    method: Method, store: Store, folder: Path, options: PretrainOptions, *, seed: int = 0, classes: Any = None
) -> list[dict[str, Any]]:
    """The records of a training by `policy_of` the encoder's size."""
    return pretrain(
        method,
        store,
        np.arange(len(store)),
        policy_of(method.encoder.input.size),
        options,
        seed=seed,
        precision=Precision("float32", True),
        checkpoint=folder / "checkpoint.safetensors",
        key="key",
        classes=classes,
    )
