"""Metrics of classes, yes/no and findings against scikit-learn and torchmetrics on repeated rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    roc_auc_score,
)
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_average_precision,
)

from domainssl.evaluation.class_metrics import CLASS_METRICS, MULTILABEL_METRICS, YES_NO_METRICS
from domainssl.evaluation.metric import Metric, Prediction


def near(value: float) -> object:
    return pytest.approx(value, abs=1e-9, nan_ok=True)


def probabilities(draw, n: int, k: int) -> np.ndarray:
    """Rows of multiples of 0.1 that sum to 1, so that ties are the rule."""
    cuts = draw(hnp.arrays(np.int64, (n, k - 1), elements=st.integers(0, 10)))
    cuts.sort(axis=1)
    return np.diff(cuts, axis=1, prepend=0, append=10) / 10


@st.composite
def class_rows(draw, k=3):
    n = draw(st.integers(1, 25))
    label = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    times = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 3)))
    return label, probabilities(draw, n, k), times


@st.composite
def finding_rows(draw, answers=2):
    n = draw(st.integers(1, 25))
    truth = draw(hnp.arrays(np.float64, (n, answers), elements=st.sampled_from([0.0, 1.0, np.nan])))
    scores = draw(hnp.arrays(np.int64, (n, answers), elements=st.integers(0, 10))) / 10
    times = draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 3)))
    return truth, scores, times


def measure(metrics: dict[str, Metric], prediction: Prediction, truth: np.ndarray, times: np.ndarray) -> dict:
    return {name: m.measure(prediction, truth, times.astype(float)) for name, m in metrics.items()}


def expected_of_answer(y: np.ndarray, s: np.ndarray, threshold: float, prevalence: float) -> dict[str, float]:
    """What scikit-learn says of one answer's known rows."""
    nan = float("nan")
    yes, no = (y == 1).sum(), (y == 0).sum()
    out = {
        "macro_auroc": roc_auc_score(y, s) if yes and no else nan,
        "macro_auprc": average_precision_score(y, s) if yes else nan,
        "auprc_no_skill": y.mean() if yes else nan,
        "brier": brier_score_loss(y, s, pos_label=1) if len(y) else nan,
    }
    tn, _, _, tp = confusion_matrix(y, s >= threshold, labels=[0, 1]).ravel() if len(y) else (0, 0, 0, 0)
    sensitivity, specificity = (tp / yes if yes else nan), (tn / no if no else nan)
    out |= {"sensitivity": sensitivity, "specificity": specificity, "ppv": nan, "npv": nan}
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    if called > 0:
        out["ppv"] = sensitivity * prevalence / called
    if called < 1:
        out["npv"] = specificity * (1 - prevalence) / (1 - called)
    return out


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@settings(max_examples=40, deadline=None)
@given(class_rows())
def test_classes_equal_scikit_learn_on_repeated_rows(rows):
    label, p, times = rows
    got = measure(CLASS_METRICS, Prediction(p), label[:, None].astype(float), times)
    for column, repeats in enumerate(times.T):
        y, s = np.repeat(label, repeats), np.repeat(p, repeats, axis=0)
        for c in range(3):
            expected = expected_of_answer((y == c).astype(float), s[:, c], 0.5, 0.5)
            for name in ("macro_auroc", "macro_auprc", "auprc_no_skill"):
                assert got[name][c, column] == near(expected[name]), name
        recall = got["balanced_accuracy"][:, column]
        if len(y) == 0:
            assert np.isnan(recall).all()
            assert np.isnan(got["brier"][0, column])
            continue
        assert np.nanmean(recall) == near(balanced_accuracy_score(y, s.argmax(axis=1)))
        assert got["brier"].shape == (1, 2)
        assert got["brier"][0, column] == near(brier_score_loss(y, s, labels=[0, 1, 2], scale_by_half=False))


