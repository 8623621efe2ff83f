"""Whether an image is far from every labelled one, where a head has learnt nothing and its score means little."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Shaped

FALSE_ALARMS = 0.01  # the share of labelled images that would be flagged themselves
REFERENCES = 5000  # labelled images that are compared with at most
_ROWS_AT_ONCE = 2048


@final
@dataclass(frozen=True)
class Familiar:
    """Directions of labelled images in standardised features, and the distance beyond which an image is far.

    Distance is 1 - cosine to the nearest of them, 0 to 2.
    """

    directions: Float32[np.ndarray, "m d"]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]
    limit: Float64[np.ndarray, ""]

    def distance(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
        """How far each row of unstandardised features is from the nearest labelled image; NaN for NaN or infinity."""
        found = np.full(len(x), np.nan)
        for start in range(0, len(x), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            found[rows] = 1 - (_directions(x[rows], self.mean, self.scale) @ self.directions.T).max(axis=1)
        return found

    def far(self, x: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        """Whether each row is farther than the limit; a row with NaN or infinity is."""
        return ~np.asarray(self.distance(x) <= self.limit)


def fit_familiar(
    x: Float[np.ndarray, "n d"],
    groups: Shaped[np.ndarray, " n"],
    mean: Float64[np.ndarray, " d"],
    scale: Float64[np.ndarray, " d"],
    rng: np.random.Generator,
) -> Familiar | None:
    """From the features of labelled images: the limit is what one in a hundred of them exceeds, groups apart.

    At most REFERENCES random images are kept. None for fewer than 1 / FALSE_ALARMS groups, where one in a hundred
    cannot be told. `mean` and `scale` are those of the training half.
    """
    chosen = np.sort(rng.permutation(len(x))[:REFERENCES])
    x, groups = x[chosen], groups[chosen]
    if len(np.unique(groups)) < 1 / FALSE_ALARMS:
        return None
    directions = _directions(x, mean, scale)
    nearest = np.empty(len(x))
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        cosine = directions[rows] @ directions.T
        cosine[groups[rows, None] == groups] = -np.inf  # another image of the same patient is no other one
        nearest[rows] = 1 - cosine.max(axis=1)
    limit = np.quantile(nearest, 1 - FALSE_ALARMS, method="higher")
    return Familiar(directions, mean, scale, np.array(float(limit)))


def _directions(
    x: Float[np.ndarray, "n d"], mean: Float64[np.ndarray, " d"], scale: Float64[np.ndarray, " d"]
) -> Float32[np.ndarray, "n d"]:
    z = ((x - mean) / scale).astype(np.float32)
    return np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.float32(1e-12)))
