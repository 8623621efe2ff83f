"""Images joined to studies or patients: stated rules, checked against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.evaluation.units import make_units


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(0, 2**32))
def test_a_patient_is_yes_where_an_image_is_and_scores_are_means(n, seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 12, n).astype(str)
    y = rng.integers(0, 2, (n, 1)).astype(np.float64)
    p = rng.random(n)
    units = make_units("yes_no", y, ids, ids)
    table = pd.DataFrame({"id": ids, "y": y[:, 0], "p": p}).groupby("id")
    np.testing.assert_array_equal(units.truth[:, 0], table["y"].max().to_numpy())
    np.testing.assert_array_equal(units.groups, table["y"].max().index.to_numpy())
    scores = np.column_stack([1 - p, p])
    np.testing.assert_allclose(units.join(scores, "mean")[:, 1], table["p"].mean().to_numpy())
    largest = units.join(scores, "max")
    np.testing.assert_allclose(largest[:, 1], table["p"].max().to_numpy())
    np.testing.assert_allclose(largest.sum(axis=1), 1)


def test_each_image_its_own_unit_changes_nothing_but_the_order():
    ids = np.array(["c", "a", "b"])
    units = make_units("classes", np.array([[2.0], [0.0], [1.0]]), ids, np.array(["x", "y", "z"]))
    np.testing.assert_array_equal(units.truth[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(units.groups, ["y", "z", "x"])
    np.testing.assert_array_equal(units.join(np.array([[3.0], [1.0], [2.0]]), "mean")[:, 0], [1, 2, 3])


def test_units_whose_images_disagree_are_left_out_and_counted():
    units = make_units("classes", np.array([[0.0], [1.0], [1.0]]), np.array(["p", "p", "q"]), np.array(["p", "p", "q"]))
    assert units.dropped == 1
    np.testing.assert_array_equal(units.truth[:, 0], [1])
    np.testing.assert_array_equal(units.join(np.array([[9.0], [9.0], [5.0]]), "mean")[:, 0], [5])


@pytest.mark.parametrize(("kind", "expected"), [("real", 3.0), ("votes", 6.0)])
def test_values_are_averaged_and_votes_added(kind, expected):
    units = make_units(kind, np.array([[2.0], [4.0]]), np.array(["p", "p"]), np.array(["p", "p"]))
    assert units.truth[0, 0] == expected


def test_unknown_answers_do_not_count_against_known_ones():
    y = np.array([[np.nan, 1.0], [0.0, np.nan], [np.nan, np.nan]])
    units = make_units("multilabel", y, np.array(["p", "p", "q"]), np.array(["p", "p", "q"]))
    np.testing.assert_array_equal(units.truth, [[0, 1], [np.nan, np.nan]])
