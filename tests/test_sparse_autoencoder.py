"""Sparse autoencoders: a mean activation over forwards and processes that comes to be what was asked for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reconstruction_cases import encoder_of, images_of, method_of
from synthetic_stores import blobs
from tiny_methods import batch_of, drawing
from torch.distributions import Bernoulli, kl_divergence

from domainssl.method_options import SparseOptions
from domainssl.methods import sparse_autoencoder
from domainssl.methods.decoder import pixel_error
from domainssl.methods.sparse_autoencoder import SparseAutoencoder, divergence
from domainssl.options import PretrainOptions


def sparse(name: str = "test_efficientnet", size: int = 32, **settings) -> SparseAutoencoder:
    options = PretrainOptions(method="sparse_autoencoder", sparse_autoencoder=SparseOptions(**settings))
    method = method_of(encoder_of(name, 1, size), options)
    assert isinstance(method, SparseAutoencoder)
    return method


@settings(max_examples=50, deadline=None)
@given(rho=st.floats(0.01, 0.99), means=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8))
def test_the_divergence_is_torchs_between_bernoulli_variables(rho, means):
    found = torch.tensor(means)
    expected = kl_divergence(Bernoulli(torch.tensor(rho)), Bernoulli(found)).sum()
    torch.testing.assert_close(divergence(rho, found), expected, rtol=1e-4, atol=1e-5)


def test_the_divergence_of_silent_and_full_units_is_finite():
    assert float(divergence(0.05, torch.full((3,), 0.05))) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(divergence(0.05, torch.tensor([0.0, 1.0])))


def test_the_mean_is_over_several_forwards_and_the_gradient_through_the_newest():
    method = sparse(latent=24, memory=0.75, weight=2.0, rho=0.1).eval()
    views = [batch_of(images_of(4, 1, 32, seed)) for seed in range(3)]
    target = [method.encoder.normalised(view.images) for view in views]
    means = [method.code(x).mean(0) for x in target]
    method.after_step(method((views[0],), drawing()), 0.0)
    torch.testing.assert_close(method.mean_activation, means[0].detach())  # of the first forward, nothing else
    method.after_step(method((views[1],), drawing()), 0.5)
    past = (0.75 * means[0] + 0.25 * means[1]).detach()
    torch.testing.assert_close(method.mean_activation, past)
    assert "mean_activation" in method.state_dict()

    step = method((views[2],), drawing())
    torch.testing.assert_close(method.mean_activation, past)  # a forward alone changes nothing
    estimate = 0.75 * past + 0.25 * means[2]
    error = pixel_error(method.decoder(method.code(target[2])), target[2], views[2].valid)
    expected = error + 2.0 * divergence(0.1, estimate)
    torch.testing.assert_close(step.losses["model"], expected)
    parameters = list(method.layer.parameters())
    found = torch.autograd.grad(step.losses["model"], parameters)
    for mine, other in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(mine, other)


def test_of_several_processes_the_mean_is_over_all(monkeypatch):
    method = sparse(latent=24).eval()
    other = torch.rand(4, 24, generator=drawing(5))
    monkeypatch.setattr(sparse_autoencoder, "gathered", lambda rows: torch.cat([rows, other]))
    view = batch_of(images_of(4, 1, 32))
    step = method((view,), drawing())
    code = method.code(method.encoder.normalised(view.images))
    torch.testing.assert_close(step.carry["mean_activation"], torch.cat([code, other]).mean(0).detach())


@pytest.mark.parametrize(("name", "rate", "near"), [("sigmoid_64", 3e-3, 0.08), ("dense_8", 3e-3, 0.08)])
def test_the_mean_activation_of_every_unit_approaches_rho(name, rate, near):
    """From 0.5, for an encoder's own units and for those of a layer; without the penalty they go elsewhere."""
    images = torch.from_numpy(blobs(16, 1, 8))
    furthest = {}
    for weight in (0.0, 0.1):
        options = SparseOptions(rho=0.2, weight=weight, latent=32)
        method = method_of(
            encoder_of(name, 1, 8, sample=images, stretch="asinh"),
            PretrainOptions(method="sparse_autoencoder", sparse_autoencoder=options),
        )
        assert isinstance(method, SparseAutoencoder)
        if name == "dense_8":
            torch.nn.init.zeros_(method.layer[0].bias)
        optimiser = torch.optim.Adam(method.parameters(), rate)
        for number in range(120):
            step = method((batch_of(images[number % 2 :: 2]),), drawing())
            optimiser.zero_grad()
            step.losses["model"].backward()
            optimiser.step()
            method.after_step(step, 0.0)
        furthest[weight] = float((method.mean_activation - 0.2).abs().max())
    assert furthest[0.0] > 0.3
    assert furthest[0.1] < near


def test_units_of_a_layer_of_its_own_start_near_rho():
    method = sparse(latent=512, rho=0.05).eval()
    with torch.no_grad():
        code = method.code(method.encoder.normalised(images_of(4, 1, 32)))
    assert float(code.mean()) == pytest.approx(0.05, rel=0.3)


def test_the_code_may_be_larger_than_the_input():
    method = sparse("dense_8", 8, latent=256)
    step = method((batch_of(images_of(4, 1, 8)),), drawing())
    assert step.carry["mean_activation"].shape == (256,)
    assert math.isfinite(step.losses["model"].item())


def test_the_code_of_a_sigmoid_encoder_is_its_own_output():
    method = sparse("sigmoid_64", 16, latent=7)
    images = images_of(3, 1)
    assert torch.equal(method.code(method.encoder.normalised(images)), method.encoder.pooled(images))
    assert method.mean_activation.shape == (64,)


def test_l1_is_the_sum_of_rectified_units():
    method = sparse(latent=24, penalty="l1", weight=0.5).eval()
    view = batch_of(images_of(4, 1, 32))
    target = method.encoder.normalised(view.images)
    code = method.code(target)
    assert (code >= 0).all()
    assert (code == 0).any()
    expected = pixel_error(method.decoder(code), target, view.valid) + 0.5 * code.abs().sum(1).mean()
    torch.testing.assert_close(method((view,), drawing()).losses["model"], expected)


def test_l1_silences_units():
    shares = []
    for weight in (0.0, 0.05):
        method = sparse("dense_32", 8, latent=48, penalty="l1", weight=weight)
        optimiser = torch.optim.Adam(method.parameters(), 3e-3)
        view = batch_of(images_of(8, 1, 8))
        for _ in range(60):
            optimiser.zero_grad()
            method((view,), drawing()).losses["model"].backward()
            optimiser.step()
        shares.append(float((method.code(method.encoder.normalised(view.images)) > 0).float().mean()))
    assert shares[1] < 0.5 * shares[0]


@pytest.mark.parametrize("penalty", ["l1", "kl"])
def test_every_parameter_has_one_player_and_gets_a_gradient(penalty):
    method = sparse(latent=24, penalty=penalty)
    grouped = [id(parameter) for group in method.players()["model"] for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    method((batch_of(images_of(4, 1, 32)),), drawing()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_half_precision_is_no_matter_of_the_divergence():
    method = sparse(latent=24, weight=1.0).eval()
    view = batch_of(images_of(4, 1, 32))
    whole = method((view,), drawing())
    with torch.autocast("cpu", torch.bfloat16):
        half = method((view,), drawing())
    assert half.losses["model"].dtype == half.carry["mean_activation"].dtype == torch.float32
    torch.testing.assert_close(half.losses["model"], whole.losses["model"], rtol=0.05, atol=0.01)
