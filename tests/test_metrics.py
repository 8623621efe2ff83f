"""Metrics under weights against scikit-learn and torchmetrics, on whole rows and on repeated ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from domainssl.evaluation.metrics import auroc, balanced_accuracy, macro_auroc


def ones(n: int) -> np.ndarray:
    return np.ones((1, n), dtype=np.float32)


@st.composite
def scored_rows(draw, n_classes=2):
    n = draw(st.integers(2, 30))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, n_classes - 1)))
    weights = draw(hnp.arrays(np.int64, (3, n), elements=st.integers(0, 3)))
    # few distinct values, so that ties are the rule
    scores = draw(hnp.arrays(np.int64, (n, n_classes), elements=st.integers(0, 5))) / 5
    return labels, scores, weights


@settings(deadline=None)
@given(scored_rows())
def test_auroc_equals_scikit_learn_on_repeated_rows(rows):
    labels, scores, weights = rows
    got = auroc(scores[:, 0], labels == 1, weights.astype(np.float32))
    for value, times in zip(got, weights, strict=True):
        y, s = np.repeat(labels, times), np.repeat(scores[:, 0], times)
        if len(np.unique(y)) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(y, s), abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@settings(deadline=None)
@given(scored_rows(n_classes=4))
def test_macro_auroc_and_balanced_accuracy_equal_scikit_learn_on_repeated_rows(rows):
    labels, scores, weights = rows
    got_auroc = macro_auroc(scores, labels, weights.astype(np.float32))
    predicted = scores.argmax(axis=1)
    got_accuracy = balanced_accuracy(predicted, labels, 4, weights.astype(np.float32))
    for area, accuracy, times in zip(got_auroc, got_accuracy, weights, strict=True):
        y, s, p = np.repeat(labels, times), np.repeat(scores, times, axis=0), np.repeat(predicted, times)
        present = np.unique(y)
        if len(present) < 2:
            assert np.isnan(area)
        else:
            assert area == pytest.approx(np.mean([roc_auc_score(y == c, s[:, c]) for c in present]), abs=1e-12)
        if len(present) == 0:
            assert np.isnan(accuracy)
        else:
            assert accuracy == pytest.approx(balanced_accuracy_score(y, p), abs=1e-12)


def test_whole_rows_equal_scikit_learn_and_torchmetrics():
    rng = np.random.default_rng(0)
    n, k = 400, 5
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    area = macro_auroc(probabilities, labels, ones(n))[0]
    accuracy = balanced_accuracy(predicted, labels, k, ones(n))[0]
    assert area == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"), abs=1e-12)
    assert accuracy == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)
    binary = auroc(probabilities[:, 0], labels == 0, ones(n))[0]
    oracle = binary_auroc(torch.from_numpy(probabilities[:, 0]), torch.from_numpy((labels == 0).astype(np.int64)))
    assert binary == pytest.approx(float(oracle), abs=1e-6)  # torchmetrics sums in float32
    oracle = multiclass_accuracy(torch.from_numpy(predicted), torch.from_numpy(labels), num_classes=k, average="macro")
    assert accuracy == pytest.approx(float(oracle), abs=1e-6)


def test_fractional_weights_equal_scikit_learn_sample_weights():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.3
    weights = rng.random((2, 300))
    expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(auroc(scores, positive, weights), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(scored_rows())
def test_reversed_scores_give_the_complement_and_any_rising_function_gives_the_same(rows):
    labels, scores, weights = rows
    w = weights.astype(np.float32)
    got = auroc(scores[:, 0], labels == 1, w)
    np.testing.assert_allclose(auroc(-scores[:, 0], labels == 1, w), 1 - got, atol=1e-12)
    np.testing.assert_allclose(auroc(np.exp(scores[:, 0]), labels == 1, w), got, atol=1e-12)


def test_equal_scores_are_chance_and_no_rows_are_undefined():
    assert auroc(np.zeros(6), np.arange(6) < 2, ones(6))[0] == 0.5
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, dtype=bool), ones(0))[0])
    assert np.isnan(macro_auroc(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), ones(0))[0])
    assert np.isnan(balanced_accuracy(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 3, ones(0))[0])


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        auroc(np.array([0.0, np.nan]), np.array([True, False]), ones(2))
    with pytest.raises(ValueError, match="leave unlabelled rows out"):
        macro_auroc(np.zeros((2, 3)), np.array([0, -1]), ones(2))
