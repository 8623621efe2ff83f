"""Few-label draws: only training rows, nested, balanced, groups spread, reproducible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.evaluation.draws import draw_labels, nested_order


@st.composite
def tables(draw):
    n = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = rng.integers(0, draw(st.integers(1, 40)), n).astype(str) if draw(st.booleans()) else None
    return rng.integers(-1, 4, n), rng.random(n) < 0.6, groups, draw(st.integers(0, 2**32))


@settings(deadline=None)
@given(tables(), st.integers(1, 12))
def test_draws_are_training_rows_balanced_and_nested(table, per_class):
    labels, train, groups, seed = table
    rows = draw_labels(labels, train, per_class, np.random.default_rng(seed), groups)
    assert train[rows].all()
    assert (labels[rows] >= 0).all()
    assert (np.diff(rows) > 0).all()
    for c in range(4):
        available = np.sum(train & (labels == c))
        assert np.sum(labels[rows] == c) == min(per_class, available)
    np.testing.assert_array_equal(rows, draw_labels(labels, train, per_class, np.random.default_rng(seed), groups))
    larger = draw_labels(labels, train, per_class + 3, np.random.default_rng(seed), groups)
    assert set(rows) <= set(larger)


@settings(deadline=None)
@given(tables(), st.integers(1, 12))
def test_no_group_gives_a_second_row_before_every_group_gave_one(table, per_class):
    labels, train, groups, seed = table
    if groups is None:
        groups = np.arange(len(labels))
    rows = draw_labels(labels, train, per_class, np.random.default_rng(seed), groups)
    for c in range(4):
        _, counts = np.unique(groups[rows[labels[rows] == c]], return_counts=True)
        available = groups[train & (labels == c)]
        if counts.size and counts.max() > 1:
            assert len(counts) == len(np.unique(available))
        assert len(counts) == min(per_class, len(np.unique(available)))


def test_a_queue_is_a_permutation_and_every_row_is_equally_likely():
    labels = np.repeat([0, 1, -1], [10, 20, 5])
    train = np.ones(35, dtype=bool)
    first = np.zeros(35)
    for seed in range(2000):
        order = nested_order(labels, train, np.random.default_rng(seed))
        assert sorted(order[:10]) == list(range(10))
        assert sorted(order[10:30]) == list(range(20))
        assert (order[30:] == -1).all()
        first += (order >= 0) & (order < 2)
    np.testing.assert_allclose(first[:10] / 2000, 0.2, atol=0.04)
    np.testing.assert_allclose(first[10:30] / 2000, 0.1, atol=0.03)


def test_reordering_rows_of_distinct_groups_draws_the_same_objects():
    rng = np.random.default_rng(0)
    labels, train = rng.integers(0, 3, 60), rng.random(60) < 0.5
    names = np.array([f"tile{i}" for i in range(60)])
    permutation = rng.permutation(60)
    there = draw_labels(labels, train, 4, np.random.default_rng(5), names)
    back = draw_labels(labels[permutation], train[permutation], 4, np.random.default_rng(5), names[permutation])
    assert set(names[there]) == set(names[permutation][back])


def test_no_labels_at_all_is_refused():
    with pytest.raises(ValueError, match="per_class: 0"):
        draw_labels(np.array([0]), np.array([True]), 0, np.random.default_rng(0))
