"""The likelihood of votes against scipy, torch and enumeration; intervals of votes; what the test half says of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, dirichlet_multinomial

from domainssl.evaluation.dirichlet_multinomial import (
    effective_votes,
    likeliest_total,
    log_likelihood,
    pooled_concentration,
)
from domainssl.evaluation.vote_intervals import MOST_VOTES, vote_intervals, vote_probabilities
from domainssl.evaluation.votes_judged import MINIMUM, judged_votes

RNG = np.random.default_rng
CONCENTRATIONS = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=5)


def draw(alpha: np.ndarray, votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Votes of a Dirichlet-multinomial, one row for each of `alpha`."""
    shares = rng.gamma(alpha)
    shares /= shares.sum(axis=1, keepdims=True)
    return rng.multinomial(votes, shares).astype(np.float64)


@settings(max_examples=40)
@given(CONCENTRATIONS, st.data())
def test_likelihood_is_scipys_never_above_0_and_does_not_care_for_the_order_of_answers(alpha, data):
    counts = np.array([data.draw(st.lists(st.integers(0, 60), min_size=len(alpha), max_size=len(alpha)))], np.float64)
    concentration = np.array([alpha])
    found = log_likelihood(counts, concentration)
    oracle = dirichlet_multinomial.logpmf(counts[0].astype(int), alpha, int(counts.sum()))
    np.testing.assert_allclose(found[0], oracle, rtol=1e-9, atol=1e-6)
    assert found[0] <= 1e-9
    order = np.array(data.draw(st.permutations(range(len(alpha)))))
    np.testing.assert_allclose(log_likelihood(counts[:, order], concentration[:, order]), found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("alpha", "votes"), [((0.3, 2.0, 5.0), 6), ((40.0, 0.01), 9), ((1.0, 1.0, 1.0, 1.0), 4)])
def test_probabilities_of_all_votes_sum_to_one_and_their_margins_are_beta_binomial(alpha, votes):
    every = np.array([c for c in product(range(votes + 1), repeat=len(alpha)) if sum(c) == votes], np.float64)
    chance = np.exp(log_likelihood(every, np.tile(alpha, (len(every), 1))))
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    margins = vote_probabilities(np.array([alpha]), votes)[0]
    for k, margin in enumerate(margins):
        np.testing.assert_allclose(margin, np.bincount(every[:, k].astype(int), weights=chance), atol=1e-12)
    np.testing.assert_allclose(chance @ every / votes, np.array(alpha) / sum(alpha))


def test_rows_without_votes_say_nothing_and_one_vote_has_its_expected_share():
    alpha = np.array([[1.0, 3.0], [1e-9, 1e9], [2.0, 2.0]])
    found = log_likelihood(np.array([[0.0, 1.0], [0.0, 0.0], [np.nan, 1.0]]), alpha)
    np.testing.assert_allclose(found, [np.log(0.75), 0.0, np.nan], atol=1e-12)
    assert found[1] == 0.0
    with pytest.raises(ValueError, match="votes: -1"):
        log_likelihood(np.array([[-1.0, 1.0]]), alpha[:1])
    with pytest.raises(ValueError, match="concentration"):
        log_likelihood(np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(effective_votes(np.array([1.0, 40.0]), 10.0), [1.0, 8.8])


def test_planted_concentrations_are_found_again():
    rng, alpha = RNG(0), np.array([0.6, 4.0, 1.4])
    counts = draw(np.tile(alpha, (4000, 1)), rng.integers(0, 41, 4000), rng)
    np.testing.assert_allclose(pooled_concentration(counts), alpha, rtol=0.06)
    shares = np.tile(alpha / alpha.sum(), (4000, 1))
    assert likeliest_total(counts, shares) == pytest.approx(6.0, rel=0.06)


def test_the_total_of_no_or_few_votes_is_the_prior_and_never_runs_away():
    shares = np.full((3, 3), 1 / 3)
    assert likeliest_total(np.zeros((3, 3)), shares) == pytest.approx(3, rel=1e-3)
    assert likeliest_total(np.eye(3), shares) == pytest.approx(3, rel=1e-3)  # single votes say nothing of spread
    assert 3 < likeliest_total(np.full((3, 3), 10.0), shares) < 200  # alike by luck
    assert 0.1 < likeliest_total(30 * np.eye(3), shares) < 1
    alpha = pooled_concentration(np.array([[4.0, 0.0, 0.0]]))
    assert (alpha > 0.05).all()
    assert alpha.argmax() == 0


@settings(max_examples=12)
@given(CONCENTRATIONS, st.integers(1, 60), st.sampled_from([0.5, 0.9]))
def test_intervals_are_scipys_and_hold_what_they_expect(alpha, votes, coverage):
    concentration = np.array([alpha])
    found = vote_intervals(concentration, np.array([votes]), coverage)
    tail = (1 - coverage) / 2
    for k, a in enumerate(alpha):
        margin = betabinom(votes, a, sum(alpha) - a)
        low, high = int(found.low[0, k]), int(found.high[0, k])
        assert found.expected[0, k] == pytest.approx(margin.cdf(high) - margin.cdf(low - 1), abs=1e-8)
        assert margin.cdf(low - 1) <= tail + 1e-8
        assert margin.sf(high) <= tail + 1e-8
        assert margin.cdf(low) > tail - 1e-8
        assert high == 0 or margin.sf(high - 1) > tail - 1e-8


def test_intervals_of_rows_of_which_nothing_can_be_said_are_empty():
    alpha = np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, 2.0]])
    found = vote_intervals(alpha, np.array([0, 5, 1]), 0.9)
    np.testing.assert_array_equal(found.low, [[-1, -1], [-1, -1], [0, 0]])
    np.testing.assert_array_equal(found.high, [[-1, -1], [-1, -1], [1, 1]])
    assert np.isnan(found.expected[:2]).all()
    np.testing.assert_allclose(found.expected[2], 1)
    with pytest.raises(ValueError, match=r"votes: 0\.\.5000"):
        vote_intervals(alpha, np.array([0, 5, 5000]), 0.9)
    with pytest.raises(ValueError, match="coverage"):
        vote_intervals(alpha, np.array([0, 5, 1]), 1.0)
    large = vote_intervals(np.array([[1e-6, 1e3]]), np.array([MOST_VOTES]), 0.9)  # of probabilities below the smallest
    np.testing.assert_array_equal(large.low, [[0, MOST_VOTES]])


