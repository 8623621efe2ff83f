"""Nearest neighbours by direction among more rows than can all be compared: inverted lists (faiss), recall measured."""

import math
from typing import final

import faiss
import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from threadpoolctl import threadpool_limits

from domainssl.neighbours import directions, nearest

# Comparing every row with every other takes about a minute of one core at 30,000 rows of 1280 features, and the square
# of the rows: 18 hours at a million.
EXACT_UP_TO = 30_000
RECALL = 0.95
_AXES = 128  # principal axes in which lists are searched; what they find is measured anew in all features
_TRAINED_ON = 64  # rows a list, of those that k-means sees
_ASKED = 256  # rows whose neighbours are searched exactly to measure the recall
_ROWS_AT_ONCE = 4096


@final
class NeighbourIndex:
    """The rows of a matrix, made ready for searches of nearest rows by direction.

    Up to `exact_up_to` rows, `search` is `domainssl.neighbours.nearest`. Above, rows lie in about 2 sqrt(n) lists by
    k-means in their 128 leading principal axes (Jegou, Douze and Schmid 2011, sections II and V, without product
    quantisation); the nearest lists of a query are searched, and candidates compared in all features. How many lists is
    doubled until `RECALL` of the true k nearest of 256 rows, drawn by `rng`, are found; `recall` is the share that was
    (a row as near as the k-th counts), 1 where the search is exact. Same rows and generator, same index.
    The index holds about 540 bytes a row and not the rows, which every search is given again, so that it may be kept
    for as long as they live. Rows with NaN or infinity are nobody's neighbours. Raises ValueError for k below 1.
    """

    def __init__(
        self, x: Float[np.ndarray, "n d"], k: int, rng: np.random.Generator, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        if k < 1:
            raise ValueError(f"k: {k} neighbours cannot be searched for; give 1 or more")
        self._k = k
        self.recall = 1.0
        self._index: faiss.IndexIVFFlat | None = None
        if len(x) <= exact_up_to:
            return
        finite = np.concatenate([np.isfinite(x[part]).all(axis=1) for part in _parts(len(x))])
        self._rows = np.flatnonzero(finite).astype(np.int64)
        if len(self._rows) <= exact_up_to:
            return
        with threadpool_limits(1, user_api="blas"):  # sums in another order would make other lists
            self._build(x, rng)
            asked = np.sort(rng.choice(self._rows, min(_ASKED, len(self._rows)), replace=False))
            furthest = self._furthest(x, asked)
            while (recall := self._recall(x, asked, furthest)) < RECALL and self._index is not None:
                self._widen()
        self.recall = recall

    @property
    def exact(self) -> bool:
        """Whether every row is compared with every query."""
        return self._index is None

    def search(
        self, x: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "m d"], exclude_self: bool = False
    ) -> tuple[Float32[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]:
        """The k nearest rows of each query, as `domainssl.neighbours.nearest` gives them, but for those not found.

        `x` are the rows that the index was made of. Raises ValueError with `exclude_self` where there are not as many
        queries as rows.
        """
        if self._index is None:
            return nearest(x, queries, self._k, exclude_self)
        if exclude_self and len(queries) != len(x):
            raise ValueError(f"queries: {len(queries)} for {len(x)} rows; exclude_self needs the rows themselves")
        with threadpool_limits(1, user_api="blas"):
            return self._search(x, queries, np.arange(len(queries)) if exclude_self else np.full(len(queries), -1))

    def _search(
        self, x: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "m d"], own: Int64[np.ndarray, " m"]
    ) -> tuple[Float32[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]:
        """As `search`; `own` is the row that a query is, -1 for none."""
        assert self._index is not None
        distances = np.full((len(queries), self._k), np.inf, np.float32)
        found = np.full((len(queries), self._k), -1, np.int64)
        for part in _parts(len(queries)):
            asked = part[np.isfinite(queries[part]).all(axis=1)]
            if len(asked) == 0:
                continue
            sought = directions(queries, asked)
            _, places = self._index.search(_padded(sought @ self._axes, 0.0), self._candidates)
            rows: Int64[np.ndarray, "a c"] = np.where(places >= 0, self._rows[places], -1)
            gaps: Float32[np.ndarray, "a c"] = np.full(rows.shape, np.inf, np.float32)
            for column in range(rows.shape[1]):  # one column at a time, so that no (m, candidates, d) array is made
                difference = sought - directions(x, np.maximum(rows[:, column], 0))
                gaps[:, column] = np.sqrt(np.einsum("md,md->m", difference, difference))
            gaps[(rows < 0) | (rows == own[asked, None])] = np.inf
            order = np.lexsort((rows, gaps))[:, : self._k]  # of equally near rows the first, as in the exact search
            gaps, rows = np.take_along_axis(gaps, order, axis=1), np.take_along_axis(rows, order, axis=1)
            distances[asked, : gaps.shape[1]] = gaps
            found[asked, : gaps.shape[1]] = np.where(np.isinf(gaps), -1, rows)
        return distances, found

    def _build(self, x: Float[np.ndarray, "n d"], rng: np.random.Generator) -> None:
        n, lists = len(self._rows), round(2 * math.sqrt(len(self._rows)))
        seen = np.sort(rng.choice(self._rows, min(n, _TRAINED_ON * lists), replace=False))
        some = directions(x, seen[:: max(1, len(seen) // 20_000)])
        _, vectors = np.linalg.eigh((some.T @ some).astype(np.float64))
        self._axes = np.ascontiguousarray(vectors[:, ::-1][:, :_AXES], np.float32)
        quantiser = faiss.IndexFlatL2(self._axes.shape[1] + 1)
        index = faiss.IndexIVFFlat(quantiser, self._axes.shape[1] + 1, lists)
        index.cp.seed, index.cp.niter = int(rng.integers(2**31)), 10
        index.cp.min_points_per_centroid = 1
        self._quantiser, self._index = quantiser, index  # the index does not keep its quantiser alive
        index.train(np.concatenate([self._reduced(x, seen[part]) for part in _parts(len(seen))]))
        for part in _parts(n):
            index.add(self._reduced(x, self._rows[part]))
        index.nprobe, self._candidates = min(8, lists), min(n, 2 * (self._k + 1))

    def _reduced(self, x: Float[np.ndarray, "n d"], rows: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m q"]:
        """Rows in the axes, and how much of their length lies outside: distances then go by the cosine."""
        chosen = directions(x, rows)
        inside = chosen @ self._axes
        lost = np.einsum("md,md->m", chosen, chosen) - np.einsum("mq,mq->m", inside, inside)
        return _padded(inside, np.sqrt(np.maximum(lost, 0.0)))

    def _widen(self) -> None:
        """Search more lists and compare more candidates; every row, where that is all that is left."""
        assert self._index is not None
        lists, n = self._index.nlist, len(self._rows)
        if self._index.nprobe < lists:
            self._index.nprobe = min(lists, 2 * self._index.nprobe)
            self._candidates = min(n, max(self._candidates, min(2 * self._candidates, 8 * (self._k + 1))))
        elif self._candidates < n // 16:
            self._candidates *= 2
        else:
            self._index = None

    def _recall(
        self, x: Float[np.ndarray, "n d"], asked: Int64[np.ndarray, " a"], furthest: Float64[np.ndarray, " a"]
    ) -> float:
        """The share of the k nearest rows of these rows that a search finds; `furthest` is the distance of the k-th."""
        if self._index is None:
            return 1.0
        distances, _ = self._search(x, x[asked], asked)
        return float((distances <= furthest[:, None] + 1e-3).mean())

    def _furthest(self, x: Float[np.ndarray, "n d"], asked: Int64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
        """The distance of the k-th nearest other row of each of these rows, by comparing all."""
        sought = directions(x, asked)
        length = np.einsum("ad,ad->a", sought, sought)
        best = np.full((len(asked), self._k), np.inf)
        for part in _parts(len(self._rows)):
            rows = self._rows[part]
            there = directions(x, rows)
            squares = length[:, None] + np.einsum("nd,nd->n", there, there) - 2.0 * (sought @ there.T)
            squares[asked[:, None] == rows] = np.inf
            every = np.concatenate([best, squares], axis=1)
            best = np.partition(every, self._k - 1, axis=1)[:, : self._k]
        return np.asarray(np.sqrt(np.maximum(best.max(axis=1), 0.0)), np.float64)


def _parts(n: int) -> list[Int64[np.ndarray, " m"]]:
    return [np.arange(start, min(n, start + _ROWS_AT_ONCE)) for start in range(0, n, _ROWS_AT_ONCE)]


def _padded(inside: Float32[np.ndarray, "m q"], last: float | Float32[np.ndarray, " m"]) -> Float32[np.ndarray, "m q1"]:
    out = np.empty((len(inside), inside.shape[1] + 1), np.float32)
    out[:, :-1], out[:, -1] = inside, last
    return out
