"""Heads that learn from unlabelled rows: better where these help, the plain head where they would harm."""

from collections.abc import Callable

import numpy as np
import pytest

from domainssl.heads import semi_supervised
from domainssl.heads.head import Fit, TrainingHalf
from domainssl.heads.linear import fit_linear
from domainssl.heads.semi_supervised import fit_consistency, fit_self_training

RNG = np.random.default_rng
Made = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def clusters(seed: int) -> Made:
    """Two classes that are two clusters: where the unlabelled rows thin out lies the boundary."""
    rng = RNG(seed)
    y = np.arange(300) % 2
    x = rng.normal(size=(300, 5))
    x[:, 0] += 4 * (y - 0.5)
    return x, y, None


def contradiction(seed: int) -> Made:
    """Two clusters that say little of the classes, one of which a tenth of the rows has, though half of the labels."""
    rng = RNG(seed)
    y = (rng.random(300) < 0.1).astype(int)
    x = rng.normal(size=(300, 5))
    x[:, 0] += 8 * ((rng.random(300) < 0.5) - 0.5) + 0.6 * (y - 0.5)
    x[:, 1] += 1.5 * (y - 0.5)
    return x, y, None


def changing(seed: int) -> Made:
    """One axis holds the class, and views draw 25 of 30 anew: a few labels cannot tell which those are."""
    rng = RNG(seed)
    y = np.arange(300) % 2
    x = rng.normal(size=(300, 30))
    x[:, 0] += 2.5 * (y - 0.5)

    def view(strength: float) -> np.ndarray:
        there = x.copy()
        there[:, 5:] = (1 - strength) * x[:, 5:] + strength * rng.normal(size=(300, 25))
        return there

    return x, y, np.stack([view(0.2), view(1.0), view(1.0)], axis=1)


def drawn(y: np.ndarray, m: int, seed: int) -> np.ndarray:
    return np.concatenate([RNG(seed).permutation(np.flatnonzero(y == c))[:m] for c in (0, 1)])


def scores(make: Callable[[int], Made], fit: Fit, m: int, seeds: int = 8) -> np.ndarray:
    """Accuracy of the plain head and of `fit` on new rows, a row a seed."""
    found = []
    for seed in range(seeds):
        x, y, views = make(seed)
        new, truth, _ = make(100 + seed)
        half, rows = TrainingHalf(x, np.arange(len(x)), views), drawn(y, m, seed)
        taught = (half, rows, y[rows, None].astype(float), 2)
        found.append([(f(*taught, RNG(seed)).predict(new).argmax(axis=1) == truth).mean() for f in (fit_linear, fit)])
    return np.array(found)


def test_clusters_help_self_training():
    plain, ours = scores(clusters, fit_self_training, 5).T
    assert (ours - plain).mean() > 0.015
    assert (ours - plain).min() > -0.03


def test_changes_that_mean_nothing_help_consistency_training():
    plain, ours = scores(changing, fit_consistency, 10).T
    assert (ours - plain).mean() > 0.05
    assert (ours - plain).min() > -0.03


def test_where_clusters_contradict_the_labels_the_head_stays_plain(monkeypatch):
    plain, ours = scores(contradiction, fit_self_training, 10).T
    assert (ours - plain).mean() > -0.01
    monkeypatch.setattr(semi_supervised, "_is_taken", lambda gain, by_default: True)
    _, always = scores(contradiction, fit_self_training, 10).T
    assert (always - plain).mean() < -0.05  # what the choice spares


def test_where_nothing_can_be_validated_the_head_is_the_linear_probe():
    x, y, _ = clusters(0)
    half, rows = TrainingHalf(x, np.arange(len(x))), drawn(y, 1, 0)
    taught = (half, rows, y[rows, None].astype(float), 2)
    there, ours = (fit(*taught, RNG(3)).predict(x) for fit in (fit_linear, fit_self_training))
    np.testing.assert_array_equal(ours, there)


def test_only_rows_of_whole_groups_are_held_out_and_one_class_alone_decides_nothing(monkeypatch):
    asked: list[int] = []

    def spy(gain: np.ndarray, by_default: bool) -> bool:
        asked.append(len(gain))
        return False

    monkeypatch.setattr(semi_supervised, "_is_taken", spy)
    x, y, _ = clusters(0)
    rows = drawn(y, 10, 0)
    alone = np.arange(len(x))
    in_one = np.where(y == 0, 0, alone + 1)  # all rows of a class are one group's, which every fold tears apart
    for groups in (alone, alone // 4, in_one):
        fit_self_training(TrainingHalf(x, groups), rows, y[rows, None].astype(float), 2, RNG(3))
    assert asked == [20, 20, 0]


def test_where_the_student_is_not_taken_the_head_is_the_linear_probe(monkeypatch):
    monkeypatch.setattr(semi_supervised, "_is_taken", lambda gain, by_default: False)
    x, y, views = changing(0)
    half, rows = TrainingHalf(x, np.arange(len(x)) // 2, views), drawn(y, 7, 0)
    taught = (half, rows, y[rows, None].astype(float), 2)
    there = fit_linear(*taught, RNG(3))
    for fit in (fit_self_training, fit_consistency):
        np.testing.assert_array_equal(fit(*taught, RNG(3)).weight, there.weight)


def test_within_one_standard_error_each_keeps_to_its_default():
    taken = semi_supervised._is_taken
    noise = RNG(1).normal(size=40)
    noise -= noise.mean()
    for by_default in (False, True):
        assert taken(noise + 1, by_default)
        assert not taken(noise - 1, by_default)
        for gain in (noise + 0.1, noise - 0.1, np.empty(0), np.ones(1)):
            assert taken(gain, by_default) is by_default


@pytest.mark.parametrize("fit", [fit_self_training, fit_consistency], ids=lambda fit: fit.__name__)
def test_same_seed_same_student_and_the_order_of_rows_does_not_matter(fit, monkeypatch):
    monkeypatch.setattr(semi_supervised, "_is_taken", lambda gain, by_default: True)
    monkeypatch.setattr(semi_supervised, "UNLABELLED", 100)
    x, y, views = changing(1)
    half, rows = TrainingHalf(x, np.arange(len(x)), views), drawn(y, 6, 0)
    heads = [
        fit(half, rows[order], y[rows[order], None].astype(float), 4, RNG(seed))
        for order, seed in ((np.arange(12), 0), (np.arange(12)[::-1], 0), (np.arange(12), 1))
    ]
    np.testing.assert_array_equal(heads[1].predict(x), heads[0].predict(x))
    assert not np.array_equal(heads[2].predict(x), heads[0].predict(x))  # another choice of unlabelled rows
    p = heads[0].predict(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p[:, 2:] == 0).all()


def test_consistency_needs_views_that_fit():
    x, y, views = changing(0)
    rows = drawn(y, 5, 0)
    with pytest.raises(ValueError, match="views: the training half has none"):
        fit_consistency(TrainingHalf(x, np.arange(300)), rows, y[rows, None].astype(float), 2, RNG(0))
    assert views is not None
    with pytest.raises(ValueError, match="views: 1 a row"):
        TrainingHalf(x, np.arange(300), views[:, :1])
    with pytest.raises(ValueError, match="hold NaN"):
        TrainingHalf(x, np.arange(300), views * np.nan)
