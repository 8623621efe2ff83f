"""Label spreading over the neighbour graph of all rows of the training half, labelled or not."""

import threading
import weakref
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import cg

from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order
from domainssl.neighbours import nearest

NEIGHBOURS = 10
# On ImageNet features of galaxies (5 to 50 labels a class) and radiographs (5 to 100), alpha 0.7 stays within 0.003 of
# the better of 0.5 and 0.9 in macro AUROC (all at temperature 0.1); 0.99 loses up to 0.03. On radiographs alone, a
# temperature of 0.2 gains up to 0.013 over 0.1.
ALPHA = 0.7
TEMPERATURE = 0.2  # of the weights exp((cosine - 1) / temperature)

_building = threading.Lock()
_graphs: dict[int, csr_array] = {}  # by the id of the TrainingHalf; an entry goes when its half does


@final
@dataclass(frozen=True)
class PropagationHead(FittedHead):
    """Mean shares of the nearest rows of the training half, weighted by exp(cosine / temperature).

    `rows` are the standardised features of the whole half, `shares` what the labels gave each row.
    """

    rows: Float32[np.ndarray, "n d"]
    shares: Float64[np.ndarray, "n k"]
    neighbours: Int64[np.ndarray, ""]
    temperature: Float64[np.ndarray, ""]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "m k"]:
        """Class probabilities of each row; a row with NaN or infinity gives NaN."""
        z = ((x - self.mean) / self.scale).astype(np.float32)
        distance, row = nearest(self.rows, z, int(self.neighbours))
        weight = np.where(row >= 0, _weight(distance, float(self.temperature)), 0.0)
        total = weight.sum(axis=1, keepdims=True)
        mean = np.einsum("mj,mjk->mk", weight, self.shares[row])
        out = np.full(mean.shape, np.nan)
        np.divide(mean, total, out=out, where=total > 0)
        return out


def fit_propagation(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> PropagationHead:
    """Spreads labels over the graph that joins every row with its 10 nearest ones, in either direction.

    A row that no label reaches gets the shares of the labelled rows. Search is exact: its time grows with the square
    of the half. The graph is built once a TrainingHalf.
    Raises ValueError for fewer than two classes and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    given = np.zeros((len(half.x), outputs))
    given[rows, class_indices(y, outputs)] = 1.0
    spread = spread_labels(_graph(half), given, ALPHA)
    total = spread.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, spread / np.where(total > 0, total, 1.0), given.sum(axis=0) / given.sum())
    mean, scale = half.standardisation
    return PropagationHead(half.z, shares, np.array(NEIGHBOURS), np.array(TEMPERATURE), mean, scale)


def spread_labels(graph: csr_array, given: Float64[np.ndarray, "n k"], alpha: float) -> Float64[np.ndarray, "n k"]:
    """The fixed point of F = alpha S F + (1 - alpha) given, S = D^-1/2 W D^-1/2 (Zhou et al. 2004, equation 5).

    `graph` is the symmetric W, without loops. A row without a path to a label gets 0 for every class.
    """
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    system = eye_array(len(degree)) - alpha * (root @ graph @ root)
    out = np.zeros(given.shape)
    for column in np.flatnonzero(given.any(axis=0)):
        solution, failed = cg(system, (1 - alpha) * given[:, column], rtol=1e-10, atol=0.0, maxiter=10_000)
        assert failed == 0, f"conjugate gradients: {failed}"  # the condition number is below 2 / (1 - alpha)
        out[:, column] = np.maximum(solution, 0.0)
    return out


def neighbour_graph(z: Float32[np.ndarray, "n d"], neighbours: int, temperature: float) -> csr_array:
    """The symmetric cosine neighbour graph: rows are joined where either is among the other's nearest."""
    n = len(z)
    distance, row = nearest(z, z, neighbours, exclude_self=True)
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
