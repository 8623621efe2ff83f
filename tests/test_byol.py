"""BYOL: the loss against lightly's, a teacher that only ever averages, and the collapse of what lacks a part of it."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NegativeCosineSimilarity
from synthetic_stores import blobs, write_store
from torch import nn

from domainssl.encoders import create_encoder
from domainssl.methods.byol import BYOL, distance
from domainssl.methods.registry import METHODS
from domainssl.methods.teacher import momentum_at
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.pretraining import make_optimiser, pretrain, set_modes
from domainssl.store import Batch, Store
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.noise_to import NoiseTo
from domainssl.views.operation import Policy

BANDS = ("u", "g", "r", "i", "z")
POLICY: Policy = (AffineCrop(32, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05), BlurTo(1.5), NoiseTo(2.0))
# Rates are given below, for SGD.
SMALL = PretrainOptions(method="byol", projector_width=24, projection_dim=8, teacher_momentum=0.9, optimiser="sgd")
SHORT = dataclasses.replace(
    SMALL, epochs=2, projector_epochs=1, batch_size=8, encoder_rate=0.05, projector_rate=0.1, checkpoint_minutes=0.0
)


def byol(bands: int = 2, options: PretrainOptions = SMALL, seed: int = 0) -> BYOL:
    encoder = create_encoder(
        "test_efficientnet",
        "none",
        bands=BANDS[:bands],
        size=32,
        sample=torch.rand(2, bands, 32, 32),
        sky_sigma=None,
        preparation="p",
        seed=seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = METHODS["byol"].load()(encoder, options)
    assert isinstance(method, BYOL)
    return method


def views_of(count: int = 4, bands: int = 2, seed: int = 0) -> tuple[Batch, Batch]:
    images = torch.rand(2, count, bands, 32, 32, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones(count, 1, 32, 32, dtype=torch.bool)
    first, second = (Batch(view, valid, {}, torch.arange(count)) for view in images)
    return first, second


def step_once(method: BYOL, rate: float = 0.1, progress: float = 0.0) -> None:
    """One optimiser step on fixed views, and what follows it."""
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=rate)
    step = method(views_of(), torch.Generator())
    step.losses["model"].backward()
    optimiser.step()
    method.after_step(step, progress)


def weights(method: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in method.state_dict().items() if name.startswith(prefix)}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def online_name(name: str) -> str:
    return name.removeprefix("teacher_")


# Loss


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), width=st.integers(2, 64), scale=st.floats(0.01, 100), seed=st.integers(0, 2**31))
def test_loss_and_gradient_are_twice_lightlys_plus_two(count, width, scale, seed):
    rows, targets = torch.randn(2, count, width, generator=torch.Generator().manual_seed(seed))
    ours, theirs = (scale * rows).requires_grad_(), (scale * rows).requires_grad_()
    loss, expected = distance(ours, targets), 2 + 2 * NegativeCosineSimilarity()(theirs, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    expected.backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-6)
    unit_rows, unit_targets = (nn.functional.normalize(x.double(), dim=1) for x in (rows, targets))
    assert loss.item() == pytest.approx(float((unit_rows - unit_targets).square().sum(1).mean()), abs=1e-5)


def test_known_distances():
    rows = torch.eye(6)[:3]
    assert float(distance(rows, 5 * rows)) == 0
    assert float(distance(rows, -rows)) == 4
    assert float(distance(rows, rows.roll(1, 0))) == 2
    assert float(distance(rows, torch.zeros(3, 6))) == 2
    assert math.isnan(float(distance(torch.ones(0, 6), torch.ones(0, 6))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_distances_survive_half_precision(dtype):
    rows = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    nearly = rows + 0.01 * torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    truth = distance(rows, nearly)
    assert 0 < truth < 2e-4
    with torch.autocast("cpu", dtype):
        inside = distance(rows, nearly)
    assert torch.equal(inside, truth)
    rounded = distance(rows.to(dtype), nearly.to(dtype))
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, distance(rows.to(dtype).float(), nearly.to(dtype).float()))


@pytest.mark.parametrize("training", [True, False])
def test_a_step_is_the_sum_over_both_directions_each_view_by_itself(training):
    method = byol().train(training)
    step_once(method)  # online network and teacher differ now
    reference = copy.deepcopy(method)
    first, second = views_of(seed=1)
    step = method((first, second), torch.Generator())
    with torch.no_grad():
        features = [reference.encoder.pooled(view.images) for view in (first, second)]
        predictions = [reference.predictor(reference.projector(rows)) for rows in features]
        targets = [reference.targets(view.images) for view in (first, second)]
    criterion = NegativeCosineSimilarity()
    expected = 4 + 2 * (criterion(predictions[0], targets[1]) + criterion(predictions[1], targets[0]))
    assert step.losses.keys() == {"model"} == method.players().keys()
    torch.testing.assert_close(step.losses["model"], expected)
    with torch.no_grad():
        torch.testing.assert_close(step.monitor, torch.cat([reference.projector(rows) for rows in features]))
    assert not step.monitor.requires_grad
    assert method.exported() is method.encoder


@pytest.mark.parametrize("bands", [1, 5])
def test_one_and_five_bands(bands):
    method = byol(bands).train()
    step = method(views_of(4, bands), torch.Generator())
    step.losses["model"].backward()
    method.after_step(step, 0.5)
    assert method.teacher_encoder.network.conv_stem.weight.shape[1] == bands
    assert method.targets(torch.rand(3, bands, 32, 32)).shape == (3, 8)


# The teacher


def test_every_parameter_but_the_teachers_has_one_player_and_gets_a_gradient():
    method = byol().train()
    groups = method.players()["model"]
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    online = {name: p for name, p in method.named_parameters() if not name.startswith("teacher_")}
    assert sorted(grouped) == sorted(map(id, online.values()))
    assert [group.part for group in groups] == ["encoder", "head"]
    method(views_of(), torch.Generator()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in online.values())
    teacher = [p for name, p in method.named_parameters() if name.startswith("teacher_")]
    assert len(teacher) == len(online) - len(list(method.predictor.parameters()))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher)
    optimised = {id(p) for group in make_optimiser(method, "model", SMALL).param_groups for p in group["params"]}
    assert not optimised & set(map(id, teacher))


def test_the_teacher_starts_as_a_copy_and_shares_nothing():
    method = byol()
    own = {t.data_ptr() for t in [*method.encoder.parameters(), *method.projector.parameters()]}
    for name, value in weights(method, "teacher_").items():
        assert torch.equal(value, method.state_dict()[online_name(name)]), name
        assert method.state_dict()[name].data_ptr() not in own


@settings(max_examples=5, deadline=None)
@given(base=st.floats(0, 0.999), progress=st.floats(0, 1))
def test_float_weights_and_statistics_are_averaged_and_counters_copied(base, progress):
    method = byol(options=dataclasses.replace(SMALL, teacher_momentum=base)).train()
    before = weights(method)
    step_once(method, progress=progress)
    after = weights(method)
    keep = momentum_at(base, progress)
    teacher = [name for name in after if name.startswith("teacher_")]
    assert any("running_var" in name for name in teacher)
    assert any("num_batches_tracked" in name for name in teacher)
    for name in teacher:
        online = after[online_name(name)]
        if name.endswith("num_batches_tracked"):
            assert after[name] == online == 2  # two views
        else:
            assert not torch.equal(online, before[online_name(name)]), name
            torch.testing.assert_close(after[name], keep * before[name] + (1 - keep) * online, rtol=1e-5, atol=1e-6)


def test_a_forward_pass_leaves_the_teacher_as_it_is():
    method = byol().train()
    before = {name: t for name, t in weights(method, "teacher_").items() if not name.endswith("num_batches_tracked")}
    method(views_of(), torch.Generator())
    after = weights(method)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not torch.equal(after["projector.1.running_mean"], after["teacher_projector.1.running_mean"])


@pytest.mark.parametrize(("encoder_trains", "frozen"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_teachers_batch_norms_run_in_the_mode_of_the_online_ones(encoder_trains, frozen):
    """Then, while their weights are the same, online network and teacher give the same projections."""
    method = byol()
    set_modes(method, encoder_trains, frozen)
    first, _ = views_of(6)
    targets = method.targets(first.images)
    torch.testing.assert_close(targets, method.projector(method.encoder.pooled(first.images)).detach())
    pairs = list(zip(method.encoder.modules(), method.teacher_encoder.modules(), strict=True))
    assert all(leader.training == follower.training for leader, follower in pairs)
    norms = [follower for _, follower in pairs if isinstance(follower, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training == (encoder_trains and not frozen) for norm in norms)
    assert method.teacher_projector[1].training


def test_the_teacher_of_a_frozen_encoder_stays_equal_to_it():
    method = byol()
    set_modes(method, encoder_trains=False, frozen_batchnorm=True)
    before = weights(method, "teacher_encoder.")
    step_once(method, progress=0.3)
    assert same(before, weights(method, "teacher_encoder."))
    assert not torch.equal(method.teacher_projector[0].weight, byol().teacher_projector[0].weight)


@given(base=st.floats(0, 1), progress=st.floats(0, 1))
def test_the_momentum_rises_from_its_base_to_one(base, progress):
    assert momentum_at(base, 0.0) == pytest.approx(base, abs=1e-15)
    assert momentum_at(base, 0.5) == pytest.approx((1 + base) / 2)
    assert momentum_at(base, 1.0) == 1.0
    assert base - 1e-15 <= momentum_at(base, progress) <= 1


def test_after_the_last_step_the_teacher_no_longer_moves():
    method = byol().train()
    before = {n: t for n, t in weights(method, "teacher_").items() if t.is_floating_point()}
    step_once(method, progress=1.0)
    after = weights(method)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_teacher_is_float32_and_moves_where_bfloat16_would_not(channels_last):
    method = byol(options=dataclasses.replace(SMALL, teacher_momentum=0.999)).train()
    Precision("bfloat16", channels_last).arrange(method)
    first, _ = views_of()
    with torch.autocast("cpu", torch.bfloat16):
        assert method.encoder.pooled(first.images).dtype == torch.bfloat16
        step = method(views_of(), torch.Generator())
        inside = method.targets(first.images)
    assert step.losses["model"].dtype == inside.dtype == torch.float32
    assert torch.equal(inside, method.targets(first.images)), "the teacher computes in bfloat16"

    name = "teacher_encoder.network.conv_stem.weight"
    start = weights(method)[name]
    half = start.bfloat16()
    with torch.no_grad():
        method.encoder.network.conv_stem.weight.mul_(1.1)
    online = method.encoder.network.conv_stem.weight.detach()
    for _ in range(100):
        method.after_step(step, 0.0)
        half.lerp_(online.bfloat16(), 0.001)
    moved = weights(method)[name]
    assert all(t.dtype == torch.float32 for t in weights(method, "teacher_").values() if t.is_floating_point())
    torch.testing.assert_close(moved, start + (1 - 0.999**100) * (online - start), rtol=1e-4, atol=1e-6)
    assert torch.equal(half, start.bfloat16())


# Training


def train(
    method: BYOL,
    store: Store,
    checkpoint: Path,
    options: PretrainOptions,
    *,
    seed: int = 0,
    precision: Precision = Precision("float32", True),  # noqa: B008 - frozen
    on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
) -> list[dict[str, Any]]:
    return pretrain(
        method,
        store,
        np.arange(len(store)),
        POLICY,
        options,
        seed=seed,
        precision=precision,
        checkpoint=checkpoint,
        key="key",
        on_step=on_step,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("store"), blobs(20, 2, 36), bands=BANDS[:2])


@pytest.mark.parametrize("stop", [1, 3, 6])  # in the projector's phase, in the encoder's, and after the end
@pytest.mark.parametrize(
    ("precision", "frozen"), [(Precision("float32", True), True), (Precision("bfloat16", False), False)], ids=str
)
def test_resuming_is_exact(store, tmp_path, stop, precision, frozen):
    options = dataclasses.replace(SHORT, frozen_batchnorm=frozen)
    whole = byol(options=options)
    records = train(whole, store, tmp_path / "a.safetensors", options, precision=precision)

    def interrupt(step: int, total: int, loss: float) -> None:
        if step == stop + 1:  # step `stop` is saved
            raise KeyboardInterrupt

    stopped = byol(options=options)
    if stop < 6:
        with pytest.raises(KeyboardInterrupt):
            train(stopped, store, tmp_path / "b.safetensors", options, precision=precision, on_step=interrupt)
    else:
        train(stopped, store, tmp_path / "b.safetensors", options, precision=precision)
    again = byol(options=options)
    steps: list[int] = []
    resumed = train(
        again, store, tmp_path / "b.safetensors", options, precision=precision, on_step=lambda s, *_: steps.append(s)
    )
    assert steps == list(range(stop + 1, 7))
    assert same(weights(again), weights(whole))
    assert [record["loss"] for record in resumed] == [record["loss"] for record in records]
    assert not same(weights(again, "teacher_"), weights(byol(options=options), "teacher_"))
    stems = [encoder.network.conv_stem.weight for encoder in (again.encoder, again.teacher_encoder)]
    layouts = [stem.is_contiguous(memory_format=torch.channels_last) for stem in stems]
    assert layouts == [precision.channels_last] * 2


# Collapse

LIVELY = PretrainOptions(
    optimiser="sgd",
    method="byol",
    epochs=10,
    projector_epochs=0,
    batch_size=32,
    encoder_rate=0.05,
    projector_rate=0.2,
    weight_decay=0.03,  # what no gradient holds up decays
    teacher_momentum=0.9,
    projector_width=64,
    checkpoint_minutes=1e6,
)


def without_nothing(method: BYOL) -> None:
    pass


def without_predictor(method: BYOL) -> None:
    method.predictor = nn.Identity()


def without_stop_gradient(method: BYOL) -> None:
    method.targets = lambda images: method.projector(method.encoder.pooled(images))


def last_record(folder: Path, remove: Callable[[BYOL], None], seed: int) -> dict[str, Any]:
    """Of a training from random weights, in which the features themselves are what is predicted.

    A projector would collapse in the encoder's place, end the gradients, and leave the features nearly as they were.
    """
    store, method = lively(folder, dataclasses.replace(LIVELY, projection_dim=256), seed)  # as wide as the features
    method.projector = method.teacher_projector = nn.Identity()
    remove(method)
    return train(method, store, folder / "c.safetensors", LIVELY, seed=seed)[-1]


def lively(folder: Path, options: PretrainOptions, seed: int) -> tuple[Store, BYOL]:
    """A store of blobs and BYOL around a random encoder for it."""
    store = write_store(folder / "store", blobs(128, 5, 36, seed=seed), bands=BANDS)
    encoder = create_encoder(
        "test_efficientnet",
        "none",
        bands=BANDS,
        size=32,
        sample=store.batch(np.arange(len(store))).images,
        sky_sigma=np.ones(5, np.float32),
        preparation=store.preparation,
        seed=seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return store, BYOL(encoder, options)


def with_its_projector(folder: Path, remove: Callable[[BYOL], None], seed: int) -> dict[str, Any]:
    """The same training as users run it: behind a projector, which collapses in the encoder's place."""
    options = dataclasses.replace(LIVELY, frozen_batchnorm=False, epochs=6)
    store, method = lively(folder, options, seed)
    remove(method)
    return train(method, store, folder / "c.safetensors", options, seed=seed)[-1]


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]


@pytest.mark.parametrize("seed", SEEDS)
def test_it_does_not_collapse(tmp_path, seed):
    record = last_record(tmp_path, without_nothing, seed)
    assert record["warning"] is None
    assert record["spread"] > 0.1
    assert record["loss"] < 2, "it does not learn"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("remove", [without_predictor, without_stop_gradient])
def test_without_predictor_or_stop_gradient_the_monitor_says_that_it_collapses(tmp_path, remove, seed):
    record = last_record(tmp_path, remove, seed)
    assert "collapsed" in record["warning"]
    assert record["loss"] < 0.2


def test_behind_a_projector_the_monitor_looks_at_what_the_loss_compares(tmp_path):
    healthy = with_its_projector(tmp_path / "whole", without_nothing, 0)
    assert healthy["warning"] is None
    assert healthy["projection_spread"] > 0.5
    for remove in (without_predictor, without_stop_gradient):
        record = with_its_projector(tmp_path / remove.__name__, remove, 0)
        assert "projections have collapsed" in record["warning"]
        assert record["spread"] > 0.3, "the encoder's features alone would not tell"
