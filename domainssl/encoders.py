"""Encoders from timm, started from ImageNet, and the exact input each of them takes.

Axes: b image, c band, h w pixel rows and columns, d feature, o output channel, k kernel.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import timm
import torch
from jaxtyping import Float, Float64
from safetensors.torch import save_file
from timm.layers import Conv2dSame
from torch import Tensor, nn

import domainssl.dense  # noqa: F401 - timm then knows its networks by name
from domainssl.bands import rgb_mixing
from domainssl.encoder_files import published_network, read_file, stem_name
from domainssl.imagenet import PACKAGED_IMAGENET, imagenet_network, size_argument

Stretch = Literal["none", "asinh", "linear"]
# What a photograph's 0..1 becomes by ImageNet's mean and std, over the three colours.
PHOTOGRAPH = (-2.118, 2.640)


@dataclass(frozen=True)
class InputSpec:
    """What an encoder takes: linear or display values of these bands at this size, and how it normalises them.

    `stretch` "asinh" maps flux to asinh(flux / scale), scale in source units a band, then (x - mean) / std; "linear"
    takes flux / scale as it is and cuts the result to the range that photographs have.
    `preparation` names how files became pixels; None (ImageNet as delivered) takes any store.
    """

    bands: tuple[str, ...]
    size: int
    stretch: Stretch
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: str | None

    def check(self, bands: tuple[str, ...], preparation: str) -> None:
        """Raise ValueError unless images of these bands and this preparation are what the weights were trained on."""
        if bands != self.bands:
            raise ValueError(
                f"the encoder takes bands {', '.join(self.bands)}, the images have {', '.join(bands)}; "
                "name the same bands in the recipe, or train an encoder for these"
            )
        if self.preparation is not None and preparation != self.preparation:
            raise ValueError(
                f"the encoder was trained on preparation {self.preparation!r}, the images have {preparation!r}; "
                "prepare them with the settings of that run"
            )


@final
class TimmEncoder(nn.Module):
    """A timm network without its classifier; normalises its own input, so that weights and preprocessing never part."""

    input: InputSpec
    width: int
    network: Any  # an nn.Module with timm's methods
    _scale: Tensor
    _mean: Tensor
    _std: Tensor

    def __init__(self, name: str, network: nn.Module, spec: InputSpec) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.input = spec
        # Some networks (MobileNet V3) have one more layer between the last feature map and the classifier.
        self.width = int(getattr(self.network, "head_hidden_size", None) or self.network.num_features)
        for key in ("scale", "mean", "std"):
            self.register_buffer(f"_{key}", torch.tensor(getattr(spec, key)).view(1, -1, 1, 1), persistent=False)

    def normalised(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Stretch and normalise source values (flux, or 0..1 for pictures) into what the network takes."""
        if self.input.stretch == "asinh":
            x = torch.asinh(x / self._scale)
        elif self.input.stretch == "linear":
            return ((x / self._scale - self._mean) / self._std).clamp(*PHOTOGRAPH)
        return (x - self._mean) / self._std

    def source_values(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What `normalised` was given, so that reconstructions can be looked at; what it cut off stays cut off."""
        x = normalised * self._std + self._mean
        if self.input.stretch == "asinh":
            return torch.sinh(x) * self._scale
        return x * self._scale if self.input.stretch == "linear" else x

    def pooled(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """One feature vector an image, the network's own global pooling; source values in, finite values expected."""
        return self.pooled_normalised(self.normalised(x))

    def pooled_normalised(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """The same from what `normalised` gave, for methods that change or differentiate what the network takes."""
        features: Tensor = self.network(self._laid_out(normalised))
        return features

    def grid(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d y x"]:
        """The last feature map; ValueError for networks (transformers) that give tokens instead."""
        features: Tensor = self.network.forward_features(self._network_input(x))
        if features.ndim != 4:
            raise ValueError(f"{self.name} gives tokens, not a feature map; choose a convolutional encoder")
        return features

    def stages(self, x: Float[Tensor, "b c h w"]) -> tuple[list[Tensor], Float[Tensor, "b d"]]:
        """The feature map (b channel y x) after each stage, and the pooled features; ValueError as `stage_widths`."""
        self.stage_widths()
        final, maps = self.network.forward_intermediates(self._network_input(x))
        pooled: Tensor = self.network.forward_head(final)
        return maps, pooled

    def stage_widths(self) -> list[int]:
        """The channels of each stage's feature map; ValueError for networks without stages of falling resolution."""
        info = getattr(self.network, "feature_info", ())
        if not hasattr(self.network, "forward_intermediates") or len({stage["reduction"] for stage in info}) < 2:
            raise ValueError(f'{self.name} has no stages; choose features "last", or a convolutional encoder')
        return [int(stage["num_chs"]) for stage in info]

    def _network_input(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self._laid_out(self.normalised(x))

    def _laid_out(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        stem_format = self.network.get_parameter(_stem_name(self.network) + ".weight")
        if stem_format.is_contiguous(memory_format=torch.channels_last):
            x = x.contiguous(memory_format=torch.channels_last)
        return x


def create_encoder(
    name: str,
    weights: str,
    *,
    bands: tuple[str, ...],
    size: int,
    sample: Float[Tensor, "b c h w"],
    sky_sigma: Float[np.ndarray, " c"] | None,
    preparation: str,
    seed: int,
    stretch: Literal["asinh", "linear"] = "asinh",
) -> TimmEncoder:
    """An encoder for these bands: ImageNet ("imagenet"), random ("none"), or a .safetensors file.

    The file is one that `save_encoder` wrote, or another project's with the tensors of timm's network `name`: a first
    layer for 3 channels is taken as red, green, blue and adapted to the bands as ImageNet's; one for as many channels
    as there are bands is taken as it is.

    `sample` holds source values of some training images; for linear images (`sky_sigma` given, source units a band)
    the asinh stretch softens at one sky sigma, and each band's range is laid on the range a photograph has; images
    that lack a band have no say in its range.
    Raises ValueError for an unknown name, for weights that cannot be had, for a file of another network, other bands,
    size or preparation, and where the network does not take this size.
    """
    published: dict[str, Tensor] | None = None
    if weights.endswith(".safetensors"):
        metadata, published = read_file(Path(weights))
        if metadata.get("format", "").startswith("domainssl."):
            encoder = load_encoder(Path(weights))
            encoder.input.check(bands, preparation)
            for key, wanted, found in (("name", name, encoder.name), ("size", size, encoder.input.size)):
                if wanted != found:
                    raise ValueError(
                        f"encoder.{key} is {wanted}, {Path(weights).name} has {found}; set encoder.{key} so"
                    )
            return encoder
    if not timm.is_model(name):
        raise ValueError(f"encoder.name: timm has no model {name!r}; timm.list_models() lists them")
    if weights == "none":
        network: Any = _random_network(name, len(bands), size, seed)
    elif weights == "imagenet":
        network = imagenet_network(name, size)
        adapt_stem(network, rgb_mixing(bands))
    elif published is not None:
        network = published_network(name, Path(weights).name, published, len(bands))
        if network.get_parameter(_stem_name(network) + ".weight").shape[1] == 3:
            adapt_stem(network, rgb_mixing(bands))
    else:
        raise ValueError(f"encoder.weights: {weights!r} is none of imagenet, none, or a .safetensors file")
    spec = _measured_input(network, bands, size, sample, sky_sigma, preparation, stretch)
    network.reset_classifier(0)
    encoder = TimmEncoder(name, network, spec).eval()
    _check_size(encoder)
    return encoder


def adapt_stem(network: nn.Module, mixing: Float[np.ndarray, "c 3"]) -> None:
    """Make an RGB network take `c` bands: each RGB input becomes the mean of bands that `mixing` gives, in place.

    Columns of `mixing` sum to 1, so that an image that is equal in all bands gives the RGB response exactly.
    Where the network's mean and std differ between R, G and B they are folded into the weights and a bias; the bias is
    exact inside the frame, but where the first convolution reaches over the edge it also counts the padded zeros.
    Raises ValueError for networks whose input passes through anything but one plain convolution.
    """
    cfg = _config(network)
    mean, std = np.array(cfg["mean"]), np.array(cfg["std"])
    if mixing.shape == (3, 3) and np.array_equal(mixing, np.eye(3)):
        return  # red, green, blue: the stem as it is, with per-channel mean and std
    stem: Any = network.get_submodule(_stem_name(network))
    if type(stem) not in (nn.Conv2d, Conv2dSame) or not isinstance(cfg["first_conv"], str):
        # Weight-standardised convolutions would rescale what is folded in; two first layers would need two of these.
        raise ValueError(
            f"encoder.name: the first layer of {cfg.get('architecture')} is no plain convolution, so its ImageNet "
            f"weights cannot take {len(mixing)} bands; choose {', '.join(PACKAGED_IMAGENET)} or a ResNet"
        )
    rgb = stem.weight.detach().double()  # o 3 k k
    # The adapted network takes (x - mean(mean)) / mean(std) in every band.
    gain = torch.from_numpy(mixing * (std.mean() / std))  # c 3
    offset = torch.from_numpy((mean.mean() - mean) / std)  # 3
    stem.weight = nn.Parameter(torch.einsum("orxy,cr->ocxy", rgb, gain).float().contiguous())
    stem.in_channels = mixing.shape[0]
    shift = torch.einsum("orxy,r->o", rgb, offset).float()
    if torch.any(shift != 0):
        stem.bias = nn.Parameter(shift if stem.bias is None else stem.bias.detach() + shift)


def _measured_input(
    network: nn.Module,
    bands: tuple[str, ...],
    size: int,
    sample: Float[Tensor, "b c h w"],
    sky_sigma: Float[np.ndarray, " c"] | None,
    preparation: str,
    stretch: Literal["asinh", "linear"],
) -> InputSpec:
    cfg = _config(network)
    count = len(bands)
    photo_mean, photo_std = np.array(cfg["mean"]), np.array(cfg["std"])
    if not np.array_equal(rgb_mixing(bands), np.eye(3)):  # adapt_stem has folded their differences into the weights
        photo_mean, photo_std = np.full(count, photo_mean.mean()), np.full(count, photo_std.mean())
    if sky_sigma is None:
        return InputSpec(bands, size, "none", (1.0,) * count, _floats(photo_mean), _floats(photo_std), preparation)
    scale = torch.from_numpy(sky_sigma.astype(np.float32)).view(1, -1, 1, 1)
    stretched = sample / scale if stretch == "linear" else torch.asinh(sample / scale)
    by_band = [_of_those_that_have_it(plane) for plane in stretched.transpose(0, 1)]
    low, high = np.array([np.quantile(values, [0.01, 0.998]) for values in by_band]).T  # sky to bright cores
    # Photographs run from 0 to 1 before ImageNet's mean and std: lay each band's low..high on that range.
    extent = np.maximum(high - low, 1e-3)
    mean, std = low + extent * photo_mean, extent * photo_std
    return InputSpec(bands, size, stretch, _floats(sky_sigma), _floats(mean), _floats(std), preparation)


def _of_those_that_have_it(plane: Float[Tensor, "b h w"]) -> Float64[np.ndarray, " n"]:
    """The values of a band in the images that are not 0 throughout, as those are that lack it; all, if all are."""
    there = plane.flatten(1).any(dim=1)
    return np.asarray((plane[there] if there.any() else plane).flatten().numpy(), np.float64)


def _floats(values: Float[np.ndarray, " c"]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _check_size(encoder: TimmEncoder) -> None:
    size, count = encoder.input.size, len(encoder.input.bands)
    try:
        with torch.inference_mode():
            features = encoder.pooled(torch.zeros(1, count, size, size))
    except (AssertionError, RuntimeError) as error:  # transformers take one size only
        raise ValueError(
            f"encoder.size: {encoder.name} does not take {size} px ({str(error).splitlines()[0]}); "
            f"choose {_config(encoder.network)['input_size'][-1]}, or another network"
        ) from error
    assert features.shape == (1, encoder.width), (features.shape, encoder.width)


def _random_network(name: str, count: int, size: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # timm initialises from the global generator
        torch.manual_seed(seed)
        sized = size_argument(name, size)
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=count, **sized)
        return network


def _stem_name(network: nn.Module) -> str:
    return stem_name(_config(network))


def _config(network: nn.Module) -> dict[str, Any]:
    config: dict[str, Any] = network.default_cfg  # type: ignore[assignment]
    return config


def weights_hash(encoder: TimmEncoder) -> str:
    """The sha256 of an encoder's weights and input specification, which names the features it gives."""
    digest = hashlib.sha256(repr(encoder.input).encode())
    for name, tensor in encoder.network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_encoder(encoder: TimmEncoder, path: Path, provenance: dict[str, Any]) -> None:
    """Write weights, input specification and provenance into one .safetensors file."""
    tensors = {name: tensor.contiguous() for name, tensor in encoder.network.state_dict().items()}
    save_file(tensors, path, metadata={"format": "domainssl.encoder.1", **encoder_metadata(encoder, provenance)})


def encoder_metadata(encoder: TimmEncoder, provenance: dict[str, Any]) -> dict[str, str]:
    """What a file must say beside the network's tensors, so that `encoder_from` makes the encoder again."""
    return {
        "name": encoder.name,
        "input": json.dumps(dataclasses.asdict(encoder.input)),
        "provenance": json.dumps(provenance, sort_keys=True, default=str),
    }


def load_encoder(path: Path) -> TimmEncoder:
    """Read an encoder that `save_encoder` wrote; ValueError where the file is absent or of another kind."""
    metadata, state = read_file(path)
    if metadata.get("format") != "domainssl.encoder.1":
        raise ValueError(f"{path.name} is no encoder of domainssl; give the encoder.safetensors of a run")
    return encoder_from(metadata, state)


def encoder_from(metadata: dict[str, str], state: dict[str, Tensor]) -> TimmEncoder:
    """The encoder of these network tensors and this `encoder_metadata`, in evaluation mode."""
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(metadata["input"]).items()
    }
    spec = InputSpec(**fields)
    sized = size_argument(metadata["name"], spec.size)
    network = timm.create_model(metadata["name"], pretrained=False, in_chans=len(spec.bands), num_classes=0, **sized)
    stem = _stem_name(network)
    if f"{stem}.bias" in state and network.get_submodule(stem).bias is None:  # adapt_stem gave it one
        network.get_submodule(stem).bias = nn.Parameter(torch.empty_like(state[f"{stem}.bias"]))
    network.load_state_dict(state)
    return TimmEncoder(metadata["name"], network, spec).eval()