@settings(max_examples=20, deadline=None)
@given(class_rows())
def test_classes_equal_torchmetrics_on_repeated_rows(rows):
    label, p, times = rows
    repeats = times[:, 0]
    y, s = torch.from_numpy(np.repeat(label, repeats)), torch.from_numpy(np.repeat(p, repeats, axis=0))
    if len(torch.unique(y)) < 3:  # it gives 0 to absent classes
        return
    got = measure(CLASS_METRICS, Prediction(p), label[:, None].astype(float), times)
    oracles = {
        "macro_auroc": multiclass_auroc(s, y, num_classes=3, average="none"),
        "macro_auprc": multiclass_average_precision(s, y, num_classes=3, average="none"),
        "balanced_accuracy": multiclass_accuracy(s.argmax(dim=1), y, num_classes=3, average="none"),
    }
    for name, oracle in oracles.items():
        np.testing.assert_allclose(got[name][:, 0], oracle.numpy(), atol=1e-6, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(finding_rows(), st.sampled_from([0.0, 0.3, 0.55, 1.0]), st.sampled_from([0.01, 0.4]))
def test_findings_equal_scikit_learn_on_repeated_known_rows(rows, threshold, prevalence):
    truth, scores, times = rows
    prediction = Prediction(scores, np.array([threshold, 0.5]), np.array([prevalence, 0.2]))
    got = measure(MULTILABEL_METRICS, prediction, truth, times)
    for column, repeats in enumerate(times.T):
        for a in range(2):
            repeated = np.where(np.isnan(truth[:, a]), 0, repeats)
            y, s = np.repeat(truth[:, a], repeated), np.repeat(scores[:, a], repeated)
            expected = expected_of_answer(y, s, prediction.thresholds[a], prediction.prevalence[a])
            both = len(np.unique(y)) == 2
            expected["balanced_accuracy"] = balanced_accuracy_score(y, s >= 0.5) if both else float("nan")
            assert {name: values[a, column] for name, values in got.items()} == near(expected)


@settings(max_examples=40, deadline=None)
@given(class_rows(k=2), st.sampled_from([0.2, 0.5]))
def test_yes_no_equals_scikit_learn_on_repeated_rows(rows, threshold):
    label, p, times = rows
    prediction = Prediction(p, np.array([threshold]), np.array([0.1]))
    got = measure(YES_NO_METRICS, prediction, label[:, None].astype(float), times)
    for column, repeats in enumerate(times.T):
        y, s = np.repeat(label, repeats).astype(float), np.repeat(p, repeats, axis=0)
        answer = expected_of_answer(y, s[:, 1], threshold, 0.1)
        expected = {name.removeprefix("macro_"): value for name, value in answer.items()}
        both = len(np.unique(y)) == 2
        expected["balanced_accuracy"] = balanced_accuracy_score(y, s.argmax(axis=1)) if both else float("nan")
        assert {name: values[0, column] for name, values in got.items()} == near(expected)
        assert {values.shape for values in got.values()} == {(1, 2)}


def test_predictive_values_fall_and_rise_with_prevalence():
    """Sensitivity 0.9 and specificity 0.9 where 1 in 100 is ill: 9 of 108 calls are right (0.009 / 0.108)."""
    truth = np.repeat([1.0, 0.0], 10)[:, None]
    scores = np.array([1.0] * 9 + [0.0] + [0.0] * 9 + [1.0])[:, None]
    prediction = Prediction(scores, np.array([0.5]), np.array([0.01]))
    got = measure(MULTILABEL_METRICS, prediction, truth, np.ones((20, 1)))
    assert got["ppv"][0, 0] == near(0.009 / 0.108)
    assert got["npv"][0, 0] == near(0.891 / 0.892)


def test_an_answer_without_a_threshold_has_no_sensitivity():
    prediction = Prediction(np.array([[0.2, 0.7], [0.6, 0.1]]), np.array([np.nan, 0.5]), np.array([0.5, 0.5]))
    got = measure(MULTILABEL_METRICS, prediction, np.array([[0.0, 1.0], [1.0, 0.0]]), np.ones((2, 1)))
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        np.testing.assert_array_equal(got[name][:, 0], [np.nan, 1.0])


def test_no_rows_are_undefined():
    for metrics, k, t in ((CLASS_METRICS, 3, 1), (YES_NO_METRICS, 2, 1), (MULTILABEL_METRICS, 2, 2)):
        prediction = Prediction(np.zeros((0, k)), np.full(t, 0.5), np.full(t, 0.5))
        for name, values in measure(metrics, prediction, np.zeros((0, t)), np.zeros((0, 4))).items():
            assert np.isnan(values).all(), name
            assert values.shape == (1 if metrics[name].of == "all" or t == 1 < k < 3 else k, 4), name


def test_primary_metrics_come_first():
    first = [next(iter(metrics)) for metrics in (CLASS_METRICS, YES_NO_METRICS, MULTILABEL_METRICS)]
    assert first == ["macro_auroc", "auroc", "macro_auroc"]


def test_errors_name_what_is_wrong():
    ones = np.ones((2, 1))
    for metrics, t in ((CLASS_METRICS, 1), (YES_NO_METRICS, 1), (MULTILABEL_METRICS, 2)):
        good = Prediction(np.full((2, 2), 0.5), np.full(t, 0.5), np.full(t, 0.5))
        bad = replace(good, scores=np.array([[0.5, np.nan], [0.5, 0.5]]))
        for metric in metrics.values():
            with pytest.raises(ValueError, match="scores: 1 of"):
                metric.measure(bad, np.ones((2, t)), ones)
            with pytest.raises(ValueError, match="truth: -1 is not"):
                metric.measure(good, np.full((2, t), -1.0), ones)
    with pytest.raises(ValueError, match="truth: 1 of 2 values are NaN"):
        CLASS_METRICS["brier"].measure(Prediction(np.full((2, 2), 0.5)), np.array([[0.0], [np.nan]]), ones)
    with pytest.raises(ValueError, match="truth: 1 of 2 values are NaN"):
        YES_NO_METRICS["brier"].measure(Prediction(np.full((2, 2), 0.5)), np.array([[0.0], [np.nan]]), ones)
