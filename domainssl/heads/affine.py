"""What linear heads share: affine functions of standardised features, in parts that fit into memory."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64, Int64

_ROWS_AT_ONCE = 4096


def standardised_parts(
    x: Float[np.ndarray, "n d"], mean: Float64[np.ndarray, " d"], scale: Float64[np.ndarray, " d"]
) -> Iterator[tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, "m d"]]]:
    """Row numbers and standardised features of the rows without NaN or infinity, some thousands at a time."""
    for start in range(0, len(x), _ROWS_AT_ONCE):  # the float64 copy of all rows may not fit
        part = (x[start : start + _ROWS_AT_ONCE].astype(np.float64) - mean) / scale
        finite = np.flatnonzero(np.isfinite(part).all(axis=1))
        if len(finite):
            yield (start + finite).astype(np.int64), part[finite]


def affine(
    x: Float[np.ndarray, "n d"],
    weight: Float64[np.ndarray, "k d"],
    bias: Float64[np.ndarray, " k"],
    mean: Float64[np.ndarray, " d"],
    scale: Float64[np.ndarray, " d"],
) -> Float64[np.ndarray, "n k"]:
    """weight @ (x - mean) / scale + bias of each row; NaN for a row with NaN or infinity."""
    out = np.full((len(x), len(weight)), np.nan)
    for rows, z in standardised_parts(x, mean, scale):
        out[rows] = z @ weight.T + bias
    return out


def softmax(logits: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Probabilities from logits; -inf gives 0, a row of NaN stays NaN."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Float64[np.ndarray, "n k"] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
