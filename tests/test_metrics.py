"""Weighted statistics against scikit-learn and torchmetrics, on whole rows and on repeated ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from domainssl.evaluation.metrics import auroc, average_precision, ratio, weighted_mean, weighted_median


def ones(n: int) -> np.ndarray:
    return np.ones((n, 1))


@st.composite
def scored_rows(draw):
    """Scores with few distinct values, so that ties are the rule, and three columns of multiplicities."""
    n = draw(st.integers(1, 30))
    positive = draw(hnp.arrays(np.bool_, n))
    times = draw(hnp.arrays(np.int64, (n, 3), elements=st.integers(0, 3)))
    scores = draw(hnp.arrays(np.int64, n, elements=st.integers(-2, draw(st.integers(0, 40))))) / 5
    return positive, scores, times


@settings(max_examples=40, deadline=None)
@given(scored_rows())
def test_ranking_metrics_equal_scikit_learn_on_repeated_rows(rows):
    positive, scores, times = rows
    areas, precisions = (f(scores, positive, times.astype(float)) for f in (auroc, average_precision))
    for area, precision, repeats in zip(areas, precisions, times.T, strict=True):
        y, s = np.repeat(positive, repeats), np.repeat(scores, repeats)
        if len(np.unique(y)) < 2:
            assert np.isnan(area)
        else:
            assert area == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        if not y.any():
            assert np.isnan(precision)
        else:
            assert precision == pytest.approx(average_precision_score(y, s), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(scored_rows())
def test_ranking_metrics_equal_torchmetrics_on_repeated_rows(rows):
    positive, scores, times = rows
    scores = (scores + 1) / 10  # torchmetrics takes what is outside 0..1 for logits
    y, s = np.repeat(positive, times[:, 0]), np.repeat(scores, times[:, 0])
    if len(np.unique(y)) < 2:
        return
    target, preds = torch.from_numpy(y.astype(np.int64)), torch.from_numpy(s)
    oracle = float(binary_auroc(preds, target)), float(binary_average_precision(preds, target))
    got = [f(scores, positive, times.astype(float))[0] for f in (auroc, average_precision)]
    assert got == pytest.approx(oracle, abs=1e-6)  # torchmetrics sums in float32


@pytest.mark.parametrize("levels", [20, 10**9])
def test_fractional_weights_equal_scikit_learn_sample_weights(levels):
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, levels, 300) / levels, rng.random(300) < 0.3
    weights = rng.random((300, 2))
    area = [roc_auc_score(positive, scores, sample_weight=w) for w in weights.T]
    np.testing.assert_allclose(auroc(scores, positive, weights), area, atol=1e-12)
    precision = [average_precision_score(positive, scores, sample_weight=w) for w in weights.T]
    np.testing.assert_allclose(average_precision(scores, positive, weights), precision, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(scored_rows())
def test_reversed_scores_give_the_complement_and_any_rising_function_gives_the_same(rows):
    positive, scores, times = rows
    w = times.astype(float)
    got = auroc(scores, positive, w)
    np.testing.assert_allclose(auroc(-scores, positive, w), 1 - got, atol=1e-12)
    np.testing.assert_allclose(auroc(np.exp(scores), positive, w), got, atol=1e-12)
    got = average_precision(scores, positive, w)
    np.testing.assert_allclose(average_precision(np.exp(scores), positive, w), got, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(scored_rows(), st.randoms(use_true_random=False))
def test_rows_that_are_not_known_weigh_nothing(rows, random):
    positive, scores, times = rows
    known = np.array([random.random() < 0.6 for _ in scores])
    w = times.astype(float)
    for f in (auroc, average_precision):
        expected = f(scores[known], positive[known], np.ascontiguousarray(w[known]))
        np.testing.assert_array_equal(f(scores, positive, w, known), expected)
        np.testing.assert_allclose(f(scores, positive, w * known[:, None]), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(scored_rows())
def test_mean_and_median_equal_those_of_repeated_rows(rows):
    counted, values, times = rows
    medians = weighted_median(values, times.astype(float))
    means = weighted_mean(np.stack([values, values**2]), times.astype(float), np.stack([counted, ~counted]))
    plain = weighted_mean(values[None], times.astype(float))[0]
    for c, repeats in enumerate(times.T):
        v, is_counted = np.repeat(values, repeats), np.repeat(counted, repeats)
        if len(v) == 0:
            assert np.isnan([medians[c], plain[c], *means[:, c]]).all()
            continue
        assert medians[c] == pytest.approx(np.median(v), abs=1e-12)
        assert plain[c] == pytest.approx(v.mean(), abs=1e-12)
        for mean, part in zip(means[:, c], (v[is_counted], v[~is_counted] ** 2), strict=True):
            assert (np.isnan(mean) and len(part) == 0) or mean == pytest.approx(part.mean(), abs=1e-12)


def test_median_of_equal_fractional_weights_averages_the_middle_two():
    values = np.array([5.0, 1.0, 3.0, 2.0, 4.0, 0.0])
    assert weighted_median(values, np.full((6, 1), 0.1))[0] == 2.5
    assert weighted_median(values, np.array([[0.1], [0], [0], [0], [0.3], [0.1]]))[0] == 4


def test_golden_values():
    scores, positive = np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False])
    assert auroc(scores, positive, ones(4))[0] == 3.5 / 4
    assert average_precision(scores, positive, ones(4))[0] == pytest.approx((1 + 2 / 3) / 2)


def test_equal_scores_are_chance_and_no_rows_are_undefined():
    nothing, none = np.zeros(0), np.zeros(0, dtype=bool)
    assert auroc(np.zeros(6), np.arange(6) < 2, ones(6))[0] == 0.5
    assert average_precision(np.zeros(6), np.arange(6) < 2, ones(6))[0] == pytest.approx(1 / 3)
    assert np.isnan(auroc(nothing, none, ones(0))[0])
    assert np.isnan(average_precision(nothing, none, ones(0))[0])
    assert np.isnan(weighted_mean(nothing[None], ones(0))[0, 0])
    assert np.isnan(weighted_median(nothing, ones(0))[0])
    np.testing.assert_array_equal(ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])), [0.5, np.nan])


@pytest.mark.parametrize("measure", [auroc, average_precision])
def test_nan_scores_are_refused(measure):
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        measure(np.array([0.0, np.nan]), np.array([True, False]), ones(2))
    with pytest.raises(ValueError, match="1 of 1 values are NaN"):
        weighted_median(np.array([np.nan]), ones(1))
