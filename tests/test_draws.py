"""Few-label draws: only training rows, nested, balanced, groups spread, reproducible."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.evaluation.draws import drawing_order, nested_order, strata


def draw_labels(labels, train, per_class, rng, groups=None):
    """The rows of one balanced draw."""
    order = nested_order(labels, train, rng, groups)
    return np.flatnonzero((order >= 0) & (order < per_class))


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


@settings(deadline=None)
@given(tables(), st.integers(1, 12))
def test_natural_draws_are_as_large_nested_and_blind_to_the_class(table, size):
    labels, train, groups, seed = table
    y = np.where(labels < 0, np.nan, labels)[:, None].astype(np.float64)
    members = strata("classes", y, 4, train)
    order = drawing_order(members, train, np.random.default_rng(seed), groups, "natural")
    rows = (order >= 0) & (order < size)
    usable = train & (labels >= 0)
    assert not (rows & ~usable).any()
    assert rows.sum() == min(usable.sum(), size * len(np.unique(labels[usable])))
    again = drawing_order(
        np.where(members >= 0, 3 - members, -1), train, np.random.default_rng(seed), groups, "natural"
    )
    np.testing.assert_array_equal(order, again)


def test_natural_draws_keep_the_prevalence_and_balanced_ones_do_not():
    y = np.repeat([0.0, 1.0], [900, 100])[:, None]
    train = np.ones(1000, dtype=bool)
    members = strata("yes_no", y, 2, train)
    shares = {}
    for draw in ("balanced", "natural"):
        orders = [drawing_order(members, train, np.random.default_rng(s), None, draw) for s in range(20)]
        shares[draw] = np.mean([y[(o >= 0) & (o < 25), 0].mean() for o in orders])
    assert shares["balanced"] == 0.5
    assert 0.07 < shares["natural"] < 0.13


def test_several_findings_are_drawn_with_each_and_with_none():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 3)) < 0.2).astype(np.float64)
    y[rng.random(y.shape) < 0.1] = np.nan
    train = rng.random(400) < 0.5
    members = strata("multilabel", y, 3, train)
    order = drawing_order(members, train, np.random.default_rng(1))
    rows = (order >= 0) & (order < 5)
    assert not (rows & ~train).any()
    assert all(np.nansum(y[rows, a]) >= 5 for a in range(3))
    assert (np.nansum(y[rows], axis=1) == 0).sum() >= 5
    assert rows.sum() <= 4 * 5


def test_values_are_drawn_from_every_fifth_and_votes_by_their_answer():
    y = np.linspace(0, 1, 100)[:, None]
    members = strata("real", y, 1, np.ones(100, dtype=bool))
    np.testing.assert_array_equal(np.bincount(members[:, 0]), [20] * 5)
    votes = np.array([[3.0, 1.0], [0.0, 5.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(strata("votes", votes, 2, np.ones(3, dtype=bool))[:, 0], [0, 1, -1])
