"""Planted truths of labels: wrong ones come first, where there are none nothing is said, test labels teach nothing."""

import numpy as np
import pytest
from scipy.stats import binom

from domainssl.evaluation.label_errors import LabelErrors, find_label_errors


def galaxies(
    n: int, k: int, seed: int, wrong: float, apart: float = 3.5, heavy: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of `k` overlapping classes, right labels, and the same with a share of them wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(k, size=n)
    means = rng.normal(size=(k, 24))
    means *= apart / np.linalg.norm(means, axis=1, keepdims=True)
    noise = rng.normal(size=(n, 24))
    if heavy:
        noise /= np.sqrt(rng.chisquare(5, size=(n, 1)) / 5)
    flipped = rng.permutation(n)[: round(wrong * n)]
    given = true.copy()
    given[flipped] = (true[flipped] + rng.integers(1, k, size=len(flipped))) % k
    return (means[true] + noise).astype(np.float32), true, given


def found(x: np.ndarray, given: np.ndarray, k: int, seed: int = 0, train: np.ndarray | None = None) -> LabelErrors:
    groups = np.arange(len(x)).astype(str)
    half = np.ones(len(x), dtype=bool) if train is None else train
    errors = find_label_errors(x, given, k, groups, half, np.random.default_rng(seed))
    assert errors is not None
    return errors


@pytest.mark.parametrize("seed", range(3))
def test_of_the_first_100_suspects_more_than_80_percent_are_planted(seed):
    x, true, given = galaxies(1200, 4, seed, wrong=0.1)
    errors = found(x, given, 4)
    first = errors.rows[:100]
    assert (given[first] != true[first]).mean() > 0.8
    assert (errors.suggested[:100] == true[first]).mean() > 0.8
    assert errors.p < 1e-4
    assert errors.wrong == pytest.approx(0.1, abs=0.03)
    assert (np.diff(errors.score) <= 0).all()


@pytest.mark.parametrize("heavy", [False, True])
def test_where_nothing_is_planted_false_alarms_keep_to_5_percent(heavy):
    samples = 40
    ps = [found(*_of(galaxies(400, 3, seed, 0.0, 2.5, heavy)), 3).p for seed in range(samples)]
    assert sum(p <= 0.05 for p in ps) <= binom.ppf(0.999, samples, 0.05)


def _of(made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return made[0], made[2]


def test_the_run_measures_its_list_by_labels_it_makes_wrong_itself():
    x, _, given = galaxies(1200, 4, 0, wrong=0.0)
    errors = found(x, given, 4)
    assert errors.planted == 120
    assert errors.precision > 0.8
    assert errors.precision + errors.before <= 1
    x, _, given = galaxies(1200, 4, 0, wrong=0.1)
    wrong = found(x, given, 4)
    assert wrong.before > 0.3  # the first places are shared with labels that were wrong already
    assert wrong.precision + wrong.before > 0.85


def test_noise_as_features_gives_a_list_of_chance_and_no_sign():
    rng = np.random.default_rng(0)
    given = rng.integers(3, size=600)
    errors = found(rng.normal(size=(600, 24)).astype(np.float32), given, 3)
    assert errors.p > 0.05
    assert errors.precision < 0.35


def test_labels_of_the_test_half_teach_nothing():
    x, true, given = galaxies(900, 3, 1, wrong=0.1)
    train = np.arange(900) < 600
    one = found(x, given, 3, train=train)
    other = found(x, np.where(train, given, (true + 1) % 3), 3, train=train)
    for name in ("judged", "right", "wrong", "p", "planted", "precision", "before"):
        assert getattr(one, name) == getattr(other, name), name
    np.testing.assert_array_equal(one.rows[train[one.rows]], other.rows[train[other.rows]])
    np.testing.assert_array_equal(one.score[train[one.rows]], other.score[train[other.rows]])
    tested = one.rows[~train[one.rows]]
    assert (given[tested] != true[tested]).mean() > 0.5
    assert (~train[other.rows]).sum() > 200  # all labels of the test half are wrong, and most are noticed


def test_the_same_seed_gives_the_same_list():
    x, _, given = galaxies(500, 3, 2, wrong=0.1)
    one, other = found(x, given, 3, seed=4), found(x, given, 3, seed=4)
    np.testing.assert_array_equal(one.rows, other.rows)
    assert (one.p, one.precision) == (other.p, other.precision)


def test_unknown_labels_rare_classes_and_unreadable_rows_are_no_suspects():
    x, _, given = galaxies(600, 3, 3, wrong=0.1)
    given[:50] = -1
    given[50:53] = 3  # a class that three groups have
    train = np.arange(600) < 500
    x[599] = np.nan
    errors = found(x, given, 4, train=train)
    assert errors.judged == 447
    assert not set(errors.rows) & {*range(53), 599}
    assert set(errors.suggested) <= {0, 1, 2}


def test_one_class_has_nothing_to_be_taken_for():
    x, _, _ = galaxies(60, 2, 0, wrong=0.0)
    groups = np.arange(60).astype(str)
    half, rng = np.ones(60, dtype=bool), np.random.default_rng(0)
    assert find_label_errors(x, np.zeros(60, np.int64), 2, groups, half, rng) is None
    assert find_label_errors(x, np.full(60, -1), 2, groups, half, rng) is None
