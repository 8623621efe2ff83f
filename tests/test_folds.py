"""Folds within labelled rows: every class outside every fold, groups together where that allows it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.heads.folds import FOLDS, grouped_folds


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 60), st.integers(2, 4), st.integers(1, 40))
def test_every_class_is_outside_every_fold(seed, n, k, n_groups):
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(k, size=n), rng.integers(n_groups, size=n).astype(str)
    folds = grouped_folds(labels, groups, rng)
    rarest = np.unique(labels, return_counts=True)[1].min()
    if rarest < 2:
        assert folds is None
        return
    assert folds.min() >= 0
    assert folds.max() < min(FOLDS, rarest)
    for fold in np.unique(folds):
        assert set(labels[folds != fold]) == set(labels)


def test_single_rows_are_dealt_evenly_by_class():
    labels = np.repeat([0, 1, 2], [10, 25, 50])
    folds = grouped_folds(labels, np.arange(85), np.random.default_rng(0))
    for label, size in enumerate((2, 5, 10)):
        assert np.bincount(folds[labels == label], minlength=5).tolist() == [size] * 5


def test_rows_of_a_group_stay_together():
    rng = np.random.default_rng(0)
    groups = rng.integers(30, size=120)
    labels = rng.integers(2, size=120)
    folds = grouped_folds(labels, groups, rng)
    assert all(len(set(folds[groups == g])) == 1 for g in groups)
    assert np.bincount(folds).min() >= 12


def test_a_class_within_one_group_is_dealt_out():
    labels = np.array([0] * 10 + [1] * 4)
    groups = np.concatenate([np.arange(10), np.full(4, 99)])
    folds = grouped_folds(labels, groups, np.random.default_rng(0))
    assert sorted(folds[10:]) == [0, 1, 2, 3]
