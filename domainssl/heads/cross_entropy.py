"""The solver under the linear, several-answers and votes heads: many small logistic regressions on the same rows."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64
from scipy.optimize import minimize


@final
@dataclass(frozen=True)
class PrincipalAxes:
    """Rows in their principal axes, where the optimum of every L2 penalty lies: z = coordinates @ to_features.T.

    `squares` are the sums of squares along each axis; the columns of `to_features` are orthonormal.
    """

    coordinates: Float64[np.ndarray, "n q"]
    squares: Float64[np.ndarray, " q"]
    to_features: Float64[np.ndarray, "d q"]


def principal_axes(z: Float64[np.ndarray, "n d"]) -> PrincipalAxes:
    """The principal axes of rows about the origin; n of them at most, since few rows need few axes."""
    n, d = z.shape
    if n > d:
        squares, to_features = np.linalg.eigh(z.T @ z)
        return PrincipalAxes(z @ to_features, np.maximum(squares, 0.0), to_features)
    squares, axes = np.linalg.eigh(z @ z.T)
    kept = squares > 1e-12 * squares[-1]  # directions that hold nothing but rounding
    squares, singular = squares[kept], np.sqrt(squares[kept])
    return PrincipalAxes(axes[:, kept] * singular, squares, z.T @ (axes[:, kept] / singular))


def minimise_cross_entropies(
    axes: PrincipalAxes,
    target: Float64[np.ndarray, "n p k"],
    used: Bool[np.ndarray, "n p"] | Float64[np.ndarray, "n p"],
    c: Float64[np.ndarray, " p"],
    *,
    start: Float64[np.ndarray, "a p k"] | None = None,
    tolerance: float | None = None,
) -> Float64[np.ndarray, "a p k"]:
    """Minimises c * sum of cross-entropies + |weight|^2 / 2 for each of p problems, the bias not penalised.

    Problem p sees the rows `used[:, p]`, or gives them these weights (0 or more), with the class shares `target[:, p]`.
    Gives the weights along the q axes and, in the last of the a = q + 1 rows, the biases. The optimum is that of
    scikit-learn's LogisticRegression(C=c); for two classes, of C=2c, since here each class has its weights. `start` is
    a solution to start from. `tolerance` is the largest gradient that is left, as a share of that at zero; by default
    1e-6 absolutely.
    Raises RuntimeError where the solver does not converge.

    One L-BFGS run over all problems, since one matrix product for all is cheaper than many small ones. Each axis is
    scaled by the curvature that the loss has at the start; on correlated features this takes a third of the steps.
    """
    n, p, k = target.shape
    q = len(axes.squares)
    curvature = c * (1 - 1 / k) / k  # of the cross-entropy where all classes are equally likely
    along = 1 + np.outer(axes.squares, curvature * used.mean(axis=0))
    step = (1 / np.sqrt(np.concatenate([along, (curvature * used.sum(axis=0))[None]])))[:, :, None]
    inputs = np.concatenate([axes.coordinates, np.ones((n, 1))], axis=1)
    penalty = step**2
    penalty[-1] = 0.0
    weight = (used * c)[:, :, None]

    def objective(flat: Float64[np.ndarray, " u"]) -> tuple[float, Float64[np.ndarray, " u"]]:
        v = flat.reshape(q + 1, p, k)
        logits = (inputs @ (v * step).reshape(q + 1, p * k)).reshape(n, p, k)
        logits -= logits.max(axis=2, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=2, keepdims=True)
        penalised = penalty * v
        loss = (weight * np.log(total)).sum() - (weight * logits * target).sum() + (penalised * v).sum() / 2
        residual = weight * (odds / total - target)
        gradient = (inputs.T @ residual.reshape(n, p * k)).reshape(q + 1, p, k) * step + penalised
        return float(loss), gradient.ravel()

    enough = 1e-6
    if tolerance is not None:
        enough = tolerance * float(np.abs(objective(np.zeros((q + 1) * p * k))[1]).max())
    at = np.zeros((q + 1) * p * k) if start is None else (start / step).ravel()
    options = {"gtol": enough, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 20}
    result = minimize(objective, at, jac=True, method="L-BFGS-B", options=options)
    remaining = float(np.abs(result.jac).max())
    if remaining > max(1e-4, 10 * enough):  # a line search may end at the limit of float64 just above gtol
        raise RuntimeError(
            f"linear head on {n} rows at c={c.max()}: no convergence, gradient {remaining:.1e} after {result.nit} "
            "steps; give a smaller c"
        )
    solution: Float64[np.ndarray, "a p k"] = np.asarray(result.x).reshape(q + 1, p, k) * step
    return solution


def cross_entropies(
    axes: PrincipalAxes, solution: Float64[np.ndarray, "a p k"], target: Float64[np.ndarray, "n p k"]
) -> Float64[np.ndarray, "n p"]:
    """The loss of every row under every problem's solution, in nats."""
    n, p, k = target.shape
    logits = (axes.coordinates @ solution[:-1].reshape(-1, p * k)).reshape(n, p, k) + solution[-1]
    logits -= logits.max(axis=2, keepdims=True)
    losses: Float64[np.ndarray, "n p"] = np.log(np.exp(logits).sum(axis=2)) - (logits * target).sum(axis=2)
    return losses
