"""Denoising autoencoders: what is corrupted, what is asked for, and which pixels count how much."""

import dataclasses
import math

import pytest
import torch
from reconstruction_cases import encoder_of, images_of, method_of
from synthetic_stores import blobs
from tiny_methods import batch_of, drawing
from torch import nn

from domainssl.method_options import AutoencoderOptions, DenoisingOptions, denoising_problems
from domainssl.methods.corruption import corrupted
from domainssl.options import PretrainOptions

KINDS = ("gaussian", "masking", "salt_and_pepper")
CODES = AutoencoderOptions(codes=(2, 5))


def options_of(**settings) -> PretrainOptions:
    denoising = DenoisingOptions(**settings)
    return PretrainOptions(method="denoising_autoencoder", autoencoder=CODES, denoising_autoencoder=denoising)


# Corruption


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper"])
@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_exactly_a_share_of_the_pixels_of_each_image_in_all_bands(kind, share):
    images = images_of(6, 3).add(0.1)
    before = images.clone()
    noisy, drawn = corrupted(images, torch.ones(6, 1, 16, 16, dtype=torch.bool), options(kind, share), drawing())
    assert torch.equal(images, before)
    assert drawn.shape == (6, 1, 16, 16)
    assert drawn.sum((1, 2, 3)).tolist() == [round(share * 256)] * 6
    assert torch.equal(torch.where(drawn, 0, noisy), torch.where(drawn, 0, images))
    if share < 1:
        assert not torch.equal(drawn[0], drawn[1])
    if kind == "masking":
        assert torch.equal(noisy, images * ~drawn)
        return
    for image, found, where in zip(images, noisy, drawn.squeeze(1), strict=True):
        white, black = image.amax((1, 2)), image.amin((1, 2))
        pixels = found[:, where].T
        salt = (pixels == white).all(1)
        assert (salt | (pixels == black).all(1)).all()
        assert 0.3 < salt.float().mean() < 0.7


def options(kind: str, strength: float) -> DenoisingOptions:
    return DenoisingOptions(corruption=kind, strength=strength)


def test_gaussian_noise_is_in_units_of_the_spread_of_each_images_valid_pixels_band_by_band():
    images = images_of(4, 3, 64) * torch.tensor([1.0, 5.0, 0.0]).view(1, 3, 1, 1)
    valid = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    valid[:, :, :20], images[:, :, :20] = False, 100.0
    noisy, drawn = corrupted(images, valid, options("gaussian", 4.0), drawing())
    assert drawn.all()
    noise = (noisy - images)[:, :, 20:].flatten(2)
    spread = images[:, :, 20:].flatten(2).std(dim=2)
    torch.testing.assert_close(noise.std(dim=2), 4 * spread, rtol=0.05, atol=1e-6)
    assert (noise.mean(dim=2).abs() < 0.3 * spread + 1e-6).all()
    assert torch.equal(noisy[:, 2, 20:], images[:, 2, 20:]), "a band that is absent gets noise"


