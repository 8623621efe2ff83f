"""The anomaly detectors by name. Another one is another function with this call, listed here."""

from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32

from domainssl.anomalies.isolation_forest import isolation_forest_scores
from domainssl.anomalies.knn import knn_scores
from domainssl.options import RankOptions


class Detector(Protocol):
    """Scores embeddings, higher is odder, NaN where it cannot; against `reference` where given, else among `x`.

    Of the options it takes those that are its own; all its randomness comes from `seed`.
    """

    def __call__(
        self,
        x: Float[np.ndarray, "n d"],
        options: RankOptions,
        seed: int,
        reference: Float[np.ndarray, "m d"] | None = None,
    ) -> Float32[np.ndarray, " n"]: ...


def _knn(
    x: Float[np.ndarray, "n d"], options: RankOptions, seed: int, reference: Float[np.ndarray, "m d"] | None = None
) -> Float32[np.ndarray, " n"]:
    return knn_scores(x, options.neighbours, reference)


def _isolation_forest(
    x: Float[np.ndarray, "n d"], options: RankOptions, seed: int, reference: Float[np.ndarray, "m d"] | None = None
) -> Float32[np.ndarray, " n"]:
    return isolation_forest_scores(x, seed, options.trees, reference)


DETECTORS: dict[str, Detector] = {"knn": _knn, "isolation_forest": _isolation_forest}
