"""Consensus of detectors: what a mean of ranks must not depend on, exact values, NaN, and new data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import percentileofscore

from domainssl.anomalies.consensus import consensus

SMALL = st.integers(-20, 20)  # many ties


@st.composite
def scores(draw: st.DrawFn, at_least: int = 1) -> dict[str, np.ndarray]:
    count, detectors = draw(st.integers(at_least, 30)), draw(st.integers(1, 3))
    one = st.one_of(st.just(np.nan), SMALL.map(float))
    column = st.lists(one, min_size=count, max_size=count).map(np.array)
    return {f"detector {number}": draw(column) for number in range(detectors)}


def monotone(values: np.ndarray, kind: int) -> np.ndarray:
    return [values * 3.0 - 7.0, np.exp(values / 4), values**3][kind]


@settings(deadline=None)
@given(scores(), st.lists(st.integers(0, 2), min_size=3, max_size=3), st.one_of(st.none(), scores()))
def test_only_the_order_counts(given_scores, kinds, run):
    against = None if run is None else {name: next(iter(run.values())) for name in given_scores}
    changed = {name: monotone(v, kind) for (name, v), kind in zip(given_scores.items(), kinds, strict=False)}
    changed_run = against and {name: monotone(v, k) for (name, v), k in zip(against.items(), kinds, strict=False)}
    np.testing.assert_allclose(consensus(changed, changed_run), consensus(given_scores, against), atol=1e-12)


@settings(deadline=None)
@given(scores(), st.randoms(use_true_random=False))
def test_a_permutation_of_objects_permutes_the_answer(given_scores, random):
    order = list(range(len(next(iter(given_scores.values())))))
    random.shuffle(order)
    shuffled = {name: values[order] for name, values in given_scores.items()}
    np.testing.assert_allclose(consensus(shuffled), consensus(given_scores)[order], atol=1e-12)


@settings(deadline=None)
@given(scores())
def test_shares_lie_in_0_to_1_and_are_nan_only_where_no_detector_scored(given_scores):
    values = np.stack(list(given_scores.values()))
    answer = consensus(given_scores)
    np.testing.assert_array_equal(np.isnan(answer), np.isnan(values).all(axis=0))
    told = answer[~np.isnan(answer)]
    assert ((told >= 0) & (told <= 1)).all()
    if len(given_scores) == 1 and len(told):
        assert told.mean() == pytest.approx(0.5)


@settings(deadline=None)
@given(scores(at_least=2))
def test_odder_for_all_is_odder_together(given_scores):
    whole = {name: np.nan_to_num(values, nan=99.0) for name, values in given_scores.items()}
    whole = {name: np.append(values, values.max() + 1) for name, values in whole.items()}
    answer = consensus(whole)
    assert answer[-1] == 1.0
    assert (answer[:-1] < 1).all()


def test_exact_values():
    first, second = np.array([10.0, 30.0, 20.0, 20.0, np.nan]), np.array([0.1, np.nan, 0.4, 0.2, np.nan])
    answer = consensus({"a": first, "b": second})
    np.testing.assert_allclose(answer, [0.0, 1.0, (0.5 + 1.0) / 2, (0.5 + 0.5) / 2, np.nan])
    assert consensus({"a": np.array([3.0])})[0] == 0.5
    assert consensus({"a": np.empty(0)}).shape == (0,)


@settings(deadline=None)
@given(st.lists(SMALL, min_size=1, max_size=20), st.lists(SMALL, min_size=1, max_size=20))
def test_new_objects_get_the_share_of_the_run_that_is_less_odd(new, run):
    answer = consensus({"a": np.array(new, float)}, {"a": np.array(run, float), "unused": np.zeros(3)})
    expected = [percentileofscore(run, value, kind="mean") / 100 for value in new]
    np.testing.assert_allclose(answer, expected, atol=1e-12)


def test_a_run_without_scores_of_a_detector_says_nothing_of_it():
    run = {"a": np.array([1.0, 2.0]), "b": np.full(2, np.nan)}
    np.testing.assert_allclose(consensus({"a": np.array([1.5]), "b": np.array([9.0])}, run), [0.5])
    assert np.isnan(consensus({"b": np.array([9.0])}, run)).all()


def test_errors():
    with pytest.raises(ValueError, match="no detector"):
        consensus({})
    with pytest.raises(ValueError, match="against: no scores of b"):
        consensus({"b": np.zeros(2)}, {"a": np.zeros(2)})
