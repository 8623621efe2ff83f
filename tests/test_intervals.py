"""The bootstrap over groups and draws: multiplicities, invariance, clustered DeLong as oracle, coverage by simulation.

The module's docstring quotes what `coverage` and `joint_coverage` measured, with 1000 resamples.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, t

from domainssl.evaluation.intervals import (
    MINIMUM_GROUPS,
    GroupResamples,
    draw_weights,
    estimable,
    groups_with,
    percentile_interval,
    percentile_levels,
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=20), st.integers(0, 2**32))
def test_a_group_is_drawn_whole_and_the_number_of_groups_is_kept(names, seed):
    groups = np.array(names)
    resamples = GroupResamples(groups, 7, seed)
    weights = resamples.weights(0, 7)
    assert weights.shape == (len(groups), 7)
    assert weights.dtype == np.float64
    assert weights.flags.c_contiguous
    unique, first = np.unique(groups, return_index=True)
    assert resamples.n_groups == len(unique)
    assert (weights[first].sum(axis=0) == len(unique)).all()
    for name in unique:
        assert (np.ptp(weights[groups == name], axis=0) == 0).all()


def test_reordering_rows_reorders_weights_only():
    groups = np.random.default_rng(0).integers(20, size=50)
    permutation = np.random.default_rng(1).permutation(50)
    there = GroupResamples(groups, 5, 2).weights(0, 5)
    back = GroupResamples(groups[permutation], 5, 2).weights(0, 5)
    np.testing.assert_array_equal(there[permutation], back)
    renamed = GroupResamples(np.char.add("patient ", np.char.zfill(groups.astype(str), 3)), 5, 2).weights(0, 5)
    np.testing.assert_array_equal(there, renamed)


def test_blocks_are_parts_of_one_whole_and_the_same_each_time():
    resamples = GroupResamples(np.arange(30) // 2, 11, np.random.SeedSequence(5))
    whole = resamples.weights(0, 11)
    parts = [resamples.weights(begin, min(begin + 4, 11)) for begin in range(0, 11, 4)]
    np.testing.assert_array_equal(np.hstack(parts), whole)
    assert all(part.flags.c_contiguous for part in parts)
    assert (np.diff(whole, axis=1) != 0).any(axis=0).all()  # no two neighbours alike
    assert not (whole == GroupResamples(np.arange(30) // 2, 11, 6).weights(0, 11)).all()


def test_drawing_in_parts_repeats_nothing(monkeypatch):
    monkeypatch.setattr("domainssl.evaluation.intervals._DRAWN_AT_ONCE", 50)
    multiplicity = GroupResamples(np.arange(20), 9, 0).multiplicity  # two resamples at a time
    assert (multiplicity.sum(axis=0) == 20).all()
    assert len(np.unique(multiplicity, axis=1).T) == 9


def test_what_is_kept_is_a_byte_a_group_and_resample_and_frozen():
    resamples = GroupResamples(np.arange(5000) // 5, 200, 0)
    assert resamples.multiplicity.nbytes == 1000 * 200
    with pytest.raises(ValueError, match="read-only"):
        resamples.multiplicity[0, 0] = 9
    with pytest.raises(AttributeError):
        resamples.seed = 1


def test_multiplicities_have_the_moments_of_a_bootstrap():
    weights = GroupResamples(np.arange(50), 20_000, 0).weights(0, 20_000)
    np.testing.assert_allclose(weights.mean(axis=1), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=1), 1 - 1 / 50, atol=0.08)
    np.testing.assert_allclose(np.cov(weights[0], weights[1])[0, 1], -1 / 50, atol=0.03)


def test_no_rows_have_no_weights():
    empty = GroupResamples(np.array([], dtype=str), 3, 0)
    assert empty.weights(0, 3).shape == (0, 3)
    assert empty.n_groups == 0
    with pytest.raises(ValueError, match="resamples: 0 resamples give no interval"):
        GroupResamples(np.arange(3), 0, 0)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 50), st.integers(0, 2**32))
def test_shares_of_draws_add_up_to_one(draws, resamples, seed):
    shares = draw_weights(draws, resamples, np.random.default_rng(seed))
    assert shares.shape == (resamples, draws)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("draws", [2, 5, 20])
def test_resampled_means_vary_as_a_mean_over_draws_does(draws):
    x = np.random.default_rng(0).normal(size=draws)
    means = draw_weights(draws, 50_000, np.random.default_rng(1)) @ x
    assert means.mean() == pytest.approx(x.mean(), abs=0.02)
    assert means.var() == pytest.approx(x.var(ddof=1) / draws, rel=0.03)


def test_draws_below_one_are_refused():
    with pytest.raises(ValueError, match="draws 0, resamples 5: both must be 1 or more"):
        draw_weights(0, 5, np.random.default_rng(0))


def test_interval_of_a_mean_equals_scipy():
    x = np.random.default_rng(0).exponential(size=80)
    values = x @ GroupResamples(np.arange(80), 20_000, 1).weights(0, 20_000) / 80
    oracle = bootstrap((x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2))
    assert percentile_interval(values) == pytest.approx(tuple(oracle.confidence_interval), abs=0.01)


def test_expanded_interval_of_a_mean_is_the_t_interval():
    deviations = np.random.default_rng(0).normal(size=10)
    x = np.concatenate([deviations, -deviations])  # symmetric: the t interval knows of no skewness
    values = x @ GroupResamples(np.arange(20), 50_000, 1).weights(0, 50_000) / 20
    oracle = t.interval(0.95, 19, loc=0, scale=x.std(ddof=1) / np.sqrt(20))
    assert percentile_interval(values, n_groups=20) == pytest.approx(oracle, rel=0.06)
    plain = np.ptp(percentile_interval(values))
    assert plain < 0.93 * np.ptp(oracle)


def test_expanded_levels_golden_values_and_limits():
    # n = 10: the t quantile of 0.025 at 9 degrees of freedom is -2.2622, times sqrt(10 / 9) -2.3846, of which the
    # normal distribution holds 0.00855 below.
    assert percentile_levels(0.95, 10) == pytest.approx((0.00855, 0.99145), abs=1e-5)
    assert percentile_levels(0.95, 10**7) == pytest.approx((0.025, 0.975), abs=1e-6)
    assert percentile_levels(0.9) == pytest.approx((0.05, 0.95))
    lows = [percentile_levels(0.95, n)[0] for n in (5, 10, 30, 100)]
    assert lows == sorted(lows)


def test_undefined_resamples_are_left_out():
    values = np.array([np.nan, *np.linspace(0, 1, 101), np.nan])
    assert percentile_interval(values, level=0.9) == pytest.approx((0.05, 0.95))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()
    assert np.isnan(percentile_interval(np.array([]), n_groups=30)).all()
    with pytest.raises(ValueError, match=r"level: 95\.0 is not between"):
        percentile_interval(np.zeros(3), level=95.0)
    with pytest.raises(ValueError, match="n_groups: 1 group has no interval"):
        percentile_interval(np.zeros(3), n_groups=1)


def test_an_answer_is_estimable_by_its_groups_not_its_rows():
    groups = np.repeat(np.arange(2 * MINIMUM_GROUPS), 3)
    positive = groups < MINIMUM_GROUPS
    assert groups_with(groups, positive) == MINIMUM_GROUPS
    assert estimable(groups, positive)
    assert not estimable(groups, groups < MINIMUM_GROUPS - 1)
    assert not estimable(groups, groups <= MINIMUM_GROUPS)  # nine negative groups
    assert not estimable(np.zeros(1000, dtype=int), np.arange(1000) < 500)
    mixed = np.arange(60) % 3 == 0  # every group has both
    assert groups_with(groups, mixed) == groups_with(groups, ~mixed) == 2 * MINIMUM_GROUPS
    assert groups_with(groups, np.zeros(60, dtype=bool)) == 0


# ---- simulated AUROCs: groups of 1 to 4 rows that share an offset, so that their scores correlate ----

BETWEEN, WITHIN = 0.8, 0.6  # intra-group correlation 0.64


def simulated(rng, n_groups, prevalence, shift, by_row=False):
    """Groups, positives and scores of one test half; the label is the group's (a patient's) or each row's own."""
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 5, n_groups))
    positive = rng.random(len(groups)) < prevalence if by_row else (rng.random(n_groups) < prevalence)[groups]
    offset = rng.normal(0, BETWEEN, n_groups)[groups]
    return groups, positive, offset + shift * positive + rng.normal(0, WITHIN, len(groups))


