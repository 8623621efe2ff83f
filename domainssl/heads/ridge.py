"""Ridge regression of real values, its strength by leave-one-out in closed form."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64

from domainssl.heads.affine import affine
from domainssl.heads.cross_entropy import principal_axes
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import in_row_order, standardised_rows

# Penalties, as multiples of the rows' mean squared length about their mean. Half decades.
PENALTIES = tuple(float(p) for p in 10.0 ** np.arange(-3.0, 3.01, 0.5))


@final
@dataclass(frozen=True)
class RidgeHead(FittedHead):
    """weight @ (x - mean) / scale + bias."""

    weight: Float64[np.ndarray, "1 d"]
    bias: Float64[np.ndarray, " 1"]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n 1"]:
        """The value of each row; a row with NaN or infinity gives NaN."""
        return affine(x, self.weight, self.bias, self.mean, self.scale)


def fit_ridge(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> RidgeHead:
    """Ridge regression on standardised features, the bias not penalised.

    The penalty is the one of PENALTIES with the least mean squared leave-one-out error. One row, or equal rows, give
    the mean of their values. Raises ValueError for no rows, for values that are not finite, and more than one column.
    """
    rows, y = in_row_order(rows, y)
    if y.shape[1] != 1 or outputs != 1:
        raise ValueError(f"values: {y.shape[1]} columns, {outputs} outputs; real values are one")
    bad = int((~np.isfinite(y)).sum())
    if bad:
        raise ValueError(f"values: {bad} of {len(y)} are NaN or infinite; leave them out")
    mean, scale = half.standardisation
    z = standardised_rows(half, rows)
    centre, level = z.mean(axis=0), float(y.mean())
    weight = np.zeros((1, len(mean)))
    length = float(((z - centre) ** 2).sum()) / len(z)
    if length > 1e-12:
        axes = principal_axes(z - centre)
        residual = y[:, 0] - level
        projected = axes.coordinates.T @ residual
        errors = []
        for penalty in np.array(PENALTIES) * length:
            left = residual - axes.coordinates @ (projected / (axes.squares + penalty))
            leverage = 1 / len(z) + (axes.coordinates**2 / (axes.squares + penalty)).sum(axis=1)
            errors.append(float(np.mean((left / (1 - leverage)) ** 2)))
        penalty = PENALTIES[int(np.argmin(errors))] * length
        weight[0] = axes.to_features @ (projected / (axes.squares + penalty))
    return RidgeHead(weight=weight, bias=level - weight @ centre, mean=mean, scale=scale)