@pytest.mark.parametrize("kind", KINDS)
def test_corruption_comes_from_the_generator_alone(kind):
    images, valid = images_of(2), torch.ones(2, 1, 16, 16, dtype=torch.bool)
    first, again, other = (corrupted(images, valid, options(kind, 0.5), drawing(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


# Loss


@pytest.mark.parametrize(
    ("kind", "strength", "alpha", "beta"),
    [("masking", 0.5, 3.0, 0.25), ("salt_and_pepper", 0.9, 0.0, 2.0), ("gaussian", 4.0, 2.0, 1.0)],
)
def test_alpha_weighs_the_drawn_pixels_and_the_target_is_the_view_itself(kind, strength, alpha, beta):
    method = method_of(encoder_of("dense_8"), options_of(corruption=kind, strength=strength, alpha=alpha, beta=beta))
    view = batch_of(images_of(3), torch.rand(3, 1, 16, 16, generator=drawing(9)) < 0.8)
    target = method.encoder.normalised(view.images)
    noisy, drawn = corrupted(target, view.valid, method.options, drawing(4))
    expected = torch.zeros(())
    for found in method.bottlenecks(method.encoder.network(noisy)).values():
        squares = (found - target).square().mean(1, keepdim=True) * view.valid
        expected = expected + alpha * squares[drawn].sum() + beta * squares[~drawn].sum()
    step = method((view,), drawing(4))
    torch.testing.assert_close(step.losses["model"], expected / view.valid.sum())


@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
@pytest.mark.parametrize(("kind", "strength"), [("masking", 0.5), ("salt_and_pepper", 0.9), ("gaussian", 4.0)])
def test_the_network_sees_the_corruption_whole_whatever_the_stretch(stretch, kind, strength):
    images = torch.from_numpy(blobs(4, 2, 16))
    encoder = encoder_of("dense_8", 2, 16, sample=images, stretch=stretch)
    method = method_of(encoder, options_of(corruption=kind, strength=strength))
    seen: list[torch.Tensor] = []
    encoder.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    view = batch_of(images)
    step = method((view,), drawing())
    noisy, _ = corrupted(encoder.normalised(images), view.valid, method.options, drawing())
    assert len(seen) == 1
    assert torch.equal(seen[0], noisy)
    assert math.isfinite(step.losses["model"].item())


@pytest.mark.parametrize(("kind", "strength"), [("masking", 0.5), ("masking", 0.9), ("gaussian", 4.0)])
def test_it_learns_to_take_the_corruption_away(kind, strength):
    """After some steps the reconstruction is nearer to the image than the corrupted one is, and than a constant."""
    images = torch.from_numpy(blobs(12, 1, 16))
    method = method_of(
        encoder_of("sigmoid_64", 1, 16, sample=images, stretch="asinh"),
        dataclasses.replace(
            options_of(corruption=kind, strength=strength), autoencoder=AutoencoderOptions(codes=(32,))
        ),
    )
    optimiser, generator = torch.optim.Adam(method.parameters(), 2e-3), drawing()
    for _ in range(100):
        optimiser.zero_grad()
        method((batch_of(images),), generator).losses["model"].backward()
        optimiser.step()
    target = method.encoder.normalised(images)
    with torch.no_grad():
        loss = float(method((batch_of(images),), generator).losses["model"])
    noisy, _ = corrupted(target, batch_of(images).valid, method.options, generator)
    assert loss < 0.5 * float((noisy - target).square().mean())
    assert loss < 0.8 * float((target.mean(0) - target).square().mean())


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = method_of(encoder_of("test_efficientnet", 2, 32), options_of())
    grouped = [id(parameter) for group in method.players()["model"] for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    method((batch_of(images_of(4, 2, 32)),), drawing()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


# Options


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"corruption": "gaussian", "beta": 0.5}, ("beta: 0.5", "Gaussian noise leaves none", "leave it at 1.0")),
        ({"corruption": "gaussian", "beta": 0.0}, ("beta: 0.0", "masking")),
        ({"strength": 1.5}, ("strength: 1.5", "at most 1", "gaussian")),
        ({"corruption": "salt_and_pepper", "strength": 4.0}, ("strength: 4.0",)),
        ({"strength": 0.0}, ("strength: 0.0", "above 0")),
        ({"strength": math.nan}, ("strength: nan",)),
        ({"alpha": -1.0}, ("alpha: -1.0", "0 or more")),
        ({"beta": math.inf}, ("beta: inf",)),
        ({"alpha": 0.0, "beta": 0.0}, ("alpha: 0", "above 0")),
        ({"corruption": "gaussian", "alpha": 0.0}, ("alpha: 0", "above 0")),
    ],
)
def test_what_is_refused(settings, words):
    (problem,) = denoising_problems(DenoisingOptions(**settings))
    assert problem.startswith("pretrain.denoising_autoencoder.")
    assert all(word in problem for word in words), problem
    with pytest.raises(ValueError, match=r"^pretrain\.denoising_autoencoder\."):
        method_of(encoder_of("dense_8"), options_of(**settings))


@pytest.mark.parametrize("settings", [{}, {"corruption": "gaussian", "strength": 4.0}, {"strength": 1.0, "alpha": 0.0}])
def test_what_is_taken(settings):
    assert denoising_problems(DenoisingOptions(**settings)) == []
    assert isinstance(method_of(encoder_of("dense_8"), options_of(**settings)), nn.Module)
