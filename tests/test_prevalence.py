"""Class shares of new objects: the closed form of two scores, planted shifts, false alarms and coverage as stated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from domainssl.evaluation.certainty import fit_certainty
from domainssl.evaluation.prevalence import RESAMPLES, Shares, class_shares, compared_shares
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.linear import fit_linear_at

BEFORE = (0.43, 0.57)


def quick(half: TrainingHalf, rows: np.ndarray, y: np.ndarray, outputs: int, rng: np.random.Generator) -> FittedHead:
    return fit_linear_at(half, rows, y, outputs, 0.1)


def drawn(
    rng: np.random.Generator, groups: int, shares: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two images a patient, of the patient's class."""
    y = np.repeat(rng.choice(len(shares), size=groups, p=shares), 2)
    x = 0.8 * rng.normal(size=(len(y), 8)) + 0.6 * np.repeat(rng.normal(size=(groups, 8)), 2, axis=0)
    x[np.arange(len(y)), y] += 1.5
    return x, y, np.repeat(np.arange(groups), 2)


def simulated(seed: int, now: tuple[float, ...], before: tuple[float, ...] = BEFORE, groups: int = 200) -> Shares:
    """A head and its calibration from one half, compared on the other with new patients of other shares."""
    rng = np.random.default_rng(seed)
    (x, y, own), (test, truth, of_test), (new, _, of_new) = (drawn(rng, groups, s) for s in (before, before, now))
    taught = (TrainingHalf(x, own), np.arange(len(x)), y[:, None].astype(np.float64), len(before))
    head = quick(*taught, rng)
    certainty = fit_certainty("classes", quick, *taught, rng)
    said = [certainty.calibrated(head.predict(rows)) for rows in (new, test)]
    trained = np.bincount(y, minlength=len(before)) / len(y)
    found = compared_shares(said[0], of_new, said[1], of_test, truth.astype(np.int64), trained, rng)
    assert found is not None
    return found


def covered(found: Shares, truth: tuple[float, ...]) -> bool:
    return bool(((found.low <= truth) & (truth <= found.high)).all())


def test_of_two_scores_the_likeliest_share_solves_the_confusion_matrix() -> None:
    """A head that says one of two things: maximum likelihood is then the classical correction (BBSE, closed form)."""
    sensitivity, specificity, trained = 0.8, 0.7, 0.4
    yes = sensitivity * trained / (sensitivity * trained + (1 - specificity) * (1 - trained))
    no = (1 - sensitivity) * trained / ((1 - sensitivity) * trained + specificity * (1 - trained))
    for called in (0.35, 0.5, 0.62):
        count = round(1000 * called)
        said = np.concatenate([np.full(count, yes), np.full(1000 - count, no)])
        (_, share), *_ = class_shares(np.column_stack([1 - said, said]), np.array([0.6, 0.4]), np.ones((1000, 1))).T
        assert share == pytest.approx((called - (1 - specificity)) / (sensitivity + specificity - 1), abs=1e-3)


def test_the_likeliest_share_is_where_scipy_finds_it() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.25
    said = 1 / (1 + np.exp(-(2 * rng.normal(size=400) + 3 * (truth - 0.5))))
    scores, trained = np.column_stack([1 - said, said]), np.array([0.45, 0.55])

    def loss(share: float) -> float:
        return -float(np.log(scores @ (np.array([1 - share, share]) / trained)).sum())

    expected = minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-8}).x
    assert class_shares(scores, trained, np.ones((400, 1)))[1, 0] == pytest.approx(expected, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_shares_add_up_and_weights_are_repeated_rows(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(classes, 0.7), size=60)
    trained = rng.dirichlet(np.full(classes, 5.0))
    times = rng.integers(0, 4, size=60)
    weights = np.column_stack([np.ones(60), times, np.zeros(60)]).astype(np.float64)
    found = class_shares(scores, trained, weights)
    assert found[:, :2].sum(axis=0) == pytest.approx([1, 1])
    assert (found[:, :2] >= 0).all()
    assert np.isnan(found[:, 2]).all()
    repeated = np.repeat(scores, times, axis=0)
    assert class_shares(repeated, trained, np.ones((len(repeated), 1)))[:, 0] == pytest.approx(found[:, 1], abs=1e-3)
    order = rng.permutation(classes)
    turned = class_shares(scores[:, order], trained[order], weights[:, :1])
    assert turned[:, 0] == pytest.approx(found[order, 0], abs=1e-6)


def test_a_class_without_labels_has_no_share_and_nan_is_refused() -> None:
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert class_shares(scores, np.array([0.5, 0.5, 0.0]), np.ones((2, 1)))[2, 0] == 0
    with pytest.raises(ValueError, match="scores: 1 of 6 values are NaN"):
        class_shares(np.where(scores == 0.2, np.nan, scores), np.array([0.5, 0.5, 0.0]), np.ones((2, 1)))


def test_a_planted_shift_is_found_with_its_size() -> None:
    found = [simulated(seed, (0.8, 0.2)) for seed in range(4)]
    assert all(one.p < 0.05 for one in found)
    assert sum(covered(one, (0.8, 0.2)) for one in found) >= 3
    assert np.mean([one.now[1] for one in found]) == pytest.approx(0.2, abs=0.05)
    assert np.mean([one.before[1] for one in found]) == pytest.approx(0.57, abs=0.09)
    assert all(one.groups == 200 for one in found)


def test_without_a_shift_few_are_said_to_have_one() -> None:
    assert sum(simulated(seed, BEFORE).p < 0.05 for seed in range(5)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("shares", [BEFORE, (0.5, 0.3, 0.2)])
def test_false_alarms_and_coverage_are_as_stated(shares: tuple[float, ...]) -> None:
    """Of 25 runs 1 is expected to alarm; 6 or more do in 2 of 1000 tests."""
    same = [simulated(seed, shares, shares) for seed in range(25)]
    assert sum(one.p < 0.05 for one in same) <= 5
    turned = shares[::-1]
    other = [simulated(100 + seed, turned, shares) for seed in range(12)]
    assert np.mean([covered(one, shares) for one in same]) > 0.75
    assert np.mean([covered(one, turned) for one in other]) > 0.6


def test_many_rows_are_binned_without_a_trace() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(3000) < 0.3
    said = 1 / (1 + np.exp(-(1.5 * rng.normal(size=3000) + 2 * (truth - 0.5))))
    scores, groups, half = np.column_stack([1 - said, said]), np.arange(3000), np.array([0.5, 0.5])
    found = compared_shares(scores, groups, scores, groups, truth.astype(np.int64), half, rng)
    assert found is not None
    assert found.now == pytest.approx(class_shares(scores, half, np.ones((3000, 1)))[:, 0], abs=2e-3)
    assert found.p > 0.5
    assert RESAMPLES >= 200


def test_few_groups_say_nothing() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1], size=80)
    groups, few = np.arange(80), np.arange(80) % 20
    truth, half = np.arange(80) % 2, np.array([0.5, 0.5])
    assert compared_shares(scores, few, scores, groups, truth, half, rng) is None
    assert compared_shares(scores, groups, scores, few, truth, half, rng) is None
    assert compared_shares(scores[:0], groups[:0], scores, groups, truth, half, rng) is None
    holes = scores.copy()
    holes[3] = np.nan
    assert compared_shares(holes, groups, scores, groups, truth, half, rng) is not None
