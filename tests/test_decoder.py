"""Decoders: from any encoder's map to an image; what does not count in an error has no say in it."""

import pytest
import torch
from small_methods import SIZE, small_encoder, view_of

from domainssl.methods.decoder import MapDecoder, decoder, mean_of, pixel_error
from domainssl.methods.feature_map import map_and_features, map_shape
from domainssl.methods.hiding import hidden, known
from domainssl.store import Batch

ENCODERS = ("test_efficientnet", "test_resnet", "test_vit", "dense_8")


@pytest.mark.parametrize("size", [4, 8, 20, 32])
def test_a_code_becomes_an_image_of_the_size(size):
    assert decoder(3, 2, size)(torch.rand(4, 3)).shape == (4, 2, size, size)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoders_map_becomes_an_image_and_its_pooled_features_are_trained(name):
    encoder, images = small_encoder(name), view_of().images
    found, features = map_and_features(encoder, images)
    assert found.shape[1:] == (map_shape(encoder)[0], map_shape(encoder)[1], map_shape(encoder)[1])
    torch.testing.assert_close(features, encoder.pooled(images))
    found, features = found.detach().requires_grad_(), features.detach().requires_grad_()
    outputs = MapDecoder(encoder, 7)(found, features)
    assert outputs.shape == (4, 7, SIZE, SIZE)
    gradients = torch.autograd.grad(outputs.square().sum(), [found, features])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_a_transformers_map_lies_as_its_patches():
    encoder, images = small_encoder("test_vit"), view_of(1).images.requires_grad_()
    found, _ = map_and_features(encoder, images)
    embedded = encoder.network.forward_features(encoder.normalised(images))[:, encoder.network.num_prefix_tokens :]
    torch.testing.assert_close(found[0, :, 1, 2], embedded[0, 1 * 4 + 2])


def test_looking_at_the_shape_leaves_the_encoder_as_it_is():
    encoder = small_encoder().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    map_shape(encoder)
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_error_is_over_what_counts_band_by_band():
    found, target = torch.rand(2, 3, 4, 5, 5).unbind()
    of_all = torch.rand(3, 1, 5, 5) > 0.5
    squares = (found - target).square()
    torch.testing.assert_close(pixel_error(found, target, of_all), squares[of_all.expand_as(squares)].mean())
    banded = torch.rand(3, 4, 5, 5) > 0.5
    torch.testing.assert_close(pixel_error(found, target, banded), squares[banded].mean())
    weight = torch.rand(3, 1, 5, 5)
    weighted = (squares * weight)[of_all.expand_as(squares)].mean()
    torch.testing.assert_close(pixel_error(found, target, of_all, weight), weighted)
    assert pixel_error(found, target, torch.zeros(3, 1, 5, 5, dtype=torch.bool)) == 0
    assert pixel_error(found.bfloat16(), target.bfloat16(), of_all).dtype == torch.float32
    assert mean_of(torch.ones(0), torch.ones(0, dtype=torch.bool)) == 0


@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
def test_what_is_hidden_is_zero_to_the_network_and_carries_nothing(stretch):
    encoder, images = small_encoder(stretch=stretch), view_of().images.requires_grad_()
    where = torch.rand(4, 1, SIZE, SIZE) > 0.5
    shown = hidden(encoder, images, where)
    everywhere = where.expand_as(images)
    assert encoder.normalised(shown)[everywhere].abs().max() < 1e-5
    assert torch.equal(shown[~everywhere], images[~everywhere])
    (gradient,) = torch.autograd.grad(shown.square().sum(), images)
    assert not gradient[everywhere].any()
    assert gradient[~everywhere].any()


def test_known_are_valid_pixels_of_the_bands_an_object_has():
    view = view_of()
    view.images[1, 3] = 0
    view.valid[2, 0, :7] = False
    found = known(Batch(view.images, view.valid, {}, view.rows))
    expected = torch.ones(4, 5, SIZE, SIZE, dtype=torch.bool)
    expected[1, 3], expected[2, :, :7] = False, False
    assert torch.equal(found, expected)
