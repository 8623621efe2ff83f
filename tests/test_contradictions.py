"""The test for wrong labels keeps its level where classes overlap, whatever the groups and tails, and finds floors."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import binom

from domainssl.evaluation import contradictions
from domainssl.evaluation.contradictions import contradiction_p

SAMPLES = 120


def sample(rng: np.random.Generator, n: int, k: int, wrong: float = 0.0, copies: int = 1) -> tuple[np.ndarray, ...]:
    """Probabilities that are too sure and shifted, labels drawn from what they stand for, `copies` alike a group."""
    logits = np.repeat(3.0 * rng.normal(size=(n // copies, k)), copies, axis=0)
    true = softmax(logits, axis=1)
    draws = np.repeat(rng.random(n // copies), copies)
    labels = (true.cumsum(axis=1) < draws[:, None]).sum(axis=1).clip(0, k - 1)
    bad = np.repeat(rng.random(n // copies) < wrong, copies)
    labels = np.where(bad, (labels + rng.integers(1, k)) % k, labels)
    shown = softmax(1.7 * logits + np.linspace(0, 0.5, k), axis=1)
    return shown, labels, np.arange(n) // copies


def rejected(wrong: float, k: int, n: int, copies: int) -> int:
    found = 0
    for seed in range(SAMPLES):
        rng = np.random.default_rng([seed, n, k])
        p, labels, groups = sample(rng, n, k, wrong, copies)
        found += contradiction_p(p, labels, groups, rng.normal(size=(n, 1))) <= 0.05
    return found


@pytest.mark.parametrize(("k", "n", "copies"), [(2, 300, 1), (4, 300, 1), (3, 600, 5)])
def test_overlapping_classes_alone_are_rejected_at_5_percent_at_most(k, n, copies):
    assert rejected(0.0, k, n, copies) <= binom.ppf(0.999, SAMPLES, 0.05)


@pytest.mark.parametrize(("k", "n", "copies"), [(2, 400, 1), (4, 300, 1), (3, 1500, 5)])
def test_a_tenth_of_wrong_labels_is_found(k, n, copies):
    assert rejected(0.1, k, n, copies) >= 0.8 * SAMPLES


def test_rows_of_a_group_are_not_counted_as_independent():
    """Five copies of each row: without the groups the p-value would be that of five times as many."""
    rng = np.random.default_rng(0)
    p, labels, _ = sample(rng, 200, 3, 0.2)
    remote = rng.normal(size=(200, 2))
    one = contradiction_p(p, labels, np.arange(200), remote)
    copies = [np.repeat(part, 5, axis=0) for part in (p, labels, np.arange(200), remote)]
    assert contradiction_p(*copies) == pytest.approx(one, rel=0.05)
    assert contradiction_p(*copies[:2], np.arange(1000), copies[3]) < one / 2


def test_a_head_that_is_too_sure_of_remote_rows_is_no_sign_of_wrong_labels():
    signs = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        remote = rng.normal(size=(500, 1))
        p, labels, groups = sample(rng, 500, 3)
        surety = np.log(p) * np.exp(0.5 * remote)  # labels hang on p, the head is more or less sure of it
        shown = np.exp(log_softmax(surety, axis=1))
        signs += contradiction_p(shown, labels, groups, remote) <= 0.05
        if seed == 0:
            assert contradiction_p(shown, labels, groups, np.zeros((500, 1))) < contradiction_p(
                shown, labels, groups, remote
            )
    assert signs <= binom.ppf(0.999, 40, 0.05)


def test_information_is_the_covariance_of_the_slopes():
    """Against the same sum taken class by class."""
    rng = np.random.default_rng(0)
    p, surety, remote = rng.dirichlet(np.ones(3), size=20), -rng.exponential(size=(20, 3)), rng.normal(size=(20, 2))
    expected = np.zeros((8, 8))
    for c in range(3):
        slopes = contradictions._slopes(np.eye(3)[np.full(20, c)] - p, surety, remote)
        expected += (p[:, c, None] * slopes).T @ slopes
    np.testing.assert_allclose(contradictions._information(p, surety, remote), expected, atol=1e-10)


def test_few_groups_and_a_single_class_are_not_estimable_and_right_labels_no_sign():
    rng = np.random.default_rng(0)
    p, labels, groups = sample(rng, 100, 2)
    assert np.isnan(contradiction_p(p, labels, groups % 9, np.zeros((100, 1))))
    assert np.isnan(contradiction_p(p, np.zeros(100, np.int64), groups, np.zeros((100, 1))))
    sure = np.eye(2)[labels] * 0.98 + 0.01
    assert contradiction_p(sure, labels, groups, np.zeros((100, 1))) > 0.2
