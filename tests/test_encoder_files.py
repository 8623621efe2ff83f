"""Encoder files of other projects: timm's names behind any prefix, heads left out, anything else refused by name."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from domainssl.bands import rgb_mixing
from domainssl.encoders import TimmEncoder, create_encoder, load_encoder, save_encoder

RGB = ("red", "green", "blue")
UGRIZ = ("u", "g", "r", "i", "z")


def images(count: int, bands: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, bands, size, size, generator=torch.Generator().manual_seed(seed))


def published(name: str, channels: int = 3, classes: int = 7, seed: int = 0) -> torch.nn.Module:
    """A network as another project would train it: its own weights, statistics and number of classes."""
    generator = torch.Generator().manual_seed(seed)
    network = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=classes).eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(1 + 0.2 * noise.abs() if key.endswith("running_var") else value + 0.1 * noise)
    return network


def write(path: Path, network: torch.nn.Module, prefix: str = "", **more: torch.Tensor) -> Path:
    save_file({prefix + key: value.contiguous() for key, value in network.state_dict().items()} | more, path)
    return path


def open_as(path: Path, bands: tuple[str, ...], name: str = "test_efficientnet") -> TimmEncoder:
    return create_encoder(
        name,
        str(path),
        bands=bands,
        size=32,
        sample=images(4, len(bands)),
        sky_sigma=None,
        preparation="p" * 64,
        seed=0,
    )


def last_features(network: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return network.forward_head(network.forward_features(x), pre_logits=True)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext", "test_byobnet"])
@pytest.mark.parametrize("prefix", ["", "encoder.", "module.model.", "model.backbone."])
def test_any_known_prefix_and_classifier(tmp_path, name, prefix):
    network = published(name)
    path = write(tmp_path / "x.safetensors", network, prefix, **{"head.1.weight": torch.ones(2, 2)})
    encoder = open_as(path, RGB, name)
    cfg, x = network.default_cfg, images(2, 3)
    mean, std = (torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        torch.testing.assert_close(encoder.pooled(x), last_features(network, (x - mean) / std), rtol=1e-5, atol=1e-5)
    assert (encoder.input.mean, encoder.input.std) == (cfg["mean"], cfg["std"])
    assert not encoder.training


@pytest.mark.parametrize("bands", [("r",), UGRIZ, ("g", "r", "z")], ids="".join)
def test_a_first_layer_for_photographs_is_adapted_to_the_bands(tmp_path, bands):
    network = published("test_convnext")  # no padding: exact to the edge
    encoder = open_as(write(tmp_path / "x.safetensors", network, "encoder."), bands, "test_convnext")
    cfg, x = network.default_cfg, images(2, len(bands))
    mean, std = (torch.tensor(cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    photograph = torch.einsum("bchw,cr->brhw", x, torch.from_numpy(rgb_mixing(bands)).float())
    with torch.inference_mode():
        expected = last_features(network, (photograph - mean) / std)
        torch.testing.assert_close(encoder.pooled(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("channels", "bands"), [(1, ("intensity",)), (5, UGRIZ)], ids=["grey", "ugriz"])
def test_a_first_layer_for_as_many_bands_is_taken_as_it_is(tmp_path, channels, bands):
    network = published("test_efficientnet", channels)
    encoder = open_as(write(tmp_path / "x.safetensors", network, "encoder."), bands)
    assert torch.equal(encoder.network.conv_stem.weight, network.conv_stem.weight)
    assert len(set(encoder.input.mean)) == 1
    x = images(2, channels)
    with torch.inference_mode():
        expected = last_features(network, encoder.normalised(x))
        assert torch.equal(encoder.pooled(x), expected)


def test_the_normalisation_of_linear_bands_is_measured(tmp_path):
    path = write(tmp_path / "x.safetensors", published("test_efficientnet"))
    settings: dict = {"bands": UGRIZ, "size": 32, "sample": images(4, 5), "preparation": "p" * 64, "seed": 0}
    sky = np.full(5, 0.1, np.float32)
    found = create_encoder("test_efficientnet", str(path), sky_sigma=sky, **settings).input
    assert found == create_encoder("test_efficientnet", "none", sky_sigma=sky, **settings).input
    assert found.stretch == "asinh"


def test_it_then_lives_in_a_file_of_ours(tmp_path):
    encoder = open_as(write(tmp_path / "x.safetensors", published("test_efficientnet"), "encoder."), UGRIZ)
    save_encoder(encoder, tmp_path / "ours.safetensors", {})
    x = images(2, 5)
    with torch.inference_mode():
        assert torch.equal(load_encoder(tmp_path / "ours.safetensors").pooled(x), encoder.pooled(x))


def test_half_precision_and_absent_counts_of_batches_are_taken(tmp_path):
    state = {k: v.half() for k, v in published("test_efficientnet").state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "x.safetensors")
    encoder = open_as(tmp_path / "x.safetensors", RGB)
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
    assert torch.equal(encoder.network.conv_stem.weight, state["conv_stem.weight"].float())


def test_the_global_generator_stays(tmp_path):
    path = write(tmp_path / "x.safetensors", published("test_efficientnet"))
    before = torch.get_rng_state()
    open_as(path, UGRIZ)
    assert torch.equal(torch.get_rng_state(), before)


# What is refused


def refusal(path: Path, bands: tuple[str, ...] = RGB, name: str = "test_efficientnet") -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        open_as(path, bands, name)
    message = str(caught.value)
    assert str(path.parent) not in message
    assert "\n" not in message
    return message


def test_another_network_is_refused(tmp_path):
    message = refusal(write(tmp_path / "x.safetensors", published("test_resnet")))
    assert "x.safetensors does not fit timm's test_efficientnet: " in message
    assert "tensors missing (first: conv_stem.weight)" in message
    assert "set encoder.name to the timm network" in message


def test_missing_unknown_and_misshaped_tensors_are_counted_and_the_first_is_named(tmp_path):
    state = {f"encoder.{k}": v for k, v in published("test_efficientnet").state_dict().items()}
    del state["encoder.bn2.weight"], state["encoder.bn2.bias"]
    state["encoder.conv_head.weight"] = torch.zeros(3, 3)
    state["encoder.attention.weight"], state["projector.weight"] = torch.zeros(1), torch.zeros(1)
    save_file(state, tmp_path / "x.safetensors")
    message = refusal(tmp_path / "x.safetensors")
    assert "2 tensors missing (first: bn2.weight)" in message
    assert "1 tensors of another shape (first: conv_head.weight)" in message
    assert "2 tensors unknown to it (first: encoder.attention.weight)" in message


def test_two_networks_in_one_file_are_refused(tmp_path):
    state = published("test_efficientnet").state_dict()
    twice = {f"encoder.{k}": v for k, v in state.items()} | {f"momentum.{k}": v.clone() for k, v in state.items()}
    save_file(twice, tmp_path / "x.safetensors")
    assert "tensors unknown to it (first: momentum." in refusal(tmp_path / "x.safetensors")


def test_other_numbers_of_bands_are_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", published("test_efficientnet", 4))
    assert "takes 4 band(s), the images have 5; name as many bands" in refusal(path, UGRIZ)


def test_other_files_of_this_project_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.zeros(1)}, path, metadata={"format": "domainssl.linear_head.1"})
    assert "is no encoder of domainssl" in refusal(path)
    (tmp_path / "y.safetensors").write_bytes(b"too short")
    assert "is damaged" in refusal(tmp_path / "y.safetensors")
    assert "run the pretrain step" in refusal(tmp_path / "z.safetensors")
    path = write(tmp_path / "x.safetensors", published("test_efficientnet"))
    with pytest.raises(ValueError, match="timm has no model 'zoobot'"):
        open_as(path, RGB, "zoobot")


def test_a_padded_first_layer_keeps_the_response_to_grey_inside(tmp_path):
    network = published("test_efficientnet")
    encoder = open_as(write(tmp_path / "x.safetensors", network), ("r",))
    grey = images(1, 1)
    normal = encoder.normalised(grey)
    with torch.inference_mode():
        mean, std = (torch.tensor(network.default_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
        expected = functional.conv2d((grey - mean) / std, network.conv_stem.weight, stride=2)
        found = functional.conv2d(normal, encoder.network.conv_stem.weight, encoder.network.conv_stem.bias, stride=2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
