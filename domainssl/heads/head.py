"""What a head is: a function fits it to a few labelled rows of a training half, and gives a frozen record of arrays.

Targets are one float64 matrix (row, t) for every kind of label, NaN where unknown: t is 1 for classes, yes/no and
ordered levels (the index of the class or level) and for real values; one column an answer for several findings (0 or 1)
and for votes (counts). Predictions are (row, output): a probability a class or level, one an answer for several
findings, the expected share an answer for votes, one value for real labels. Yes/no is two classes, no before yes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Shaped

_ROWS_AT_ONCE = 32_768


@final
@dataclass(frozen=True)
class TrainingHalf:
    """Frozen features of the training half, labelled or not, and which group (patient, tile) each row belongs to.

    `views`, for heads that train consistency: features of a weakly changed view of each row, then of strongly changed
    ones. Raises ValueError for no rows, and where features hold NaN or infinity.
    """

    x: Float[np.ndarray, "n d"]
    groups: Shaped[np.ndarray, " n"]
    views: Float[np.ndarray, "n v d"] | None = None

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise ValueError("features: the training half has no rows; give it some")
        bad = sum(int((~np.isfinite(part)).any(axis=1).sum()) for part in _parts(self.x))
        if bad:
            raise ValueError(f"features: {bad} of {len(self.x)} rows hold NaN or infinity; leave them out")
        if self.views is not None and (self.views.shape[1] < 2 or not np.isfinite(self.views).all()):
            raise ValueError(
                f"views: {self.views.shape[1]} a row, or some hold NaN or infinity; give a weak and a strong one"
            )

    @cached_property
    def standardisation(self) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
        """Mean and standard deviation of each feature over all rows.

        Deviations have a floor of 1 % of their median, so that features which almost never fire (ReLU networks have
        some) are not blown up on new data; 1 where every feature is constant.
        """
        mean = self.x.mean(axis=0, dtype=np.float64)
        squares = np.sum([((part - mean) ** 2).sum(axis=0) for part in _parts(self.x)], axis=0)
        scale = np.sqrt(squares / len(self.x))
        moving = scale > 1e-6 * np.abs(mean)  # less is the rounding of float32
        floor = 0.01 * float(np.median(scale[moving])) if moving.any() else 1.0
        return mean, np.maximum(scale, floor)

    @cached_property
    def z(self) -> Float32[np.ndarray, "n d"]:
        """The standardised features of all rows."""
        mean, scale = self.standardisation
        return np.concatenate([((part - mean) / scale).astype(np.float32) for part in _parts(self.x)])


def _parts(x: Float[np.ndarray, "n d"]) -> list[Float[np.ndarray, "m d"]]:
    """Some thousands of rows at a time: the float64 copy of all may not fit."""
    return [x[start : start + _ROWS_AT_ONCE] for start in range(0, len(x), _ROWS_AT_ONCE)]


class FittedHead(ABC):
    """A fitted head; every subclass is a final frozen dataclass whose fields are arrays, so that one function saves it.

    A class or level without a labelled row gets probability 0.
    """

    @abstractmethod
    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """Predictions of each row of unstandardised features; a row with NaN or infinity gives NaN."""


@runtime_checkable
class Fit(Protocol):
    """Fits a head to labelled rows of a training half.

    `rows` index `half`, `y` are their targets (no NaN but in single answers of several), `outputs` the number of
    predictions a row. All randomness comes from `rng`. What a head chooses (a strength) it chooses within `rows`.
    Raises ValueError where nothing can be learnt: no rows, or fewer than two classes among them.
    """

    def __call__(
        self,
        half: TrainingHalf,
        rows: Int64[np.ndarray, " m"],
        y: Float64[np.ndarray, "m t"],
        outputs: int,
        rng: np.random.Generator,
    ) -> FittedHead: ...
