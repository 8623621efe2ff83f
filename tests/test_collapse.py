"""Collapse measures: the golden table of four cases, oracles, precision, and what a person is told."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from domainssl.collapse import alignment, diagnose, rankme, spread, uniformity

N, D = 8192, 128


def case(name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    healthy = torch.randn(N, D, generator=generator)
    centre = torch.randn(D, generator=generator)
    if name == "healthy":
        return healthy
    if name == "healthy, large mean":
        return healthy + 45 * centre / centre.norm() * math.sqrt(D)
    if name == "collapsed + 1e-3 noise":
        return centre + 1e-3 * healthy
    assert name == "rank 4"
    return healthy[:, :4] @ torch.randn(4, D, generator=generator)


def measures(z: torch.Tensor) -> dict[str, float]:
    return {
        "rankme": rankme(z, centred=False),
        "rankme_centred": rankme(z, centred=True),
        "spread": spread(z),
    }


@pytest.mark.parametrize(
    ("name", "raw", "centred", "spread_", "warning"),
    [
        ("healthy", 127, 127, 1.0, None),
        ("healthy, large mean", 4.3, 127, 0.022, None),
        ("collapsed + 1e-3 noise", 1.1, 127, 0.001, "has collapsed: all objects get nearly the same embedding"),
        ("rank 4", 4, 4, 0.94, r"collapsing: objects differ in about [34]\.\d directions"),
    ],
)
def test_the_table_of_cases(name, raw, centred, spread_, warning):
    record = measures(case(name))
    assert record["rankme"] == pytest.approx(raw, rel=0.06)
    assert record["rankme_centred"] == pytest.approx(centred, rel=0.06)
    assert record["spread"] == pytest.approx(spread_, rel=0.2 if spread_ < 0.1 else 0.03)
    told = diagnose(record)
    if warning is None:
        assert told is None
    else:
        assert told is not None
        assert re.search(warning, told)


def test_two_opposite_points_are_collapse_although_they_are_spread():
    z = torch.ones(200, D) * torch.tensor([1.0, -1.0]).repeat(100)[:, None]
    record = measures(z)
    assert record["spread"] == pytest.approx(1)
    assert "collapsing" in str(diagnose(record))


def test_divergence_and_small_widths():
    assert "diverged" in str(diagnose({"rankme": math.nan, "rankme_centred": 5.0, "spread": 1.0}))
    small = {"rankme": 6.0, "rankme_centred": 6.0, "spread": 1.0}
    assert diagnose(small) is not None
    assert diagnose(small | {"width": 8}) is None
    assert diagnose(small | {"epoch": 3, "phase": "encoder", "width": 8, "warning": None}) is None


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 20), st.integers(0, 2**32))
def test_rankme_is_within_its_bounds_and_blind_to_scale_and_rotation(n, d, seed):
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(rng.normal(size=(n, d)))
    rotation = torch.from_numpy(np.linalg.qr(rng.normal(size=(d, d))).Q)
    value = rankme(z, centred=False)
    assert 1 - 1e-9 <= value <= min(n, d) + 1e-9
    assert rankme(7 * z @ rotation, centred=False) == pytest.approx(value)
    assert rankme(z + 5, centred=True) == pytest.approx(rankme(z, centred=True))


def test_known_singular_values():
    z = torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    assert rankme(z, centred=False) == pytest.approx(math.exp(0.5 * math.log(4) + 0.5 * math.log(2)))
    assert rankme(torch.eye(5), centred=False) == pytest.approx(5)


def test_alignment_and_uniformity_equal_their_formulas():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    got = alignment(torch.from_numpy(a), torch.from_numpy(b))
    assert got == pytest.approx(np.mean(np.sum((u - v) ** 2, axis=1)))
    squares = pairwise_distances(u)[np.triu_indices(40, 1)] ** 2
    assert uniformity(torch.from_numpy(a)) == pytest.approx(np.log(np.mean(np.exp(-2 * squares))))
    assert uniformity(torch.from_numpy(a), t=3) == pytest.approx(np.log(np.mean(np.exp(-3 * squares))))
    assert alignment(torch.from_numpy(a), torch.from_numpy(3 * a)) == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.ones(10, 4)) == pytest.approx(0, abs=1e-9)


def test_autocast_and_gradients_leave_the_measures_alone():
    z = case("collapsed + 1e-3 noise")[:512].requires_grad_()
    expected = measures(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert measures(z) == expected
        assert uniformity(z) == uniformity(z.detach())
    with torch.inference_mode():
        assert measures(z.detach().clone()) == expected


def test_degenerate_inputs():
    assert rankme(torch.zeros(4, 3), centred=False) == 0
    assert rankme(torch.ones(4, 3), centred=True) == 0
    assert rankme(torch.zeros(0, 3), centred=True) == 0
    assert math.isnan(rankme(torch.full((3, 2), math.nan), centred=True))
    assert spread(torch.zeros(4, 3)) == 0
    assert math.isnan(spread(torch.zeros(0, 3)))
    assert math.isnan(spread(torch.full((3, 2), math.nan)))
    assert math.isnan(uniformity(torch.ones(1, 3)))
    assert math.isnan(alignment(torch.zeros(0, 3), torch.zeros(0, 3)))


def test_projections_that_collapse_behind_a_healthy_encoder() -> None:
    healthy = {"rankme": 60.0, "rankme_centred": 60.0, "spread": 0.9}
    assert diagnose({**healthy, "projection_spread": 0.5}) is None
    assert diagnose(healthy) is None
    warning = diagnose({**healthy, "projection_spread": 0.05})
    assert warning is not None
    assert "projections have collapsed" in warning
