"""Scores to probabilities: the right map is found, none where none is needed, rows of a group are one, oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64, Int64
from sklearn.isotonic import IsotonicRegression

from domainssl.evaluation.calibration import (
    GRID,
    LEAST,
    Calibration,
    fit_calibration,
    fit_isotonic,
    fit_temperature,
    log_loss,
    unchanged,
)


def population(
    count: int, seed: int, sharper: float = 1.0, classes: int = 3
) -> tuple[Float64[np.ndarray, "n k"], Int64[np.ndarray, " n"]]:
    """Truths drawn with probabilities that the scores are, to the power of `sharper`."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(count, classes))
    odds = np.exp(logits)
    right = odds / odds.sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(classes, p=row) for row in right])
    told = np.exp(sharper * logits)
    return told / told.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("sharper", [0.3, 3.0])
def test_a_planted_temperature_is_found_and_undone(sharper: float) -> None:
    scores, truth = population(3000, 0, sharper)
    right, _ = population(3000, 0)
    found, how = fit_calibration(scores, truth, np.arange(3000), np.random.default_rng(0))
    assert how == "temperature"
    assert float(found.inverse) == pytest.approx(1 / sharper, rel=0.1)
    assert np.abs(found.apply(scores) - right).max() < 0.05


def test_calibrated_scores_are_seldom_touched() -> None:
    touched = 0
    for seed in range(40):
        scores, truth = population(400, seed)
        touched += fit_calibration(scores, truth, np.arange(400), np.random.default_rng(seed))[1] != "none"
    assert touched <= 8  # one standard error: about one in six by chance


def test_a_bent_scale_asks_for_isotonic_regression() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(6000)
    right = np.where(said < 0.5, 0.05, 0.6)  # no power of said makes this step
    truth = (rng.random(6000) < right).astype(np.int64)
    found, how = fit_calibration(np.column_stack([1 - said, said]), truth, np.arange(6000), rng)
    assert how == "isotonic"
    told = found.apply(np.array([[0.8, 0.2], [0.2, 0.8]]))[:, 1]
    np.testing.assert_allclose(told, [0.05, 0.6], atol=0.05)


def test_isotonic_agrees_with_scikit_learn_on_its_grid() -> None:
    scores, truth = population(200, 3, 2.0)
    table = fit_isotonic(scores, truth).table
    for k in range(3):
        oracle = IsotonicRegression(y_min=LEAST, y_max=1 - LEAST, out_of_bounds="clip").fit(scores[:, k], truth == k)
        np.testing.assert_allclose(table[k], oracle.predict(GRID))
        assert (np.diff(table[k]) >= 0).all()


def test_rows_of_a_group_are_no_more_evidence_than_one() -> None:
    """Ten patients with a hundred equal images each cannot show what a thousand patients can."""
    scores, truth = population(1000, 1, 1.6)
    many, ten = np.arange(1000), np.arange(1000) // 100
    assert fit_calibration(scores, truth, many, np.random.default_rng(0))[1] == "temperature"
    repeated = np.repeat(np.arange(10), 100)
    few = fit_calibration(scores[repeated], truth[repeated], ten, np.random.default_rng(0))[1]
    assert few == "none"


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 20))
def test_a_temperature_keeps_the_order_and_the_sum(seed: int, inverse: float) -> None:
    scores, _ = population(50, seed)
    told = Calibration(np.array(inverse), np.tile(GRID, (3, 1))).apply(scores)
    np.testing.assert_allclose(told.sum(axis=1), 1)
    np.testing.assert_array_equal(told.argmax(axis=1), scores.argmax(axis=1))


def test_unchanged_scores_impossible_classes_and_nothing_known() -> None:
    scores = np.array([[0.7, 0.3, 0.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(unchanged(3).apply(scores), scores)
    for some in (
        Calibration(np.array(2.0), np.tile(GRID, (3, 1))),
        Calibration(np.array(1.0), np.tile(GRID**2, (3, 1))),
    ):
        told = some.apply(scores)
        assert told[0, 2] == 0
        assert told[0].sum() == pytest.approx(1)
        assert np.isnan(told[1]).all()
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1]))[0] == pytest.approx(-np.log(LEAST))


def test_where_there_are_no_folds_nothing_is_changed_and_nan_is_an_error() -> None:
    scores, truth = population(5, 0)
    truth[:] = [0, 0, 0, 0, 1]
    assert fit_calibration(scores, truth, np.arange(5), np.random.default_rng(0))[1] == "unfitted"
    with pytest.raises(ValueError, match="1 with NaN"):
        fit_calibration(np.array([[np.nan, 1.0]]), np.array([0]), np.array([0]), np.random.default_rng(0))
    temperature = fit_temperature(*population(2000, 5, 2.0))
    assert float(temperature.inverse) == pytest.approx(0.5, rel=0.1)
