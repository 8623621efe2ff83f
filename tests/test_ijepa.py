"""I-JEPA: the encoder never sees a target, the teacher gets no gradient, and the loss written out."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny_methods import (
    SMALL,
    assert_grouped_and_trained,
    batch_of,
    convolutional,
    made,
    policy_of,
    transformer,
    views_of,
    weights,
)
from torch.nn import functional

from domainssl.method_options import IJEPAOptions
from domainssl.methods.blocks import draw_blocks
from domainssl.methods.ijepa import IJEPA, smooth_l1
from domainssl.methods.teacher import momentum_at
from domainssl.tokens import Tokens
from domainssl.views.affine_crop import AffineCrop


def ijepa(**own: Any) -> IJEPA:
    options = IJEPAOptions(**{"predictor_width": 32, "predictor_depth": 1, **own})
    return made("ijepa", transformer(patch=8), dataclasses.replace(SMALL, ijepa=options))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_a_step_is_smooth_l1_between_predictions_and_layer_normed_teacher_tokens():
    method = ijepa().eval()
    with torch.no_grad():
        method.encoder.network.patch_embed.proj.weight.mul_(1.1)  # so that the teacher is another
        method.teacher_encoder.network.norm.weight.copy_(torch.linspace(0.5, 2, 64))  # learnt, not the targets'
    (view,) = views_of(3, 1)
    step = method((view,), generator())
    blocks = draw_blocks(3, 8, 4, (0.15, 0.2), (0.85, 1.0), generator())
    terms = []
    with torch.no_grad():
        teacher = method.teacher_encoder.network.forward_features(method.teacher_encoder.normalised(view.images))[:, 1:]
        assert (method.targets(view.images).mean(-1).abs() < 1e-5).all()
        for image in range(3):
            wanted = teacher[image]
            wanted = (wanted - wanted.mean(1, keepdim=True)) / (wanted.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
            tokens = Tokens(method.encoder)
            context = blocks.context[image : image + 1]
            seen = tokens.encode(tokens.embed(view.images[image : image + 1]), keep=context)
            for block in blocks.targets[image]:
                found = method.predictor(seen, context, block[None])[0]
                gap = (found - wanted[block]).abs()
                terms.append(torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean())
    assert step.losses["model"].item() == pytest.approx(float(torch.stack(terms).mean()), rel=1e-4)
    assert step.monitor is None


def test_predictions_depend_on_no_pixel_of_their_targets():
    method = ijepa().eval()
    images = views_of(2, 1)[0].images.requires_grad_()
    blocks = draw_blocks(2, 8, 4, (0.15, 0.2), (0.85, 1.0), generator())
    tokens = Tokens(method.encoder)
    seen = tokens.encode(tokens.embed(images), keep=blocks.context)
    found = method.predictor(seen, blocks.context, blocks.targets[:, 0])
    found.square().sum().backward()
    used = functional.max_pool2d(images.grad.abs().amax(1, keepdim=True), 8).flatten(1) > 0
    for image in range(2):
        assert set(used[image].nonzero().flatten().tolist()) == set(blocks.context[image].tolist())


def test_the_loss_of_a_step_has_no_gradient_where_only_the_teacher_looks():
    method = ijepa().eval()
    images = views_of(2, 1)[0].images.requires_grad_()
    method((batch_of(images),), generator()).losses["model"].backward()
    blocks = draw_blocks(2, 8, 4, (0.15, 0.2), (0.85, 1.0), generator())
    used = functional.max_pool2d(images.grad.abs().amax(1, keepdim=True), 8).flatten(1) > 0
    for image in range(2):
        assert set(used[image].nonzero().flatten().tolist()) == set(blocks.context[image].tolist())


def test_a_prediction_knows_which_place_is_asked_for():
    method = ijepa().eval()
    tokens = Tokens(method.encoder)
    context = torch.arange(8)[None]
    seen = tokens.encode(tokens.embed(views_of(1, 1)[0].images), keep=context)
    found = method.predictor(seen, context, torch.tensor([[20, 63, 20]]))[0]
    torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_every_parameter_but_the_teachers_has_one_player_and_gets_a_gradient():
    """The class token too, which is what is kept of most transformers."""
    method = ijepa().train()
    assert_grouped_and_trained(method, method(views_of(3, 1), generator()).losses["model"])
    assert method.encoder.network.cls_token.grad.abs().max() > 0
    assert method.exported() is method.encoder


def test_the_class_tokens_output_reaches_the_predictor():
    method = ijepa().eval()
    seen = torch.randn(2, 6, 64, requires_grad=True)
    context, block = torch.arange(5).expand(2, -1), torch.arange(9, 12).expand(2, -1)
    method.predictor(seen, context, block).square().sum().backward()
    assert seen.grad[:, 0].abs().max() > 0


def test_the_teacher_averages_in_float32_and_gets_no_gradient():
    method = ijepa().train()
    before = weights(method)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(0.1)
    (view,) = views_of(3, 1)
    with torch.autocast("cpu", torch.bfloat16):
        step = method((view,), generator())
        inside = method.targets(view.images)
    assert step.losses["model"].dtype == inside.dtype == torch.float32
    assert torch.equal(inside, method.targets(view.images))
    assert not inside.requires_grad
    method.after_step(step, 0.3)
    keep = momentum_at(0.9, 0.3)
    for name in ("network.patch_embed.proj.weight", "network.cls_token"):
        expected = keep * before[f"teacher_encoder.{name}"] + (1 - keep) * weights(method)[f"encoder.{name}"]
        torch.testing.assert_close(weights(method)[f"teacher_encoder.{name}"], expected, rtol=1e-5, atol=1e-6)


def test_invalid_patches_are_not_asked_for():
    method = ijepa().eval()
    images, valid = views_of(3, 1)[0].images, torch.ones(3, 1, 64, 64, dtype=torch.bool)
    valid[:, :, 32:] = False
    step = method((batch_of(images, valid),), generator())
    blocks = draw_blocks(3, 8, 4, (0.15, 0.2), (0.85, 1.0), generator())
    assert (blocks.targets >= 32).any()
    with torch.no_grad():
        tokens = Tokens(method.encoder)
        seen = tokens.encode(tokens.embed(images), keep=blocks.context)
        terms, targets = [], method.targets(images)
        for number in range(4):
            found = method.predictor(seen, blocks.context, blocks.targets[:, number])
            for image in range(3):
                block = blocks.targets[image, number]
                upper = block < 32
                terms.append(
                    functional.smooth_l1_loss(found[image][upper], targets[image][block[upper]], reduction="none")
                )
    assert step.losses["model"].item() == pytest.approx(float(torch.cat(terms).mean()), rel=1e-4)
    nothing = smooth_l1(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert float(nothing) == 0


def test_only_the_frame_is_varied():
    (policy,) = ijepa().policies(policy_of(64))
    assert [type(operation) for operation in policy] == [AffineCrop]


def test_what_it_cannot_train():
    with pytest.raises(ValueError, match="gives no tokens"):
        made("ijepa", convolutional(), SMALL)
    with pytest.raises(ValueError, match="predictor_width: 48 is no multiple of 32"):
        ijepa(predictor_width=48)
