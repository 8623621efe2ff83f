"""The training loop: it learns, it touches only what it may, and stopping it anywhere changes nothing."""

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_stores import blobs, write_store

from domainssl.encoders import create_encoder
from domainssl.methods.simclr import SimCLR
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.pretraining import make_optimiser, pretrain, rate, step_generator
from domainssl.store import Store
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.noise_to import NoiseTo
from domainssl.views.operation import Policy

BANDS = ("g", "r", "z")
POLICY: Policy = (AffineCrop(32, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05), BlurTo(1.5), NoiseTo(2.0))
SHORT = PretrainOptions(
    epochs=2,
    batch_size=8,
    projector_epochs=1,
    encoder_rate=0.05,
    projector_rate=0.1,
    weight_decay=1e-4,
    projector_width=32,
    projection_dim=16,
    checkpoint_minutes=0.0,
)
FLOAT32 = Precision("float32", True)


def simclr(store: Store, options: PretrainOptions = SHORT, name: str = "test_efficientnet") -> SimCLR:
    encoder = create_encoder(
        name,
        "none",
        bands=BANDS,
        size=32,
        sample=store.batch(np.arange(len(store))).images,
        sky_sigma=np.ones(3, np.float32),
        preparation=store.preparation,
        seed=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SimCLR(encoder, options)


def train(
    store: Store,
    checkpoint: Path,
    options: PretrainOptions = SHORT,
    *,
    method: SimCLR | None = None,
    rows: np.ndarray | None = None,
    seed: int = 0,
    key: str = "key",
    precision: Precision = FLOAT32,
    on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
    on_epoch: Callable[[list[dict[str, Any]]], None] = lambda records: None,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """A new method, trained: its weights, and its records without their speed."""
    method = method or simclr(store, options)
    records = pretrain(
        method,
        store,
        np.arange(len(store)) if rows is None else rows,
        POLICY,
        options,
        seed=seed,
        precision=precision,
        checkpoint=checkpoint,
        key=key,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    return weights(method), [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def weights(method: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], prefix: str = "") -> bool:
    names = [name for name in first if name.startswith(prefix)]
    assert names
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in names)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("store"), blobs(20, 3, 36), bands=BANDS)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """A training that was never stopped: 2 steps of the projector, 4 of everything."""
    return train(store, tmp_path_factory.mktemp("whole") / "c.safetensors")


# Learning


def test_the_loss_falls_in_both_phases(tmp_path):
    store = write_store(tmp_path, blobs(64, 3, 36, seed=3), bands=BANDS)
    options = dataclasses.replace(
        SHORT, epochs=6, projector_epochs=4, batch_size=16, encoder_rate=0.003, checkpoint_minutes=60.0
    )
    method = simclr(store, options)
    _, records = train(store, tmp_path / "c.safetensors", options, method=method)
    losses = [record["loss"] for record in records]
    assert [record["phase"] for record in records] == ["projector"] * 4 + ["encoder"] * 6
    assert losses[3] < losses[0] - 0.1
    assert losses[-1] < losses[3] - 0.3, losses
    assert losses[0] < math.log(31) * 1.2, "worse than chance by far: views of one image are not paired"
    assert not method.encoder.training
    assert all(parameter.requires_grad for parameter in method.parameters())


def test_records(store, whole, tmp_path):
    losses: list[float] = []
    told: list[int] = []
    method = simclr(store)
    _, records = train(
        store,
        tmp_path / "c.safetensors",
        method=method,
        on_step=lambda step, total, loss: losses.append(loss),
        on_epoch=lambda records: told.append(len(records)),
    )
    assert records == whole[1]
    assert told == [1, 2, 3]
    assert [record["loss"] for record in records] == pytest.approx([np.mean(losses[i : i + 2]) for i in (0, 2, 4)])
    assert [(r["epoch"], r["phase"]) for r in records] == [(1, "projector"), (2, "encoder"), (3, "encoder")]
    for record in records:
        for name in ("loss", "rankme", "rankme_centred", "spread", "alignment", "uniformity"):
            assert math.isfinite(record[name]), name
        assert 1 <= record["rankme"] <= 20
    assert records[0]["rankme"] != records[1]["rankme"], "the monitor does not look at the trained encoder"


def test_a_healthy_encoder_on_few_images_is_no_collapse_and_a_constant_one_is(store, tmp_path):
    options = dataclasses.replace(SHORT, epochs=0)
    _, records = train(store, tmp_path / "a.safetensors", options, rows=np.arange(4))
    assert records[0]["warning"] is None
    method = simclr(store, options)
    torch.nn.init.zeros_(method.encoder.network.bn2.weight)
    torch.nn.init.ones_(method.encoder.network.bn2.bias)
    _, records = train(store, tmp_path / "b.safetensors", options, method=method)
    assert "has collapsed" in records[0]["warning"]


# What is touched and what is not


def test_the_projector_phase_leaves_the_encoder_as_it_was(store, tmp_path):
    options = dataclasses.replace(SHORT, epochs=0, projector_epochs=3, weight_decay=0.1)
    before = weights(simclr(store, options))
    after, records = train(store, tmp_path / "c.safetensors", options)
    assert same(before, after, "encoder.")
    assert not torch.equal(before["projector.0.weight"], after["projector.0.weight"])
    assert len(records) == 3


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_statistics_stay_where_they_are_asked_to(store, tmp_path, frozen):
    options = dataclasses.replace(SHORT, frozen_batchnorm=frozen)
    before = weights(simclr(store, options))
    after, _ = train(store, tmp_path / "c.safetensors", options)
    statistics = [name for name in before if name.startswith("encoder.") and "running_" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) == frozen for name in statistics)
    assert not torch.equal(before["encoder.network.conv_stem.weight"], after["encoder.network.conv_stem.weight"])
    assert not torch.equal(before["encoder.network.bn1.weight"], after["encoder.network.bn1.weight"])
    assert not torch.equal(before["projector.1.running_mean"], after["projector.1.running_mean"])


