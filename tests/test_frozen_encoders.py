"""The method "none": any encoder of timm as it is, on exactly the input that timm would give it."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from domainssl.encoders import create_encoder
from domainssl.methods.registry import METHODS
from domainssl.options import PretrainOptions
from domainssl.schedule import scheduled


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_resnet"])
def test_pooled_features_equal_timms_with_its_own_transform(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False).eval()
    config = resolve_data_config({}, model=network)
    size = config["input_size"][-1]
    transform = create_transform(**config)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size + 20, size + 8, 3), np.uint8)
    pictures = [Image.fromarray(picture) for picture in pixels]
    encoder = create_encoder(
        name,
        "none",
        bands=("red", "green", "blue"),
        size=size,
        sample=torch.rand(2, 3, size, size),
        sky_sigma=None,
        preparation="p",
        seed=0,
    )
    network.reset_classifier(0)
    assert type(transform.transforms[-1]).__name__ == "Normalize"
    source = []
    for picture in pictures:
        for step in transform.transforms[:-1]:
            picture = step(picture)
        source.append(picture if picture.is_floating_point() else picture / 255)
    with torch.no_grad():
        expected = network(torch.stack([transform(picture) for picture in pictures]))
        found = encoder.pooled(torch.stack(source))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_none_has_nothing_to_train():
    assert METHODS["none"].family == "none"
    with pytest.raises(ValueError, match="'none' trains nothing"):
        METHODS["none"].load()
    assert scheduled(PretrainOptions(method="none"), 100).batch_size == 32
