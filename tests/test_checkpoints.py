"""Checkpoints: all of a training's state comes back, and only its own."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from domainssl.checkpoints import Progress, load_checkpoint, save_checkpoint

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4), nn.Linear(4, 4))


def optimisers_of(model: nn.Module, kind: str) -> dict[str, torch.optim.Optimizer]:
    """Two players: everything but the last layer, and the last layer."""
    parts = {"model": list(model[:4].parameters()), "critic": list(model[4].parameters())}
    return {player: OPTIMISERS[kind](parameters) for player, parameters in parts.items()}


def steps(model: nn.Module, optimisers: dict[str, torch.optim.Optimizer], count: int, first: int = 0) -> None:
    for step in range(first, first + count):
        x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        for optimiser in optimisers.values():
            optimiser.zero_grad()
        model(x).square().sum().backward()
        for optimiser in optimisers.values():
            optimiser.step()


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_training_goes_on_as_if_never_stopped(tmp_path, kind):
    model = network().to(memory_format=torch.channels_last)
    optimisers = optimisers_of(model, kind)
    steps(model, optimisers, 3)
    progress = Progress(3, [0.1, 1 / 3], [{"epoch": 1, "loss": math.pi, "warning": None}])
    save_checkpoint(tmp_path / "deep" / "c.safetensors", "key", model, optimisers, progress)
    steps(model, optimisers, 4, first=3)

    again = network(seed=1).to(memory_format=torch.channels_last)
    restored = optimisers_of(again, kind)
    assert load_checkpoint(tmp_path / "deep" / "c.safetensors", "key", again, restored) == progress
    assert again[0].weight.is_contiguous(memory_format=torch.channels_last)
    steps(again, restored, 4, first=3)
    for (name, expected), value in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.isfinite(expected).all(), name
        assert torch.equal(value, expected), name


def test_rates_stay_those_of_the_new_optimiser(tmp_path):
    """A checkpoint holds state, not settings: those are the recipe's, and the key's."""
    model = network()
    optimisers = optimisers_of(model, "sgd")
    steps(model, optimisers, 1)
    save_checkpoint(tmp_path / "c.safetensors", "key", model, optimisers, Progress(1, [], []))
    other = {"model": torch.optim.SGD(model[:4].parameters(), lr=7.0, momentum=0.5)}
    load_checkpoint(tmp_path / "c.safetensors", "key", model, other)
    assert other["model"].param_groups[0]["lr"] == 7.0
    assert len(other["model"].state) == len(list(model[:4].parameters()))


def test_before_the_first_step_and_with_frozen_parameters(tmp_path):
    model = network()
    model[0].requires_grad_(False)
    optimisers = optimisers_of(model, "sgd")
    save_checkpoint(tmp_path / "a.safetensors", "key", model, optimisers, Progress(0, [], []))
    assert load_checkpoint(tmp_path / "a.safetensors", "key", network(1), optimisers_of(network(1), "sgd")) is not None
    steps(model, optimisers, 2)  # the frozen convolution gets no momentum
    save_checkpoint(tmp_path / "b.safetensors", "key", model, optimisers, Progress(2, [], []))
    again = network(1)
    restored = optimisers_of(again, "sgd")
    load_checkpoint(tmp_path / "b.safetensors", "key", again, restored)
    assert again[0].weight not in restored["model"].state
    buffer = restored["model"].state[again[3].weight]["momentum_buffer"]
    assert torch.equal(buffer, optimisers["model"].state[model[3].weight]["momentum_buffer"])


def test_records_keep_what_json_has_no_name_for(tmp_path):
    model = network()
    records = [{"rankme": math.nan, "uniformity": -math.inf, "loss": 0.1 + 0.2, "warning": "wärm"}]
    save_checkpoint(tmp_path / "c.safetensors", "key", model, {}, Progress(5, [1e-300], records))
    progress = load_checkpoint(tmp_path / "c.safetensors", "key", model, {})
    assert progress is not None
    assert (progress.step, progress.epoch_losses) == (5, [1e-300])
    assert math.isnan(progress.records[0].pop("rankme"))
    assert progress.records == [{"uniformity": -math.inf, "loss": 0.1 + 0.2, "warning": "wärm"}]


def test_no_checkpoint_or_anothers_changes_nothing(tmp_path):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = tmp_path / "c.safetensors"
    assert load_checkpoint(path, "key", model, {}) is None
    save_checkpoint(path, "other", network(1), {}, Progress(9, [], []))
    assert load_checkpoint(path, "key", model, {}) is None
    save_file({"method/0.weight": torch.zeros(3, 2, 3, 3)}, path, metadata={"key": "key"})
    assert load_checkpoint(path, "key", model, {}) is None
    save_file({"a": torch.zeros(1)}, path)
    assert load_checkpoint(path, "key", model, {}) is None
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_half_written_checkpoint_is_not_read(tmp_path, monkeypatch):
    model, path = network(), tmp_path / "last.safetensors"
    save_checkpoint(path, "key", model, {}, Progress(1, [], []))

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, "key", network(1), {}, Progress(2, [], []))
    assert {file.name for file in tmp_path.iterdir()} == {"last.safetensors", "last.part"}
    progress = load_checkpoint(path, "key", model, {})
    assert progress is not None
    assert progress.step == 1


def test_saving_does_not_touch_what_it_saves(tmp_path):
    model = network().to(memory_format=torch.channels_last)
    optimisers = optimisers_of(model, "sgd")
    steps(model, optimisers, 1)
    pointers = [p.data_ptr() for p in model.parameters()]
    save_checkpoint(tmp_path / "c.safetensors", "key", model, optimisers, Progress(1, [], []))
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
