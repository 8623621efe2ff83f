"""The plane that embeddings are looked at in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from reports.projection import EXACT_NEIGHBOURS_UP_TO, _landmark_rows, project


def clusters(n: int, width: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three tight directions on the sphere at different lengths, and which row belongs to which."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(3, width))
    which = generator.integers(3, size=n)
    rows = centres[which] + 0.1 * generator.normal(size=(n, width))
    return (rows * generator.uniform(0.5, 50, size=(n, 1))).astype(np.float32), which


def neighbour_purity(plane: np.ndarray, which: np.ndarray) -> float:
    distance = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    return float((which[distance.argmin(axis=1)] == which).mean())


def test_clusters_stay_together_and_equal_seeds_give_equal_maps() -> None:
    rows, which = clusters(240)
    plane = project(rows, seed=3)
    assert plane.dtype == np.float32
    assert plane.shape == (240, 2)
    assert neighbour_purity(plane, which) > 0.98
    np.testing.assert_array_equal(plane, project(rows, seed=3))
    assert not np.array_equal(plane, project(rows, seed=4))


def test_rows_outside_the_landmarks_are_placed_with_their_own_kind() -> None:
    rows, which = clusters(300)
    always = np.array([7, 299, 150])
    plane = project(rows, seed=1, landmarks=90, always=always)
    assert np.isfinite(plane).all()
    assert neighbour_purity(plane, which) > 0.98
    np.testing.assert_array_equal(plane, project(rows, seed=1, landmarks=90, always=always))


def test_length_of_an_embedding_does_not_matter() -> None:
    rows, _ = clusters(12)
    np.testing.assert_allclose(project(rows, seed=0), project(rows * 4, seed=0), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(15, 60), st.integers(0, 2**31), st.data())
def test_landmarks_hold_always_and_no_more_than_asked(n: int, landmarks: int, seed: int, data: st.DataObject) -> None:
    always = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=15)), np.int64)
    rows = _landmark_rows(n, landmarks, always, seed)
    assert len(rows) == min(n, landmarks)
    assert set(always.tolist()) <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_rows_are_zeros(n: int) -> None:
    np.testing.assert_array_equal(project(clusters(n)[0], seed=0), np.zeros((n, 2)))


def test_few_rows_are_principal_components() -> None:
    rows, which = clusters(14)
    plane = project(rows, seed=0)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.norm(plane, axis=0), singular, rtol=1e-4)
    assert neighbour_purity(plane, which) > 0.9


@pytest.mark.parametrize(("n", "width"), [(3, 2), (15, 3), (16, 1), (20, 2), (40, 5)])
def test_small_and_narrow_embeddings_give_a_finite_map(n: int, width: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n, width)).astype(np.float16)
    plane = project(rows, seed=0)
    assert plane.shape == (n, 2)
    assert np.isfinite(plane).all()


def test_rows_that_are_all_alike_are_zeros() -> None:
    rows = np.outer(np.linspace(0.1, 9, 30), [1, 2, 3, 4]).astype(np.float32)
    np.testing.assert_array_equal(project(rows, seed=0), np.zeros((30, 2)))


@pytest.mark.slow
def test_more_rows_than_exact_neighbours_serve_are_still_repeatable() -> None:
    rows, which = clusters(EXACT_NEIGHBOURS_UP_TO + 1, width=8)
    plane = project(rows, seed=0)
    assert neighbour_purity(plane[:500], which[:500]) > 0.95
    np.testing.assert_array_equal(plane, project(rows, seed=0))


def test_the_number_of_threads_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(600, 800)).astype(np.float32)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(project(rows, seed=0))
    np.testing.assert_array_equal(*found)


def test_zero_rows_and_repeated_rows_are_placed() -> None:
    rows, _ = clusters(40)
    rows[:10] = 0
    rows[10:20] = rows[10]
    assert np.isfinite(project(rows, seed=0)).all()


def test_broken_input_is_refused_by_name() -> None:
    rows, _ = clusters(20)
    rows[4, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 20 rows hold NaN or infinity, the first is row 4"):
        project(rows, seed=0)
    with pytest.raises(ValueError, match="nothing to project"):
        project(np.zeros((0, 8), np.float32), seed=0)
    with pytest.raises(ValueError, match="always: rows 20 to 20"):
        project(clusters(20)[0], seed=0, always=np.array([20]))
    with pytest.raises(ValueError, match="more than 15 landmarks"):
        project(clusters(20)[0], seed=0, landmarks=15, always=np.arange(16))