def pairs_by_group(groups, positive, scores):
    """How many pairs of a positive of group i and a negative of group j are in order."""
    wins = (scores[positive][:, None] > scores[~positive]).astype(np.float64)
    members = np.eye(groups.max() + 1)[groups]
    return members[positive].T @ wins @ members[~positive]


def areas(groups, positive, scores, weights):
    """The AUROC under each column of row weights, from pairs of groups: short enough to see that it is right."""
    of_group = np.zeros((groups.max() + 1, weights.shape[1]))
    of_group[groups] = weights
    p, n = np.bincount(groups, positive), np.bincount(groups, ~positive)
    won = (of_group * (pairs_by_group(groups, positive, scores) @ of_group)).sum(axis=0)
    total = (p @ of_group) * (n @ of_group)
    return np.divide(won, total, out=np.full(len(total), np.nan), where=total > 0)


def rarer(groups, positive):
    return min(groups_with(groups, positive), groups_with(groups, ~positive))


def coverage(n_groups, experiments, *, prevalence=0.4, shift=1.0, by_row=False, resamples=1000, expanded=True):
    """The share of estimable experiments whose interval of an AUROC holds the true one."""
    rng = np.random.default_rng([n_groups, experiments])
    truth = norm.cdf(shift / np.sqrt(2 * (BETWEEN**2 + WITHIN**2)))
    held = []
    while len(held) < experiments:
        groups, positive, scores = simulated(rng, n_groups, prevalence, shift, by_row)
        if estimable(groups, positive):
            weights = GroupResamples(groups, resamples, int(rng.integers(2**62))).weights(0, resamples)
            values = areas(groups, positive, scores, weights)
            low, high = percentile_interval(values, n_groups=rarer(groups, positive) if expanded else None)
            held.append(low <= truth <= high)
    return float(np.mean(held))


