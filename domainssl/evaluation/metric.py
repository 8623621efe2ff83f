"""What a metric is: one number a class, for many sets of row weights at once, as a bootstrap needs."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Prediction:
    """What a head says of the scored rows, and what some metrics need beside it.

    `scores` are predictions as `domainssl.heads.head` defines them. `thresholds` (one an answer) were chosen within the
    labels that the head was trained on; `prevalence` (one an answer) is the recipe's; None where there are none.
    `outlier` is the error beyond which a real value counts as an outlier.
    """

    scores: Float64[np.ndarray, "n k"]
    thresholds: Float64[np.ndarray, " a"] | None = None
    prevalence: Float64[np.ndarray, " a"] | None = None
    outlier: float | None = None


@runtime_checkable
class Measure(Protocol):
    """A metric under every column of weights.

    `truth` are targets (row, t) as `domainssl.heads.head` defines them; in several answers NaN is unknown and left out
    of that answer. `weights` (row, resample) are non-negative, C-contiguous float64, usually bootstrap multiplicities.
    Gives (class, resample); NaN where undefined.
    """

    def __call__(
        self, prediction: Prediction, truth: Float64[np.ndarray, "n t"], weights: Float64[np.ndarray, "n r"]
    ) -> Float64[np.ndarray, "k r"]: ...


@dataclass(frozen=True)
class Metric:
    """A measure, which direction is better, and of what its rows tell.

    `of`: "classes" (one row a class or answer, whose mean over the estimable ones is the macro value) or "all" (one
    row). `needs`: what the prediction must have; without it the metric is left out.
    """

    measure: Measure
    better: Literal["higher", "lower", "neither"]
    of: Literal["classes", "all"]
    needs: tuple[Literal["thresholds", "prevalence", "outlier"], ...] = ()
