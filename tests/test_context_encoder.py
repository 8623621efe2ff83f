"""Context encoder: holes that nobody looks into, losses inside of them only, two players that do not mix."""

import copy

import pytest
import torch
from small_methods import SIZE, assert_each_trained_by_its_player, small_encoder, small_method, view_of
from tiny_methods import drawing
from torch.nn import functional

from domainssl.method_options import ContextEncoderOptions
from domainssl.methods.context_encoder import ChannelWiseDense
from domainssl.options import PretrainOptions
from domainssl.pretraining import make_optimiser


def context_encoder(name: str = "test_efficientnet", bands: int = 5, **own):
    return small_method(
        "context_encoder", small_encoder(name, bands), context_encoder=ContextEncoderOptions(**own)
    ).train()


def test_a_hole_in_the_centre_is_a_square_of_half_the_side():
    holes = context_encoder(hole="centre").holes(3, drawing())
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    expected[8:24, 8:24] = True
    assert torch.equal(holes, expected.expand(3, 1, -1, -1))


def test_blocks_are_drawn_for_each_image_and_reach_everywhere():
    method = context_encoder(hole="blocks")
    holes = method.holes(400, drawing())
    shares = holes.float().mean(dim=(1, 2, 3))
    assert shares.min() > 0.5 / 36
    assert 0.12 < shares.mean() < 0.25 >= shares.max() - 1e-6
    assert holes.any(dim=0).all(), "there are pixels that are never hidden"
    assert not torch.equal(holes[0], holes[1])
    assert torch.equal(holes, method.holes(400, drawing()))
    assert not torch.equal(holes, method.holes(400, drawing(1)))


@pytest.mark.parametrize("hole", ["centre", "blocks"])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "dense_8"])
def test_what_a_hole_hides_changes_nothing(name, hole):
    method, view = context_encoder(name, hole=hole), view_of()
    holes = method.holes(4, drawing())
    images = view.images.clone().requires_grad_()
    fills = copy.deepcopy(method).fills(images, holes)
    (gradient,) = torch.autograd.grad(fills.square().sum(), images)
    assert not gradient[holes.expand_as(gradient)].any()
    assert gradient[~holes.expand_as(gradient)].any()
    others = torch.where(holes, view_of(seed=1).images, view.images)
    assert torch.equal(copy.deepcopy(method).fills(others, holes), fills)
    seen = torch.where(holes, view.images, view_of(seed=1).images)
    assert not torch.equal(copy.deepcopy(method).fills(seen, holes), fills)


def test_a_step_uses_the_hole_that_it_judges():
    method, view = context_encoder(), view_of()
    step = copy.deepcopy(method)((view,), drawing(5))
    holes = method.holes(4, drawing(5))
    expected = method.judged(copy.deepcopy(method).fills(view.images, holes), view, holes)
    for player in ("model", "discriminator"):
        torch.testing.assert_close(step.losses[player], expected.losses[player])
    assert step.monitor is None


@pytest.mark.parametrize("adversary", [0.0, 1.0])
def test_the_loss_counts_inside_the_hole_only(adversary):
    method, view = context_encoder(adversary=adversary), view_of()
    view.valid[0, 0, :9] = False
    view.images[1, 2] = 0  # a band that this object lacks
    holes = method.holes(4, drawing())
    fills = torch.randn(4, 5, SIZE, SIZE, generator=drawing(), requires_grad=True)
    (gradient,) = torch.autograd.grad(method.judged(fills, view, holes).losses["model"], fills)
    counted = (holes & view.valid).expand(-1, 5, -1, -1).clone()
    counted[1, 2] = False
    assert not gradient[~counted].any()
    assert gradient[counted].all()


def test_the_losses_are_l2_and_the_cross_entropy_of_both_players():
    method, view = context_encoder(adversary=0.3), view_of()
    holes = method.holes(4, drawing())
    fills = torch.randn(4, 5, SIZE, SIZE, generator=drawing())
    target = method.encoder.normalised(view.images)
    inside = holes.expand_as(target)
    pasted = target.clone()
    pasted[inside] = fills[inside]
    judge = functional.binary_cross_entropy_with_logits
    of_fills, of_images = method.discriminator(pasted), method.discriminator(target)
    zeros, ones = torch.zeros_like(of_fills), torch.ones_like(of_fills)
    losses = method.judged(fills, view, holes).losses
    error = functional.mse_loss(fills[inside], target[inside])
    torch.testing.assert_close(losses["model"], error + 0.3 * judge(of_fills, ones))
    torch.testing.assert_close(losses["discriminator"], (judge(of_fills, zeros) + judge(of_images, ones)) / 2)


