"""Files of encoders: reading .safetensors, and networks of other projects whose tensors have timm's names."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

# What training code puts before the names of the network it holds, in any order and number.
PREFIXES = ("encoder.", "backbone.", "model.", "module.")
# What stands on top of the encoder in the files of others; left out, since features end before it.
HEADS = ("head", "heads", "classifier", "fc", "head_dist", "linear")


def read_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata (empty where there is none) and tensors of a .safetensors file; ValueError where it cannot be."""
    if not path.is_file():
        raise ValueError(f"no encoder file {path.name}; run the pretrain step, or name an existing .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged ({error}); give the encoder.safetensors of a run") from error


def published_network(name: str, file: str, state: dict[str, Tensor], bands: int) -> nn.Module:
    """timm's network `name` without its classifier, with the tensors `state` of another project's `file`.

    Prefixes of PREFIXES and the tensors of a classifier or head are left out. A first layer for 3 channels gives a
    network for red, green, blue, which `adapt_stem` makes take other bands; else its channels must be as many as
    `bands`, and are taken as these, in their order. Tensors become float32.
    Raises ValueError where tensors are missing, of another shape or unknown to the network.
    """
    with torch.device("meta"):
        skeleton = timm.create_model(name, pretrained=False, num_classes=0)
    found, unknown = _without_prefix(state, set(skeleton.state_dict()))
    stem = found.get(stem_name(skeleton.default_cfg) + ".weight")
    channels = 3 if stem is None or stem.ndim != 4 else int(stem.shape[1])
    if channels not in (3, bands):
        raise ValueError(
            f"{file} takes {channels} band(s), the images have {bands}; name as many bands in the recipe, or give a "
            "file for 3 (red, green, blue), which is adapted to any"
        )
    with torch.random.fork_rng(devices=[]):  # timm initialises from the global generator
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
    own = network.state_dict()
    for key, tensor in own.items():
        if key.endswith(".num_batches_tracked"):  # a count for training only, which some exports leave out
            found.setdefault(key, tensor)
    faults = {
        "missing": [key for key in own if key not in found],
        "of another shape": [key for key, tensor in own.items() if key in found and found[key].shape != tensor.shape],
        "unknown to it": unknown,
    }
    if any(faults.values()):
        told = [f"{len(keys)} tensors {what} (first: {keys[0]})" for what, keys in faults.items() if keys]
        raise ValueError(
            f"{file} does not fit timm's {name}: {', '.join(told)}; set encoder.name to the timm network that the file "
            "was trained as, or give the file of the encoder alone"
        )
    network.load_state_dict(found)
    return network


def _without_prefix(state: dict[str, Tensor], wanted: set[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The network's tensors under its own names, and the names in the file that are neither these nor a head's."""
    prefixes = sorted({prefix for key in state for prefix in _prefixes(key)})
    prefix = max(prefixes, key=lambda candidate: sum(candidate + key in state for key in wanted), default="")
    found = {key: state[prefix + key] for key in wanted if prefix + key in state}
    rest = [key for key in state if not (key.startswith(prefix) and key.removeprefix(prefix) in found)]
    return found, [key for key in rest if key.removeprefix(_prefixes(key)[-1]).split(".")[0] not in HEADS]


def _prefixes(key: str) -> list[str]:
    """ "", and what is there of known prefixes, one longer than the other."""
    found, rest = [""], key
    while known := next((prefix for prefix in PREFIXES if rest.startswith(prefix)), None):
        found.append(found[-1] + known)
        rest = rest.removeprefix(known)
    return found


def stem_name(config: dict[str, Any]) -> str:
    """The name of the network's first convolution, in timm's default_cfg."""
    first = config["first_conv"]
    return str(first[0] if isinstance(first, (tuple, list)) else first)
