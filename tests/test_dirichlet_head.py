"""The votes head: planted shares and concentrations are found, every vote counts, few rows do no harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import dirichlet_multinomial

from domainssl.evaluation.dirichlet_multinomial import effective_votes, log_likelihood, pooled_concentration
from domainssl.evaluation.votes_judged import judged_votes
from domainssl.heads.cross_entropy import principal_axes
from domainssl.heads.dirichlet import fit_dirichlet, maximise_likelihoods
from domainssl.heads.head import TrainingHalf
from domainssl.heads.labels import standardised_rows
from domainssl.heads.votes import fit_votes

RNG = np.random.default_rng


def survey(n: int, d: int, k: int, total: float, seed: int = 0) -> tuple[TrainingHalf, np.ndarray, np.ndarray]:
    """Features, the expected shares that are a linear map of them, and 1 to 40 votes of one total concentration."""
    rng = RNG(seed)
    x = rng.normal(size=(n, d))
    logits = 1.5 * x[:, :k]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return TrainingHalf(x, np.arange(n)), shares, drawn(shares, total, rng.integers(1, 41, n), rng)


def drawn(shares: np.ndarray, total: float, votes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.gamma(np.maximum(total * shares, 1e-6)) + 1e-300
    return rng.multinomial(votes, chosen / chosen.sum(axis=1, keepdims=True)).astype(np.float64)


@pytest.mark.parametrize("total", [1.5, 12.0])
def test_planted_shares_and_concentration_are_found(total):
    half, shares, votes = survey(1200, 5, 3, total)
    head = fit_dirichlet(half, np.arange(1200), votes, 3, RNG(0))
    assert float(head.total) == pytest.approx(total, rel=0.15)
    assert np.abs(head.predict(half.x) - shares).mean() < 0.03
    np.testing.assert_allclose(head.concentration(half.x).sum(axis=1), head.total)
    assert float(head.votes) == np.median(votes.sum(axis=1))


def test_the_fit_is_the_minimum_of_the_likelihood_written_out():
    half, _, votes = survey(40, 3, 3, 4.0)
    z, c, total = standardised_rows(half, np.arange(40)), 0.1, 5.0
    usual = effective_votes(votes.sum(axis=1), total).mean()

    def cost(flat):
        weight, bias = flat[:9].reshape(3, 3), flat[9:]
        odds = np.exp(z @ weight.T + bias)
        shares, before = odds / odds.sum(axis=1, keepdims=True), np.exp(bias) / np.exp(bias).sum()
        likelihood = [
            dirichlet_multinomial.logpmf(v.astype(int), total * p, int(v.sum()))
            for v, p in zip(votes, shares, strict=True)
        ]
        return -c / usual * (np.sum(likelihood) + 0.5 * np.log(before).sum()) + (flat[:9] ** 2).sum() / 2

    oracle = minimize(cost, np.zeros(12), method="BFGS", options={"gtol": 1e-7})
    axes = principal_axes(z)
    found = maximise_likelihoods(axes, votes, np.ones((40, 1), bool), np.array([c]), total, tolerance=1e-9)[:, 0]
    ours = np.concatenate([(axes.to_features @ found[:-1]).T.ravel(), found[-1]])
    assert cost(ours) <= oracle.fun + 1e-9
    np.testing.assert_allclose(ours[:9], oracle.x[:9], atol=1e-4)
    np.testing.assert_allclose(ours[9:] - ours[9], oracle.x[9:] - oracle.x[9], atol=1e-4)


def test_rows_without_votes_say_nothing_and_rows_of_many_say_more():
    half, _, votes = survey(80, 4, 3, 8.0)
    rows = np.arange(60)
    unasked = votes.copy()
    unasked[40:60] = 0
    there = fit_dirichlet(half, rows[:40], votes[:40], 3, RNG(1))
    again = fit_dirichlet(half, rows, unasked[:60], 3, RNG(1))
    np.testing.assert_array_equal(there.predict(half.x), again.predict(half.x))
    assert there.total == again.total
    half, few, many = TrainingHalf(np.repeat(np.eye(2), 4, 0), np.arange(8)), np.ones((8, 2)), np.ones((8, 2))
    few[:4], few[4:] = (2, 0), (0, 2)
    many[:4], many[4:] = (40, 0), (0, 2)  # forty people of the first kind, two of the other
    shares = [fit_dirichlet(half, np.arange(8), y, 2, RNG(0)).predict(half.x).mean(axis=0) for y in (few, many)]
    np.testing.assert_allclose(shares[0], 0.5, atol=1e-6)
    assert shares[1][0] > 0.52
    np.testing.assert_allclose(fit_votes(half, np.arange(8), many, 2, RNG(0)).predict(half.x).mean(axis=0), 0.5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_few_rows_neither_fail_nor_run_away(rows, answers, seed):
    rng = RNG(seed)
    half = TrainingHalf(rng.normal(size=(40, 60)), np.arange(40))
    votes = rng.multinomial(rng.integers(1, 41), rng.dirichlet(np.full(answers, 0.3)), rows).astype(np.float64)
    head = fit_dirichlet(half, np.arange(rows), votes, answers, rng)
    alpha = head.concentration(half.x)
    np.testing.assert_allclose(head.predict(half.x).sum(axis=1), 1)
    assert (alpha > 0).all()
    assert 0.1 <= float(head.total) <= 100
    order = rng.permutation(answers)
    moved = fit_dirichlet(half, np.arange(rows), votes[:, order], answers, RNG(0)).predict(half.x)
    there = fit_dirichlet(half, np.arange(rows), votes, answers, RNG(0)).predict(half.x)
    np.testing.assert_allclose(moved, there[:, order], atol=1e-3)


def test_an_answer_without_a_vote_is_unlikely_and_possible():
    half, _, votes = survey(40, 3, 3, 8.0)
    votes[:, 2] = 0
    votes[votes.sum(axis=1) == 0] = (1, 0, 0)
    share = fit_dirichlet(half, np.arange(40), votes, 3, RNG(0)).predict(half.x)[:, 2]
    assert (share < 0.05).all()
    assert (share > 1e-6).all()
    one = np.zeros((40, 3))
    one[:, 0] = 5  # the other heads refuse this
    share = fit_dirichlet(half, np.arange(40), one, 3, RNG(0)).predict(half.x)
    assert (share[:, 0] > 0.9).all()


def test_what_cannot_be_learnt_from_is_refused():
    half, _, votes = survey(40, 3, 3, 8.0)
    with pytest.raises(ValueError, match="none of 40 rows has votes"):
        fit_dirichlet(half, np.arange(40), 0 * votes, 3, RNG(0))
    with pytest.raises(ValueError, match="1 of 40 rows hold negative or unknown"):
        fit_dirichlet(half, np.arange(40), np.where(np.arange(40)[:, None] == 3, np.nan, votes), 3, RNG(0))
    with pytest.raises(ValueError, match="3 columns for 4 answers"):
        fit_dirichlet(half, np.arange(40), votes, 4, RNG(0))


def test_votes_in_groups_are_left_out_together():
    """Rows of a group that share a deviation of their own tell nothing of it where they are left out by group."""
    rng = RNG(3)
    x, group = np.repeat(rng.normal(size=(60, 40)), 5, 0), np.repeat(np.arange(60), 5)
    votes = drawn(np.repeat(rng.dirichlet([1.0, 1.0], 60), 5, 0), 1000.0, np.full(300, 30), rng)
    rows = np.arange(300)
    together = fit_dirichlet(TrainingHalf(x, group), rows, votes, 2, RNG(0))
    apart = fit_dirichlet(TrainingHalf(x, rows), rows, votes, 2, RNG(0))
    assert float(together.total) < 4 < 6 < float(apart.total)


@pytest.mark.parametrize("total", [3.0, 10.0])
def test_what_a_head_predicts_of_unseen_rows_is_calibrated(total):
    half, _, votes = survey(2400, 5, 3, total, seed=4)
    rows, rest = np.arange(200), np.arange(200, 2400)
    head = fit_dirichlet(half, rows, votes[rows], 3, RNG(0))
    alpha, pooled = head.concentration(half.x[rest]), pooled_concentration(votes[rows])
    found = judged_votes(("a", "b", "c"), alpha, pooled, votes[rest], rest, RNG(0))
    assert found["called"] == "calibrated"
    assert abs(found["levels"][0]["value"] - found["levels"][0]["expected"]) < 0.015
    assert found["nats"]["low"] > 0.02


@pytest.mark.slow
def test_coverage_by_heads_of_few_rows_is_right_on_average_over_many_surveys():
    """With 60 labelled rows and 20 features; at 12, held-out votes are too few to know the total well."""
    off = []
    for seed in range(60):
        half, _, votes = survey(460, 20, 3, 6.0, seed=seed)
        head = fit_dirichlet(half, np.arange(60), votes[:60], 3, RNG(0))
        rest = np.arange(60, 460)
        alpha, pooled = head.concentration(half.x[rest]), pooled_concentration(votes[:60])
        assert (
            log_likelihood(votes[rest], alpha).mean()
            > log_likelihood(votes[rest], np.broadcast_to(pooled, (400, 3))).mean()
        )
        level = judged_votes(("a", "b", "c"), alpha, pooled, votes[rest], rest, RNG(0))["levels"][0]
        off.append(level["value"] - level["expected"])
    assert abs(np.mean(off)) < 0.015
