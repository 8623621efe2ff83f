"""Confident learning on probabilities given by hand, and what it must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.evaluation.confident_joint import (
    class_thresholds,
    confident_class,
    confident_joint,
    suspects,
    wrong_share,
)

# Of class 0: sure, sure, sure of class 1, of neither; of class 1: sure, less sure, sure of class 0; one unknown.
P = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6], [0.95, 0.05], [0.0, 1.0]])
GIVEN = np.array([0, 0, 0, 0, 1, 1, 1, -1])


def test_the_steps_of_a_small_case_are_those_done_by_hand():
    thresholds = class_thresholds(P, GIVEN)
    np.testing.assert_allclose(thresholds, [(0.9 + 0.8 + 0.1 + 0.5) / 4, (0.8 + 0.6 + 0.05) / 3])
    confident = confident_class(P, thresholds)
    # 0.5 is above the second threshold of 0.483, but below the first of 0.575
    assert confident.tolist() == [0, 0, 1, 1, 1, 1, 0, 1]
    joint = confident_joint(GIVEN, confident, 2)
    assert joint.tolist() == [[2, 2], [1, 2]]
    assert wrong_share(joint, np.array([4, 3])) == pytest.approx((4 * 2 / 4 + 3 * 1 / 3) / 7)
    rows, suggested, score = suspects(P, GIVEN, thresholds)
    assert rows.tolist() == [6, 2, 3]
    assert suggested.tolist() == [0, 1, 1]
    np.testing.assert_allclose(score, [0.9, 0.8, 0.0])


def test_the_share_is_scaled_to_all_labels_of_a_class():
    """Half of the confident rows of the first class are wrong, and all of its 30 labels count."""
    assert wrong_share(np.array([[5, 5], [0, 10]]), np.array([30, 10])) == pytest.approx(15 / 40)
    assert wrong_share(np.array([[0, 0], [0, 10]]), np.array([30, 10])) == 0
    assert np.isnan(wrong_share(np.zeros((2, 2), np.int64), np.zeros(2, np.int64)))


def test_unknown_labels_and_rows_of_nan_count_nowhere():
    more = np.concatenate([P, [[np.nan, np.nan], [0.3, 0.7]]])
    given_more = np.append(GIVEN, [0, -1])
    thresholds = class_thresholds(more, given_more)
    np.testing.assert_array_equal(thresholds, class_thresholds(P, GIVEN))
    for one, other in zip(suspects(more, given_more, thresholds), suspects(P, GIVEN, thresholds), strict=True):
        np.testing.assert_array_equal(one, other)
    assert confident_class(more, thresholds)[8] == -1


def test_a_class_without_labels_is_never_suggested():
    p = np.array([[0.1, 0.2, 0.7], [0.3, 0.1, 0.6], [0.2, 0.6, 0.2]])
    thresholds = class_thresholds(p, np.array([0, 0, 1]))
    assert np.isinf(thresholds[2])
    assert set(confident_class(p, thresholds)) <= {-1, 0, 1}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 40))
def test_names_of_classes_do_not_matter(seed, k, n):
    rng = np.random.default_rng(seed)
    p, labels, order = rng.dirichlet(np.ones(k), size=n), rng.integers(-1, k, size=n), rng.permutation(k)
    renamed = np.where(labels >= 0, np.argsort(order)[labels], -1)
    one = suspects(p, labels, class_thresholds(p, labels))
    other = suspects(p[:, order], renamed, class_thresholds(p[:, order], renamed))
    assert one[0].tolist() == other[0].tolist()
    assert one[1].tolist() == order[other[1]].tolist()
    assert (np.diff(one[2]) <= 0).all()
