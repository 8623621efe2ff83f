"""SimCLR: NT-Xent against lightly's, in value and gradient; in full precision whatever surrounds it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.loss import NTXentLoss

from domainssl.encoders import create_encoder
from domainssl.methods.registry import METHODS
from domainssl.methods.simclr import SimCLR, nt_xent
from domainssl.options import PretrainOptions
from domainssl.store import Batch


def pair(count: int, width: int, seed: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = scale * torch.randn(2, count, width, generator=generator)
    return first, second


def tiny() -> SimCLR:
    encoder = create_encoder(
        "test_efficientnet",
        "none",
        bands=("g", "r"),
        size=32,
        sample=torch.rand(2, 2, 32, 32),
        sky_sigma=None,
        preparation="p",
        seed=0,
    )
    return SimCLR(encoder, PretrainOptions(projector_width=24, projection_dim=8, temperature=0.3))


def batch_of(images: torch.Tensor) -> Batch:
    valid = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    return Batch(images, valid, {}, torch.arange(len(images)))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 40),
    width=st.integers(1, 64),
    temperature=st.floats(0.05, 2.0),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**31),
)
def test_loss_and_gradient_equal_lightlys(count, width, temperature, scale, seed):
    ours = [x.requires_grad_() for x in pair(count, width, seed, scale)]
    theirs = [x.requires_grad_() for x in pair(count, width, seed, scale)]
    loss, expected = nt_xent(ours[0], ours[1], temperature), NTXentLoss(temperature=temperature)(*theirs)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5 / scale)


def test_the_formula_written_out():
    first, second = pair(3, 4, 0)
    rows = torch.cat([first, second]).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    terms = []
    for i in range(6):
        similarity = [float(rows[i] @ rows[j]) / 0.5 for j in range(6)]
        denominator = sum(math.exp(s) for j, s in enumerate(similarity) if j != i)
        terms.append(-math.log(math.exp(similarity[(i + 3) % 6]) / denominator))
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(sum(terms) / 6, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_temperatures_survive_half_precision(dtype):
    """Aligned views at temperature 0.07: bfloat16 arithmetic gives 0 and float16 NaN where the truth is small."""
    first = torch.eye(16, 64) + 0.02 * pair(16, 64, 1)[0]
    second = first + 0.02 * pair(16, 64, 2)[0]
    truth = nt_xent(first.double().float(), second, 0.07)
    assert 0 < truth < 0.01
    with torch.autocast("cpu", dtype):
        inside = nt_xent(first, second, 0.07)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, truth)
    # Given half-precision projections, the similarities and their logarithms are still taken in float32.
    rounded = nt_xent(first.to(dtype), second.to(dtype), 0.07)
    assert rounded.dtype == torch.float32
    assert rounded == pytest.approx(float(nt_xent(first.to(dtype).float(), second.to(dtype).float(), 0.07)))
    assert rounded == pytest.approx(float(truth), rel=0.05)


def test_known_values():
    same = torch.ones(4, 8)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(7))  # nothing tells 7 others apart
    apart = torch.eye(8)[:4]
    assert float(nt_xent(apart, apart, 0.1)) == pytest.approx(math.log1p(6 * math.exp(-10)), rel=1e-2)
    first, second = pair(5, 3, 3)
    assert float(nt_xent(first, second, 0.2)) == pytest.approx(float(nt_xent(second, first, 0.2)))
    assert float(nt_xent(3 * first, second, 0.2)) == pytest.approx(float(nt_xent(first, second, 0.2)))
    assert torch.isfinite(nt_xent(torch.zeros(4, 3), torch.zeros(4, 3), 0.2))


@pytest.mark.parametrize("count", [0, 1])
def test_one_image_has_no_negatives(count):
    with pytest.raises(ValueError, match=f"at least 2 images a batch for negatives, got {count}"):
        nt_xent(torch.ones(count, 4), torch.ones(count, 4), 0.1)


def test_a_step_is_the_loss_of_the_projections_of_both_views():
    method = tiny().eval()
    assert METHODS["simclr"].load() is SimCLR
    first, second = torch.rand(2, 4, 2, 32, 32).unbind()
    step = method((batch_of(first), batch_of(second)), torch.Generator())
    with torch.no_grad():
        projected = [method.projector(method.encoder.pooled(view)) for view in (first, second)]
        expected = nt_xent(projected[0], projected[1], 0.3)
    assert step.losses.keys() == {"model"} == method.players().keys()
    torch.testing.assert_close(step.losses["model"], expected)
    assert step.monitor.shape == (8, method.projector[-1].out_features)
    assert not step.monitor.requires_grad
    assert method.exported() is method.encoder


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = tiny().train()
    groups = method.players()["model"]
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in method.parameters())
    assert [group.part for group in groups] == ["encoder", "head"]
    first, second = torch.rand(2, 6, 2, 32, 32).unbind()
    method((batch_of(first), batch_of(second)), torch.Generator()).losses["model"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())
