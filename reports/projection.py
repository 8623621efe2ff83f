"""Embeddings to a plane, for looking only: distances in it are not distances between objects."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64
from threadpoolctl import threadpool_limits

# Fewer objects than this have no neighbourhoods worth a UMAP; their first two principal components are shown.
FEWEST_FOR_UMAP = 15
COMPONENTS = 50
ROWS_AT_ONCE = 50_000
# Up to here all distances take seconds, less than it takes to compile UMAP's approximate search.
EXACT_NEIGHBOURS_UP_TO = 20_000


def project(
    embeddings: Float[np.ndarray, "n d"],
    *,
    neighbours: int = 15,
    seed: int,
    landmarks: int = 200_000,
    always: Int64[np.ndarray, " k"] | None = None,
) -> Float32[np.ndarray, "n 2"]:
    """A UMAP of L2-normalised embeddings after PCA to at most 50 components.

    The map is fitted on at most `landmarks` rows drawn with `seed`, among them the rows `always` (top anomalies), and
    the other rows are placed on it; equal input and seed give equal output, with any number of threads. UMAP starts
    from the principal components, which keeps the coarse layout (Kobak & Linderman 2021). Fewer than 15 rows, and
    embeddings of one dimension, give principal components instead; one or two rows, and rows that are all alike, give
    zeros.
    Raises ValueError for no rows, for NaN or infinite values (dropping them is the caller's choice), and for `always`
    that are outside the rows or more than `landmarks`.

    Source: McInnes, Healy & Melville 2018, arXiv:1802.03426; umap-learn.
    """
    n, width = embeddings.shape
    if n == 0 or width == 0:
        raise ValueError(
            f"embeddings: nothing to project in an array of shape {n} x {width}; embed at least one object"
        )
    broken = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if broken.size:
        raise ValueError(
            f"embeddings: {broken.size} of {n} rows hold NaN or infinity, the first is row {broken[0]}; drop them"
        )
    if neighbours < 2 or landmarks < FEWEST_FOR_UMAP:
        raise ValueError(
            f"neighbours {neighbours} must be at least 2 and landmarks {landmarks} at least {FEWEST_FOR_UMAP}"
        )
    fitted = _landmark_rows(n, landmarks, always, seed)
    if n <= 2 or _all_alike(embeddings):
        return np.zeros((n, 2), np.float32)
    import sklearn.decomposition  # noqa: F401 - limits reach the libraries that are loaded already
    import umap  # noqa: F401

    with threadpool_limits(1):  # sums in another order differ in the last digit, and UMAP makes another map of that
        return _placed(embeddings, fitted, neighbours, seed)


def _placed(
    embeddings: Float[np.ndarray, "n d"], fitted: Int64[np.ndarray, " m"], neighbours: int, seed: int
) -> Float32[np.ndarray, "n 2"]:
    n = len(embeddings)
    components = _principal_components(embeddings, fitted)
    if n < FEWEST_FOR_UMAP or components.shape[1] < 2:
        plane = np.zeros((n, 2), np.float32)
        plane[:, : components.shape[1]] = components[:, :2]
        return plane
    return _umap(components, fitted, neighbours, seed)


def _landmark_rows(
    n: int, landmarks: int, always: Int64[np.ndarray, " k"] | None, seed: int
) -> Int64[np.ndarray, " m"]:
    """Sorted row numbers to fit on: `always`, filled up at random."""
    kept = np.unique(np.zeros(0, np.int64) if always is None else always)
    if kept.size and (kept[0] < 0 or kept[-1] >= n):
        raise ValueError(f"always: rows {kept[0]} to {kept[-1]} do not lie in 0 to {n - 1}; give row numbers")
    if kept.size > landmarks:
        raise ValueError(f"always: {kept.size} rows are more than {landmarks} landmarks; raise landmarks")
    if n <= landmarks:
        return np.arange(n)
    others = np.setdiff1d(np.arange(n), kept, assume_unique=True)
    drawn = np.random.default_rng(seed).choice(others, landmarks - kept.size, replace=False)
    return np.sort(np.concatenate([kept, drawn]))


def _principal_components(
    embeddings: Float[np.ndarray, "n d"], fitted: Int64[np.ndarray, " m"]
) -> Float32[np.ndarray, "n p"]:
    """Unit-length embeddings (a zero row stays zero) on the principal axes of the fitted rows."""
    from sklearn.decomposition import PCA

    # The solver is named, since the automatic choice may be a randomised one; the sign of each axis is fixed by both.
    solver = "covariance_eigh" if len(fitted) > embeddings.shape[1] else "full"
    pca = PCA(min(COMPONENTS, embeddings.shape[1], len(fitted) - 1), svd_solver=solver)
    pca.fit(_unit_length(embeddings[fitted]))
    blocks = range(0, len(embeddings), ROWS_AT_ONCE)
    parts = [pca.transform(_unit_length(embeddings[start : start + ROWS_AT_ONCE])) for start in blocks]
    return np.concatenate(parts).astype(np.float32)


def _all_alike(embeddings: Float[np.ndarray, "n d"]) -> bool:
    """Whether all rows point the same way, so that no axis tells them apart (within float32 rounding)."""
    blocks = range(0, len(embeddings), ROWS_AT_ONCE)
    first = _unit_length(embeddings[:1])
    return all(
        bool((np.abs(_unit_length(embeddings[start : start + ROWS_AT_ONCE]) - first) < 1e-6).all()) for start in blocks
    )


def _unit_length(rows: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    # float64 for the length: float16 embeddings overflow when squared.
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Float32[np.ndarray, "n d"] = np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0).astype(
        np.float32
    )
    return unit


def _umap(
    components: Float32[np.ndarray, "n p"], fitted: Int64[np.ndarray, " m"], neighbours: int, seed: int
) -> Float32[np.ndarray, "n 2"]:
    from umap import UMAP

    nearest = min(neighbours, len(fitted) - 1)
    others = np.setdiff1d(np.arange(len(components)), fitted, assume_unique=True)
    known: tuple[Any, ...] = (None, None, None)
    if not others.size and len(fitted) <= EXACT_NEIGHBOURS_UP_TO:
        known = _exact_neighbours(components, nearest)
    with warnings.catch_warnings():
        # Rows are placed later only where UMAP searches by itself.
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\] .* is not an NNDescent object", UserWarning)
        # One job: with a seed UMAP uses one in any case, and warns of having been asked for more.
        model = UMAP(
            n_components=2,
            n_neighbors=nearest,
            init="pca",
            precomputed_knn=known,
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,
        )
        plane = np.empty((len(components), 2), np.float32)
        plane[fitted] = model.fit_transform(components[fitted])
    for start in range(0, len(others), ROWS_AT_ONCE):
        rows = others[start : start + ROWS_AT_ONCE]
        plane[rows] = model.transform(components[rows])
    return plane


def _exact_neighbours(components: Float32[np.ndarray, "n p"], nearest: int) -> tuple[Any, ...]:
    """Row numbers, distances and no search index, as UMAP takes them; a row comes first among its own neighbours."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=nearest, algorithm="brute", n_jobs=1).fit(components)
    distances, rows = search.kneighbors(components)
    return rows, distances.astype(np.float32), None