def test_only_the_given_rows_are_seen_each_once_an_epoch(store, tmp_path, monkeypatch):
    rows = np.array([1, 3, 4, 7, 8, 11, 13, 14, 17, 18, 19])
    seen: list[list[int]] = []
    real = Store.batch

    def spy(self, chosen):
        seen.append(chosen.tolist())
        return real(self, chosen)

    monkeypatch.setattr(Store, "batch", spy)
    options = dataclasses.replace(SHORT, batch_size=4)
    train(store, tmp_path / "c.safetensors", options, method=simclr(store), rows=rows)
    seen = seen[1:]  # simclr's sample
    assert {row for batch in seen for row in batch} <= set(rows.tolist())
    epochs = [seen[start : start + 2] for start in range(0, len(seen), 3)]  # two steps, then the monitor
    assert len(epochs) == 3
    for first, second in epochs:
        assert len(first) == len(second) == 4
        assert len({*first, *second}) == 8
    assert epochs[0] != epochs[1], "the order does not change"
    assert sorted(seen[2]) == rows.tolist()


def test_a_catalog_smaller_than_a_batch_is_one_batch(store, tmp_path):
    steps: list[tuple[int, int]] = []
    options = dataclasses.replace(SHORT, batch_size=128)
    _, records = train(
        store, tmp_path / "c.safetensors", options, rows=np.arange(5), on_step=lambda s, t, _: steps.append((s, t))
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert len(records) == 3


# Seeds


def test_weights_are_a_function_of_the_seed(store, whole, tmp_path):
    torch.manual_seed(99)  # the global generator has no say
    state = torch.get_rng_state()
    again, records = train(store, tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert same(again, whole[0])
    assert records == whole[1]
    other, _ = train(store, tmp_path / "b.safetensors", seed=1)
    assert not same(other, whole[0])


def test_streams_of_random_numbers_are_apart():
    drawn = {
        tuple(torch.rand(2, generator=step_generator(seed, stream, number)).tolist())
        for seed in (0, 1, 2**40)
        for stream in range(3)
        for number in range(50)
    }
    assert len(drawn) == 3 * 3 * 50
    first, second = (torch.rand(4, generator=step_generator(5, 1, 7)) for _ in range(2))
    assert torch.equal(first, second)


# Stopping


class Stopped(Exception):  # noqa: N818 - not an error
    pass


@pytest.mark.parametrize("minutes", [0.0, 1e6], ids=["checkpoint every step", "no checkpoint"])
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6])
def test_stopping_anywhere_changes_nothing(store, whole, tmp_path, stop, minutes):
    options = dataclasses.replace(SHORT, checkpoint_minutes=minutes)
    checkpoint = tmp_path / "checkpoints" / "last.safetensors"

    def interrupt(step: int, total: int, loss: float) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, checkpoint, options, on_step=interrupt)
    assert checkpoint.is_file() == (minutes == 0 and stop > 1)
    steps: list[int] = []
    again, records = train(store, checkpoint, options, on_step=lambda step, total, loss: steps.append(step))
    assert same(again, whole[0])
    assert records == whole[1]
    assert steps == list(range(stop if minutes == 0 else 1, 7))


