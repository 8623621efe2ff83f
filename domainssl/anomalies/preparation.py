"""Features as all detectors compare them."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32


@final
@dataclass(frozen=True)
class Standardisation:
    """Centre and scale of each feature.

    Features of a network share a large offset and a few of them vary most, which makes all directions alike. Against
    centring alone, kNN on standardised features found more of the planted rarities of a simulated survey, and as many
    natural oddities among real pictures.
    """

    mean: Float32[np.ndarray, " d"]
    scale: Float32[np.ndarray, " d"]

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
        """`x` centred and scaled, in a copy; rows that hold NaN or infinity keep it."""
        return np.asarray((x.astype(np.float32) - self.mean) / self.scale)


def standardisation(rows: Float[np.ndarray, "n d"]) -> Standardisation:
    """That of at least one row, all of them finite: mean and standard deviation.

    The scale is at least 1 % of its median, or dead features would rule, and never 0.
    """
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    floor = 0.01 * float(np.median(scale)) or 1.0
    return Standardisation(mean.astype(np.float32), np.maximum(scale, floor).astype(np.float32))
