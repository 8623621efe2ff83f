"""Label spreading over the neighbour graph of all rows of the training half, labelled or not."""

import threading
import weakref
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order
from domainssl.heads.searched_once import index_of, nearest_once

NEIGHBOURS = 10
# On ImageNet features of galaxies (5 to 50 labels a class) and radiographs (5 to 100), alpha 0.7 stays within 0.003 of
# the better of 0.5 and 0.9 in macro AUROC (all at temperature 0.1); 0.99 loses up to 0.03. On radiographs alone, a
# temperature of 0.2 gains up to 0.013 over 0.1.
ALPHA = 0.7
TEMPERATURE = 0.2  # of the weights exp((cosine - 1) / temperature)

_ROWS_AT_ONCE = 32_768
_building = threading.Lock()
_graphs: dict[int, csr_array] = {}  # by the id of the TrainingHalf; an entry goes when its half does


@final
@dataclass(frozen=True)
class PropagationHead(FittedHead):
    """Mean shares of the nearest rows of the training half, weighted by exp(cosine / temperature).

    `rows` are the standardised features of the whole half, `shares` what the labels gave each row (float32: there may
    be a million rows). Of more rows than can all be compared, nearly all neighbours are found, see
    `domainssl.approximate_neighbours`.
    """

    rows: Float32[np.ndarray, "n d"]
    shares: Float32[np.ndarray, "n k"]
    neighbours: Int64[np.ndarray, ""]
    temperature: Float64[np.ndarray, ""]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "m k"]:
        """Class probabilities of each row; a row with NaN or infinity gives NaN."""
        distance, row = nearest_once(self.rows, self._standardised(x), int(self.neighbours))
        weight = np.where(row >= 0, _weight(distance, float(self.temperature)), 0.0)
        total = weight.sum(axis=1)
        out = np.full((len(x), self.shares.shape[1]), np.nan)
        for k, share in enumerate(
            self.shares.T
        ):  # one class at a time, so that no (m, neighbours, class) array is made
            np.divide((weight * share[row]).sum(axis=1), total, out=out[:, k], where=total > 0)
        return out

    def _standardised(self, x: Float[np.ndarray, "m d"]) -> Float32[np.ndarray, "m d"]:
        z = np.empty(x.shape, np.float32)
        for start in range(0, len(x), _ROWS_AT_ONCE):  # the float64 copy of all rows may not fit
            part = slice(start, start + _ROWS_AT_ONCE)
            z[part] = (x[part] - self.mean) / self.scale
        return z


def fit_propagation(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> PropagationHead:
    """Spreads labels over the graph that joins every row with its 10 nearest ones, in either direction.

    A row that no label reaches gets the shares of the labelled rows. Search is exact up to 30,000 rows and finds 95 %
    of the neighbours or more beyond (`domainssl.approximate_neighbours`). The graph is built once a TrainingHalf; it
    takes up to 320 bytes a row.
    Raises ValueError for fewer than two classes and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    labels = class_indices(y, outputs)
    graph, shares = _graph(half), np.zeros((len(half.x), outputs), np.float32)
    for k in np.unique(labels):  # one class at a time: what is float64 has one column
        given = np.zeros((len(half.x), 1))
        given[rows[labels == k]] = 1.0
        shares[:, k] = spread_labels(graph, given, ALPHA)[:, 0]
    total = shares.sum(axis=1, keepdims=True, dtype=np.float64)
    reached = total[:, 0] > 0
    shares[reached] /= total[reached]
    shares[~reached] = np.bincount(labels, minlength=outputs) / len(labels)
    mean, scale = half.standardisation
    return PropagationHead(half.z, shares, np.array(NEIGHBOURS), np.array(TEMPERATURE), mean, scale)


def spread_labels(graph: csr_array, given: Float64[np.ndarray, "n k"], alpha: float) -> Float64[np.ndarray, "n k"]:
    """The fixed point of F = alpha S F + (1 - alpha) given, S = D^-1/2 W D^-1/2 (Zhou et al. 2004, equation 5).

    `graph` is the symmetric W, without loops. A row without a path to a label gets 0 for every class.
    """
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = 1 / np.sqrt(np.where(degree > 0, degree, 1.0))

    def applied(v: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """(1 - alpha S) v, without a second matrix of the graph's size."""
        left: Float64[np.ndarray, " n"] = v - alpha * root * (graph @ (root * v))
        return left

    system = LinearOperator(graph.shape, matvec=applied, dtype=np.float64)
    out = np.zeros(given.shape)
    for column in np.flatnonzero(given.any(axis=0)):
        solution, failed = cg(system, (1 - alpha) * given[:, column], rtol=1e-10, atol=0.0, maxiter=10_000)
        assert failed == 0, f"conjugate gradients: {failed}"  # the condition number is below 2 / (1 - alpha)
        out[:, column] = np.maximum(solution, 0.0)
    return out


def neighbour_graph(z: Float32[np.ndarray, "n d"], neighbours: int, temperature: float) -> csr_array:
    """The symmetric cosine neighbour graph: rows are joined where either is among the other's nearest."""
    n = len(z)
    distance, row = index_of(z, neighbours).search(z, z, exclude_self=True)
    there = row >= 0
    source = np.repeat(np.arange(n), neighbours).reshape(row.shape)[there]
    graph = csr_array((_weight(distance[there], temperature), (source, row[there])), shape=(n, n))
    return csr_array(graph.maximum(graph.T))


def _weight(distance: Float32[np.ndarray, "..."], temperature: float) -> Float64[np.ndarray, "..."]:
    """exp((cosine - 1) / temperature) from the distance between directions."""
    weight: Float64[np.ndarray, "..."] = np.exp(-(distance.astype(np.float64) ** 2) / (2 * temperature))
    return weight


def _graph(half: TrainingHalf) -> csr_array:
    key = id(half)
    with _building:  # several threads ask for the same one at once
        if key not in _graphs:
            _graphs[key] = neighbour_graph(half.z, NEIGHBOURS, TEMPERATURE)
            weakref.finalize(half, _graphs.pop, key, None)
        return _graphs[key]