def joint_coverage(n_groups, draws, spread, experiments, *, resamples=1000):
    """As `coverage`, of the mean AUROC over draws of labels whose heads separate by 1.2 +- spread; the truth is the
    mean over all draws and groups. What a head makes of a row differs from draw to draw, and by the row as well."""
    rng = np.random.default_rng([n_groups, draws, experiments])
    own = 0.5
    x, w = np.polynomial.hermite_e.hermegauss(60)
    truth = w @ norm.cdf((1.2 + spread * x) / np.sqrt(2 * (BETWEEN**2 + WITHIN**2 + own**2))) / w.sum()
    held = []
    while len(held) < experiments:
        groups, positive, scores = simulated(rng, n_groups, 0.4, 0.0)
        if not estimable(groups, positive):
            continue
        weights = GroupResamples(groups, resamples, int(rng.integers(2**62))).weights(0, resamples)
        heads = [
            scores + (1.2 + spread * rng.normal()) * positive + rng.normal(0, own, len(scores)) for _ in range(draws)
        ]
        values = np.array([areas(groups, positive, head, weights) for head in heads])  # d r
        mean = np.einsum("dr,rd->r", values, draw_weights(draws, resamples, rng))
        low, high = percentile_interval(mean, n_groups=rarer(groups, positive))
        held.append(low <= truth <= high)
    return float(np.mean(held))


def clustered_delong(groups, positive, scores):
    """The AUROC and its standard error over groups, from the structural components (Obuchowski 1997, equation 3)."""
    wins = (scores[positive][:, None] > scores[~positive]).astype(np.float64)
    area = wins.mean()
    n_groups, m, n = len(np.unique(groups)), positive.sum(), (~positive).sum()
    in_positive = np.bincount(groups[positive], wins.mean(axis=1) - area, minlength=groups.max() + 1)
    in_negative = np.bincount(groups[~positive], wins.mean(axis=0) - area, minlength=groups.max() + 1)
    i10, i01 = groups_with(groups, positive), groups_with(groups, ~positive)
    s10 = i10 / ((i10 - 1) * m) * (in_positive**2).sum()
    s01 = i01 / ((i01 - 1) * n) * (in_negative**2).sum()
    s11 = n_groups / (n_groups - 1) * (in_positive * in_negative).sum()
    return area, np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))


@pytest.mark.parametrize("by_row", [False, True])
def test_intervals_agree_with_clustered_delong(by_row):
    rng = np.random.default_rng(11)
    for _ in range(8):
        groups, positive, scores = simulated(rng, 200, 0.4, 1.0, by_row)
        area, error = clustered_delong(groups, positive, scores)
        weights = GroupResamples(groups, 3000, int(rng.integers(2**62))).weights(0, 3000)
        values = areas(groups, positive, scores, weights)
        assert areas(groups, positive, scores, np.ones((len(groups), 1)))[0] == pytest.approx(area)
        assert values.std() == pytest.approx(error, rel=0.10)
        expected = (area - 1.96 * error, area + 1.96 * error)
        assert percentile_interval(values) == pytest.approx(expected, abs=0.35 * error)


def test_rows_taken_for_groups_would_undercover():
    """The simulation can tell: the same data, bootstrapped by row, gives narrower intervals than by group."""
    groups, positive, scores = simulated(np.random.default_rng(3), 100, 0.4, 1.0)
    rows = np.arange(len(groups))
    widths = [
        np.ptp(percentile_interval(areas(ids, positive, scores, GroupResamples(ids, 500, 1).weights(0, 500))))
        for ids in (groups, rows)
    ]
    assert widths[0] > 1.25 * widths[1]


def test_coverage_at_100_groups():
    assert 0.92 <= coverage(100, 1000, resamples=500) <= 0.98


def test_coverage_over_groups_and_draws():
    assert 0.92 <= joint_coverage(100, 20, 0.3, 100, resamples=400) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_groups", "conditions", "low", "high"),
    [
        (30, {}, 0.92, 0.98),
        (100, {}, 0.92, 0.98),
        (300, {}, 0.92, 0.98),
        (100, {"by_row": True}, 0.92, 0.98),
        (100, {"prevalence": 0.15}, 0.90, 0.98),  # 15 positive groups
        (100, {"shift": 2.5}, 0.87, 0.98),  # AUROC 0.96: skewed
    ],
)
def test_coverage_as_documented(n_groups, conditions, low, high):
    assert low <= coverage(n_groups, 2000, **conditions) <= high


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "spread"), [(5, 0.3), (20, 0.3), (20, 0.6)])
def test_joint_coverage_as_documented(draws, spread):
    assert 0.92 <= joint_coverage(100, draws, spread, 1000) <= 0.98
