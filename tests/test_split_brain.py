"""Split brain: a half of the bands never sees what it predicts, and is judged by nothing else."""

import copy

import pytest
import torch
from small_methods import assert_each_trained_by_its_player, small_encoder, small_method, view_of
from tiny_methods import drawing

from domainssl.methods.registry import not_applicable


def split_brain(name: str = "test_efficientnet", bands: int = 5, stretch="asinh"):
    return small_method("split_brain", small_encoder(name, bands, stretch))


@pytest.mark.parametrize("bands", [2, 3, 5])
def test_the_halves_are_all_bands_and_none_twice(bands):
    first, second = split_brain(bands=bands).halves
    assert torch.equal(first, ~second)
    assert {int(first.sum()), int(second.sum())} == {bands // 2, bands - bands // 2}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_a_half_never_sees_the_bands_that_it_predicts(name, number, training):
    method = split_brain(name).train(training)
    half, view = method.halves[number], view_of()
    images = view.images.clone().requires_grad_()
    predicted = copy.deepcopy(method).predicted(images, half)
    (gradient,) = torch.autograd.grad(predicted[half.expand_as(predicted)].square().sum(), images)
    everywhere = half.expand_as(gradient)
    assert not gradient[everywhere].any()
    assert gradient[~everywhere].any()
    others = torch.where(half, view_of(seed=1).images, view.images)
    assert torch.equal(copy.deepcopy(method).predicted(others, half), predicted)
    seen = torch.where(half, view.images, view_of(seed=1).images)
    assert not torch.equal(copy.deepcopy(method).predicted(seen, half), predicted)


@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
def test_hidden_bands_are_zero_to_the_network(stretch):
    method, view = split_brain(stretch=stretch), view_of()
    seen: list[torch.Tensor] = []
    method.encoder.network.conv_stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    method((view,), drawing())
    for half, shown in zip(method.halves, seen, strict=True):
        everywhere = half.expand_as(shown)
        assert shown[everywhere].abs().max() < 1e-5
        torch.testing.assert_close(shown[~everywhere], method.encoder.normalised(view.images)[~everywhere])


def test_no_pass_of_the_loss_sees_what_it_is_judged_by():
    """The step as a whole: what is judged in one half depends on that half's pixels by the target alone."""
    method, view = split_brain().train(), view_of()
    predictions: list[torch.Tensor] = []
    method.decoder.register_forward_hook(lambda layer, inputs, outputs: predictions.append(outputs))
    images = view.images.requires_grad_()
    method((view,), drawing())
    assert len(predictions) == 2
    for half, predicted in zip(method.halves, predictions, strict=True):
        (gradient,) = torch.autograd.grad(predicted[half.expand_as(predicted)].sum(), images, retain_graph=True)
        assert not gradient[half.expand_as(gradient)].any()


def test_the_loss_is_the_error_of_both_halves_where_they_were_hidden():
    method, view = split_brain(), view_of()
    view.valid[0, 0, :9] = False
    view.images[1, 2] = 0
    step = method((view,), drawing())
    target = method.encoder.normalised(view.images)
    counted = view.valid.expand_as(target).clone()
    counted[1, 2] = False
    errors = []
    for half in method.halves:
        where = half.expand_as(target) & counted
        errors.append((method.predicted(view.images, half) - target)[where].square().mean())
    torch.testing.assert_close(step.losses["model"], errors[0] + errors[1])
    assert step.monitor is None


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
@pytest.mark.parametrize("bands", [2, 5])
def test_every_parameter_is_trained_and_the_encoder_takes_all_bands(bands, name):
    method = split_brain(name, bands).train()
    step = method((view_of(bands=bands),), drawing())
    assert_each_trained_by_its_player(method, step.losses, set())
    assert method.exported() is method.encoder
    images = view_of(bands=bands).images.requires_grad_()
    (gradient,) = torch.autograd.grad(method.exported().pooled(images).square().sum(), images)
    assert gradient.abs().sum(dim=(0, 2, 3)).all()


def test_one_band_is_refused():
    with pytest.raises(ValueError, match="predicts bands from other bands, the images have 1"):
        split_brain(bands=1)
    assert "bands" in not_applicable("split_brain", "test_efficientnet", 1)
    assert not_applicable("split_brain", "test_efficientnet", 2) is None


def test_the_panel_shows_each_band_as_told_by_the_other_half():
    method, view = split_brain().eval(), view_of()
    shown = method.halves.float().argmax(dim=2).flatten()  # the first band that each pass has to tell
    # A pass answers with the number of that band: predictions of random weights would be too alike to be told apart.
    method.predicted = lambda images, half: torch.full_like(images, float(half.flatten().float().argmax()))
    (panel,) = method.panels((view,), drawing())
    assert torch.equal(panel.values[0], view.images)
    assert shown.tolist() == [2, 0]
    normalised = method.encoder.normalised(panel.values[1])
    for band, told in enumerate([0.0, 0.0, 2.0, 2.0, 2.0]):
        torch.testing.assert_close(normalised[:, band], torch.full_like(normalised[:, band], told), rtol=0, atol=1e-5)