def test_stopping_again_and_again_changes_nothing(store, whole, tmp_path):
    """Stopped after every single step, once it is saved; also between a record and its checkpoint."""
    stops = {"next": 2}

    def after_saving(step: int, total: int, loss: float) -> None:
        if step == stops["next"]:
            stops["next"] += 1
            raise Stopped

    def between(records: list[dict[str, Any]]) -> None:
        if len(records) not in stops:
            stops[len(records)] = 1
            raise Stopped

    for attempts in range(20):  # noqa: B007 - read below
        try:
            again, records = train(store, tmp_path / "c.safetensors", on_step=after_saving, on_epoch=between)
            break
        except Stopped:
            continue
    assert attempts == 5 + 3
    assert same(again, whole[0])
    assert records == whole[1]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resuming_is_exact_in_every_precision(store, tmp_path, dtype, channels_last):
    precision = Precision(dtype, channels_last)
    options = dataclasses.replace(SHORT, projector_epochs=0, epochs=2, frozen_batchnorm=False)
    expected, records = train(store, tmp_path / "a.safetensors", options, precision=precision)

    def interrupt(step: int, total: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, tmp_path / "b.safetensors", options, precision=precision, on_step=interrupt)
    again, records_again = train(store, tmp_path / "b.safetensors", options, precision=precision)
    assert same(again, expected)
    assert records_again == records


