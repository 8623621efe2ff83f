"""Anomaly scores: a planted outlier first, exact values, references, and rows that cannot be scored."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

from domainssl.anomalies.detectors import DETECTORS
from domainssl.anomalies.isolation_forest import isolation_forest_scores
from domainssl.anomalies.knn import knn_scores
from domainssl.options import RankOptions


def sky(n: int = 300, d: int = 64, seed: int = 0, offset: float = 30.0) -> np.ndarray:
    """A few clusters around a large common offset, as frozen features have."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, d))
    return (offset + centres[np.arange(n) % 4] + 0.2 * rng.normal(size=(n, d))).astype(np.float32)


def test_a_planted_outlier_is_found_by_every_detector():
    odder = {name: [] for name in DETECTORS}
    for seed in range(6):
        x = sky(seed=seed)
        rng = np.random.default_rng([seed, 1])
        x[17] = 30 + rng.normal(size=64)  # as long as the others, in a direction of its own
        for name, detector in DETECTORS.items():
            scores = detector(x, RankOptions(), seed)
            odder[name].append(int((scores > scores[17]).sum()))
    assert odder["knn"] == [0] * 6
    assert np.median(odder["isolation_forest"]) < 3, odder  # of 300


def test_scores_are_the_mean_distances_of_scikit_learn():
    x = sky()
    unit = normalize(StandardScaler().fit_transform(x.astype(np.float64)))
    expected, _ = NearestNeighbors(algorithm="brute").fit(unit).kneighbors(None, 7)
    np.testing.assert_allclose(knn_scores(x, neighbours=7), expected.mean(axis=1), atol=2e-5)


def test_a_common_offset_changes_nothing():
    x = sky(offset=0.0)
    np.testing.assert_allclose(knn_scores(x + 8), knn_scores(x), atol=1e-4)


def test_new_objects_are_scored_by_the_reference_alone():
    reference, new = sky(), sky(20, seed=0)
    new[3] += 2 * np.random.default_rng(5).normal(size=64).astype(np.float32)
    together = knn_scores(new, reference=reference)
    alone = np.concatenate([knn_scores(new[i : i + 1], reference=reference) for i in range(20)])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert np.argmax(together) == 3
    # in a reference that holds the object itself, it is its own nearest neighbour
    assert knn_scores(reference[:1], neighbours=1, reference=reference)[0] < 1e-6


def test_half_precision_scores_rank_alike():
    x = sky(offset=1.0)
    np.testing.assert_allclose(knn_scores(x.astype(np.float16)), knn_scores(x), atol=5e-3)


def test_rows_that_cannot_be_scored_are_nan_and_disturb_nobody():
    x = sky()
    broken = np.concatenate([x, np.full((2, 64), np.nan, dtype=np.float32)])
    scores = knn_scores(broken)
    assert np.isnan(scores[-2:]).all()
    np.testing.assert_allclose(scores[:-2], knn_scores(x), atol=1e-6)


def test_few_rows_and_errors():
    x = sky(3)
    assert np.isfinite(knn_scores(x, neighbours=10)).all()
    np.testing.assert_array_equal(knn_scores(x, neighbours=10), knn_scores(x, neighbours=2))
    assert np.isnan(knn_scores(x[:1])).all()
    assert np.isnan(knn_scores(x, reference=x[:0])).all()
    assert knn_scores(x[:0]).shape == (0,)
    with pytest.raises(ValueError, match="neighbours: 0"):
        knn_scores(x, neighbours=0)


def test_every_detector_of_the_options_exists():
    assert set(RankOptions().detectors) <= set(DETECTORS)


def test_the_options_reach_the_detectors():
    x = sky(60)
    options = RankOptions(neighbours=3, trees=20)
    np.testing.assert_array_equal(DETECTORS["knn"](x, options, 1), knn_scores(x, neighbours=3))
    forest = DETECTORS["isolation_forest"](x, options, 1)
    np.testing.assert_array_equal(forest, isolation_forest_scores(x, 1, trees=20))
    for detector in DETECTORS.values():
        assert not np.array_equal(detector(x, options, 1, x[:30]), detector(x, options, 1))


# Isolation forest


def test_isolation_is_repeatable_and_depends_on_the_seed_alone():
    x = sky(80)
    np.random.seed(1)  # noqa: NPY002  a global state that must not matter
    first = isolation_forest_scores(x, 3, trees=30)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(isolation_forest_scores(x, 3, trees=30), first)
    assert not np.array_equal(isolation_forest_scores(x, 4, trees=30), first)
    assert ((first > 0) & (first < 1)).all()


def test_isolation_of_new_objects_by_the_reference_alone():
    reference, new = sky(), sky(20)
    new[3] += 3 * np.random.default_rng(5).normal(size=64).astype(np.float32)
    together = isolation_forest_scores(new, 0, trees=50, reference=reference)
    alone = [isolation_forest_scores(new[i : i + 1], 0, trees=50, reference=reference)[0] for i in range(3)]
    np.testing.assert_allclose(together[:3], alone, atol=1e-6)
    assert np.argmax(together) == 3
    own = isolation_forest_scores(reference, 0, trees=50)
    np.testing.assert_allclose(isolation_forest_scores(reference, 0, trees=50, reference=reference), own, atol=1e-6)


def test_rows_that_cannot_be_isolated_are_nan_and_disturb_nobody():
    x = sky(60)
    broken = np.concatenate(
        [x[:10], np.full((1, 64), np.nan, np.float32), x[10:], np.full((1, 64), np.inf, np.float32)]
    )
    scores = isolation_forest_scores(broken, 0, trees=30)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(scores)), [10, 61])
    np.testing.assert_array_equal(scores[np.isfinite(scores)], isolation_forest_scores(x, 0, trees=30))


def test_isolation_of_few_rows_rows_all_alike_and_errors():
    x = sky(3)
    assert np.isfinite(isolation_forest_scores(x, 0, trees=10)).all()
    assert np.isnan(isolation_forest_scores(x[:1], 0)).all()
    assert np.isnan(isolation_forest_scores(x, 0, reference=x[:0])).all()
    assert isolation_forest_scores(x[:0], 0).shape == (0,)
    assert len(set(isolation_forest_scores(np.ones((6, 4), np.float32), 0, trees=10))) == 1
    with pytest.raises(ValueError, match="trees: 0"):
        isolation_forest_scores(x, 0, trees=0)


def test_a_large_offset_and_dead_features_change_nothing_for_isolation():
    """Scores depend on what varies: dead features add no components to cut in."""
    x = sky(100, offset=0.0)
    dead = np.concatenate([x, np.full((100, 40), 3.0, np.float32)], axis=1)
    first, second = isolation_forest_scores(x, 0, trees=50), isolation_forest_scores(dead, 0, trees=50)
    assert np.corrcoef(first, second)[0, 1] > 0.95


def test_isolation_tells_an_odd_object_that_differs_where_others_hardly_do():
    """Its difference lies outside the leading components, in which it is short: lengths are made 1 after reducing."""
    rng = np.random.default_rng(6)
    common = rng.normal(size=(2000, 40)) @ rng.normal(size=(40, 300))
    x = (common + 0.5 * rng.normal(size=(2000, 300))).astype(np.float32)
    x[:20] = 3 * rng.normal(size=(20, 300))
    scores = isolation_forest_scores(x, 0)
    assert np.median(scores[:20]) > np.median(scores[20:])
