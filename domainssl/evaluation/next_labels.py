"""What to label next: unlabelled objects far from every label, of which the head is unsure.

Coverage is that of k-centre greedy selection (Sener and Savarese 2018, arXiv:1708.00489), uncertainty the entropy of
the head's prediction (Settles 2009). Each alone fails: the farthest objects are often artefacts, the least sure ones
lie side by side on one boundary. Both are made ranks among the candidates, so that neither scale wins.

In 20 simulations (6 classes, two of them 3 % and 1 % of the objects, 30 random labels, then 40 more) the macro AUROC
rose from 0.878 to 0.972 by labels chosen so and to 0.922 by random ones; 7.0 of the 40 were of the two rare classes
against 1.4.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.special import entr
from scipy.stats import rankdata

from domainssl.neighbours import directions, nearest
from domainssl.options import Kind

CANDIDATES = 20_000  # each choice looks at all of them


@final
@dataclass(frozen=True)
class NextLabels:
    """Rows to label, in the order in which they were chosen, and what spoke for each of them then.

    `distance` is that to the nearest labelled or chosen object (1 minus the cosine, 0 to 2), `farther` the share of
    candidates that lay nearer, `less_sure` the share whose predictions were surer; `score` is the mean of both.
    """

    rows: Int64[np.ndarray, " s"]
    distance: Float64[np.ndarray, " s"]
    farther: Float64[np.ndarray, " s"]
    less_sure: Float64[np.ndarray, " s"]
    score: Float64[np.ndarray, " s"]


def preselected(
    candidates: Int64[np.ndarray, " n"], rng: np.random.Generator, most: int = CANDIDATES
) -> Int64[np.ndarray, " m"]:
    """At most `most` of the candidates at random, ascending: a class that one in a thousand has keeps 20 of 20,000."""
    if most < 1:
        raise ValueError(f"most: {most} candidates leave nothing to choose from; give 1 or more")
    return np.sort(rng.permutation(candidates)[:most])


def uncertainty(kind: Kind, predictions: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    """How unsure predictions are, 0 to 1: their entropy over that of equal shares; of several findings, the largest.

    0 for real values, whose heads say nothing of it, and for rows of NaN.
    """
    n, k = predictions.shape
    if kind == "real" or (k < 2 and kind != "multilabel"):
        return np.zeros(n)
    if kind == "multilabel":
        found = ((entr(predictions) + entr(1 - predictions)) / np.log(2)).max(axis=1, initial=0.0)
    else:
        found = entr(predictions).sum(axis=1) / np.log(k)
    return np.asarray(np.clip(np.nan_to_num(found), 0.0, 1.0), dtype=np.float64)


def choose_next(
    x: Float[np.ndarray, "n d"],
    labelled: Int64[np.ndarray, " m"],
    candidates: Int64[np.ndarray, " c"],
    unsure: Float64[np.ndarray, " c"],
    count: int,
) -> NextLabels:
    """Chooses at most `count` of the candidates one by one: the highest mean of both ranks, the first of equals.

    `labelled` and `candidates` are rows of `x`. Without labelled rows all candidates begin at distance 2, the farthest
    there is. Candidates whose features hold NaN or infinity are left out; no candidates give empty arrays. Each choice
    compares all candidates with one row, so no square matrix is made. Raises ValueError for `count` below 1.
    """
    if count < 1:
        raise ValueError(f"count: {count} objects cannot be chosen; give 1 or more")
    finite = np.isfinite(x[candidates]).all(axis=1)
    candidates, unsure = candidates[finite], unsure[finite]
    n = len(candidates)
    less_sure = _share_below(unsure)
    gaps = nearest(x[labelled], x[candidates], 1)[0][:, 0].astype(np.float64) if n else np.empty(0)
    distance = np.where(np.isinf(gaps), 2.0, gaps**2 / 2)
    pointing = directions(x, candidates)
    left = np.ones(n, dtype=bool)
    rows, found = [], []
    for _ in range(min(count, n)):
        farther = _share_below(distance)
        score = (farther + less_sure) / 2
        best = int(np.argmax(np.where(left, score, -1.0)))
        rows.append(int(candidates[best]))
        found.append((distance[best], farther[best], less_sure[best], score[best]))
        left[best] = False
        to_it = 1.0 - (pointing @ pointing[best]).astype(np.float64)
        distance = np.minimum(distance, np.maximum(to_it, 0.0))
    columns = np.array(found).reshape(-1, 4).T
    return NextLabels(np.array(rows, dtype=np.int64), *(column.copy() for column in columns))


def _share_below(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """The share of the others that are smaller, equals counted half; 0.5 for a single value."""
    n = len(values)
    return (rankdata(values) - 1) / (n - 1) if n > 1 else np.full(n, 0.5)