def test_a_failure_while_saving_leaves_the_last_checkpoint(store, whole, tmp_path, monkeypatch):
    real, calls = Path.replace, []

    def full_disk(path, target):
        calls.append(path)
        if len(calls) == 4:
            raise OSError("no space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        train(store, tmp_path / "c.safetensors")
    steps: list[int] = []
    again, records = train(store, tmp_path / "c.safetensors", on_step=lambda step, total, loss: steps.append(step))
    assert steps == [4, 5, 6]
    assert same(again, whole[0])
    assert records == whole[1]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from domainssl.store import Store
from test_pretraining import train
torch.set_num_threads({threads})
def kill(step, total, loss):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train(Store(Path({store!r})), Path({checkpoint!r}), on_step=kill)
"""


def test_a_killed_process_changes_nothing(whole, tmp_path):
    store = write_store(tmp_path / "store", blobs(20, 3, 36), bands=BANDS)  # that of `whole`, laid down again
    checkpoint = tmp_path / "c.safetensors"
    tests = Path(__file__).parent
    script = KILLED.format(
        tests=str(tests), threads=torch.get_num_threads(), store=str(tmp_path / "store"), checkpoint=str(checkpoint)
    )
    environment = {**os.environ, "PYTHONPATH": str(tests.parent)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tests.parent, env=environment, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    steps: list[int] = []
    again, records = train(store, checkpoint, on_step=lambda step, total, loss: steps.append(step))
    assert steps == [5, 6]
    assert same(again, whole[0])
    assert records == whole[1]


def test_a_finished_training_is_not_done_again(store, whole, tmp_path):
    train(store, tmp_path / "c.safetensors")
    steps: list[int] = []
    again, records = train(store, tmp_path / "c.safetensors", on_step=lambda step, total, loss: steps.append(step))
    assert steps == []
    assert same(again, whole[0])
    assert records == whole[1]


def test_a_checkpoint_of_another_key_is_ignored(store, whole, tmp_path):
    train(store, tmp_path / "c.safetensors", seed=1, key="another recipe")
    steps: list[int] = []
    again, _ = train(store, tmp_path / "c.safetensors", on_step=lambda step, total, loss: steps.append(step))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert same(again, whole[0])


# Refusals


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(store, tmp_path, count):
    with pytest.raises(ValueError, match=f"at least 2 images, got {count}; add images or use the start as it is"):
        train(store, tmp_path / "c.safetensors", rows=np.arange(count))


@pytest.mark.parametrize(
    ("projector_epochs", "remedy"), [(1, r"pretrain\.projector_rate$"), (0, r"pretrain\.encoder_rate or pretrain")]
)
def test_a_loss_that_is_not_finite_stops_the_training(store, tmp_path, projector_epochs, remedy):
    options = dataclasses.replace(SHORT, projector_epochs=projector_epochs)
    method = simclr(store, options)
    torch.nn.init.constant_(method.projector[0].weight, math.nan)
    with pytest.raises(ValueError, match="the loss became nan at step 0; lower " + remedy):
        train(store, tmp_path / "c.safetensors", options, method=method)
    assert not (tmp_path / "c.safetensors").exists()


def test_rates_that_are_too_high_are_told_where_they_end(store, tmp_path):
    options = dataclasses.replace(SHORT, epochs=8, encoder_rate=1e18, projector_epochs=0)
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) at step \d+; lower pretrain.encoder_rate"):
        train(store, tmp_path / "c.safetensors", options)


# Rates and optimiser


@pytest.mark.parametrize(
    ("epochs", "projector_epochs", "steps_an_epoch"), [(20, 5, 17), (2, 1, 2), (1, 0, 1), (1, 1, 3), (3, 0, 4)]
)
def test_rates_warm_up_and_fall_to_zero_in_each_phase(epochs, projector_epochs, steps_an_epoch):
    options = dataclasses.replace(SHORT, encoder_rate=0.003, projector_rate=0.03)
    head, total = projector_epochs * steps_an_epoch, (epochs + projector_epochs) * steps_an_epoch
    for part, start, peak in (("encoder", head, 0.003), ("head", 0, 0.03)):
        rates = np.array([rate(part, step, steps_an_epoch, head, total, options) for step in range(total)])
        assert (rates[:start] == 0).all()
        rates = rates[start:]
        assert rates.max() == pytest.approx(peak)
        if len(rates) > 1:
            assert rates[-1] == 0
        top = int(rates.argmax())
        assert top < max(1, min(steps_an_epoch, len(rates) // 4))
        assert (np.diff(rates[: top + 1]) > 0).all()
        assert (np.diff(rates[top:]) < 0).all()
        assert rates[0] == pytest.approx(peak / (top + 1))
        if len(rates) > 60:
            middle = top + (len(rates) - 1 - top) // 2
            assert rates[middle] == pytest.approx(peak / 2, rel=0.1)


def test_the_last_step_has_rate_zero(store, tmp_path):
    method, at = simclr(store), {}

    def remember(step: int, total: int, loss: float) -> None:
        at[step] = weights(method)

    train(store, tmp_path / "c.safetensors", method=method, on_step=remember)
    parameters = [name for name, _ in method.named_parameters()]
    assert all(torch.equal(at[6][name], at[5][name]) for name in parameters)
    assert not any(torch.equal(at[5][name], at[4][name]) for name in parameters if name.endswith("conv_stem.weight"))


def test_the_method_is_told_its_progress_once_a_step_up_to_the_end(store, tmp_path, monkeypatch):
    told: list[float] = []
    monkeypatch.setattr(SimCLR, "after_step", lambda self, step, progress: told.append(progress))
    train(store, tmp_path / "c.safetensors")
    assert told == [done / 6 for done in (1, 2, 3, 4, 5, 6)]


def test_weight_decay_skips_biases_and_norms(store):
    method = simclr(store)
    optimiser = make_optimiser(method, "model", SHORT)
    grouped = [p for group in optimiser.param_groups for p in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, method.parameters()))
    for group in optimiser.param_groups:
        assert all((p.ndim >= 2) == (group["weight_decay"] > 0) for p in group["params"])
        assert group["part"] in ("encoder", "head")
        assert group["momentum"] == SHORT.momentum
    encoder = {id(p) for p in method.encoder.parameters()}
    for group in optimiser.param_groups:
        assert all((id(p) in encoder) == (group["part"] == "encoder") for p in group["params"])
