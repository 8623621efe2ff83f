"""Same-patient retrieval: right on known neighbours, at chance without a patient in the vectors, careful with few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from domainssl.evaluation.intervals import MINIMUM_GROUPS
from domainssl.evaluation.retrieval import Retrieval, same_group_retrieval


def cohort(patients: int, images: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors about a direction of each patient's own; `spread` 0 makes them equal, a large one forgets the patient."""
    rng = np.random.default_rng(seed)
    own = np.repeat(rng.normal(size=(patients, 16)), images, axis=0)
    groups = np.repeat([f"pat-{number}" for number in range(patients)], images)
    return (own + spread * rng.normal(size=own.shape)).astype(np.float32), groups


def found(vectors: np.ndarray, groups: np.ndarray, **options: int) -> Retrieval:
    retrieval = same_group_retrieval(vectors, groups, resamples=200, **options)
    assert retrieval is not None
    return retrieval


def test_golden() -> None:
    angles = np.deg2rad([0, 1, 90, 91, 180, 200, 201, 300, 10, 18, 30, 31, 45, 46, 60, 61, 75, 76, 110, 111, 130, 131])
    groups = np.arange(22) // 2
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    right = np.ones(22, dtype=bool)
    right[[5, 6, 7]] = False  # 200 and 201 find each other, 300 finds 0; 180 finds 200, though not the other way
    retrieval = found(vectors, groups)
    assert retrieval.rate == pytest.approx(right.mean())
    assert retrieval.chance == pytest.approx(1 / 21)
    assert (retrieval.queries, retrieval.groups) == (22, 11)
    assert retrieval.low < retrieval.rate < retrieval.high


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), patients=st.integers(12, 40), spread=st.floats(0.1, 5.0))
def test_is_that_of_another_library(seed: int, patients: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, _ = cohort(patients, 3, spread, seed)
    groups = rng.integers(0, patients, size=len(vectors))
    sizes = np.bincount(groups)
    retrieval = same_group_retrieval(vectors, groups, resamples=50)
    if (sizes > 1).sum() < MINIMUM_GROUPS:
        assert retrieval is None
        return
    assert retrieval is not None
    places = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(return_distance=False)[:, 0]
    several = sizes[groups] > 1
    assert retrieval.rate == pytest.approx((groups[places] == groups)[several].mean())
    assert retrieval.queries == several.sum()
    assert retrieval.groups == (sizes > 1).sum()
    assert 0 <= retrieval.low <= retrieval.high <= 1
    same = groups[:, None] == groups[None, :]
    np.fill_diagonal(same, False)
    assert retrieval.chance == pytest.approx(same[several].sum(axis=1).mean() / (len(groups) - 1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_and_names_of_groups_and_length_of_vectors_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, groups = cohort(15, 3, 1.0, seed)
    order = rng.permutation(len(groups))
    scaled = vectors[order] * rng.uniform(0.1, 10, size=(len(groups), 1)).astype(np.float32)
    one, two = found(vectors, groups), found(scaled, groups[order])
    assert one == two


def test_a_patient_without_another_image_is_not_asked_for_but_can_be_found() -> None:
    vectors, groups = cohort(12, 2, 0.0)
    decoys = vectors[::2] * np.float32(2)  # in the very direction of each patient, under other names
    placed_first = found(np.concatenate([decoys, vectors]), np.concatenate([[f"x{i}" for i in range(12)], groups]))
    assert placed_first.rate == 0.0
    assert (placed_first.queries, placed_first.groups) == (24, 12)
    assert placed_first.chance == pytest.approx(1 / 35)
    assert found(vectors, groups).rate == 1.0


def test_equal_images_of_one_patient_are_found_and_never_the_image_itself() -> None:
    vectors, groups = cohort(12, 4, 0.0)
    assert found(vectors, groups).rate == 1.0
    assert found(np.ones_like(vectors), np.arange(len(vectors)) // 2).rate == pytest.approx(2 / 48)  # rows 0 and 1


def test_without_the_patient_in_the_vectors_it_is_at_chance() -> None:
    vectors = np.random.default_rng(0).normal(size=(1200, 16)).astype(np.float32)
    retrieval = found(vectors, np.repeat(np.arange(60), 20))
    assert retrieval.chance == pytest.approx(19 / 1199)
    assert retrieval.low <= retrieval.chance <= retrieval.high


@pytest.mark.parametrize("patients", [0, 1, MINIMUM_GROUPS - 1, MINIMUM_GROUPS])
def test_fewer_than_ten_patients_with_two_images_are_not_estimable(patients: int) -> None:
    vectors, groups = cohort(patients, 2, 0.5)
    alone, names = cohort(20, 1, 0.5, seed=1)
    everything = np.concatenate([vectors, alone]), np.concatenate([groups, [f"alone-{name}" for name in names]])
    retrieval = same_group_retrieval(*everything, resamples=50)
    assert (retrieval is None) == (patients < MINIMUM_GROUPS)


def test_broken_rows_are_absent() -> None:
    vectors, groups = cohort(12, 3, 0.5)
    broken = vectors.copy()
    broken[::3] = np.nan
    assert found(broken, groups) == found(
        np.delete(vectors, slice(0, None, 3), 0), np.delete(groups, slice(0, None, 3))
    )


def test_at_most_so_many_are_asked_for() -> None:
    vectors, groups = cohort(40, 3, 0.5)
    few = found(vectors, groups, most=30, seed=4)
    assert few.queries == 30
    assert few.chance == pytest.approx(2 / 119)
    assert few == found(vectors, groups, most=30, seed=4)
    assert abs(few.rate - found(vectors, groups).rate) < 0.3


def test_what_does_not_fit_is_refused() -> None:
    vectors, groups = cohort(12, 2, 0.5)
    with pytest.raises(ValueError, match="most: 0"):
        same_group_retrieval(vectors, groups, most=0)
