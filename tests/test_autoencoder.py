"""Autoencoders of several sizes of code: the sum of their errors, and a bottleneck that memorises all the same."""

import dataclasses

import pytest
import torch
from reconstruction_cases import encoder_of, images_of, method_of
from synthetic_stores import blobs
from tiny_methods import batch_of, drawing

from domainssl.method_options import AutoencoderOptions
from domainssl.methods.autoencoder import Autoencoder
from domainssl.methods.decoder import pixel_error
from domainssl.options import PretrainOptions
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo

OPTIONS = PretrainOptions(method="autoencoder", autoencoder=AutoencoderOptions(codes=(2, 5)))


@pytest.mark.parametrize("name", ["test_efficientnet", "dense_8"])
def test_the_loss_is_the_sum_over_the_sizes_of_code(name):
    method = method_of(encoder_of(name, 2, 32), OPTIONS).eval()
    assert isinstance(method, Autoencoder)
    view = batch_of(images_of(3, 2, 32), torch.rand(3, 1, 32, 32, generator=drawing(1)) < 0.8)
    step = method((view,), drawing())
    target = method.encoder.normalised(view.images)
    with torch.no_grad():
        features = method.encoder.pooled(view.images)
    expected = {}
    for size in (2, 5):
        code = method.bottlenecks.code(features, size)
        assert code.shape == (3, size)
        expected[f"error_{size}"] = pixel_error(method.bottlenecks.decoded(code), target, view.valid)
    torch.testing.assert_close(step.losses["model"], expected["error_2"] + expected["error_5"])
    assert step.measures == {name: pytest.approx(error.item()) for name, error in expected.items()}
    assert step.monitor is None


def test_without_sizes_the_features_are_the_code():
    options = dataclasses.replace(OPTIONS, autoencoder=AutoencoderOptions(codes=()))
    method = method_of(encoder_of("dense_8"), options)
    features = method.encoder.pooled(images_of(3))
    assert method.bottlenecks.sizes == (8,)
    assert torch.equal(method.bottlenecks.code(features, 8), features)


def test_a_bottleneck_of_two_numbers_memorises():
    """Six images are learnt by heart: their error falls to a small share of that on images not trained on."""
    options = dataclasses.replace(OPTIONS, autoencoder=AutoencoderOptions(codes=(2,)))
    images = torch.from_numpy(blobs(30, 1, 8))
    method = method_of(encoder_of("dense_32", 1, 8, sample=images, stretch="asinh"), options)
    learnt, held_out = (batch_of(part) for part in (images[:6], images[6:]))
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    with torch.no_grad():
        before = float(method((held_out,), drawing()).losses["model"])
    for _ in range(200):
        optimiser.zero_grad()
        method((learnt,), drawing()).losses["model"].backward()
        optimiser.step()
    with torch.no_grad():
        inside, outside = (float(method((view,), drawing()).losses["model"]) for view in (learnt, held_out))
    assert inside < 0.02 * outside
    assert inside < 0.02 * before


def test_it_sees_one_view_of_the_frame_alone():
    crop = AffineCrop(16, rotation=10.0)
    assert method_of(encoder_of("dense_8"), OPTIONS).policies((crop, NoiseTo(2.0))) == ((crop,),)


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = method_of(encoder_of("test_efficientnet", 2, 32), OPTIONS)
    grouped = [id(parameter) for group in method.players()["model"] for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    method((batch_of(images_of(4, 2, 32)),), drawing()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
