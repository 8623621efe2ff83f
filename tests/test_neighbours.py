"""Nearest neighbours against scikit-learn, and rows without a direction, a value, or enough company."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from domainssl.neighbours import nearest


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.integers(2, 12), st.integers(1, 8), st.integers(0, 2**32), st.booleans())
def test_equals_scikit_learn(n, d, k, seed, exclude_self):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)).astype(np.float32)
    x[rng.random(n) < 0.1] = 0
    queries = x if exclude_self else np.concatenate([rng.normal(size=(7, d)), np.zeros((1, d))]).astype(np.float32)
    oracle = NearestNeighbors(algorithm="brute").fit(normalize(x.astype(np.float64)))
    wanted = min(k, n - exclude_self)
    expected, _ = oracle.kneighbors(None if exclude_self else normalize(queries.astype(np.float64)), wanted)
    distances, indices = nearest(x, queries, k, exclude_self)
    expected = np.where(expected < 1e-7, 0, expected)
    np.testing.assert_allclose(distances[:, :wanted], expected, atol=2e-6)
    # row numbers are checked by the distance they stand for: near ties may come in either order
    named = normalize(x.astype(np.float64))[indices[:, :wanted]] - normalize(queries.astype(np.float64))[:, None]
    np.testing.assert_allclose(np.linalg.norm(named, axis=2), expected, atol=2e-6)
    assert all(len(set(row)) == wanted for row in indices[:, :wanted])
    if exclude_self:
        assert (indices != np.arange(n)[:, None]).all()
    assert np.isinf(distances[:, wanted:]).all()
    assert (indices[:, wanted:] == -1).all()


def test_many_rows_go_through_in_parts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 8)).astype(np.float32)
    distances, indices = nearest(x, x, 3, exclude_self=True)
    expected, rows = NearestNeighbors(algorithm="brute").fit(normalize(x.astype(np.float64))).kneighbors(None, 3)
    np.testing.assert_allclose(distances, expected, atol=2e-6)
    assert (indices == rows).mean() > 0.999


def test_a_duplicate_is_a_neighbour_at_distance_zero_but_oneself_is_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 1280)).astype(np.float32) + 20
    x[7] = 3 * x[4]
    x[8] = x[4]
    distances, indices = nearest(x, x, 2, exclude_self=True)
    assert set(indices[4]) == {7, 8}
    assert distances[4].max() < 1e-6
    distances, indices = nearest(np.ones((5, 3), dtype=np.float32), np.ones((5, 3), dtype=np.float32), 4, True)
    assert (distances == 0).all()
    assert all(set(row) == set(range(5)) - {i} for i, row in enumerate(indices))


def test_rows_with_nan_have_no_neighbours_and_are_none():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    x[2, 1], x[3, 0] = np.nan, np.inf
    distances, indices = nearest(x, x, 4, exclude_self=True)
    assert np.isinf(distances[[2, 3]]).all()
    assert (indices[[2, 3]] == -1).all()
    others = [0, 1, 4, 5]
    assert not np.isin(indices, [2, 3]).any()
    assert all(set(indices[i]) == (set(others) - {i}) | {-1} for i in others)
    assert np.isinf(distances[others, 3]).all()


def test_zero_rows_are_at_distance_one():
    x = np.array([[0, 0], [1, 0], [0, 0]], dtype=np.float32)
    distances, indices = nearest(x, x, 2, exclude_self=True)
    np.testing.assert_array_equal(distances, [[0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(indices[[0, 2]], [[2, 1], [0, 1]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_read_only_memory_maps_are_read_and_left_alone(tmp_path, dtype):
    rng = np.random.default_rng(0)
    path = tmp_path / "x.npy"
    np.save(path, rng.normal(size=(50, 16)).astype(dtype))
    before = path.read_bytes()
    x = np.load(path, mmap_mode="r")
    distances, indices = nearest(x, x[:5], 3)
    assert (indices[:, 0] == np.arange(5)).all()
    assert (distances[:, 0] < 1e-6).all()
    assert path.read_bytes() == before


def test_very_small_and_large_rows_keep_their_direction():
    x = np.array([[1e-30, 0], [0, 1e30], [1e-30, 1e-30]], dtype=np.float32)
    distances, _ = nearest(x, x, 1, exclude_self=True)
    np.testing.assert_allclose(distances[:, 0], np.sqrt(2 - np.sqrt(2)), rtol=1e-6)


def test_empty_inputs_and_errors():
    empty, x = np.zeros((0, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32)
    distances, indices = nearest(empty, x, 2)
    assert np.isinf(distances).all()
    assert (indices == -1).all()
    assert nearest(x, empty, 2)[0].shape == (0, 2)
    with pytest.raises(ValueError, match="k: 0"):
        nearest(x, x, 0)
    with pytest.raises(ValueError, match="queries: 0 for 2 rows"):
        nearest(x, empty, 1, exclude_self=True)
