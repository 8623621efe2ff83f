"""Checkpoints of a training run: everything that stopping would lose, in one safetensors file, replaced atomically."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FORMAT = "domainssl.checkpoint.2"


@dataclass(frozen=True)
class Progress:
    """Where training stands: optimiser steps, losses and measures of the epoch under way, records of those done."""

    step: int
    epoch_losses: list[float]
    records: list[dict[str, Any]]
    epoch_measures: dict[str, list[float]] = field(default_factory=dict)


def save_checkpoint(
    path: Path, key: str, method: nn.Module, optimisers: dict[str, torch.optim.Optimizer], progress: Progress
) -> None:
    """Write the method's and the optimisers' state; `key` names the recipe and data that this training belongs to."""
    tensors = {f"method/{name}": value.detach().contiguous() for name, value in method.state_dict().items()}
    for player, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimiser/{player}/{index}/{name}"] = torch.as_tensor(value).contiguous()
    metadata = {
        "format": FORMAT,
        "key": key,
        "step": str(progress.step),
        "epoch_losses": json.dumps(progress.epoch_losses),
        "epoch_measures": json.dumps(progress.epoch_measures),
        "records": json.dumps(progress.records),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=metadata)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(
    path: Path, key: str, method: nn.Module, optimisers: dict[str, torch.optim.Optimizer]
) -> Progress | None:
    """Restore a training in place and say where it stood; None where no checkpoint with this key exists."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT or metadata.get("key") != key:
            return None
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    method.load_state_dict({n.removeprefix("method/"): t for n, t in tensors.items() if n.startswith("method/")})
    for player, optimiser in optimisers.items():
        prefix = f"optimiser/{player}/"
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                index, field = name.removeprefix(prefix).split("/")
                state.setdefault(int(index), {})[field] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    losses, records, measures = (json.loads(metadata[key]) for key in ("epoch_losses", "records", "epoch_measures"))
    return Progress(int(metadata["step"]), losses, records, measures)
