"""The bootstrap over groups: multiplicities, invariance, and coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from domainssl.evaluation.intervals import group_weights, percentile_interval
from domainssl.evaluation.metrics import auroc


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=20), st.integers(0, 2**32))
def test_a_group_is_drawn_whole_and_the_number_of_groups_is_kept(names, seed):
    groups = np.array(names)
    weights = group_weights(groups, 7, np.random.default_rng(seed))
    assert weights.shape == (7, len(groups))
    unique, first = np.unique(groups, return_index=True)
    assert (weights[:, first].sum(axis=1) == len(unique)).all()
    for name in unique:
        assert (np.ptp(weights[:, groups == name], axis=1) == 0).all()


def test_reordering_rows_reorders_columns_only():
    groups = np.random.default_rng(0).integers(20, size=50)
    permutation = np.random.default_rng(1).permutation(50)
    there = group_weights(groups, 5, np.random.default_rng(2))
    back = group_weights(groups[permutation], 5, np.random.default_rng(2))
    np.testing.assert_array_equal(there[:, permutation], back)


def test_multiplicities_have_the_moments_of_a_bootstrap():
    weights = group_weights(np.arange(50), 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / 50, atol=0.08)
    np.testing.assert_allclose(np.cov(weights[:, 0], weights[:, 1])[0, 1], -1 / 50, atol=0.03)


def test_interval_of_a_mean_equals_scipy():
    x = np.random.default_rng(0).exponential(size=80)
    weights = group_weights(np.arange(80), 20_000, np.random.default_rng(1))
    low, high = percentile_interval(weights @ x / 80)
    oracle = bootstrap((x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2))
    assert (low, high) == pytest.approx((oracle.confidence_interval.low, oracle.confidence_interval.high), abs=0.01)


def test_undefined_resamples_are_left_out():
    values = np.array([np.nan, *np.linspace(0, 1, 101), np.nan])
    assert percentile_interval(values, level=0.9) == pytest.approx((0.05, 0.95))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()
    assert np.isnan(percentile_interval(np.array([]))).all()
    assert group_weights(np.array([], dtype=str), 3, np.random.default_rng(0)).shape == (3, 0)
    with pytest.raises(ValueError, match=r"level: 95\.0 is not between"):
        percentile_interval(np.zeros(3), level=95.0)


def coverage(n_groups: int, experiments: int, resamples: int) -> float:
    """How often the interval of an AUROC holds the true one; groups of 1 to 4 rows share a label and an offset."""
    rng = np.random.default_rng(n_groups)
    shift, between, within = 1.0, 0.8, 0.6
    truth = norm.cdf(shift / np.sqrt(2 * (between**2 + within**2)))
    held = 0
    for _ in range(experiments):
        positive = rng.random(n_groups) < 0.4
        groups = np.repeat(np.arange(n_groups), rng.integers(1, 5, n_groups))
        offset = rng.normal(0, between, n_groups) + shift * positive
        scores = offset[groups] + rng.normal(0, within, len(groups))
        low, high = percentile_interval(auroc(scores, positive[groups], group_weights(groups, resamples, rng)))
        held += low <= truth <= high
    return held / experiments


@pytest.mark.slow
def test_coverage_at_100_groups():
    assert 0.90 <= coverage(n_groups=100, experiments=1000, resamples=1000) <= 0.98


def test_rows_taken_for_groups_would_undercover():
    """The simulation can tell: the same data, bootstrapped by row, gives narrower intervals than by group."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(100), 4)
    positive = rng.random(100) < 0.4
    scores = (rng.normal(size=100) + positive)[groups] + 0.1 * rng.normal(size=400)
    widths = [
        np.diff(percentile_interval(auroc(scores, positive[groups], group_weights(ids, 500, rng))))[0]
        for ids in (groups, np.arange(400))
    ]
    assert widths[0] > 1.5 * widths[1]
