"""Students of pseudo-labels: against scikit-learn's, and what must not matter to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import SelfTrainingClassifier

from domainssl.heads.pseudo_labels import (
    Labelled,
    PseudoLabelling,
    Unlabelled,
    apart,
    confident,
    least_loss,
    softmax_of,
    students,
)

RNG = np.random.default_rng
C = 0.05


def problem(k: int = 3, m: int = 24, u: int = 150, d: int = 6) -> tuple[Labelled, np.ndarray, np.ndarray]:
    """Labelled rows, their classes, and unlabelled rows of the same classes."""
    rng = RNG(k)
    label = np.arange(m + u) % k
    z = 1.5 * rng.normal(size=(k, d))[label] + rng.normal(size=(m + u, d))
    return Labelled(z[:m], np.eye(k)[label[:m]]), label[:m], z[m:]


def every(labelled: Labelled, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ones((len(labelled.z), 1), bool), np.ones((len(z), 1), bool)


@pytest.mark.parametrize(("k", "threshold"), [(2, 0.85), (3, 0.6)])
def test_one_round_at_a_threshold_is_scikit_learns_self_training(k, threshold):
    labelled, label, z = problem(k)
    base = LogisticRegression(C=2 * C if k == 2 else C, tol=1e-10, max_iter=10_000)
    oracle = SelfTrainingClassifier(base, threshold=threshold, max_iter=1)
    oracle.fit(np.concatenate([labelled.z, z]), np.concatenate([label, np.full(len(z), -1)]))
    taken = int((oracle.labeled_iter_ == 1).sum())
    assert 20 < taken < len(z) - 20
    rule = PseudoLabelling(share=1e6, threshold=threshold, weight=taken / len(label), rounds=1)
    plain, student = students(labelled, Unlabelled(z, z[:, None]), *every(labelled, z), C, rule, exact=True)
    got = softmax_of(student.logits(z))[:, 0]
    np.testing.assert_allclose(got, oracle.predict_proba(z), atol=1e-5)
    assert np.abs(got - softmax_of(plain.logits(z))[:, 0]).max() > 0.02


@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.05, 1.0), st.floats(0.0, 0.8))
def test_no_class_takes_more_than_its_share_and_the_surest_rows_are_taken(seed, k, share, threshold):
    rng = RNG(seed)
    p, shares = rng.dirichlet(np.full(k, 0.7) + 3 * (np.arange(k) == 0), size=60), rng.dirichlet(np.ones(k))
    rows, classes = confident(p, shares, share, threshold)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(classes, p[rows].argmax(axis=1))
    assert (p[rows].max(axis=1) > threshold).all()
    left = np.setdiff1d(np.arange(60), rows)
    for c in range(k):
        quota = max(1, round(share * 60 * shares[c]))
        mine, others = p[rows[classes == c], c], p[left[p[left].argmax(axis=1) == c], c]
        assert len(mine) <= quota
        assert len(others[others > threshold]) == 0 or (len(mine) == quota and others.max() <= mine.min())


def test_a_class_without_labels_gets_no_pseudo_labels():
    p = np.tile([0.1, 0.9, 0.0], (10, 1))
    assert len(confident(p, np.array([1.0, 0.0, 0.0]), 1.0)[0]) == 0


def test_how_many_unlabelled_rows_there_are_does_not_change_their_weight():
    labelled, _, z = problem()
    twice = np.repeat(z, 2, axis=0)
    answers = []
    for rows in (z, twice):
        _, student = students(
            labelled, Unlabelled(rows, rows[:, None]), *every(labelled, rows), C, PseudoLabelling(), exact=True
        )
        answers.append(student.logits(z))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)


def test_views_of_a_row_share_its_weight():
    labelled, _, z = problem()
    answers = []
    for views in (z[:, None], np.stack([z, z, z], axis=1)):
        _, student = students(labelled, Unlabelled(z, views), *every(labelled, z), C, PseudoLabelling(), exact=True)
        answers.append(student.logits(z))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)


def test_a_fold_learns_nothing_of_the_groups_it_leaves_out():
    labelled, label, z = problem()
    groups, of = np.arange(len(label)) // 2, np.arange(len(z)) % 20
    held_out = groups[:, None] % 3 == np.arange(3)
    allowed = apart(groups, held_out, of)
    for fold in range(3):
        assert set(of[allowed[:, fold]]).isdisjoint(groups[held_out[:, fold]])
        assert set(of[~allowed[:, fold]]) <= set(groups[held_out[:, fold]])
    changed, other = z.copy(), Labelled(labelled.z.copy(), labelled.shares.copy())
    changed[~allowed[:, 1]] = 5 * RNG(9).normal(size=(int((~allowed[:, 1]).sum()), z.shape[1]))
    other.shares[held_out[:, 1]] = np.roll(other.shares[held_out[:, 1]], 1, axis=1)
    other.z[held_out[:, 1]] += 3
    rule = PseudoLabelling(rounds=1)  # rounds between are solved less exactly, all problems in one run of the solver
    answers = [
        students(a, Unlabelled(b, b[:, None]), ~held_out, allowed, C, rule, exact=True)[1].logits(z)
        for a, b in ((labelled, z), (other, changed))
    ]
    np.testing.assert_allclose(answers[1][:, 1], answers[0][:, 1], atol=1e-4)
    assert np.abs(answers[1][:, 0] - answers[0][:, 0]).max() > 0.01


def test_being_surer_alone_is_no_merit():
    logits, label = RNG(0).normal(size=(40, 3)), np.arange(40) % 3
    logits[np.arange(40), label] += 0.7
    there = least_loss(logits, label)
    np.testing.assert_allclose(least_loss(2 * logits, label).mean(), there.mean(), rtol=1e-2)
    assert there.mean() < np.log(3)
    np.testing.assert_allclose(least_loss(logits + 5, label), there)