def judged(alpha: np.ndarray, counts: np.ndarray, seed: int = 0, groups: np.ndarray | None = None):
    pooled = pooled_concentration(counts)
    ids = np.arange(len(counts)) if groups is None else groups
    return judged_votes(("a", "b", "c"), alpha, pooled, counts, ids, RNG(seed))


def planted(rows: int, total: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Concentrations of one total, and numbers of votes."""
    return total * rng.dirichlet([2, 2, 1], size=rows) + 1e-3, rng.integers(1, 41, rows)


def test_what_the_votes_were_drawn_from_is_calibrated_and_a_multinomial_of_them_is_not():
    rng = RNG(0)
    alpha, votes = planted(800, 8.0, rng)
    counts = draw(alpha, votes, rng)
    found = judged(alpha, counts)
    assert found["called"] == "calibrated"
    for level in found["levels"]:
        assert abs(level["value"] - level["expected"]) < 0.02
        assert level["low"] < level["value"] - level["expected"] < level["high"]
        assert level["expected"] > level["promised"]
    assert found["nats"]["low"] > 0
    narrow = judged(100 * alpha, counts)  # as if volunteers chose alike
    assert narrow["called"] == "too narrow"
    assert narrow["levels"][0]["high"] < -0.1
    assert narrow["nats"]["value"] < found["nats"]["value"]
    wide = judged(alpha / 8, counts)
    assert wide["called"] == "too wide"


def test_groups_are_resampled_whole_and_few_are_not_judged():
    rng = RNG(1)
    alpha, votes = planted(50, 8.0, rng)
    counts = draw(alpha, votes, rng)
    assert judged(alpha, counts)["called"] == "not estimable"
    tile = np.arange(50 * 20) // 20
    again = judged(np.repeat(alpha, 20, 0), np.repeat(counts, 20, 0), groups=tile)
    assert again["groups"] == 50 < MINIMUM
    assert again["called"] == "not estimable"
    once, many = (found["levels"][0] for found in (judged(alpha, counts), again))
    assert many["high"] - many["low"] == pytest.approx(once["high"] - once["low"], rel=0.15)


def test_rows_of_which_nothing_is_known_are_left_out():
    rng = RNG(2)
    alpha, votes = planted(30, 8.0, rng)
    counts = draw(alpha, votes, rng)
    unknown = np.concatenate([counts, [[0.0, 0.0, 0.0], [np.nan, 1.0, 1.0], [5000.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    broken = np.concatenate([alpha, alpha[:3], [[np.nan, 1.0, 1.0]]])
    pooled = pooled_concentration(counts)
    names, groups = ("a", "b", "c"), np.arange(34)
    assert judged_votes(names, broken, pooled, unknown, groups, RNG(0)) == judged_votes(
        names, alpha, pooled, counts, groups[:30], RNG(0)
    )
    assert judged_votes(names, broken[30:], pooled, unknown[30:], groups[:4], RNG(0)) is None


@pytest.mark.slow
def test_coverage_is_what_is_expected_over_many_simulations():
    """The interval of the difference holds 0 in about 19 of 20 runs, and coverage itself is right to 1.5 points."""
    held, off = [], []
    for seed in range(150):
        rng = RNG([7, seed])
        alpha, votes = planted(150, 6.0, rng)
        level = judged(alpha, draw(alpha, votes, rng), seed)["levels"][0]
        held.append(level["low"] <= 0 <= level["high"])
        off.append(level["value"] - level["expected"])
    assert abs(np.mean(off)) < 0.015
    assert 0.9 < np.mean(held) < 0.99
