"""Variational autoencoder: the divergence against Monte Carlo and torch's, the likelihoods against torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_methods import assert_each_trained_by_its_player, small_encoder, small_method, view_of
from tiny_methods import drawing
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional

from domainssl.method_options import VariationalOptions
from domainssl.methods.variational_autoencoder import (
    WIDEST,
    cross_entropy,
    divergence_from_prior,
    from_unit,
    squared_error,
    to_unit,
)
from domainssl.store import Batch


def posterior_of(count: int, latent: int, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    mu, log_sigma = scale * torch.randn(2, count, latent, generator=drawing(seed), dtype=torch.float64)
    return mu, log_sigma


# The divergence


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 8), latent=st.integers(1, 64), scale=st.floats(0.01, 2), seed=st.integers(0, 2**31))
def test_the_divergence_equals_torchs(count, latent, scale, seed):
    mu, log_sigma = posterior_of(count, latent, seed, scale)
    expected = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(
        divergence_from_prior(mu.float(), log_sigma.float()), expected.float(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_divergence_equals_monte_carlo_within_its_standard_error(seed):
    mu, log_sigma = posterior_of(3, 6, seed, 0.7)
    q, prior = Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)
    z = mu + log_sigma.exp() * torch.randn(100_000, 3, 6, generator=drawing(seed), dtype=torch.float64)
    draws = (q.log_prob(z) - prior.log_prob(z)).sum(dim=2)  # draw image
    error = draws.std(dim=0) / len(draws) ** 0.5
    found = divergence_from_prior(mu.float(), log_sigma.float())
    assert ((found - draws.mean(dim=0)).abs() < 4 * error).all()
    assert (error < 0.01 * found).all(), "too coarse to tell anything"


def test_known_divergences():
    zeros = torch.zeros(2, 5)
    assert divergence_from_prior(zeros, zeros).tolist() == [0, 0]
    assert divergence_from_prior(zeros + 2, zeros).tolist() == [10, 10]  # a half of mu^2, five times
    assert divergence_from_prior(zeros.bfloat16(), zeros.bfloat16()).dtype == torch.float32
    extreme = torch.full((1, 2), WIDEST)
    assert torch.isfinite(divergence_from_prior(zeros[:1, :2], extreme)).all()


# The reconstruction


def test_the_likelihoods_equal_torchs_over_what_counts():
    outputs, target = 2 * torch.randn(2, 3, 2, 4, 4, generator=drawing())
    counted = torch.rand(3, 2, 4, 4, generator=drawing(1)) > 0.3
    gaussian = Normal(outputs, 1.0).log_prob(target) - Normal(0.0, 1.0).log_prob(torch.zeros(()))
    torch.testing.assert_close(squared_error(outputs, target, counted), -(gaussian * counted).sum(dim=(1, 2, 3)))
    unit = to_unit(target)
    coins = Bernoulli(logits=outputs, validate_args=False).log_prob(unit)
    torch.testing.assert_close(cross_entropy(outputs, target, counted), -(coins * counted).sum(dim=(1, 2, 3)))


def test_targets_of_the_cross_entropy_are_between_0_and_1():
    wide = torch.linspace(-9, 9, 1001)
    unit = to_unit(wide)
    assert unit.min() == 0
    assert unit.max() == 1
    photograph = torch.linspace(-2.1, 2.6, 101)
    torch.testing.assert_close(from_unit(to_unit(photograph)), photograph)
    # Where the logits' sigmoid is the target, nothing can be gained: the gradient there is 0.
    logits = torch.logit(to_unit(photograph)).view(1, 1, 1, -1).requires_grad_()
    error = cross_entropy(logits, photograph.view(1, 1, 1, -1), torch.ones(1, 1, 1, 101, dtype=torch.bool)).sum()
    (gradient,) = torch.autograd.grad(error, logits)
    assert gradient.abs().max() < 1e-5


@pytest.mark.parametrize("reconstruction", ["mse", "bce"])
@pytest.mark.parametrize("beta", [1.0, 7.0])
def test_a_step_is_the_formula_an_image_and_a_pixel(reconstruction, beta):
    own = VariationalOptions(latent=6, beta=beta, reconstruction=reconstruction)
    method = small_method("variational_autoencoder", small_encoder(), variational_autoencoder=own)
    view = view_of()
    view.valid[0, 0, :5] = False
    step = method((view,), drawing(3))
    with torch.no_grad():
        mu, log_sigma = method.posterior(view.images)
        z = mu + log_sigma.exp() * torch.randn(4, 6, generator=drawing(3))
        outputs, target = method.decoder(z), method.encoder.normalised(view.images)
    counted = view.valid.expand_as(target)
    if reconstruction == "mse":
        reconstructed = functional.mse_loss(outputs[counted], target[counted], reduction="sum") / 2
    else:
        reconstructed = functional.binary_cross_entropy_with_logits(
            outputs[counted], to_unit(target)[counted], reduction="sum"
        )
    divergence = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)).sum()
    expected = (reconstructed + beta * divergence) / 4
    torch.testing.assert_close(step.losses["model"] * target[0].numel(), expected, rtol=1e-5, atol=0)
    assert step.measures["divergence"] == pytest.approx(float(divergence) / 4, rel=1e-5)
    assert step.monitor is None


def test_noise_is_the_generators_and_differs_from_draw_to_draw():
    method, view = small_method("variational_autoencoder", small_encoder()), view_of()
    losses = [method((view,), drawing(seed)).losses["model"] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_log_sigma_is_learnt_and_bounded():
    method, view = small_method("variational_autoencoder", small_encoder()), view_of()
    _, log_sigma = method.posterior(view.images)
    (gradient,) = torch.autograd.grad(log_sigma.sum(), method.code.weight)
    assert gradient[method.latent :].any()
    assert not gradient[: method.latent].any()
    with torch.no_grad():
        method.code.bias[method.latent :] = 1e4
    _, log_sigma = method.posterior(view.images)
    assert log_sigma.max() <= WIDEST
    loss = method((view,), drawing()).losses["model"]
    assert torch.isfinite(loss)


def test_invalid_pixels_and_lacking_bands_do_not_count():
    method, view = small_method("variational_autoencoder", small_encoder()), view_of()
    view.images[1, 2] = 0
    view.valid[0, 0, :9] = False
    outputs = torch.zeros(4, 5, 32, 32, requires_grad=True)
    method.decoder.forward = lambda codes: outputs
    (gradient,) = torch.autograd.grad(method((view,), drawing()).losses["model"], outputs)
    assert not gradient[0, :, :9].any()
    assert not gradient[1, 2].any()
    assert gradient[0, :, 9:].all()


def test_every_parameter_is_trained_and_the_encoder_exported():
    method = small_method("variational_autoencoder", small_encoder()).train()
    step = method((view_of(),), drawing())
    assert_each_trained_by_its_player(method, step.losses, set())
    assert method.exported() is method.encoder


@pytest.mark.parametrize("reconstruction", ["mse", "bce"])
@pytest.mark.parametrize("bands", [1, 5])
def test_panels_show_reconstructions_samples_and_the_way_between_images(bands, reconstruction):
    own = VariationalOptions(reconstruction=reconstruction)
    method = small_method("variational_autoencoder", small_encoder(bands=bands), variational_autoencoder=own)
    view = view_of(5, bands)
    reconstructions, samples, walks = method.panels((view,), drawing())
    assert reconstructions.values.shape == (2, 5, bands, 32, 32)
    assert torch.equal(reconstructions.values[0], view.images)
    assert samples.values.shape == (2, 6, bands, 32, 32)
    assert walks.values.shape == (2, 7, bands, 32, 32)
    assert torch.equal(walks.values[:, 0], view.images[[0, 2]])
    assert torch.equal(walks.values[:, -1], view.images[[1, 3]])
    torch.testing.assert_close(walks.values[:, [1, 5]].flatten(0, 1), reconstructions.values[1, :4])
    again = method.panels((view,), drawing())[1].values
    assert torch.equal(samples.values, again)
    outputs = method.decoder(method.posterior(view.images)[0])
    normalised = outputs if reconstruction == "mse" else from_unit(1 / (1 + (-outputs).exp()))
    torch.testing.assert_close(reconstructions.values[1], method.encoder.source_values(normalised))
    assert len(method.panels((Batch(view.images[:1], view.valid[:1], {}, view.rows[:1]),), drawing())) == 2
