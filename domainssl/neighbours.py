"""Exact nearest neighbours by direction (faiss): what similarity search, kNN scores and propagation share."""

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int64

_ROWS_AT_ONCE = 4096


def nearest(
    x: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "m d"], k: int, exclude_self: bool = False
) -> tuple[Float32[np.ndarray, "m k"], Int64[np.ndarray, "m k"]]:
    """The k rows of `x` nearest to each query: Euclidean distances (0 to 2) and row numbers, nearest first.

    Rows are L2-normalised in float32 copies first, so the order is that of cosine similarity; the search compares with
    every row. A zero row has no direction and stays zero: at distance 1 from all others, 0 from other zero rows.
    With `exclude_self`, query i is row i of `x` and is not its own neighbour; duplicates of it are.
    A row of `x` that holds NaN or infinity is nobody's neighbour. Where fewer than k neighbours exist, and in all
    places of a query that holds NaN or infinity, the distance is inf and the row number -1.
    Raises ValueError for k below 1, and with `exclude_self` where there are not as many queries as rows.
    """
    if k < 1:
        raise ValueError(f"k: {k} neighbours cannot be searched for; give 1 or more")
    if exclude_self and len(queries) != len(x):
        raise ValueError(f"queries: {len(queries)} for {len(x)} rows; exclude_self needs the rows themselves")
    distances = np.full((len(queries), k), np.inf, dtype=np.float32)
    indices = np.full((len(queries), k), -1, dtype=np.int64)
    rows = _finite_rows(x)
    found = min(len(rows), k + exclude_self)
    if found == 0:
        return distances, indices
    found_in = directions(x, rows)
    index = faiss.IndexFlatL2(x.shape[1])  # not by inner product: that would misplace zero rows
    index.add(found_in)
    asked = _finite_rows(queries)
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        part = asked[start : start + _ROWS_AT_ONCE]
        sought = directions(queries, part)
        _, places = index.search(sought, found)
        # The search rounds squares to 1e-7, so duplicates to distances of 3e-4; what it found is measured anew.
        gaps = _gaps(sought, found_in, places)
        neighbours = rows[places]
        if exclude_self:
            gaps = np.where(neighbours == part[:, None], np.inf, gaps)
        order = np.argsort(gaps, axis=1, kind="stable")[:, :k]
        gaps, neighbours = np.take_along_axis(gaps, order, axis=1), np.take_along_axis(neighbours, order, axis=1)
        distances[part, : order.shape[1]] = gaps
        indices[part, : order.shape[1]] = np.where(np.isinf(gaps), -1, neighbours)
    return distances, indices


def directions(x: Float[np.ndarray, "n d"], rows: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
    """Chosen rows at length 1, zero rows as they are. A copy in any case: faiss would normalise a memory map in place,
    and crash on one that is read-only."""
    chosen: Float32[np.ndarray, "m d"] = x[rows].astype(np.float32, order="C")
    largest = np.abs(chosen).max(axis=1, keepdims=True, initial=0.0)
    chosen /= np.where(largest > 0, largest, 1)  # squares of very small or large values leave float32
    length = np.linalg.norm(chosen, axis=1, keepdims=True)
    chosen /= np.where(length > 0, length, 1)
    return chosen


def _gaps(
    queries: Float32[np.ndarray, "m d"], rows: Float32[np.ndarray, "n d"], places: Int64[np.ndarray, "m k"]
) -> Float32[np.ndarray, "m k"]:
    gaps = np.empty(places.shape, dtype=np.float32)
    for column in range(places.shape[1]):  # one column at a time, so that no (m, k, d) array is made
        difference = queries - rows[places[:, column]]
        gaps[:, column] = np.sqrt(np.einsum("md,md->m", difference, difference))
    return gaps


def _finite_rows(x: Float[np.ndarray, "n d"]) -> Int64[np.ndarray, " m"]:
    rows: Int64[np.ndarray, " m"] = np.flatnonzero(np.isfinite(x).all(axis=1)).astype(np.int64)
    return rows
