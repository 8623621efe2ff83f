"""Colorization: the input is grey whatever the colours, classes of colour are those of the bounds."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_methods import SIZE, assert_each_trained_by_its_player, small_encoder, small_method, view_of
from tiny_methods import drawing
from torch.nn import functional

from domainssl.method_options import ColorizationOptions
from domainssl.methods.colorization import class_bounds, class_error, parted
from domainssl.methods.registry import not_applicable
from domainssl.store import Batch

TARGETS = (ColorizationOptions("regression"), ColorizationOptions("classes", 8))


def colorization(own=TARGETS[0], name: str = "test_efficientnet", bands: int = 5, stretch="asinh"):
    return small_method("colorization", small_encoder(name, bands, stretch), colorization=own)


def with_colours(method, luminance: torch.Tensor, seed: int) -> Batch:
    """Images of this luminance in colours of their own."""
    bands = len(method.encoder.input.bands)
    colour = 0.8 * torch.rand(len(luminance), bands, SIZE, SIZE, generator=drawing(seed))
    normalised = luminance + colour - colour.mean(dim=1, keepdim=True)
    view = view_of(len(luminance), bands)
    return Batch(method.encoder.source_values(normalised), view.valid, {}, view.rows)


def inputs_of(method, view: Batch) -> torch.Tensor:
    """What the network is given in a step."""
    seen: list[torch.Tensor] = []
    stem = getattr(method.encoder.network, "conv_stem", None) or method.encoder.network.patch_embed
    handle = stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    method((view,), drawing())
    handle.remove()
    (inputs,) = seen
    return inputs


@pytest.mark.parametrize("own", TARGETS, ids=lambda own: own.target)
@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_the_input_never_carries_colour(name, stretch, own):
    method = colorization(own, name, stretch=stretch)
    luminance = 2 * torch.rand(3, 1, SIZE, SIZE, generator=drawing()) - 1  # no band is cut off
    one, other = (with_colours(method, luminance, seed) for seed in (1, 2))
    assert (method.encoder.normalised(one.images) - method.encoder.normalised(other.images)).abs().mean() > 0.1
    for view in (one, other):
        torch.testing.assert_close(inputs_of(method, view), luminance.expand(-1, 5, -1, -1), rtol=1e-4, atol=1e-4)
    assert not torch.equal(inputs_of(method, one), inputs_of(method, with_colours(method, luminance + 0.1, 1)))


@pytest.mark.parametrize("own", TARGETS, ids=lambda own: own.target)
def test_the_prediction_answers_to_all_bands_alike(own):
    """Its gradient by the normalised bands is the same in each, so none along a change of colour."""
    method = colorization(own).train()
    outputs: list[torch.Tensor] = []
    method.decoder.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    normalised = torch.randn(3, 5, SIZE, SIZE, generator=drawing(), requires_grad=True)
    view = view_of(3)
    method((Batch(method.encoder.source_values(normalised), view.valid, {}, view.rows),), drawing())
    (gradient,) = torch.autograd.grad(outputs[0].square().sum(), normalised)
    assert gradient.any()
    torch.testing.assert_close(
        gradient, gradient.mean(dim=1, keepdim=True).expand_as(gradient), rtol=1e-3, atol=1e-4 * gradient.abs().max()
    )


def test_luminance_is_the_mean_of_the_bands_that_an_object_has():
    normalised = torch.randn(2, 4, 3, 3, generator=drawing())
    counted = torch.ones(2, 4, 3, 3, dtype=torch.bool)
    luminance, colour = parted(normalised, counted)
    torch.testing.assert_close(luminance, normalised.mean(dim=1, keepdim=True))
    torch.testing.assert_close(luminance + colour, normalised)
    counted[0, 1], counted[1, :, 0] = False, False
    luminance, _ = parted(normalised, counted)
    torch.testing.assert_close(luminance[0, 0], normalised[0, [0, 2, 3]].mean(dim=0))
    assert not luminance[1, 0, 0].any()


# Classes


@pytest.mark.parametrize("classes", [2, 3, 8, 15, 16])
def test_bounds_rise_are_symmetric_and_finest_about_0(classes):
    bounds = class_bounds(classes)
    assert len(bounds) == classes - 1
    torch.testing.assert_close(bounds, -bounds.flip(0))
    widths = bounds.diff()
    assert (widths > 0).all()
    half = len(widths) // 2
    assert (widths[half:].diff() > 0).all()
    assert len(class_bounds(0)) == 0


@settings(max_examples=20, deadline=None)
@given(classes=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_the_class_error_is_torchs_cross_entropy_over_what_counts(classes, seed):
    logits = torch.randn(2, 3, classes, 4, 4, generator=drawing(seed))
    truth = torch.randint(0, classes, (2, 3, 4, 4), generator=drawing(seed))
    counted = torch.rand(2, 3, 4, 4, generator=drawing(seed)) > 0.4
    rows = logits.movedim(2, -1)[counted]
    torch.testing.assert_close(class_error(logits, truth, counted), functional.cross_entropy(rows, truth[counted]))
    assert class_error(logits, truth, torch.zeros_like(counted)) == 0
    rounded = logits.bfloat16()
    assert torch.equal(class_error(rounded, truth, counted), class_error(rounded.float(), truth, counted))


def test_a_step_is_the_cross_entropy_of_the_difference_from_the_mean():
    method, view = colorization(TARGETS[1]), view_of()
    step = method((view,), drawing())
    normalised = method.encoder.normalised(view.images)
    luminance = normalised.mean(dim=1, keepdim=True)
    bounds = class_bounds(8)
    truth = (((normalised - luminance)[..., None]) > bounds).sum(dim=-1)
    logits = method.outputs(luminance)
    assert logits.shape == (4, 5, 8, SIZE, SIZE)
    torch.testing.assert_close(
        step.losses["model"], functional.cross_entropy(logits.movedim(2, -1).reshape(-1, 8), truth.flatten())
    )
    assert step.measures["accuracy"] == pytest.approx(float((logits.argmax(dim=2) == truth).float().mean()))


def test_classes_become_colours_by_their_probabilities():
    method = colorization(TARGETS[1])
    luminance = torch.zeros(1, 1, SIZE, SIZE)
    found = []
    for number in range(8):
        logits = torch.full((1, 5, 8, SIZE, SIZE), -1e4)
        logits[:, :, number] = 0
        method.outputs = lambda luminance, logits=logits: logits
        colour = method.colours(luminance)
        assert (colour == colour[0, 0, 0, 0]).all()
        found.append(float(colour[0, 0, 0, 0]))
    bounds = [-3.0, *method.bounds.tolist(), 3.0]  # the outermost classes have no outer bound
    assert found == pytest.approx([(low + high) / 2 for low, high in pairwise(bounds)], abs=1e-5)
    assert found[0] == pytest.approx(-3)


def test_regression_is_the_error_of_the_difference_from_the_mean():
    method, view = colorization(), view_of()
    view.valid[0, 0, :9] = False
    view.images[1, 2] = 0
    normalised = method.encoder.normalised(view.images)
    counted = view.valid.expand_as(normalised).clone()
    counted[1, 2] = False
    luminance, colour = parted(normalised, counted)
    expected = (method.colours(luminance) - colour)[counted].square().mean()
    step = method((view,), drawing())
    torch.testing.assert_close(step.losses["model"], expected)
    assert step.monitor is None


@pytest.mark.parametrize("own", TARGETS, ids=lambda own: own.target)
@pytest.mark.parametrize("bands", [2, 5])
def test_every_parameter_is_trained_and_the_encoder_exported(bands, own):
    method = colorization(own, bands=bands).train()
    step = method((view_of(bands=bands),), drawing())
    assert_each_trained_by_its_player(method, step.losses, set())
    assert method.exported() is method.encoder


def test_colours_that_follow_from_luminance_are_learnt():
    method = colorization(bands=3).train()
    luminance = torch.randn(8, 1, 1, 1, generator=drawing()).expand(-1, -1, SIZE, SIZE)
    normalised = luminance * torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
    valid = torch.ones(8, 1, SIZE, SIZE, dtype=torch.bool)
    view = Batch(method.encoder.source_values(normalised), valid, {}, torch.arange(8))
    optimiser = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        losses.append(method((view,), drawing()).losses["model"])
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]


def test_one_band_is_refused():
    with pytest.raises(ValueError, match="predicts bands from their mean, the images have 1"):
        colorization(bands=1)
    assert not_applicable("colorization", "test_efficientnet", 1) is not None


@pytest.mark.parametrize("own", TARGETS, ids=lambda own: own.target)
def test_the_panel_shows_image_grey_and_prediction(own):
    method, view = copy.deepcopy(colorization(own)).eval(), view_of()
    (panel,) = method.panels((view,), drawing())
    image, grey, predicted = panel.values
    assert torch.equal(image, view.images)
    normalised = method.encoder.normalised(grey)
    torch.testing.assert_close(normalised, normalised[:, :1].expand_as(normalised), rtol=1e-4, atol=1e-4)
    luminance = method.encoder.normalised(view.images).mean(dim=1, keepdim=True)
    expected = method.encoder.source_values(luminance + method.colours(luminance))
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-4)
