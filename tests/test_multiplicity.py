"""P-values from bootstrap differences, and Holm's adjustment: golden values, properties, agreement with intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, sem, ttest_1samp

from domainssl.evaluation.intervals import percentile_interval
from domainssl.evaluation.multiplicity import bootstrap_p, holm, largest_p

P_VALUES = st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12)


def test_p_counts_the_side_with_fewer_values_and_one_more():
    differences = np.array([-1.0] * 2 + [1.0] * 97)
    assert bootstrap_p(differences) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(-differences) == bootstrap_p(differences)


def test_p_is_never_zero_and_never_above_one():
    assert bootstrap_p(np.full(999, 0.3)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(10)) == 1.0
    assert bootstrap_p(np.array([-1.0, 1.0])) == 1.0


def test_undefined_resamples_are_left_out():
    values = np.array([np.nan, *np.linspace(-0.1, 0.9, 50), np.nan])
    assert bootstrap_p(values) == bootstrap_p(values[1:-1])
    assert np.isnan(bootstrap_p(np.array([np.nan])))
    assert np.isnan(bootstrap_p(np.array([])))
    assert np.isnan(bootstrap_p(np.ones(5), n_groups=1))


@settings(deadline=None, max_examples=50)
@given(st.floats(-4, 4), st.integers(5, 400) | st.none())
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_zero(shift, n_groups):
    values = np.random.default_rng(0).normal(shift, 1, 9_999)
    low, high = percentile_interval(values, n_groups=n_groups)
    p = bootstrap_p(values, n_groups)
    if abs(p - 0.05) > 0.002:  # the interval interpolates between values, the p-value counts them
        assert (p < 0.05) == (not low <= 0 <= high)


def test_p_of_a_mean_over_few_groups_equals_the_t_test():
    rng = np.random.default_rng(1)
    deviations = rng.normal(0, 1, 12)
    x = np.concatenate([deviations, -deviations])  # symmetric: the t interval knows of no skewness
    x += 2 * sem(x)
    means = rng.multinomial(24, [1 / 24] * 24, size=50_000) @ x / 24
    oracle = ttest_1samp(x, 0).pvalue
    assert bootstrap_p(means, n_groups=24) == pytest.approx(oracle, rel=0.15)
    assert bootstrap_p(means) < 0.85 * oracle


def test_few_groups_make_p_larger():
    values = np.random.default_rng(0).normal(2, 1, 999)
    ps = [bootstrap_p(values, n) for n in (5, 30, 1000)] + [bootstrap_p(values)]
    assert ps == sorted(ps, reverse=True)
    assert len(set(ps)) == 4


def test_holm_golden_values():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    np.testing.assert_allclose(holm([0.5, 0.6]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.02, 0.02, 0.02]), [0.06, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.2])), [0.2])
    assert holm([]).shape == (0,)


def test_nan_passes_and_is_no_test():
    np.testing.assert_allclose(holm([np.nan, 0.01, np.nan, 0.04]), [np.nan, 0.02, np.nan, 0.04])


@settings(deadline=None, max_examples=50)
@given(P_VALUES, st.randoms(use_true_random=False))
def test_holm_properties(values, random):
    p = np.array(values, dtype=np.float64)
    adjusted = holm(values)
    tested = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(adjusted), ~tested)
    assert (adjusted[tested] >= p[tested]).all()
    assert (adjusted[tested] <= 1).all()
    assert (np.diff(adjusted[tested][np.argsort(p[tested])]) >= 0).all()
    if tested.any():
        assert adjusted[tested].min() == min(1.0, p[tested].min() * tested.sum())
    assert (adjusted[tested] <= np.minimum(1, p[tested] * tested.sum())).all()  # never beyond Bonferroni
    order = list(range(len(values)))
    random.shuffle(order)
    np.testing.assert_array_equal(holm(p[order]), adjusted[order])


def test_holm_keeps_its_promise_by_simulation():
    """Ten dependent tests of nothing: at most 5 % of the experiments find something; with single p-values, many do."""
    rng = np.random.default_rng(0)
    from_p = rng.random((2000, 5))
    p = np.column_stack([from_p, 1 - from_p])
    adjusted = np.array([holm(row) for row in p])
    assert (adjusted.min(axis=1) < 0.05).mean() <= 0.06
    assert (p.min(axis=1) < 0.05).mean() > 0.3


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(ValueError, match=rf"p: {bad} is not within 0\.\.1"):
        holm([0.1, bad])


def test_the_largest_of_one_difference_is_that_difference():
    resampled = np.random.default_rng(0).normal(2.2, 1, (1, 19_999))
    p, place = largest_p(np.array([2.2]), resampled, np.array([30]))
    assert place == 0
    assert p == pytest.approx(bootstrap_p(resampled[0], 30), rel=0.1)


def test_the_largest_of_several_is_adjusted_as_by_sidak():
    rng = np.random.default_rng(1)
    observed = np.array([0.5, -2.6, 0.1, 1.0]) * np.array([1, 5, 1, 1])
    resampled = observed[:, None] + rng.normal(size=(4, 20_000)) * np.array([[1], [5], [1], [1]])
    p, place = largest_p(observed, resampled, np.full(4, 10**6))
    assert place == 1
    assert p == pytest.approx(1 - (1 - 2 * norm.sf(2.6)) ** 4, rel=0.1)
    fewer, _ = largest_p(observed, resampled, np.array([9, 12, 9, 9]))
    assert fewer > p


def test_differences_without_spread_or_value_are_no_largest():
    resampled = np.stack([np.full(500, 3.0), np.random.default_rng(0).normal(0, 1, 500), np.full(500, np.nan)])
    p, place = largest_p(np.array([3.0, 0.1, np.nan]), resampled, np.array([50, 50, 50]))
    assert place == 1
    assert p > 0.8
    p, place = largest_p(np.array([3.0]), resampled[:1], np.array([50]))
    assert np.isnan(p)
    assert place == -1


@pytest.mark.parametrize("answers", [1, 6])
def test_the_largest_of_nothing_is_seldom_below_5_percent(answers):
    rng = np.random.default_rng(answers)
    found = []
    for _ in range(300):
        observed = rng.normal(size=answers)
        resampled = observed[:, None] + rng.normal(size=(answers, 400))
        found.append(largest_p(observed, resampled, np.full(answers, 200))[0])
    assert np.mean(np.array(found) < 0.05) < 0.085
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.1)
