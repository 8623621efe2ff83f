"""InfoNCE: the bound that no scores break, candidates that do not count, full precision under autocast."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.methods.info_nce import info_nce


def scores_of(count: int, candidates: int, scale: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randint(candidates, (count,), generator=generator)
    return scale * torch.randn(count, candidates, generator=generator), positive


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 20),
    candidates=st.integers(1, 50),
    scale=st.floats(0, 1e4),
    gain=st.floats(0, 1e4),
    seed=st.integers(0, 2**31),
)
def test_the_information_never_exceeds_the_log_of_the_candidates(count, candidates, scale, gain, seed):
    scores, positive = scores_of(count, candidates, scale, seed)
    scores[torch.arange(count), positive] += gain  # however well it is found
    losses, information = info_nce(scores, positive)
    assert (losses >= 0).all()
    assert (information <= math.log(candidates) + 1e-6).all()
    torch.testing.assert_close(information, math.log(candidates) - losses, rtol=1e-5, atol=1e-5)


def test_it_reaches_the_bound_and_nothing_known_is_nothing():
    _, information = info_nce(1e4 * torch.eye(8), torch.arange(8))
    torch.testing.assert_close(information, torch.full((8,), math.log(8)))
    _, information = info_nce(torch.ones(3, 8), torch.arange(3))
    torch.testing.assert_close(information, torch.zeros(3), atol=1e-6, rtol=0)


def test_scores_of_minus_infinity_are_no_candidates():
    scores, positive = scores_of(6, 9, 1.0, 0)
    shut = torch.zeros(6, 9, dtype=torch.bool)
    shut[:, [2, 5]] = True
    shut[torch.arange(6), positive] = False
    losses, information = info_nce(scores.masked_fill(shut, -torch.inf), positive)
    for number in range(6):
        kept = scores[number][~shut[number]].double()
        expected = torch.logsumexp(kept, 0) - scores[number, positive[number]]
        assert float(losses[number]) == pytest.approx(float(expected), abs=1e-5)
        assert float(information[number]) == pytest.approx(math.log(len(kept)) - float(expected), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_full_precision_within_autocast_and_from_half_precision(dtype):
    scores, positive = scores_of(8, 16, 3.0, 0)
    with torch.autocast("cpu", dtype):
        inside, _ = info_nce(scores.to(dtype), positive)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, info_nce(scores.to(dtype).float(), positive)[0])
