"""Heads against independent implementations: scikit-learn, and likelihoods written out and minimised by scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.semi_supervised import LabelSpreading

from domainssl.heads import knn
from domainssl.heads.head import TrainingHalf
from domainssl.heads.knn import fit_knn, fit_knn_answers, fit_knn_values
from domainssl.heads.lda import fit_lda, ledoit_wolf_shrinkage
from domainssl.heads.linear import fit_linear, fit_linear_at
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.ordinal import fit_ordinal, fit_ordinal_at
from domainssl.heads.propagation import ALPHA, fit_propagation, neighbour_graph, spread_labels
from domainssl.heads.prototype import fit_prototype
from domainssl.heads.ridge import PENALTIES, fit_ridge
from domainssl.heads.votes import fit_votes

RNG = np.random.default_rng


def rows_of(n: int, d: int, k: int, seed: int = 0) -> tuple[TrainingHalf, np.ndarray, np.ndarray, np.ndarray]:
    """A half, labelled rows, their classes, and the standardised features of the half."""
    rng = RNG(seed)
    label = np.arange(n + 40) % k
    x = rng.normal(size=(k, d))[label] + 2 * rng.normal(size=(n + 40, d)) + 1
    half = TrainingHalf(x, np.arange(len(x)))
    mean, scale = half.standardisation
    return half, np.arange(n), label[:n, None].astype(np.float64), (x - mean) / scale


@pytest.mark.parametrize("d", [10, 200])
def test_lda_is_scikit_learns_of_the_same_shrinkage(d):
    half, rows, y, z = rows_of(48, d, 4)
    label = y[:, 0].astype(int)
    centres = np.array([z[rows][label == c].mean(axis=0) for c in range(4)])
    residuals = z[rows] - centres[label]
    shrinkage = ledoit_wolf(residuals, assume_centered=True)[1]
    assert ledoit_wolf_shrinkage(residuals, d) == pytest.approx(shrinkage, rel=1e-9)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.25] * 4).fit(z[rows], label)
    np.testing.assert_allclose(fit_lda(half, rows, y, 4, RNG(0)).predict(half.x), oracle.predict_proba(z), atol=1e-8)


def test_prototype_is_the_cosine_with_class_means():
    half, rows, y, z = rows_of(30, 20, 3)
    means = np.array([z[rows][y[:, 0] == c].mean(axis=0) for c in range(3)])
    cosine = z @ means.T / np.linalg.norm(z, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    head = fit_prototype(half, rows, y, 3, RNG(0))
    odds = np.exp(cosine / float(head.temperature))
    np.testing.assert_allclose(head.predict(half.x), odds / odds.sum(axis=1, keepdims=True))


def weights_of(distance):
    return np.exp((1 - distance) / knn.TEMPERATURE)


def test_nearest_rows_are_scikit_learns(monkeypatch):
    monkeypatch.setattr(knn, "SMOOTHING", 0.0)
    half, rows, y, z = rows_of(60, 20, 3)
    say = {"n_neighbors": knn.NEIGHBOURS, "metric": "cosine", "weights": weights_of}
    oracle = KNeighborsClassifier(**say).fit(z[rows], y[:, 0])
    np.testing.assert_allclose(fit_knn(half, rows, y, 3, RNG(0)).predict(half.x), oracle.predict_proba(z))
    values = RNG(1).normal(size=(60, 1))
    oracle = KNeighborsRegressor(**say).fit(z[rows], values)
    np.testing.assert_allclose(fit_knn_values(half, rows, values, 1, RNG(0)).predict(half.x), oracle.predict(z))


def test_nearest_rows_leave_unknown_answers_out_and_have_no_needless_ties():
    half, rows, y, z = rows_of(60, 20, 2)
    answers = np.concatenate([y, y, np.full((60, 1), np.nan)], axis=1)
    answers[1:, 1] = np.nan  # one row knows
    p = fit_knn_answers(half, rows, answers, 3, RNG(0)).predict(half.x)
    np.testing.assert_allclose(p[:, 0], fit_knn(half, rows, y, 2, RNG(0)).predict(half.x)[:, 1])
    np.testing.assert_allclose(p[:, 1], y[0, 0], atol=1e-12)
    np.testing.assert_allclose(p[:, 2], 0.5)
    rare = (np.arange(60) < 2)[:, None].astype(np.float64)
    assert len(np.unique(fit_knn(half, rows, rare, 2, RNG(0)).predict(half.x)[:, 1])) == len(z)


@pytest.mark.parametrize("d", [10, 150])
def test_ridge_is_scikit_learns_with_leave_one_out(d):
    half, rows, _, z = rows_of(60, d, 3)
    for noise in (0.1, 3.0, 100.0):
        y = z[rows] @ RNG(1).normal(size=(d, 1)) + noise * RNG(2).normal(size=(60, 1)) + 7
        length = ((z[rows] - z[rows].mean(axis=0)) ** 2).sum(axis=1).mean()
        oracle = RidgeCV(alphas=np.array(PENALTIES) * length).fit(z[rows], y[:, 0])
        got = fit_ridge(half, rows, y, 1, RNG(0)).predict(half.x)[:, 0]
        np.testing.assert_allclose(got, oracle.predict(z), rtol=1e-6, atol=1e-6)


def test_ridge_of_one_row_is_its_value():
    half, rows, _, _ = rows_of(60, 10, 3)
    np.testing.assert_allclose(fit_ridge(half, rows[:1], np.array([[3.5]]), 1, RNG(0)).predict(half.x), 3.5)


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_ordinal_is_the_minimum_of_its_likelihood(c):
    half, rows, y, z = rows_of(60, 6, 4, seed=3)
    level = y[:, 0].astype(int)

    def loss(u):
        below = np.column_stack([np.zeros(60), expit(np.sort(u[6:])[None] - (z[rows] @ u[:6])[:, None]), np.ones(60)])
        shares = np.diff(below, axis=1)[np.arange(60), level]
        return -c * np.log(np.maximum(shares, 1e-300)).sum() + (u[:6] ** 2).sum() / 2

    found = minimize(loss, np.r_[np.zeros(6), -1.0, 0.0, 1.0], method="BFGS", options={"gtol": 1e-7})
    head = fit_ordinal_at(half, rows, y, 4, c)
    ours = np.r_[head.weight[0], head.thresholds]
    assert loss(ours) <= found.fun + 1e-9
    np.testing.assert_allclose(ours, found.x, atol=2e-3)


@pytest.mark.parametrize("d", [10, 150])
def test_two_levels_are_logistic_regression(d):
    half, rows, y, z = rows_of(60, d, 2)
    for c in (1e-4, 0.01, 1.0):
        oracle = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(z[rows], y[:, 0])
        np.testing.assert_allclose(
            fit_ordinal_at(half, rows, y, 2, c).predict(half.x), oracle.predict_proba(z), atol=2e-5
        )


def test_levels_without_rows_change_nothing_for_the_others():
    half, rows, y, _ = rows_of(60, 10, 3)
    there = fit_ordinal(half, rows, y, 3, RNG(0)).predict(half.x)
    p = fit_ordinal(half, rows, np.array([1.0, 2.0, 5.0])[y.astype(int)], 7, RNG(0)).predict(half.x)
    np.testing.assert_array_equal(p[:, [1, 2, 5]], there)
    assert (p[:, [0, 3, 4, 6]] == 0).all()


def test_each_answer_is_the_linear_probe_of_the_rows_that_know_it():
    half, rows, y, _ = rows_of(60, 100, 2)
    answers = np.concatenate([y, RNG(3).permutation(y)], axis=1)
    answers[RNG(4).random((60, 2)) < 0.4] = np.nan
    got = fit_multilabel(half, rows, answers, 2, RNG(5)).predict(half.x)
    rng = RNG(5)  # folds are dealt answer by answer, so the same generator gives the same folds
    for a in range(2):
        known = np.flatnonzero(~np.isnan(answers[:, a]))
        alone = fit_linear(half, rows[known], answers[known, a : a + 1], 2, rng).predict(half.x)
        np.testing.assert_allclose(got[:, a], alone[:, 1], atol=1e-4)


def test_a_constant_answer_is_its_clipped_share_and_an_unknown_one_a_half():
    half, rows, y, _ = rows_of(30, 10, 2)
    answers = np.concatenate([y, y * 0, y * 0 + 1, y * np.nan], axis=1)
    got = fit_multilabel(half, rows, answers, 4, RNG(0)).predict(half.x)
    np.testing.assert_allclose(got[:, 1:], np.tile([0.01, 0.99, 0.5], (70, 1)))


def test_votes_of_one_answer_are_the_linear_probe_and_shares_keep_their_mean():
    half, rows, y, _ = rows_of(60, 20, 3)
    counts = 7 * np.eye(3)[y[:, 0].astype(int)]
    got = fit_votes(half, rows, counts, 3, RNG(0))
    candidates = [fit_linear_at(half, rows, y, 3, c).weight for c in (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)]
    assert min(np.abs(got.weight - w).max() for w in candidates) < 1e-5
    counts = RNG(1).poisson(4, size=(60, 3)) + 1.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    head = fit_votes(half, rows, counts, 3, RNG(0))
    # a bias without penalty makes the mean prediction over the labelled rows that of their shares
    np.testing.assert_allclose(head.predict(half.x[rows]).mean(axis=0), shares.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("alpha", [0.2, 0.9])
def test_spreading_is_scikit_learns(alpha):
    half, rows, y, _ = rows_of(20, 8, 3)
    graph = neighbour_graph(half.z, 5, 0.2)
    given = np.zeros((60, 3))
    given[rows, y[:, 0].astype(int)] = 1.0
    got = spread_labels(graph, given, alpha)
    partial = np.full(60, -1)
    partial[rows] = y[:, 0]
    oracle = LabelSpreading(kernel=lambda a, b: graph.toarray(), alpha=alpha, max_iter=5000, tol=1e-12)
    oracle.fit(half.x, partial)
    np.testing.assert_allclose(got / got.sum(axis=1, keepdims=True), oracle.label_distributions_, atol=1e-7)


def test_the_graph_joins_nearest_rows_by_their_cosine():
    half, _, _, z = rows_of(20, 8, 3)
    graph = neighbour_graph(half.z, 5, 0.2).toarray()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = unit @ unit.T - 9 * np.eye(60)
    near = cosine >= np.sort(cosine, axis=1)[:, -5, None]
    np.testing.assert_allclose(graph, np.where(near | near.T, np.exp((cosine - 1) / 0.2), 0.0), atol=1e-5)


def test_labels_go_round_a_ring_and_rows_out_of_reach_get_the_labelled_shares():
    turn = np.linspace(0, np.pi, 80, endpoint=False)
    arcs = [np.column_stack([np.cos(turn + o), np.sin(turn + o), np.zeros((80, 2))]) for o in (0, np.pi)]
    apart = np.zeros((160, 4))
    apart[:, 2:] = 3 * np.random.default_rng(0).normal(size=2) / 50 + [[5.0, 5.0]]
    x = np.concatenate([*arcs, np.concatenate([apart, -apart])])
    half = TrainingHalf(x, np.arange(len(x)))
    rows, y = np.array([40, 120, 41]), np.array([[0.0], [1.0], [0.0]])
    p = fit_propagation(half, rows, y, 2, RNG(0)).predict(x)
    assert (p[10:70, 0] > 0.5).all()
    assert (p[90:150, 1] > 0.5).all()
    np.testing.assert_allclose(p[160:], np.tile([2 / 3, 1 / 3], (320, 1)))


def test_the_graph_of_a_half_is_built_once_and_goes_with_it(monkeypatch):
    from domainssl.heads import propagation

    half, rows, y, _ = rows_of(20, 8, 3)
    before = len(propagation._graphs)
    first = fit_propagation(half, rows, y, 3, RNG(0))
    monkeypatch.setattr(propagation, "neighbour_graph", None)
    again = fit_propagation(half, rows, y, 3, RNG(0))
    np.testing.assert_array_equal(first.shares, again.shares)
    assert len(propagation._graphs) == before + 1
    del half
    assert len(propagation._graphs) == before
    assert ALPHA < 1
