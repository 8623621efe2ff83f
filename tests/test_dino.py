"""DINO: loss and centre against lightly's, small crops, attention pictures, and the collapse of what lacks a part."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import DINOLoss
from synthetic_stores import blobs, write_store
from tiny_methods import (
    BANDS,
    SMALL,
    assert_grouped_and_trained,
    batch_of,
    convolutional,
    for_store,
    made,
    policy_of,
    train,
    transformer,
    views_of,
    weights,
)

from domainssl.encoders import TimmEncoder
from domainssl.method_options import DINOOptions
from domainssl.methods.dino import DINO, attended, cross_entropies, sharpened
from domainssl.methods.teacher import momentum_at
from domainssl.options import PretrainOptions
from domainssl.pretraining import set_modes
from domainssl.tokens import Tokens
from domainssl.views.operation import apply_policy


def dino(encoder: TimmEncoder | None = None, **own: Any) -> DINO:
    options = dataclasses.replace(SMALL, dino=DINOOptions(**{"prototypes": 12, "local_crops": 2, **own}))
    return made("dino", encoder or convolutional(), options)


def crops_of(method: DINO, count: int = 4, seed: int = 0) -> tuple:
    small = views_of(count, 2, size=method.local_size, seed=seed + 1)
    return (*views_of(count, 2, size=method.encoder.input.size, seed=seed), *small)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 8),
    student=st.integers(2, 6),
    prototypes=st.integers(2, 40),
    temperature=st.floats(0.02, 1.0),
    momentum=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_loss_gradient_and_centre_equal_lightlys(count, student, prototypes, temperature, momentum, seed):
    generator = torch.Generator().manual_seed(seed)
    told = torch.randn(2, count, prototypes, generator=generator)
    rows = torch.randn(student, count, prototypes, generator=generator)
    centre = 0.3 * torch.randn(prototypes, generator=generator)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    criterion = DINOLoss(prototypes, teacher_temp=temperature, student_temp=0.1, center_momentum=momentum)
    criterion.center = centre.clone().view(1, 1, -1)
    loss = cross_entropies(ours, sharpened(told, centre, temperature), 0.1)
    expected = criterion(list(told), list(theirs), teacher_temp=temperature)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    moved = centre.lerp(told.mean(dim=(0, 1)), 1 - momentum)
    torch.testing.assert_close(moved, criterion.center.flatten(), rtol=1e-5, atol=1e-6)


def test_a_step_is_lightlys_loss_of_all_views_and_its_centre_moves_once_after_it():
    method = dino().eval()
    criterion = DINOLoss(12, teacher_temp=0.04, student_temp=0.1, center_momentum=0.9)
    for number in range(3):
        views = crops_of(method, seed=10 * number)
        with torch.no_grad():
            told = [method.teacher_head(method.teacher_encoder.pooled(view.images)) for view in views[:2]]
            student = [method.head(method.encoder.pooled(view.images)) for view in views]
        torch.testing.assert_close(method.centre, criterion.center.flatten())
        before = method.centre.clone()
        step = method(views, torch.Generator())
        method(views, torch.Generator())
        assert torch.equal(method.centre, before), "a forward pass moves the centre"
        torch.testing.assert_close(step.losses["model"], criterion(told, student, teacher_temp=0.04))
        method.after_step(step, 1.0)  # the teacher stays
        torch.testing.assert_close(method.centre, criterion.center.flatten())
        assert not torch.equal(method.centre, before)
    assert "centre" in method.state_dict()
    assert step.monitor.shape == (8, 8)
    assert not step.monitor.requires_grad
    assert 0 <= step.measures["target_entropy"] <= 1


def test_every_parameter_but_the_teachers_has_one_player_and_gets_a_gradient():
    method = dino().train()
    assert_grouped_and_trained(method, method(crops_of(method), torch.Generator()).losses["model"])
    assert method.exported() is method.encoder


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_the_teacher_averages_and_its_momentum_rises(progress):
    method = dino().train()
    before = weights(method)
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.head.parameters()):
            parameter.add_(0.1)
    method.after_step(method(crops_of(method), torch.Generator()), progress)
    keep = momentum_at(0.9, progress)
    for name in ("encoder.network.conv_stem.weight", "head.prototypes"):
        expected = keep * before[f"teacher_{name}"] + (1 - keep) * weights(method)[name]
        torch.testing.assert_close(weights(method)[f"teacher_{name}"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_teacher_runs_in_the_modes_of_the_student_and_in_float32(frozen):
    method = dino()
    set_modes(method, encoder_trains=True, frozen_batchnorm=frozen)
    images = [view.images for view in crops_of(method)[:2]]
    told = method.told(images)
    expected = method.head(method.encoder.pooled(torch.cat(images))).view(2, 4, -1)
    torch.testing.assert_close(told, expected.detach())
    with torch.autocast("cpu", torch.bfloat16):
        inside = method.told(images)
    assert torch.equal(told, inside)


# Views


def test_local_crops_are_small_where_the_encoder_takes_that():
    method = dino(local_crops=3)
    policies = method.policies(policy_of(64))
    assert policies[:2] == (policy_of(64),) * 2
    batch = batch_of(torch.rand(4, 2, 70, 70))
    shapes = []
    for policy in policies:
        field = policy[0].field
        shapes.append((apply_policy(policy[:1], batch, torch.Generator()).images.shape[-1], max(field) < 0.7))
    assert shapes == [(64, False)] * 2 + [(32, True)] * 3


def test_a_network_of_one_size_gets_local_crops_of_that_size():
    method = dino(transformer(size=32)).train()
    local = method.policies(policy_of(32))[2][0]
    assert (local.size, local.field) == (32, (0.4, 0.6))
    step = method(crops_of(method), torch.Generator())
    assert_grouped_and_trained(method, step.losses["model"])


def test_without_local_crops_the_two_global_views_are_compared():
    method = dino(local_crops=0).train()
    assert len(method.policies(policy_of(64))) == 2
    assert torch.isfinite(method(crops_of(method)[:2], torch.Generator()).losses["model"])


# Attention


@settings(max_examples=40, deadline=None)
@given(grid=st.integers(1, 8), mass=st.floats(0.01, 1.0), seed=st.integers(0, 2**31))
def test_masks_are_the_fewest_patches_that_hold_the_mass(grid, mass, seed):
    shares = torch.rand(2, 3, grid, grid, generator=torch.Generator().manual_seed(seed)).double()
    masks = attended(shares, mass)
    for values, mask in zip(shares.flatten(0, 1).flatten(1), masks.flatten(0, 1).flatten(1), strict=True):
        kept = values[mask].sort().values
        assert kept.sum() >= mass * values.sum() - 1e-9
        assert kept[1:].sum() < mass * values.sum()
        assert (~mask).sum() == 0 or values[~mask].max() <= kept[0]


def test_the_pictures_of_a_transformer():
    method = dino(transformer(size=64)).train()
    views = views_of(3, 2)
    images, maps, masks = method.panels(views, torch.Generator())
    assert images.kind == "images"
    assert torch.equal(images.values[:, 0], views[0].images)
    with torch.no_grad():
        shares = Tokens(method.encoder).attention(views[0].images)
    heads = shares.shape[1]
    assert maps.values.shape == masks.values.shape == (3, heads, 4, 4)
    assert (len(maps.rows), len(maps.columns)) == (3, heads)
    torch.testing.assert_close(maps.values, shares / shares.amax((2, 3), keepdim=True))
    held = (shares * masks.values).sum((2, 3)) / shares.sum((2, 3))
    assert (held >= 0.6).all()
    assert set(masks.values.unique().tolist()) == {0.0, 1.0}
    assert not maps.values.requires_grad


def test_convolutional_encoders_have_no_attention_to_show():
    assert dino().panels(views_of(3), torch.Generator()) == ()


# Collapse

LIVELY = PretrainOptions(
    method="dino",
    epochs=8,
    projector_epochs=0,
    batch_size=16,
    optimiser="sgd",
    encoder_rate=0.1,
    projector_rate=0.5,
    weight_decay=0.03,
    frozen_batchnorm=False,
    teacher_momentum=0.9,
    projector_width=64,
    projection_dim=32,
    checkpoint_minutes=1e6,
    dino=DINOOptions(prototypes=64, local_crops=2),
)


def without_nothing(method: DINO) -> None:
    pass


def without_centring(method: DINO) -> None:
    after_step = method.after_step

    def forgetting(step: Any, progress: float) -> None:
        after_step(step, progress)
        method.centre.zero_()

    method.after_step = forgetting


def without_sharpening(method: DINO) -> None:
    method.own = dataclasses.replace(method.own, teacher_temperature=1.0)


def last_record(folder: Path, remove: Callable[[DINO], None]) -> dict[str, Any]:
    store = write_store(folder / "store", blobs(64, 2, 36), bands=BANDS[:2])
    method = made("dino", for_store(store, 32), LIVELY)
    remove(method)
    return train(method, store, folder, LIVELY)[-1]


def test_it_does_not_collapse(tmp_path):
    record = last_record(tmp_path, without_nothing)
    assert record["warning"] is None
    assert record["projection_spread"] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("remove", "entropy"), [(without_centring, 0.0), (without_sharpening, 1.0)])
def test_without_centring_or_sharpening_the_monitor_says_that_it_collapses(tmp_path, remove, entropy):
    """To one prototype for all images, or to all prototypes alike."""
    record = last_record(tmp_path, remove)
    assert "projections have collapsed" in record["warning"]
    assert record["target_entropy"] == pytest.approx(entropy, abs=0.1)
