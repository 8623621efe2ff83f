"""Where ImageNet weights come from and under which licence, and what an encoder's file tells of itself."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, final

import timm
from safetensors import safe_open

from domainssl.imagenet import PACKAGED_IMAGENET

# Statistics of batch norm and counts are kept beside the parameters; nobody trains them by a gradient.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@final
@dataclass(frozen=True)
class WeightsSource:
    """Where published weights lie, their licence and sha256 ("" where not stated), and what they learnt from."""

    where: str
    licence: str
    learnt_from: str
    sha256: str = ""


def imagenet_source(name: str) -> WeightsSource:
    """The source of the weights that `domainssl.imagenet.imagenet_network` gives for timm's network `name`."""
    if name in PACKAGED_IMAGENET:
        package = PACKAGED_IMAGENET[name]
        return WeightsSource(f"the package {package.package}", package.licence, "ImageNet-1k", package.sha256)
    config = timm.get_pretrained_cfg(name)
    if config is None:
        return WeightsSource("timm's hub", "", "not stated")
    return WeightsSource(
        f"timm's hub ({config.hf_hub_id or config.url or name})",
        config.license or "",
        f"timm's tag {config.tag or 'none'}",
    )


@final
@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder's file says: timm's name, numbers of parameters, `input` and `provenance` as they were saved."""

    name: str
    parameters: int
    input: dict[str, Any]
    provenance: dict[str, Any]


def encoder_facts(path: Path) -> EncoderFacts:
    """The facts of a file that `save_encoder` wrote; no tensor is read."""
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        sizes = {name: prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    trained = sum(size for name, size in sizes.items() if name.rpartition(".")[2] not in _BUFFERS)
    return EncoderFacts(metadata["name"], trained, json.loads(metadata["input"]), json.loads(metadata["provenance"]))
