"""Probabilities of rows whose group the head has not seen: the folds, scikit-learn's own, the strength."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from domainssl.heads.cross_entropy import principal_axes
from domainssl.heads.folds import FOLDS, grouped_folds
from domainssl.heads.linear_out_of_fold import linear_out_of_fold, whole_group_folds
from domainssl.heads.strength import STRENGTHS


def classes(n: int, k: int, seed: int, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    z = rng.normal(size=(n, 12)) + apart * np.eye(12)[labels]
    return z - z.mean(axis=0), labels


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 80), st.integers(1, 4), st.integers(1, 40))
def test_groups_are_never_torn_and_rare_classes_left_out(seed, n, k, n_groups):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(k, size=n), rng.integers(n_groups, size=n).astype(str)
    folds = whole_group_folds(labels, groups, rng)
    assert folds.shape == (n,)
    for group in np.unique(groups):
        assert len(set(folds[(groups == group) & (folds >= 0)])) <= 1
    for label in np.unique(labels):
        if len(set(groups[labels == label])) < FOLDS:
            assert (folds[labels == label] == -1).all()
    assert len(set(labels[folds >= 0])) != 1


def test_a_group_that_would_be_torn_is_in_no_fold():
    """Four large groups fill four folds, so that all five groups of the second class come to the last one."""
    sizes = [100, 100, 100, 100, *[11] * 5, *[1] * 10]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.select([groups >= 9, groups < 4], [2, 0], 0)
    labels[[400, 411, 422, 433, 444]] = 1
    torn = grouped_folds(labels, groups, np.random.default_rng(0))
    assert any(len(set(torn[groups == group])) > 1 for group in range(4, 9))  # so there is something to prevent
    folds = whole_group_folds(labels, groups, np.random.default_rng(0))
    inside = (groups >= 4) & (groups < 9)
    assert all(len(set(folds[(groups == group) & (folds >= 0)])) <= 1 for group in range(len(sizes)))
    assert (
        folds[inside] == -1
    ).sum() == 4 * 11 + 1  # all of the torn groups, and the one row that is left of its class
    assert (folds[~inside] >= 0).all()
    alone = groups < 9
    assert (whole_group_folds(labels[alone], groups[alone], np.random.default_rng(0)) == -1).all()


def test_each_fold_is_predicted_as_by_scikit_learn_from_the_others():
    z, labels = classes(90, 3, seed=0)
    folds = whole_group_folds(labels, np.arange(90), np.random.default_rng(1))
    found, c = linear_out_of_fold(principal_axes(z), labels, 4, folds, 0.1)
    assert c == 0.1
    assert (found[:, 3] == 0).all()
    for fold in range(FOLDS):
        inside = folds == fold
        oracle = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000).fit(z[~inside], labels[~inside])
        np.testing.assert_allclose(found[inside, :3], oracle.predict_proba(z[inside]), atol=2e-2)


@pytest.mark.parametrize("apart", [0.3, 1.0, 4.0])
def test_the_strength_is_the_one_of_least_held_out_loss(apart):
    z, labels = classes(120, 3, seed=2, apart=apart)
    axes, folds = principal_axes(z), whole_group_folds(labels, np.arange(120), np.random.default_rng(1))
    losses = [
        -np.log(linear_out_of_fold(axes, labels, 3, folds, c)[0][np.arange(120), labels]).mean() for c in STRENGTHS
    ]
    found, c = linear_out_of_fold(axes, labels, 3, folds)
    assert c == STRENGTHS[int(np.argmin(losses))]
    np.testing.assert_allclose(found, linear_out_of_fold(axes, labels, 3, folds, c)[0], atol=2e-2)


def test_a_single_fold_is_an_error():
    z, labels = classes(20, 2, seed=0)
    with pytest.raises(ValueError, match="folds: 1 of them"):
        linear_out_of_fold(principal_axes(z), labels, 2, np.zeros(20, np.int64))
