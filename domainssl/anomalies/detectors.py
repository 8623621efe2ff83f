"""The anomaly detectors by name. Another one is another function with this call, listed here."""

from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32

from domainssl.anomalies.knn import knn_scores


class Detector(Protocol):
    """Scores embeddings, higher is odder, NaN where it cannot; against `reference` where given, else among `x`."""

    def __call__(
        self, x: Float[np.ndarray, "n d"], neighbours: int = 10, reference: Float[np.ndarray, "m d"] | None = None
    ) -> Float32[np.ndarray, " n"]: ...


DETECTORS: dict[str, Detector] = {"knn": knn_scores}
