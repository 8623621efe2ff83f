"""Neighbours of every row of a large half: the index against comparing all rows, as a ratio, with recall and memory."""

import time

import faiss
import numpy as np
import pytest

from domainssl.approximate_neighbours import RECALL, NeighbourIndex
from domainssl.neighbours import nearest

ROWS, WIDTH, RANK, NEIGHBOURS = 100_000, 640, 40, 10
ASKED = 2_000  # of the exact search, whose time is that of all by proportion: it compares each with every row


@pytest.mark.slow
def test_the_index_is_five_times_as_fast_as_comparing_all_rows(capsys):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, RANK))[rng.integers(300, size=ROWS)] + 0.5 * rng.normal(size=(ROWS, RANK))
    x = np.maximum(hidden @ rng.normal(size=(RANK, WIDTH)), 0).astype(np.float32)  # as features after a ReLU

    start = time.perf_counter()
    index = NeighbourIndex(x, NEIGHBOURS, np.random.default_rng(0))
    built = time.perf_counter() - start
    start = time.perf_counter()
    distance, _ = index.search(x, x, exclude_self=True)
    searched = time.perf_counter() - start
    start = time.perf_counter()
    exact, _ = nearest(x, x[:ASKED], NEIGHBOURS + 1)
    compared = (time.perf_counter() - start) * ROWS / ASKED

    recall = float((distance[:ASKED] <= exact[:, -1:] + 1e-3).mean())
    held = faiss.serialize_index(index._index).size
    ratio = compared / (built + searched)
    with capsys.disabled():
        print(
            f"\n{ROWS:,} rows of {WIDTH}: index {built:.0f} s, search {searched:.0f} s, all pairs {compared:.0f} s: "
            f"{ratio:.0f}x; recall {recall:.3f}; the index holds {held / ROWS:.0f} bytes a row"
        )
    assert not index.exact
    assert recall > RECALL - 0.02
    assert ratio > 5
