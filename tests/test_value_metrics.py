"""Metrics of ordered levels, real values and votes against scikit-learn and torchmetrics on repeated rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, median_absolute_error, r2_score
from torchmetrics.functional import r2_score as torch_r2
from torchmetrics.functional.classification import multiclass_cohen_kappa

from domainssl.evaluation.metric import Prediction
from domainssl.evaluation.value_metrics import ORDERED_METRICS, REAL_METRICS, VOTE_METRICS

LEVELS = 4


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-9, rel=1e-9)


def value(metrics: dict, name: str, prediction: Prediction, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    got = metrics[name].measure(prediction, truth, times.astype(float))
    assert got.shape == (1, times.shape[1])
    return got[0]


def multiplicities(draw, n: int) -> np.ndarray:
    return draw(hnp.arrays(np.int64, (n, 3), elements=st.integers(0, 3)))


@st.composite
def level_rows(draw):
    n = draw(st.integers(1, 25))
    counts = draw(hnp.arrays(np.int64, (n, LEVELS), elements=st.integers(0, 3)))
    counts[:, 1] += counts.sum(axis=1) == 0
    truth = draw(hnp.arrays(np.int64, n, elements=st.integers(0, LEVELS - 1)))
    return counts, truth, multiplicities(draw, n)


@st.composite
def real_rows(draw):
    n = draw(st.integers(1, 25))
    offset = draw(st.sampled_from([0.0, 1000.0]))  # far from 0, sums of squares lose digits
    y, predicted = (draw(hnp.arrays(np.int64, n, elements=st.integers(-20, 20))) / 8 + offset for _ in range(2))
    return y, predicted, multiplicities(draw, n)


@settings(max_examples=60, deadline=None)
@given(level_rows())
def test_ordered_levels_equal_scikit_learn_on_repeated_rows(rows):
    counts, truth, times = rows
    # The lower median of as many votes is the level of the predicted distribution's median.
    predicted = np.array([np.repeat(np.arange(LEVELS), c)[(c.sum() - 1) // 2] for c in counts])
    prediction = Prediction(counts / counts.sum(axis=1, keepdims=True))
    error, kappa = (value(ORDERED_METRICS, m, prediction, truth[:, None].astype(float), times) for m in ORDERED_METRICS)
    for c, repeats in enumerate(times.T):
        p, t = np.repeat(predicted, repeats), np.repeat(truth, repeats)
        if len(t) == 0:
            assert np.isnan(error[c])
        else:
            assert error[c] == near(mean_absolute_error(t, p))
        if len(np.union1d(p, t)) < 2:
            assert np.isnan(kappa[c])
        else:
            assert kappa[c] == near(cohen_kappa_score(p, t, labels=range(LEVELS), weights="quadratic"))


def test_kappa_equals_torchmetrics():
    rng = np.random.default_rng(0)
    truth = rng.integers(LEVELS, size=200)
    p = rng.dirichlet(np.ones(LEVELS), 200) + 0.5 * np.eye(LEVELS)[truth]
    predicted = (p.cumsum(axis=1) < p.sum(axis=1, keepdims=True) / 2).sum(axis=1)
    times = rng.integers(3, size=(200, 1))
    got = value(ORDERED_METRICS, "quadratic_kappa", Prediction(p), truth[:, None].astype(float), times)[0]
    repeated = (torch.from_numpy(np.repeat(a, times[:, 0])) for a in (predicted, truth))
    oracle = multiclass_cohen_kappa(*repeated, num_classes=LEVELS, weights="quadratic")
    assert got == pytest.approx(float(oracle), abs=1e-6)


def test_the_median_is_the_lower_of_two_and_survives_rounding():
    truth, times = np.zeros((3, 1)), np.ones((3, 1))
    p = np.array([[1.2, 4.8, 6.0, 0.0], [1.0, 4.0, 1.0, 6.0], [6.0, 0.0, 0.0, 6.0]]) / 12
    assert p[1].cumsum()[2] < 0.5  # by rounding
    assert value(ORDERED_METRICS, "ordinal_error", Prediction(p), truth, times)[0] == (1 + 2 + 0) / 3


@settings(max_examples=60, deadline=None)
@given(real_rows(), st.sampled_from([0.1, 1.0]))
def test_real_values_equal_scikit_learn_on_repeated_rows(rows, outlier):
    y, predicted, times = rows
    prediction = Prediction(predicted[:, None], outlier=outlier)
    r2, mad, outliers = (value(REAL_METRICS, m, prediction, y[:, None], times) for m in REAL_METRICS)
    for c, repeats in enumerate(times.T):
        t, p = np.repeat(y, repeats), np.repeat(predicted, repeats)
        if len(np.unique(t)) < 2:
            assert np.isnan(r2[c])
        else:
            assert r2[c] == near(r2_score(t, p))
        if len(t) == 0:
            assert np.isnan([mad[c], outliers[c]]).all()
        else:
            assert mad[c] == near(median_absolute_error(t, p))
            assert outliers[c] == near((np.abs(t - p) > outlier).mean())


def test_r2_equals_torchmetrics_and_sample_weights():
    rng = np.random.default_rng(1)
    y = rng.normal(size=300)
    predicted = y + 0.5 * rng.normal(size=300)
    times, weights = rng.integers(3, size=(300, 1)), rng.random((300, 2))
    got = value(REAL_METRICS, "r2", Prediction(predicted[:, None]), y[:, None], times)[0]
    repeated = (torch.from_numpy(np.repeat(a, times[:, 0])) for a in (predicted, y))
    assert got == pytest.approx(float(torch_r2(*repeated)), abs=1e-6)
    expected = [r2_score(y, predicted, sample_weight=w) for w in weights.T]
    np.testing.assert_allclose(value(REAL_METRICS, "r2", Prediction(predicted[:, None]), y[:, None], weights), expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_votes_equal_the_plain_formula_on_repeated_rows(data):
    n = data.draw(st.integers(1, 20))
    counts = data.draw(hnp.arrays(np.int64, (n, 3), elements=st.integers(0, 4)))
    scores = data.draw(hnp.arrays(np.int64, (n, 3), elements=st.integers(0, 10))) / 10
    times = multiplicities(data.draw, n)
    entropy, error = (value(VOTE_METRICS, m, Prediction(scores), counts.astype(float), times) for m in VOTE_METRICS)
    for c, repeats in enumerate(times.T):
        voted = [(k / k.sum(), s) for k, s, r in zip(counts, scores, repeats, strict=True) if k.sum() for _ in range(r)]
        if not voted:
            assert np.isnan([entropy[c], error[c]]).all()
            continue
        assert entropy[c] == near(np.mean([-(k * np.log(np.clip(s, 1e-6, None))).sum() for k, s in voted]))
        assert error[c] == near(np.mean([np.abs(k - s).mean() for k, s in voted]))


def test_no_rows_are_undefined():
    for metrics, k, t in ((ORDERED_METRICS, 3, 1), (REAL_METRICS, 1, 1), (VOTE_METRICS, 3, 3)):
        for name in metrics:
            prediction = Prediction(np.zeros((0, k)), outlier=1.0)
            assert np.isnan(value(metrics, name, prediction, np.zeros((0, t)), np.zeros((0, 4)))).all()


def test_primary_metrics_come_first():
    primary = [next(iter(m)) for m in (ORDERED_METRICS, REAL_METRICS, VOTE_METRICS)]
    assert primary == ["ordinal_error", "r2", "vote_cross_entropy"]


def test_errors_name_what_is_wrong():
    ones = np.ones((2, 1))
    for metrics, k, t in ((ORDERED_METRICS, 2, 1), (REAL_METRICS, 1, 1), (VOTE_METRICS, 2, 2)):
        scores, truth = np.full((2, k), 0.5), np.ones((2, t))
        for metric in metrics.values():
            with pytest.raises(ValueError, match="scores: "):
                metric.measure(Prediction(np.where([[True], [False]], np.nan, scores), outlier=1.0), truth, ones)
            with pytest.raises(ValueError, match="truth: "):
                metric.measure(Prediction(scores, outlier=1.0), np.where([[True], [False]], np.nan, truth), ones)
    for metrics, bad, match in ((ORDERED_METRICS, 1.5, "not a level index in 0..1"), (VOTE_METRICS, -1.0, "votes")):
        for metric in metrics.values():
            truth = np.full((2, 1 if metrics is ORDERED_METRICS else 2), bad)
            with pytest.raises(ValueError, match=match):
                metric.measure(Prediction(np.full((2, 2), 0.5)), truth, ones)
