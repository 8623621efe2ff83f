"""Triplets: mined and weighed as by pytorch-metric-learning; projections of length 1."""

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer
from tiny_methods import batch_of
from tiny_pretexts import tiny, train
from torch.nn import functional

from domainssl.method_options import TripletOptions
from domainssl.methods.pairs import distances, same_image
from domainssl.methods.triplet import Triplet, triplet_loss

SQUARED = LpDistance(normalize_embeddings=True, p=2, power=2)


def loss_of(rows: torch.Tensor, margin: float, negatives: str) -> torch.Tensor:
    unit = functional.normalize(rows, dim=1)
    return triplet_loss(distances(unit), same_image(len(rows), rows.device), margin, negatives)


def leaf(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 5, generator=generator)
    views = images + 0.6 * torch.randn(2, count, 5, generator=generator)
    return views.flatten(0, 1).requires_grad_()


@pytest.mark.parametrize("negatives", ["semi_hard", "hardest", "all"])
@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_are_pytorch_metric_learnings(negatives, margin, seed):
    ours, theirs = leaf(6, seed), leaf(6, seed)
    images = torch.arange(6).repeat(2)
    if negatives == "hardest":
        mined = BatchHardMiner(distance=SQUARED)(theirs, images)
    else:
        kind = {"semi_hard": "semihard", "all": "all"}[negatives]
        mined = TripletMarginMiner(margin, type_of_triplets=kind, distance=SQUARED)(theirs, images)
    assert len(mined[0]) > 0
    expected = TripletMarginLoss(margin, distance=SQUARED, reducer=MeanReducer())(theirs, images, mined)
    loss = loss_of(ours, margin, negatives)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert loss > 0
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def on_circle(*degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_semi_hard_negatives_are_beyond_the_positive_and_within_the_margin():
    """Squared distances on a circle are 2 - 2 cos."""
    rows = on_circle(0, 20, 30, 180)  # first views of 2 images, then their second views
    found = distances(rows)
    apart = 2 - 2 * torch.cos(torch.deg2rad(torch.tensor([20.0, 30.0, 150.0, 160.0, 10.0])))
    same = same_image(4, rows.device)
    # Anchor 0 (positive at 30): 20 is harder, 180 is easy. Anchor 30 (positive at 0): 20 is harder, 180 is easy.
    # Anchor 20 (positive at 180): both negatives are harder. Anchor 180 (positive at 20): 0 is farther, 30 is harder.
    margin = float(4 - apart[3]) + 0.1
    expected = apart[3] - 4 + margin
    torch.testing.assert_close(triplet_loss(found, same, margin, "semi_hard"), expected)
    assert triplet_loss(found, same, 1e-3, "semi_hard") == 0
    nearest = torch.tensor([apart[1] - apart[0], apart[3] - apart[4], apart[1] - apart[4], apart[3] - apart[2]])
    torch.testing.assert_close(triplet_loss(found, same, 0.2, "hardest"), (nearest + 0.2).clamp_min(0).mean())


def test_coinciding_views_have_finite_gradients_and_a_collapse_has_no_semi_hard_negative():
    rows = torch.ones(6, 4, requires_grad=True)
    for negatives, expected in (("all", 0.2), ("hardest", 0.2), ("semi_hard", 0.0)):
        loss = loss_of(rows, 0.2, negatives)
        loss.backward()
        assert loss.item() == pytest.approx(expected)
        assert torch.isfinite(rows.grad).all()
    assert float(loss_of(torch.eye(4)[:3].repeat(2, 1), 0.2, "all")) == 0  # views coincide, images are at right angles


def test_one_image_has_no_negative():
    with pytest.raises(ValueError, match="triplets need at least 2 images a batch for negatives, got 1"):
        loss_of(torch.ones(2, 3), 0.2, "all")


@pytest.mark.parametrize("bands", [1, 5])
def test_a_step_takes_projections_at_length_1_and_images_are_told_apart(bands):
    method = tiny("triplet", bands, triplet=TripletOptions(margin=0.5))
    assert isinstance(method, Triplet)
    images, noise = torch.rand(2, 8, bands, 32, 32, generator=torch.Generator().manual_seed(0))
    views = batch_of(images), batch_of(images.flip(3) + 0.5 * noise)
    method.train()
    before = train(method, lambda _: views, 1, rate=0.0)[0]
    torch.testing.assert_close(before.losses["model"], loss_of(before.monitor, 0.5, "semi_hard"))
    with torch.no_grad():
        method.projector[-1].weight *= 100
    after = train(method, lambda _: views, 1, rate=0.0)[0]
    torch.testing.assert_close(after.losses["model"], before.losses["model"], rtol=1e-3, atol=1e-4)
    easy = [violation(step.monitor, 0.5) for step in train(method, lambda _: views, 25)]
    assert easy[-1] < 0.5 * easy[0]
    grouped = [id(p) for group in method.players()["model"] for p in group.parameters]
    assert sorted(grouped) == sorted(map(id, method.parameters()))


def violation(rows: torch.Tensor, margin: float) -> float:
    """The mean over all triplets, also those that keep the margin."""
    unit = functional.normalize(rows, dim=1)
    squared = distances(unit).square()
    same = same_image(len(rows), rows.device)
    positive = squared[torch.arange(len(rows)), torch.arange(len(rows)).roll(len(rows) // 2)]
    return float((positive[:, None] - squared + margin).clamp_min(0)[~same].mean())
