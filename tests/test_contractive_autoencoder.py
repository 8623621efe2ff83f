"""Contractive autoencoders: the norm of the Jacobian against torch's own, exact or without bias."""

import math

import pytest
import torch
from reconstruction_cases import encoder_of, images_of, method_of
from synthetic_stores import blobs
from tiny_methods import batch_of, drawing
from torch.autograd.functional import jacobian

from domainssl.method_options import ContractiveOptions
from domainssl.methods.contractive_autoencoder import ContractiveAutoencoder, estimated_norm
from domainssl.methods.decoder import pixel_error
from domainssl.options import PretrainOptions


def contractive(name: str, bands: int = 2, size: int = 16, **settings) -> ContractiveAutoencoder:
    options = PretrainOptions(method="contractive_autoencoder", contractive_autoencoder=ContractiveOptions(**settings))
    method = method_of(encoder_of(name, bands, size), options)
    assert isinstance(method, ContractiveAutoencoder)
    return method.eval()


def squared_norm(method: ContractiveAutoencoder, normalised: torch.Tensor) -> torch.Tensor:
    """The mean over images of the squares of torch's Jacobian, one image after the other."""
    norms = [jacobian(method.code, image[None], create_graph=True).square().sum() for image in normalised]
    return torch.stack(norms).mean()


@pytest.mark.parametrize("name", ["sigmoid_64", "dense_8"])
@pytest.mark.parametrize("bands", [1, 5])
def test_of_a_dense_encoder_norm_and_gradient_are_exact(name, bands):
    method = contractive(name, bands)
    with torch.no_grad():
        method.encoder.network.stem.weight.mul_(5)  # slopes that differ
    normalised = method.encoder.normalised(images_of(4, bands))
    found, expected = method.exact_norm(method.code(normalised)), squared_norm(method, normalised)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    weight = method.encoder.network.stem.weight
    (mine,), (other,) = (torch.autograd.grad(norm, weight) for norm in (found, expected))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_of_other_encoders_the_estimate_has_no_bias():
    method = contractive("test_efficientnet", 2, 32, latent=6)
    normalised = method.encoder.normalised(images_of(2, 2, 32)).requires_grad_()
    code = method.code(normalised)
    expected = squared_norm(method, normalised.detach()).item()
    generator = drawing()
    draws = torch.stack([estimated_norm(code, normalised, 1, generator).detach() for _ in range(300)])
    error = float(draws.std()) / math.sqrt(len(draws))
    assert 0 < error < 0.02 * expected
    assert abs(float(draws.mean()) - expected) < 3 * error


def test_the_gradient_of_the_estimate_is_that_of_the_norm():
    """So the penalty reaches the encoder: its own gradient, not the reconstruction's."""
    method = contractive("test_efficientnet", 2, 32, latent=6)
    normalised = method.encoder.normalised(images_of(2, 2, 32)).requires_grad_()
    estimate = estimated_norm(method.code(normalised), normalised, 60, drawing())
    expected = squared_norm(method, normalised.detach())
    for weight in (method.layer[0].weight, method.encoder.network.conv_stem.weight):
        (mine,) = torch.autograd.grad(estimate, weight, retain_graph=True)
        (other,) = torch.autograd.grad(expected, weight, retain_graph=True)
        assert float(torch.cosine_similarity(mine.flatten(), other.flatten(), dim=0)) > 0.95
        assert float(mine.norm() / other.norm()) == pytest.approx(1, abs=0.15)


def test_more_probes_are_the_mean_of_single_ones():
    method = contractive("test_efficientnet", 2, 32, latent=6)
    normalised = method.encoder.normalised(images_of(2, 2, 32)).requires_grad_()
    code = method.code(normalised)
    generator = drawing(3)
    singly = torch.stack([estimated_norm(code, normalised, 1, generator) for _ in range(4)])
    torch.testing.assert_close(estimated_norm(code, normalised, 4, drawing(3)), singly.mean())


@pytest.mark.parametrize("name", ["sigmoid_64", "test_efficientnet"])
def test_the_loss_is_the_error_and_the_weighted_norm(name):
    method = contractive(name, 2, 32, weight=0.7, latent=6, probes=3)
    view = batch_of(images_of(3, 2, 32), torch.rand(3, 1, 32, 32, generator=drawing(2)) < 0.8)
    step = method((view,), drawing(1))
    normalised = method.encoder.normalised(view.images).requires_grad_()
    code = method.code(normalised)
    error = pixel_error(method.decoded(code), normalised, view.valid)
    dense = name == "sigmoid_64"
    norm = method.exact_norm(code) if dense else estimated_norm(code, normalised, 3, drawing(1))
    torch.testing.assert_close(step.losses["model"], error + 0.7 * norm)
    assert step.measures == {"error": pytest.approx(error.item()), "jacobian_norm": pytest.approx(norm.item())}


def test_a_dense_decoder_has_the_encoders_weights():
    method = contractive("sigmoid_64")
    code = torch.rand(3, 64, generator=drawing())
    expected = (code @ method.encoder.network.stem.weight.flatten(1)).view(3, 2, 16, 16)
    torch.testing.assert_close(method.decoded(code), expected)
    assert [tuple(p.shape) for p in method.players()["model"][1].parameters] == [(2 * 16 * 16,)]


@pytest.mark.parametrize("name", ["sigmoid_64", "test_efficientnet"])
def test_every_parameter_has_one_player_and_gets_a_gradient(name):
    method = contractive(name, 2, 32, latent=6).train()
    grouped = [id(parameter) for group in method.players()["model"] for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    method((batch_of(images_of(4, 2, 32)),), drawing()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_the_penalty_makes_the_code_move_less():
    images = torch.from_numpy(blobs(16, 1, 16))
    norms = []
    for weight in (0.0, 1.0):
        options = ContractiveOptions(weight=weight)
        method = method_of(
            encoder_of("sigmoid_64", 1, 16, sample=images, stretch="asinh"),
            PretrainOptions(method="contractive_autoencoder", contractive_autoencoder=options),
        )
        optimiser = torch.optim.Adam(method.parameters(), 3e-3)
        for _ in range(100):
            step = method((batch_of(images),), drawing())
            optimiser.zero_grad()
            step.losses["model"].backward()
            optimiser.step()
        norms.append(step.measures["jacobian_norm"])
    assert norms[1] < 0.3 * norms[0]
