"""Conformal sets: coverage as promised over many calibrations, its range, an oracle, and where nothing is promised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float64, Int64
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from domainssl.evaluation.conformal import COVERAGE, coverage_range, least_rows, sets


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are its input, as the oracle wants one."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)
        self.fitted_ = True

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Given":
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x.argmax(axis=1))

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x


def population(count: int, seed: int, classes: int = 4) -> tuple[Float64[np.ndarray, "n k"], Int64[np.ndarray, " n"]]:
    """Scores that tell something of the truth and are badly calibrated: three times too sure."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)) + 1.2 * np.eye(classes)[truth]
    odds = np.exp(3 * logits)
    return odds / odds.sum(axis=1, keepdims=True), truth


def of_truth(scores: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return scores[np.arange(len(truth)), truth]


@pytest.mark.parametrize("rows", [9, 20, 100, 500])
def test_mean_coverage_over_a_thousand_calibrations_is_as_promised(rows: int) -> None:
    scores, truth = population(20_000, 0)
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        chosen = rng.permutation(len(truth))[: rows + 1000]
        calibrating, asked = chosen[:rows], chosen[rows:]
        inside = sets([of_truth(scores[calibrating], truth[calibrating])], [scores[asked]])
        covered.append(inside[np.arange(1000), truth[asked]].mean())
    promised = np.ceil(round((rows + 1) * COVERAGE, 9)) / (rows + 1)
    assert COVERAGE <= promised <= COVERAGE + 1 / (rows + 1)
    assert abs(np.mean(covered) - promised) < 0.015
    low, high = coverage_range(rows)
    within = np.mean((np.array(covered) >= low - 0.01) & (np.array(covered) <= high + 0.01))  # of 1000 asked each
    assert within > 0.93


def test_the_range_of_coverage_by_calibrating_rows() -> None:
    found = {rows: tuple(round(end, 2) for end in coverage_range(rows)) for rows in (20, 100, 500)}
    assert found == {20: (0.75, 0.99), 100: (0.84, 0.95), 500: (0.87, 0.92)}


@pytest.mark.parametrize("rows", [11, 30, 31, 200])
def test_sets_of_one_part_are_those_of_mapie(rows: int) -> None:
    scores, truth = population(rows, rows)
    asked, _ = population(300, 7)
    oracle = SplitConformalClassifier(Given(4), confidence_level=COVERAGE, conformity_score="lac", prefit=True)
    oracle.conformalize(scores, truth)
    _, theirs = oracle.predict_set(asked)
    np.testing.assert_array_equal(sets([of_truth(scores, truth)], [asked]), theirs[:, :, 0])


def test_parts_are_each_compared_by_their_own_head() -> None:
    """Two heads whose scores are of other scales: each part's ranks count, not the numbers."""
    scores, truth = population(60, 0)
    asked, _ = population(40, 1)
    alike = sets([of_truth(scores, truth)], [asked])
    first, second = np.arange(60) < 25, np.arange(60) >= 25
    parts = [of_truth(scores, truth)[first], of_truth(scores, truth)[second] ** 3 / 2]
    np.testing.assert_array_equal(sets(parts, [asked, asked**3 / 2]), alike)


@given(st.integers(9, 60), st.integers(0, 10**6))
def test_sets_grow_with_what_is_promised(rows: int, seed: int) -> None:
    scores, truth = population(rows, seed)
    conformity = [of_truth(scores, truth)]
    more, some = sets(conformity, [scores], 0.9), sets(conformity, [scores], 0.5)
    assert (more | ~some).all()
    assert more[np.arange(rows), truth].mean() >= 0.9


def test_too_few_rows_promise_nothing_and_nothing_known_means_every_class() -> None:
    assert least_rows() == 9
    assert least_rows(0.95) == 19
    scores, truth = population(9, 0)
    conformity = of_truth(scores, truth)
    unknown = np.array([[np.nan] * 4, [1.0, 0.0, 0.0, 0.0]])
    assert sets([conformity], [unknown]).sum(axis=1).tolist() == [4, 1]
    with pytest.raises(ValueError, match="8 are too few for sets of 90%; give 9"):
        sets([conformity[:8]], [scores])
    with pytest.raises(ValueError, match=r"coverage: 1\.0 is not"):
        sets([conformity], [scores], 1.0)
    with pytest.raises(ValueError, match="1 scores are NaN"):
        sets([np.append(conformity, np.nan)], [scores])
