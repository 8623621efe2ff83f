"""Whether neighbours share an answer: right by another library, at its level where nothing is shared, one a group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from domainssl.evaluation.neighbour_agreement import neighbour_agreement


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), answers=st.integers(2, 5))
def test_is_that_of_another_library(seed: int, answers: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    told = np.r_[np.arange(answers), rng.integers(0, answers, size=60 - answers)]
    found = neighbour_agreement(vectors, np.arange(60), told, np.arange(60), rng)
    assert found is not None
    places = NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors).kneighbors(return_distance=False)[:, 0]
    assert found.rate == pytest.approx((told[places] == told).mean())
    same = told[:, None] == told[None, :]
    assert found.chance == pytest.approx((same.sum(axis=1) - 1).mean() / 59)
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found.groups == 60


def test_where_nothing_is_shared_one_in_twenty_is_called_clear() -> None:
    clear, outside, seeds = 0, 0, 200
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        vectors, told = rng.normal(size=(150, 3)).astype(np.float32), rng.integers(0, 2, size=150)
        found = neighbour_agreement(vectors, np.arange(150), told, np.arange(150), rng)
        assert found is not None
        clear += found.p < 0.05
        outside += not found.low <= found.chance <= found.high
    assert clear <= 18  # the 97th percentile of 200 draws at 5 %
    assert outside <= 22  # a bootstrap of some 40 parts is a little narrow


def test_where_it_is_shared_that_is_clear() -> None:
    rng = np.random.default_rng(0)
    told = rng.integers(0, 3, size=120)
    found = neighbour_agreement(
        np.eye(3)[told] + 0.1 * rng.normal(size=(120, 3)), np.arange(120), told, np.arange(120), rng
    )
    assert found is not None
    assert found.rate == 1.0
    assert found.p < 0.002


def test_of_one_group_a_single_object_is_asked_and_found() -> None:
    rng = np.random.default_rng(1)
    vectors = np.repeat(rng.normal(size=(30, 8)), 4, axis=0) + 0.01 * rng.normal(size=(120, 8))
    groups = np.repeat(np.arange(30), 4)
    found = neighbour_agreement(vectors, np.arange(120), groups // 15, groups, rng)
    assert found is not None
    assert found.groups == 30
    assert found.rate < 0.9  # the other images of a group would be the nearest
    few = neighbour_agreement(vectors, np.arange(120), groups // 15, groups, rng, most=20)
    assert few is not None
    assert few.groups == 20


def test_too_few_groups_or_a_single_answer_are_not_estimable() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, 4))
    assert neighbour_agreement(vectors, np.arange(40), np.zeros(40, np.int64), np.arange(40), rng) is None
    assert neighbour_agreement(vectors, np.arange(9), np.arange(40) % 2, np.arange(40), rng) is None
    vectors[9:] = np.nan
    assert neighbour_agreement(vectors, np.arange(40), np.arange(40) % 2, np.arange(40), rng) is None
