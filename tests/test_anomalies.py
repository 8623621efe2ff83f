"""Anomaly scores: a planted outlier first, exact values, references, and rows that cannot be scored."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

from domainssl.anomalies.detectors import DETECTORS
from domainssl.anomalies.knn import knn_scores
from domainssl.options import RankOptions


def sky(n: int = 300, d: int = 64, seed: int = 0, offset: float = 30.0) -> np.ndarray:
    """A few clusters around a large common offset, as frozen features have."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, d))
    return (offset + centres[np.arange(n) % 4] + 0.2 * rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("seed", range(4))
def test_a_planted_outlier_ranks_first(name, seed):
    x = sky(seed=seed)
    rng = np.random.default_rng([seed, 1])
    x[17] = 30 + rng.normal(size=64)  # as long as the others, in a direction of its own
    assert np.argmax(DETECTORS[name](x, RankOptions(), seed)) == 17


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
