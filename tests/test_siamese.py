"""Siamese: both margin forms against pytorch-metric-learning and written out; gradients where views coincide."""

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.reducers import MeanReducer
from tiny_methods import batch_of
from tiny_pretexts import tiny, train

from domainssl.method_options import SiameseOptions
from domainssl.methods import pairs
from domainssl.methods.pairs import distances, same_image
from domainssl.methods.siamese import Siamese, margin_loss


def loss_of(rows: torch.Tensor, margin: float, form: str) -> torch.Tensor:
    return margin_loss(distances(rows), same_image(len(rows), rows.device), margin, form)


def written_out(rows: torch.Tensor, margin: float, form: str) -> torch.Tensor:
    """The notes' two forms, pair by pair."""
    count = len(rows) // 2
    power = 2 if form == "squared" else 1
    same, others = [], []
    for i in range(2 * count):
        for j in range(i):
            d = (rows[i] - rows[j]).square().sum().sqrt()
            if i % count == j % count:
                same.append(d**power)
            else:
                others.append(torch.clamp(margin - d, min=0) ** power)
    return torch.stack(same).mean() + torch.stack(others).mean()


def leaf(count: int, seed: int, scale: float = 0.3) -> torch.Tensor:
    return (scale * torch.randn(2 * count, 6, generator=torch.Generator().manual_seed(seed))).requires_grad_()


@pytest.mark.parametrize("form", ["plain", "squared"])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_value_and_gradient_are_those_of_the_formulas(form, margin, count):
    ours, theirs = leaf(count, count), leaf(count, count)
    loss, expected = loss_of(ours, margin, form), written_out(theirs.double(), margin, form)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_the_plain_form_is_pytorch_metric_learnings(margin):
    ours, theirs = leaf(8, 1), leaf(8, 1)
    plain = LpDistance(normalize_embeddings=False, p=2, power=1)
    expected = ContrastiveLoss(pos_margin=0, neg_margin=margin, distance=plain, reducer=MeanReducer())(
        theirs, torch.arange(8).repeat(2)
    )
    loss = loss_of(ours, margin, "plain")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", ["plain", "squared"])
def test_known_values_and_gradients_where_views_coincide(form):
    power = 2 if form == "squared" else 1
    rows = torch.tensor([[0.0], [5.0], [0.0], [5.0]], requires_grad=True)  # views coincide, images are far apart
    loss = loss_of(rows, 1.0, form)
    loss.backward()
    assert loss == 0
    assert torch.equal(rows.grad, torch.zeros(4, 1))
    collapsed = torch.zeros(6, 3, requires_grad=True)
    loss = loss_of(collapsed, 2.0, form)
    loss.backward()
    assert loss == 2.0**power
    assert torch.isfinite(collapsed.grad).all()
    apart = torch.tensor([[0.0], [9.0], [0.5], [9.5]])
    assert float(loss_of(apart, 1.0, form)) == pytest.approx(0.5**power)


def test_one_image_has_no_other():
    with pytest.raises(ValueError, match=r"at least 2 images a batch; give a larger pretrain.batch_size"):
        loss_of(torch.ones(2, 3), 1.0, "plain")


@pytest.mark.parametrize("form", ["plain", "squared"])
@pytest.mark.parametrize("bands", [1, 5])
def test_a_step_compares_all_projections_and_images_are_told_apart(form, bands):
    method = tiny("siamese", bands, siamese=SiameseOptions(margin=1.5, form=form))
    assert isinstance(method, Siamese)
    images = torch.rand(8, bands, 32, 32, generator=torch.Generator().manual_seed(0))
    views = batch_of(images), batch_of(images.flip(3))
    with torch.no_grad():
        method.train()
        rows = method.encoder.pooled(torch.cat([view.images for view in views]))
        expected = loss_of(method.projector(rows), 1.5, form)
    step = train(method, lambda _: views, 1, rate=0.0)[0]
    torch.testing.assert_close(step.losses["model"], expected, rtol=1e-3, atol=1e-4)
    assert step.monitor.shape == (16, 8)
    assert not step.monitor.requires_grad
    steps = train(method, lambda _: views, 25)
    assert steps[-1].losses["model"] < 0.5 * steps[0].losses["model"]
    assert steps[-1].measures["verification"] > 0.8
    grouped = [id(p) for group in method.players()["model"] for p in group.parameters]
    assert sorted(grouped) == sorted(map(id, method.parameters()))


def test_the_loss_is_that_of_all_processes_images(monkeypatch):
    method = tiny("siamese").eval()
    first, second = torch.rand(2, 6, 2, 32, 32).unbind()
    with torch.no_grad():
        whole = method((batch_of(first), batch_of(second)), torch.Generator()).losses["model"]
        other = [method.projector(method.encoder.pooled(view[3:])) for view in (first, second)]
        rest = iter(other)
        monkeypatch.setattr(pairs, "gathered", lambda rows: torch.cat([rows, next(rest)]))
        part = method((batch_of(first[:3]), batch_of(second[:3])), torch.Generator()).losses["model"]
    torch.testing.assert_close(part, whole)
