"""CPC: nothing is predicted from what it could be read off, and the loss written out."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_methods import SMALL, assert_grouped_and_trained, batch_of, convolutional, made, transformer

from domainssl.encoders import TimmEncoder
from domainssl.method_options import CPCOptions
from domainssl.methods.cpc import CPC, row_loss
from domainssl.views.affine_crop import AffineCrop, whole_frame


def cpc(patches: int = 5, ahead: int = 2, encoder: TimmEncoder | None = None) -> CPC:
    options = dataclasses.replace(SMALL, cpc=CPCOptions(patches, ahead))
    return made("cpc", encoder or convolutional(size=48), options)


def images_of(count: int = 3, size: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(seed))


def undistorted(method: CPC) -> CPC:
    method.patch_views = (whole_frame(method.patch_views[0].size),)
    return method


# Context


@pytest.mark.parametrize("row", range(5))
def test_the_context_of_a_row_never_sees_rows_below(row):
    method = cpc()
    codes = torch.randn(2, 8, 5, 5, requires_grad=True)
    method.context(codes)[:, :, row].square().sum().backward()
    seen = codes.grad.abs().sum(dim=(0, 1, 3)) > 0
    assert seen.tolist() == [number <= row for number in range(5)]


@pytest.mark.parametrize("distance", [1, 2])
def test_a_prediction_sees_no_pixel_of_its_target(distance):
    """Patches overlap by half: of all rows, only those from the second below on share no pixel with what was seen."""
    method = undistorted(cpc().eval())
    images = images_of().requires_grad_()
    features, _ = method.encoded(batch_of(images), torch.Generator())
    predicted = method.predictions(features)[distance - 1]
    assert predicted.shape[1] == 4 - distance  # the rows 1 + distance and below of five
    for place in range(predicted.shape[1]):
        (gradient,) = torch.autograd.grad(predicted[:, place].square().sum(), images, retain_graph=True)
        target = place + 1 + distance
        seen = gradient.abs().sum(dim=(0, 1, 3)) > 0
        assert seen[: (place + 2) * 8].any()
        assert not seen[target * 8 :].any()
        below = torch.autograd.grad(features[:, target].square().sum(), images, retain_graph=True)[0]
        assert not (seen & (below.abs().sum(dim=(0, 1, 3)) > 0)).any()


# Patches


def test_patches_overlap_by_half_and_fill_the_image():
    method = undistorted(cpc().eval())
    images = images_of()
    features, valid = method.encoded(batch_of(images), torch.Generator())
    assert features.shape[:3] == valid.shape == (3, 5, 5)
    assert valid.all()
    for row, column in ((0, 0), (1, 3), (4, 4)):
        patch = images[:, :, 8 * row : 8 * row + 16, 8 * column : 8 * column + 16]
        torch.testing.assert_close(features[:, row, column], method.encoder.pooled(patch), rtol=1e-3, atol=1e-4)


def test_every_patch_is_distorted_by_itself():
    method = cpc(encoder=convolutional(size=48)).eval()
    one = torch.rand(1, 2, 8, 8).repeat(2, 1, 6, 6)  # patches of the same pixels
    features, _ = method.encoded(batch_of(one), torch.Generator().manual_seed(0))
    flat = features.reshape(50, -1)
    distinct = torch.cdist(flat, flat) + torch.eye(50)
    assert (distinct > 1e-4).all()
    again, _ = method.encoded(batch_of(one), torch.Generator().manual_seed(0))
    assert torch.equal(features, again)
    plain, _ = undistorted(method).encoded(batch_of(one), torch.Generator())
    torch.testing.assert_close(plain.reshape(50, -1), plain.reshape(50, -1)[:1].expand(50, -1), rtol=1e-3, atol=1e-4)


def test_patches_that_do_not_divide_the_image_lie_in_its_middle():
    method = undistorted(cpc(4, 1, convolutional(size=64)).eval())
    assert method.stride == 12
    images = images_of(size=64)
    features, _ = method.encoded(batch_of(images), torch.Generator())
    patch = images[:, :, 2:26, 2:26]
    torch.testing.assert_close(features[:, 0, 0], method.encoder.pooled(patch), rtol=1e-3, atol=1e-4)


def test_an_encoder_of_one_size_gets_patches_of_that_size():
    method = cpc(3, 1, transformer(size=32)).train()
    assert isinstance(method.patch_views[0], AffineCrop)
    assert method.patch_views[0].size == 32
    step = method((batch_of(images_of(2, 32)),), torch.Generator().manual_seed(0))
    assert torch.isfinite(step.losses["model"])
    assert cpc().patch_views[0].size == 16


@pytest.mark.parametrize(("patches", "ahead"), [(5, 0), (5, 4), (3, 2), (2, 1)])
def test_distances_that_do_not_exist(patches, ahead):
    with pytest.raises(ValueError, match="give 1 to patches - 2"):
        cpc(patches, ahead)


def test_patches_without_pixels():
    with pytest.raises(ValueError, match="48 px hold no grid of 60"):
        cpc(60, 2)


# Loss


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 3),
    grid=st.integers(3, 5),
    dim=st.integers(1, 8),
    scale=st.floats(0.1, 30),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_the_loss_written_out(count, grid, dim, scale, share, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = scale * torch.randn(count, grid, grid, dim, generator=generator)
    predictions = [torch.randn(count, grid - far, grid, dim, generator=generator) for far in range(2, grid)]
    valid = torch.rand(count, grid, grid, generator=generator) < share
    loss, information = row_loss(predictions, targets, valid)
    counted = [tuple(place) for place in valid.nonzero().tolist()]
    expected, shown = [], []
    for far, predicted in zip(range(2, grid), predictions, strict=True):
        terms = []
        for image, row, column in counted:
            if row < far:
                continue
            own = predicted[image, row - far, column].double()
            scores = {place: float(own @ targets[place].double()) / math.sqrt(dim) for place in counted}
            largest = max(scores.values())
            total = sum(math.exp(score - largest) for score in scores.values())
            terms.append(math.log(total) + largest - scores[image, row, column])
        expected.append(sum(terms) / len(terms) if terms else 0.0)
        shown.append(math.log(len(counted)) - expected[-1] if terms else 0.0)
    assert float(loss) == pytest.approx(sum(expected) / len(expected), rel=1e-4, abs=1e-4)
    assert information == pytest.approx(sum(shown) / len(shown), rel=1e-4, abs=1e-4)
    if counted:
        assert information <= math.log(len(counted)) + 1e-5


def test_patches_without_valid_pixels_take_no_part():
    method = undistorted(cpc().eval())
    images = images_of(3)
    valid = torch.ones(3, 1, 48, 48, dtype=torch.bool)
    valid[1:, :, :24] = False  # the upper half, in which all of the rows 0 and 1 lie
    images[1:, :, :24] = 0
    _, counted = method.encoded(batch_of(images, valid), torch.Generator())
    assert counted[0].all()
    assert counted[1].all(dim=1).tolist() == [False, False, True, True, True]
    step = method((batch_of(images, valid),), torch.Generator())
    standard = method.standardised(method.encoded(batch_of(images, valid), torch.Generator())[0])
    expected, _ = row_loss(method.predictions(standard), method.target(standard), counted)
    torch.testing.assert_close(step.losses["model"], expected)


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = cpc().train()
    assert len(method.policies(())) == 1
    step = method((batch_of(images_of()),), torch.Generator().manual_seed(0))
    assert step.monitor.shape == (75, 8)
    assert not step.monitor.requires_grad
    assert step.measures["information"] <= math.log(75)
    assert_grouped_and_trained(method, step.losses["model"])
    assert method.exported() is method.encoder


def test_scores_in_full_precision_within_autocast():
    method = undistorted(cpc().eval())
    features, valid = method.encoded(batch_of(images_of()), torch.Generator())
    targets, predictions = method.target(features).bfloat16(), [x.bfloat16() for x in method.predictions(features)]
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = row_loss(predictions, targets, valid)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, row_loss([x.float() for x in predictions], targets.float(), valid)[0])
