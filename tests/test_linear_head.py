"""The linear probe against scikit-learn, the choice of its strength, and what it does with dead features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainssl.heads.cross_entropy import cross_entropies, minimise_cross_entropies, principal_axes
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import TrainingHalf
from domainssl.heads.linear import fit_linear, fit_linear_at
from domainssl.heads.strength import DEFAULT_STRENGTH, STRENGTHS, cross_validated, one_standard_error


def blobs(n: int, d: int, k: int, seed: int = 0, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    centres = rng.normal(size=(k, d)) * shift
    return (centres[y] + 3 * rng.normal(size=(n, d)) + 5).astype(np.float32), y[:, None].astype(np.float64)


def half_of(x: np.ndarray) -> TrainingHalf:
    return TrainingHalf(x, np.arange(len(x)))


def fit_all_at(x: np.ndarray, y: np.ndarray, k: int, c: float = DEFAULT_STRENGTH):
    return fit_linear_at(half_of(x), np.arange(len(x)), y, k, c)


@pytest.mark.parametrize("n", [12, 30, 300])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_equals_scikit_learn_in_full_dimension(n, k, c):
    x, y = blobs(n + 50, 80, k)
    x, new, y = x[:n], x[n:], y[:n]
    # with two classes scikit-learn has one weight vector, the difference of ours, so its penalty is twice as strong
    oracle = LogisticRegression(C=2 * c if k == 2 else c, tol=1e-10, max_iter=10_000)
    oracle = make_pipeline(StandardScaler(), oracle).fit(x.astype(np.float64), y[:, 0])
    np.testing.assert_allclose(
        fit_all_at(x, y, k, c).predict(new), oracle.predict_proba(new.astype(np.float64)), atol=1e-4
    )


def test_many_problems_at_once_are_each_problem_by_itself():
    x, y = blobs(60, 100, 3)
    axes = principal_axes(x.astype(np.float64) - 5)
    target = np.stack([np.eye(3)[y[:, 0].astype(int)], np.random.default_rng(0).dirichlet(np.ones(3), 60)], axis=1)
    used = np.random.default_rng(1).random((60, 2)) < 0.7
    c = np.array([0.001, 0.3])
    together = minimise_cross_entropies(axes, target, used, c)
    for p in range(2):
        rows = np.flatnonzero(used[:, p])
        own = principal_axes(x[rows].astype(np.float64) - 5)
        alone = minimise_cross_entropies(own, target[rows, p : p + 1], np.ones((len(rows), 1), bool), c[p : p + 1])
        np.testing.assert_allclose(
            axes.to_features @ together[:-1, p], own.to_features @ alone[:-1, 0], atol=1e-5, rtol=0
        )
    far = minimise_cross_entropies(axes, target, used, c, start=together + 0.1)
    together[-1] -= together[-1].mean(axis=1, keepdims=True)  # nothing fixes a constant in all biases
    far[-1] -= far[-1].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(far, together, atol=1e-4)
    losses = cross_entropies(axes, together, target)
    assert (losses[:, 0] < np.log(3)).mean() > 0.9


def test_the_chosen_strength_has_the_held_out_loss_of_scikit_learn():
    """Every strength's held-out losses by scikit-learn, fold by fold, give the same choice."""
    for seed, shift, spread in ((0, 0.1, 3.0), (1, 3.0, 0.3), (2, 0.5, 3.0)):
        rng = np.random.default_rng(seed)
        label = np.arange(80) % 2
        x = rng.normal(size=(2, 40))[label] * shift + spread * rng.normal(size=(80, 40))
        folds = grouped_folds(label, np.arange(80), rng)
        losses = np.empty((len(STRENGTHS), 80))
        for s, c in enumerate(STRENGTHS):
            for fold in range(5):
                out = folds == fold
                oracle = LogisticRegression(C=2 * c, tol=1e-10, max_iter=10_000).fit(x[~out], label[~out])
                p = oracle.predict_proba(x[out])
                losses[s, out] = -np.log(p[np.arange(out.sum()), label[out]])
        chosen = cross_validated(principal_axes(x), np.eye(2)[label][:, None], folds[:, None])
        assert chosen.tolist() == [one_standard_error(losses)]


def test_the_rule_stays_with_the_default_unless_another_is_clearly_better():
    rng = np.random.default_rng(0)
    losses = np.tile(np.array([0.69, 0.68, 0.60, 0.61, 0.7, 0.9])[:, None], (1, 50))
    noisy = losses + rng.normal(size=losses.shape) * 0.2
    assert one_standard_error(noisy) == 0.01
    assert one_standard_error(losses) == 0.001
    assert one_standard_error(losses[[5, 4, 1, 0, 2, 3]]) == 0.1
    assert one_standard_error(np.zeros((6, 10))) == DEFAULT_STRENGTH


def test_strong_and_weak_signals_get_other_strengths_than_the_default():
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 2)[:, None].astype(np.float64)
    pure = (y * 4 + rng.normal(size=(400, 1))).astype(np.float32)
    few = half_of(np.concatenate([pure, rng.normal(size=(400, 1)).astype(np.float32)], axis=1))
    rows = np.arange(400)
    got = fit_linear(few, rows, y, 2, np.random.default_rng(0))
    assert np.abs(got.weight).max() > 1.5 * np.abs(fit_linear_at(few, rows, y, 2, 0.01).weight).max()
    noise = half_of(rng.normal(size=(400, 300)).astype(np.float32))
    got = fit_linear(noise, rows, y, 2, np.random.default_rng(0))
    assert np.abs(got.weight).max() < 0.5 * np.abs(fit_linear_at(noise, rows, y, 2, 0.01).weight).max()


def test_a_class_with_one_row_takes_the_default_strength():
    x, y = blobs(30, 20, 2)
    y[3] = 2
    half = half_of(x)
    got = fit_linear(half, np.arange(30), y, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(got.weight, fit_all_at(x, y, 3).weight)


def test_dead_and_nearly_dead_features_do_no_harm():
    x, y = blobs(60, 20, 3)
    dead = np.zeros((60, 3), dtype=np.float32)
    dead[:, 1] = 7.3  # its float32 mean differs from it
    dead[0, 2] = 1e-7
    with_dead = np.concatenate([x, dead], axis=1)
    np.testing.assert_allclose(
        fit_all_at(with_dead, y, 3).predict(with_dead), fit_all_at(x, y, 3).predict(x), atol=1e-4
    )


def test_separable_rows_converge_without_a_warning_over_many_strengths():
    x, y = blobs(30, 1280, 6, shift=20.0)
    for c in (1e-5, 0.01, 1.0, 100.0):
        assert (fit_all_at(x, y, 6, c).predict(x).argmax(axis=1) == y[:, 0]).all()
