"""What every head keeps: shares sum to one, order, shift and scale do not matter, absent classes get nothing."""

import numpy as np
import pytest

from domainssl.heads.dirichlet import fit_dirichlet
from domainssl.heads.head import Fit, TrainingHalf
from domainssl.heads.knn import fit_knn, fit_knn_answers, fit_knn_values, fit_knn_votes
from domainssl.heads.lda import fit_lda
from domainssl.heads.linear import fit_linear
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.ordinal import fit_ordinal
from domainssl.heads.propagation import fit_propagation
from domainssl.heads.prototype import fit_prototype
from domainssl.heads.ridge import fit_ridge
from domainssl.heads.semi_supervised import fit_self_training
from domainssl.heads.votes import fit_votes

CLASSES = [fit_linear, fit_lda, fit_prototype, fit_knn, fit_propagation, fit_ordinal, fit_self_training]
OTHERS = [fit_multilabel, fit_knn_answers, fit_ridge, fit_knn_values, fit_votes, fit_knn_votes, fit_dirichlet]
VOTES, VALUES, ANSWERS = OTHERS[4:], OTHERS[2:4], OTHERS[:2]
ids = {"ids": lambda fit: fit.__name__}


def problem(fit: Fit, seed: int = 0) -> tuple[TrainingHalf, np.ndarray, np.ndarray, int]:
    """120 rows in 60 groups, 40 of them labelled; classes and levels 0, 1 and 3 of five."""
    rng = np.random.default_rng(seed)
    hidden = np.array([0, 1, 3])[np.arange(120) % 3]
    x = rng.normal(size=(120, 25))
    x[:, 0] += 2 * hidden
    x[:, 1] += 3 * (hidden == 1)
    half = TrainingHalf((x * np.geomspace(0.1, 10, 25) + 3).astype(np.float32), np.arange(120) // 2)
    rows = rng.permutation(120)[:40]
    if fit in CLASSES:
        return half, rows, hidden[rows, None].astype(np.float64), 5
    if fit in VALUES:
        return half, rows, (hidden + rng.normal(size=120) / 10)[rows, None], 1
    if fit in VOTES:
        return half, rows, rng.poisson(1 + 5 * np.eye(4)[hidden])[rows].astype(np.float64), 4
    y = np.stack([hidden == 0, hidden == 1, rng.random(120) < 0.5], axis=1)[rows].astype(np.float64)
    y[rng.random(y.shape) < 0.3] = np.nan
    return half, rows, y, 3


def fitted(fit: Fit, half, rows, y, outputs):
    return fit(half, rows, y, outputs, np.random.default_rng(7))


@pytest.mark.parametrize("fit", CLASSES + OTHERS, **ids)
def test_learns_gives_the_right_shape_and_repeats_itself(fit):
    assert isinstance(fit, Fit)
    half, rows, y, outputs = problem(fit)
    head = fitted(fit, half, rows, y, outputs)
    p = head.predict(half.x)
    assert p.shape == (120, outputs)
    assert p.dtype == np.float64
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(fitted(fit, half, rows, y, outputs).predict(half.x), p)
    assert head.predict(half.x[:0]).shape == (0, outputs)
    if fit in CLASSES + VOTES:
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert p.min() >= 0
    if fit in ANSWERS:
        assert p.min() > 0
        assert p.max() < 1


@pytest.mark.parametrize("fit", CLASSES, **ids)
def test_classes_are_found_and_absent_ones_have_probability_0(fit):
    half, rows, y, outputs = problem(fit)
    p = fitted(fit, half, rows, y, outputs).predict(half.x)
    assert (p[:, [2, 4]] == 0).all()
    truth = np.array([0, 1, 3])[np.arange(120) % 3]
    assert (p.argmax(axis=1) == truth).mean() > (0.6 if fit is fit_ordinal else 0.7)
    assert np.corrcoef(p @ np.arange(5), truth)[0, 1] > 0.6


@pytest.mark.parametrize("fit", CLASSES + OTHERS, **ids)
def test_order_of_rows_does_not_matter(fit):
    half, rows, y, outputs = problem(fit)
    there = fitted(fit, half, rows, y, outputs).predict(half.x)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(fitted(fit, half, rows[order], y[order], outputs).predict(half.x), there)
    backwards = fitted(fit, half, rows, y, outputs).predict(half.x[::-1])
    np.testing.assert_allclose(backwards[::-1], there, atol=1e-12)


@pytest.mark.parametrize("fit", CLASSES + OTHERS, **ids)
def test_shift_and_scale_of_a_feature_do_not_matter(fit):
    half, rows, y, outputs = problem(fit)
    x = half.x.astype(np.float64)
    moved = TrainingHalf(x * np.geomspace(0.2, 5, 25) - 4, half.groups)
    there = fitted(fit, TrainingHalf(x, half.groups), rows, y, outputs).predict(x)
    np.testing.assert_allclose(fitted(fit, moved, rows, y, outputs).predict(moved.x), there, atol=1e-5)


@pytest.mark.parametrize("fit", CLASSES + OTHERS, **ids)
def test_a_row_with_nan_gives_nan_and_no_other_row(fit):
    half, rows, y, outputs = problem(fit)
    head = fitted(fit, half, rows, y, outputs)
    broken = half.x.copy()
    broken[3, 2], broken[5, 0] = np.nan, np.inf
    p = head.predict(broken)
    assert np.isnan(p[[3, 5]]).all()
    keep = np.setdiff1d(np.arange(120), [3, 5])
    np.testing.assert_allclose(p[keep], head.predict(half.x)[keep], atol=1e-12)


@pytest.mark.parametrize("fit", CLASSES, **ids)
def test_one_row_a_class_is_enough(fit):
    half, rows, y, outputs = problem(fit)
    first = np.array([np.flatnonzero(y[:, 0] == c)[0] for c in (0, 1, 3)])
    p = fitted(fit, half, rows[first], y[first], outputs).predict(half.x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p[:, [2, 4]] == 0).all()


@pytest.mark.parametrize("fit", CLASSES, **ids)
def test_class_errors_name_what_is_wrong(fit):
    half, rows, y, outputs = problem(fit)
    with pytest.raises(ValueError, match="1 class"):
        fitted(fit, half, rows, y * 0, outputs)
    with pytest.raises(ValueError, match=r"not all whole numbers in 0\.\.2"):
        fitted(fit, half, rows, y, 3)
    with pytest.raises(ValueError, match=r"labels: -1"):
        fitted(fit, half, rows, y - 1, outputs)


@pytest.mark.parametrize("fit", CLASSES + OTHERS, **ids)
def test_no_rows_are_refused(fit):
    half, rows, y, outputs = problem(fit)
    with pytest.raises(ValueError, match="no labelled rows"):
        fitted(fit, half, rows[:0], y[:0], outputs)


@pytest.mark.parametrize("fit", VOTES[:2], **ids)
def test_rows_without_votes_are_refused(fit):
    half, rows, y, outputs = problem(fit)
    y[2] = 0
    with pytest.raises(ValueError, match="1 of 40 rows have no votes"):
        fitted(fit, half, rows, y, outputs)
    y[2, 0] = -1
    with pytest.raises(ValueError, match="negative or unknown"):
        fitted(fit, half, rows, y, outputs)


@pytest.mark.parametrize("fit", VALUES, **ids)
def test_unknown_values_are_refused(fit):
    half, rows, y, outputs = problem(fit)
    y[2] = np.nan
    with pytest.raises(ValueError, match=r"1 .*NaN or infinite"):
        fitted(fit, half, rows, y, outputs)


@pytest.mark.parametrize("fit", ANSWERS, **ids)
def test_answers_without_both_values_are_refused(fit):
    half, rows, y, outputs = problem(fit)
    with pytest.raises(ValueError, match="none of 3 answers has both"):
        fitted(fit, half, rows, np.where(np.isnan(y), np.nan, 1.0), outputs)
