"""Far from the labels: labelled kinds are flagged at the stated rate, others are found, patients are not their own."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from domainssl.evaluation.novelty import FALSE_ALARMS, Familiar, fit_familiar

ONES, ZEROS = np.ones(16), np.zeros(16)


def kinds(count: int, seed: int) -> np.ndarray:
    """Points around three directions."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.eye(16)[:3]
    return centres[rng.integers(3, size=count)] + 0.7 * rng.normal(size=(count, 16))


def fitted(x: np.ndarray, groups: np.ndarray | None = None) -> Familiar:
    groups = np.arange(len(x)) if groups is None else groups
    found = fit_familiar(x, groups, ZEROS, ONES, np.random.default_rng(0))
    assert found is not None
    return found


def test_new_images_of_labelled_kinds_are_flagged_at_the_stated_rate() -> None:
    rates = [fitted(kinds(1000, seed)).far(kinds(2000, 100 + seed)).mean() for seed in range(10)]
    assert 0.5 * FALSE_ALARMS < np.mean(rates) < 2 * FALSE_ALARMS


def test_another_kind_is_far() -> None:
    rng = np.random.default_rng(1)
    other = 4 * np.eye(16)[7] + 0.7 * rng.normal(size=(500, 16))
    assert fitted(kinds(1000, 0)).far(other).mean() > 0.95


def test_distances_are_those_of_scikit_learn() -> None:
    x, asked = kinds(300, 0), kinds(50, 1)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    found = fit_familiar(x, np.arange(300), mean, scale, np.random.default_rng(0))
    assert found is not None
    oracle = NearestNeighbors(n_neighbors=1, metric="cosine").fit((x - mean) / scale)
    np.testing.assert_allclose(found.distance(asked), oracle.kneighbors((asked - mean) / scale)[0][:, 0], atol=1e-5)


def test_other_images_of_a_patient_do_not_narrow_the_limit() -> None:
    x = kinds(200, 0)
    repeated = np.repeat(np.arange(200), 5)
    twins = x[repeated] + 1e-3 * np.random.default_rng(0).normal(size=(1000, 16))
    assert fitted(twins, repeated).limit == pytest.approx(float(fitted(x).limit), rel=0.25)
    assert fitted(twins).limit < 0.1 * fitted(twins, repeated).limit


def test_nothing_known_is_far_and_few_groups_tell_nothing() -> None:
    unknown = np.full((1, 16), np.nan)
    assert fitted(kinds(300, 0)).far(unknown).tolist() == [True]
    assert fit_familiar(kinds(99, 0), np.arange(99), ZEROS, ONES, np.random.default_rng(0)) is None
    many = kinds(1000, 0)
    assert fit_familiar(many, np.arange(1000) // 20, ZEROS, ONES, np.random.default_rng(0)) is None