def test_the_discriminators_loss_does_not_reach_the_model():
    method = context_encoder()
    method((view_of(),), drawing()).losses["discriminator"].backward()
    trained = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in method.named_parameters() if name.startswith("discriminator.")}


def step_of(method, optimisers) -> dict[str, dict[str, torch.Tensor]]:
    """What each player's gradients were as the loop leaves them to its optimiser."""
    losses = method((view_of(),), drawing()).losses
    found = {}
    for player, optimiser in optimisers.items():  # as `pretrain` does
        for group in optimiser.param_groups:
            group["lr"] = 0.1
        optimiser.zero_grad(set_to_none=True)
        losses[player].backward()
        own = {id(p) for group in optimiser.param_groups for p in group["params"]}
        found[player] = {n: p.grad.clone() for n, p in method.named_parameters() if id(p) in own}
        optimiser.step()
    return found


def test_each_player_steps_on_its_own_loss_alone():
    options = PretrainOptions(optimiser="sgd", momentum=0.0)
    method = context_encoder(adversary=100.0)  # so that a mixture would show
    assert list(method.players()) == ["model", "discriminator"]
    reference = copy.deepcopy(method)
    found = step_of(method, {player: make_optimiser(method, player, options) for player in method.players()})
    losses = reference((view_of(),), drawing()).losses
    for player, gradients in found.items():
        parameters = [p for name, p in reference.named_parameters() if name in gradients]
        expected = torch.autograd.grad(losses[player], parameters, retain_graph=True)
        for gradient, alone in zip(gradients.values(), expected, strict=True):
            torch.testing.assert_close(gradient, alone)


def test_the_models_step_leaves_the_discriminator_as_it_is():
    method = context_encoder(adversary=100.0)
    before = copy.deepcopy(method.discriminator.state_dict())
    model = {"model": make_optimiser(method, "model", PretrainOptions(optimiser="sgd"))}
    start = copy.deepcopy(method.decoder.state_dict())
    step_of(method, model)
    assert all(torch.equal(value, before[name]) for name, value in method.discriminator.state_dict().items())
    assert not all(torch.equal(value, start[name]) for name, value in method.decoder.state_dict().items())


def test_the_adversary_learns_to_tell_fills_from_images():
    method = context_encoder(hole="centre")
    optimiser = torch.optim.Adam(method.discriminator.parameters(), lr=5e-3)
    losses = []
    for number in range(15):
        losses.append(method((view_of(4, seed=number),), drawing(number)).losses["discriminator"])
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert float(losses[0].detach()) > 0.6
    assert float(losses[-1].detach()) < 0.2


def test_every_place_reaches_every_other_by_weights_of_its_channel_alone():
    layer = ChannelWiseDense(3, 4)
    found = torch.randn(2, 3, 4, 4, generator=drawing(), requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(found)[0, 1, 2, 3], found)
    assert gradient[0, 1].all()
    assert not gradient[0, [0, 2]].any()
    assert not gradient[1].any()
    by_hand = functional.gelu(layer.weight[2] @ found[1, 2].flatten() + layer.bias[2])
    torch.testing.assert_close(layer(found)[1, 2].flatten(), by_hand)
    assert layer.weight.numel() == 3 * 16 * 16


@pytest.mark.parametrize("bands", [1, 5])
def test_every_parameter_is_trained_by_its_player(bands):
    method = context_encoder(bands=bands)
    step = method((view_of(bands=bands),), drawing())
    assert_each_trained_by_its_player(method, step.losses, set())
    assert method.exported() is method.encoder


def test_the_panel_shows_images_holes_and_fills():
    method, view = context_encoder().eval(), view_of()
    (panel,) = method.panels((view,), drawing())
    image, holed, filled = panel.values
    holes = method.holes(4, drawing()).expand_as(image)
    assert torch.equal(image, view.images)
    assert method.encoder.normalised(holed)[holes].abs().max() < 1e-5
    assert torch.equal(holed[~holes], image[~holes])
    assert torch.equal(filled[~holes], image[~holes])
    expected = method.encoder.source_values(method.fills(view.images, holes[:, :1]))
    torch.testing.assert_close(filled[holes], expected[holes])
