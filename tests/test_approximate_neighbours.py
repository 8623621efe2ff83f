"""Neighbours that are found without comparing all rows, against those that are found by comparing them."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from domainssl.approximate_neighbours import EXACT_UP_TO, RECALL, NeighbourIndex
from domainssl.heads import searched_once
from domainssl.heads.head import TrainingHalf
from domainssl.heads.propagation import fit_propagation
from domainssl.heads.searched_once import index_of, nearest_once
from domainssl.neighbours import nearest

RNG = np.random.default_rng


def clustered(n: int, d: int = 40, seed: int = 0) -> np.ndarray:
    rng = RNG(seed)
    return (rng.normal(size=(30, d))[rng.integers(30, size=n)] + 0.7 * rng.normal(size=(n, d))).astype(np.float32)


def index(x: np.ndarray, k: int = 10, seed: int = 0) -> NeighbourIndex:
    return NeighbourIndex(x, k, RNG(seed), exact_up_to=500)


def test_few_rows_are_all_compared():
    x = clustered(400)
    made = index(x)
    assert made.exact
    assert made.recall == 1.0
    for got, there in zip(made.search(x, x, exclude_self=True), nearest(x, x, 10, exclude_self=True), strict=True):
        np.testing.assert_array_equal(got, there)
    assert EXACT_UP_TO >= 10_000


@pytest.mark.parametrize(
    "x", [clustered(3000), RNG(1).normal(size=(2000, 60)).astype(np.float32)], ids=["clusters", "noise"]
)
def test_nearly_all_neighbours_are_found_and_the_recall_is_told_truly(x):
    made = index(x)
    assert not made.exact
    distance, row = made.search(x, x, exclude_self=True)
    exact, there = nearest(x, x, 10, exclude_self=True)
    recall = (distance <= exact[:, -1:] + 1e-3).mean()
    assert recall > RECALL - 0.02
    assert abs(recall - made.recall) < 0.03
    assert (row != np.arange(len(x))[:, None]).all()
    assert (np.diff(distance, axis=1) >= 0).all()
    same = row[:, 0] == there[:, 0]
    np.testing.assert_allclose(distance[same, 0], exact[same, 0], atol=1e-5)


def test_an_index_that_searched_a_few_lists_only_would_miss_neighbours_in_noise():
    x = RNG(1).normal(size=(2000, 60)).astype(np.float32)
    made = index(x)
    assert made._index is not None
    made._index.nprobe = 1
    distance, _ = made.search(x, x, exclude_self=True)
    assert (distance <= nearest(x, x, 10, exclude_self=True)[0][:, -1:] + 1e-3).mean() < 0.5


def test_same_rows_and_seed_give_the_same_neighbours_with_any_number_of_threads():
    x = clustered(3000)
    before = faiss.omp_get_max_threads()
    found = []
    try:
        for threads in (1, 2, 2):
            faiss.omp_set_num_threads(threads)
            found.append(index(x).search(x, x[:500]))
    finally:
        faiss.omp_set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other[0], found[0][0])
        np.testing.assert_array_equal(other[1], found[0][1])


def test_broken_rows_are_nobodys_neighbours_and_broken_queries_have_none():
    x = clustered(2000)
    x[7, 3], x[9, 0], x[11], x[13] = np.nan, np.inf, 0.0, x[12]
    queries = x[[7, 11, 12, 20]]
    distance, row = index(x).search(x, queries)
    assert (row[0] == -1).all()
    assert np.isinf(distance[0]).all()
    assert not np.isin(row[1:], [7, 9]).any()
    assert row[1, 0] == 11
    assert set(row[2, :2]) == {12, 13}
    assert row[3, 0] == 20


def test_the_index_is_small_beside_the_rows():
    x = clustered(3000, d=1280)
    made = index(x)
    held = faiss.serialize_index(made._index).size + made._axes.nbytes + made._rows.nbytes
    assert held < 700 * len(x) + made._axes.nbytes
    assert held < x.nbytes / 4


def test_errors_name_what_is_wrong():
    x = clustered(600)
    with pytest.raises(ValueError, match="k: 0 neighbours"):
        NeighbourIndex(x, 0, RNG(0))
    with pytest.raises(ValueError, match="queries: 3 for 600 rows"):
        index(x).search(x, x[:3], exclude_self=True)


def test_all_draws_of_labels_share_one_search_and_changed_queries_are_searched_anew(monkeypatch):
    x, queries = clustered(300), clustered(50, seed=1)
    first = nearest_once(x, queries, 5)
    assert nearest_once(x, queries.copy(), 5) is first
    queries[0] = x[3]
    again = nearest_once(x, queries, 5)
    assert again[1][0, 0] == 3
    assert index_of(x, 5) is index_of(x, 5)
    held = len(searched_once._entries)
    del x
    assert len(searched_once._entries) == held - 1


def images(collections: Path) -> np.ndarray:
    """Small grey pictures of galaxies as features."""
    from PIL import Image

    files = sorted((collections / "galaxies" / "efigi" / "images").glob("*.jpg"))[:1500]
    return np.array([np.asarray(Image.open(f).convert("L").resize((24, 24))).ravel() for f in files], np.float32)


def answers(x: np.ndarray, patch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of new rows by label propagation, with exact and with approximate neighbours."""
    label = np.argsort(np.argsort(x[:, :20].mean(axis=1))) * 3 // len(x)
    rows = np.concatenate([RNG(k).choice(np.flatnonzero(label == k), 20, replace=False) for k in range(3)])
    y, new = label[rows, None].astype(float), x + RNG(5).normal(size=x.shape) * x.std() / 5

    def answer() -> np.ndarray:
        return fit_propagation(TrainingHalf(x, np.arange(len(x))), rows, y, 3, RNG(0)).predict(new)

    exact = answer()
    patch.setattr("domainssl.heads.searched_once.NeighbourIndex", lambda rows, k, rng: index(rows, k))
    return exact, answer()


def test_propagation_says_nearly_the_same_with_nearly_all_neighbours(monkeypatch):
    exact, there = answers(clustered(1500), monkeypatch)
    assert not np.array_equal(there, exact)
    assert np.abs(there - exact).mean() < 0.01
    assert (there.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.97


@pytest.mark.slow
def test_propagation_says_nearly_the_same_of_galaxies(monkeypatch, shared_data):
    exact, there = answers(images(shared_data), monkeypatch)
    assert not np.array_equal(there, exact)
    assert np.abs(there - exact).mean() < 0.02
    assert (there.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.95
