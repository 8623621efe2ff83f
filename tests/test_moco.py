"""MoCo: loss and queue against lightly's, keys without gradients, and a queue that changes once per optimiser step."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NTXentLoss
from lightly.models.modules.memory_bank import MemoryBankModule
from tiny_methods import SMALL, assert_grouped_and_trained, batch_of, convolutional, made, same, views_of, weights
from torch import nn
from torch.nn import functional

from domainssl.method_options import MoCoOptions
from domainssl.methods.method import Cohort, Step
from domainssl.methods.moco import MoCo, queue_loss
from domainssl.pretraining import set_modes
from domainssl.processes import GatheredBatchNorm1d


def moco(queue: int = 12, version: int = 2, seed: int = 0) -> MoCo:
    options = dataclasses.replace(SMALL, moco=MoCoOptions(version=version, queue=queue))
    return made("moco", convolutional(size=32, seed=seed), options, seed)


def unit(count: int, width: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def carrying(keys: torch.Tensor, rows: torch.Tensor | None = None) -> Step:
    return Step({}, carry={"keys": keys, "rows": torch.arange(len(keys)) if rows is None else rows})


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 20),
    length=st.integers(1, 50),
    width=st.integers(2, 32),
    temperature=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**31),
)
def test_loss_and_gradient_equal_lightlys(count, length, width, temperature, seed):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    keys, queue = unit(count, width, seed + 1), unit(length, width, seed + 2)
    criterion = NTXentLoss(temperature=temperature, memory_bank_size=(length, width))
    criterion.memory_bank.bank = queue.clone()
    losses, information = queue_loss(ours, keys, queue, torch.zeros(count, length, dtype=torch.bool), temperature)
    expected = criterion(theirs, keys)
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-5, atol=1e-5)
    losses.mean().backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    assert (information <= math.log(1 + length) + 1e-6).all()


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 6), rounds=st.integers(1, 4), steps=st.integers(1, 9))
def test_the_queue_equals_lightlys_memory_bank(count, rounds, steps):
    """Where batches fill the queue evenly; of others lightly drops what does not fit."""
    method = moco(count * rounds)
    bank = MemoryBankModule((count * rounds, 8))
    bank.bank = method.queue.clone()
    for number in range(steps):
        keys = unit(count, 8, number)
        bank(keys, update=True)
        method.after_step(carrying(keys), 0.0)
        assert torch.equal(method.queue, bank.bank)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 17), counts=st.lists(st.integers(1, 24), min_size=1, max_size=6))
def test_the_queue_holds_the_newest_keys_whatever_the_batch(length, counts):
    method = moco(length)
    every = [*method.queue.clone()]
    for number, count in enumerate(counts):
        keys = unit(count, 8, number)
        every += [*keys]
        method.after_step(carrying(keys), 0.0)
    newest = torch.stack(every[-length:])
    found = torch.cat([method.queue[method.place :], method.queue[: method.place]])
    assert len(found) == length
    if sum(counts) > 0 and all(count <= length for count in counts):
        assert torch.equal(found, newest)
    else:  # of a batch longer than the queue the last ones count; their order does not
        assert {tuple(row.tolist()) for row in found} == {tuple(row.tolist()) for row in newest}


def test_the_queue_begins_with_random_unit_rows_of_no_image_and_is_a_part_of_the_checkpoint():
    method = moco()
    torch.testing.assert_close(method.queue.norm(dim=1), torch.ones(12))
    assert (method.queue_rows == -1).all()
    assert {"queue", "queue_rows", "place"} <= method.state_dict().keys()
    assert torch.equal(method.queue, moco().queue)
    assert not torch.equal(method.queue, moco(seed=1).queue)


def test_the_queue_changes_after_the_step_and_not_by_a_forward_pass():
    method = moco().train()
    before = method.queue.clone()
    views = views_of(4, size=32)
    first, second = method(views, torch.Generator()), method(views, torch.Generator())
    assert torch.equal(method.queue, before)
    torch.testing.assert_close(first.carry["keys"], second.carry["keys"])
    method.after_step(second, 0.5)
    torch.testing.assert_close(method.queue[:4], second.carry["keys"])
    assert torch.equal(method.queue[4:], before[4:])
    assert method.queue_rows.tolist() == [0, 1, 2, 3] + [-1] * 8
    assert not method.queue.requires_grad


def test_a_step_compares_the_first_view_with_the_teachers_keys_of_the_second():
    method = moco().train()
    with torch.no_grad():
        method.projector[-1].weight.mul_(-1)  # so that the teacher is another
    first, second = views_of(4, size=32)
    step = method((first, second), torch.Generator())
    with torch.no_grad():
        queries = functional.normalize(method.projector(method.encoder.pooled(first.images)), dim=1)
        keys = functional.normalize(method.teacher_projector(method.teacher_encoder.pooled(second.images)), dim=1)
        scores = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ method.queue.T], 1).double() / 0.2
    expected = (scores.logsumexp(1) - scores[:, 0]).mean()
    assert step.losses["model"].item() == pytest.approx(float(expected), abs=1e-5)
    assert step.measures["information"] == pytest.approx(math.log(13) - float(expected), abs=1e-5)
    assert step.monitor.shape == (4, 8)
    assert not step.monitor.requires_grad


def test_an_image_is_not_repelled_by_its_own_earlier_keys():
    method = moco(4).train()
    first, second = views_of(4, size=32)
    method.after_step(carrying(unit(4, 8, 0), torch.tensor([0, 7, 8, 9])), 0.0)
    step = method((first, second), torch.Generator())
    with torch.no_grad():
        queries = functional.normalize(method.projector(method.encoder.pooled(first.images)), dim=1)
        scores = torch.cat([(queries * step.carry["keys"]).sum(1, keepdim=True), queries @ method.queue.T], 1) / 0.2
    scores[0, 1] = -torch.inf
    assert step.losses["model"].item() == pytest.approx(float((scores.logsumexp(1) - scores[:, 0]).mean()), abs=1e-5)


def test_the_queue_is_no_longer_than_the_cohort():
    method = moco(12)
    cohort = Cohort(np.arange(7))
    assert method.begin(cohort) is cohort
    assert method.queue.shape == (7, 8)
    assert len(method.queue_rows) == 7
    assert len(moco(12).queue) == 12


@pytest.mark.parametrize("version", [1, 2])
def test_every_parameter_but_the_teachers_has_one_player_and_gets_a_gradient(version):
    method = moco(version=version).train()
    kinds = [type(part) for part in method.projector.modules() if not isinstance(part, nn.Sequential)]
    assert kinds == ([nn.Linear] if version == 1 else [nn.Linear, GatheredBatchNorm1d, nn.ReLU, nn.Linear])
    step = method(views_of(4, size=32), torch.Generator())
    assert_grouped_and_trained(method, step.losses["model"])
    assert method.exported() is method.encoder


def test_the_teacher_follows_by_a_constant_momentum():
    method = moco().train()
    before = weights(method)
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.projector.parameters()):
            parameter.add_(0.1)
    method.after_step(carrying(unit(4, 8, 0)), 0.9)
    for name, value in weights(method, "teacher_").items():
        if value.is_floating_point() and "running" not in name:
            online = weights(method)[name.removeprefix("teacher_")]
            torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * online, rtol=1e-5, atol=1e-6)
            assert not torch.equal(value, before[name])


@pytest.mark.parametrize("frozen", [True, False])
def test_keys_use_the_batch_norm_modes_of_the_online_network(frozen):
    method = moco()
    set_modes(method, encoder_trains=True, frozen_batchnorm=frozen)
    images = views_of(6, size=32)[0].images
    teacher = weights(method, "teacher_")
    keys = method.keys(images)
    assert not keys.requires_grad
    torch.testing.assert_close(keys, functional.normalize(method.projector(method.encoder.pooled(images)), dim=1))
    after = {name: value for name, value in weights(method, "teacher_").items() if "num_batches" not in name}
    assert same({name: teacher[name] for name in after}, after)


def test_keys_are_float32_within_autocast():
    method = moco().train()
    views = views_of(4, size=32)
    with torch.autocast("cpu", torch.bfloat16):
        step = method(views, torch.Generator())
    assert step.losses["model"].dtype == step.carry["keys"].dtype == torch.float32
    assert torch.equal(step.carry["keys"], method.keys(views[1].images))


def test_more_images_than_the_queue_is_long():
    method = moco(3).train()
    step = method((batch_of(torch.rand(5, 2, 32, 32)), batch_of(torch.rand(5, 2, 32, 32))), torch.Generator())
    method.after_step(step, 0.0)
    assert sorted(method.queue_rows.tolist()) == [2, 3, 4]
