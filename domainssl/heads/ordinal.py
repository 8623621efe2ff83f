"""Ordered levels: the proportional-odds model, one direction and increasing thresholds."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import minimize
from scipy.special import expit, logit

from domainssl.heads.affine import affine
from domainssl.heads.cross_entropy import PrincipalAxes, principal_axes
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import class_indices, in_row_order, standardised_rows
from domainssl.heads.strength import DEFAULT_STRENGTH, STRENGTHS, one_standard_error


@final
@dataclass(frozen=True)
class OrdinalHead(FittedHead):
    """P(level <= j) = sigmoid(thresholds[j] - weight @ (x - mean) / scale) (McCullagh 1980).

    A level without a labelled row has the same threshold on either side, or an infinite one at the ends.
    """

    weight: Float64[np.ndarray, "1 d"]
    thresholds: Float64[np.ndarray, " cuts"]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """The probability of each level, lowest first; a row with NaN or infinity gives NaN."""
        along = affine(x, self.weight, np.zeros(1), self.mean, self.scale)
        ends = np.zeros((len(x), 1)), np.ones((len(x), 1))
        below = np.concatenate([ends[0], expit(self.thresholds - along), ends[1]], axis=1)
        probability: Float64[np.ndarray, "n k"] = np.where(np.isnan(along), np.nan, np.diff(below, axis=1))
        return probability


def fit_ordinal(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> OrdinalHead:
    """A proportional-odds head whose strength is chosen as that of the linear probe.

    Raises ValueError for fewer than two levels and for labels out of range.
    """
    rows, y = in_row_order(rows, y)
    present, level = np.unique(class_indices(y, outputs), return_inverse=True)
    axes = principal_axes(standardised_rows(half, rows))
    folds = grouped_folds(level, half.groups[rows], rng)
    c = DEFAULT_STRENGTH if folds is None else _cross_validated(axes, level, folds)
    return _fitted(half, axes, level, present, outputs, c)


def fit_ordinal_at(
    half: TrainingHalf, rows: Int64[np.ndarray, " m"], y: Float64[np.ndarray, "m t"], outputs: int, c: float
) -> OrdinalHead:
    """A proportional-odds head of the given inverse strength: c * sum of losses + |weight|^2 / 2 is least.

    For two levels it is scikit-learn's LogisticRegression(C=c). Errors as `fit_ordinal`.
    """
    rows, y = in_row_order(rows, y)
    present, level = np.unique(class_indices(y, outputs), return_inverse=True)
    return _fitted(half, principal_axes(standardised_rows(half, rows)), level, present, outputs, c)


def _fitted(
    half: TrainingHalf,
    axes: PrincipalAxes,
    level: Int64[np.ndarray, " m"],
    present: Int64[np.ndarray, " k"],
    outputs: int,
    c: float,
) -> OrdinalHead:
    solution = _minimise(axes, level, np.ones((len(level), 1), dtype=bool), c, None, None)
    cuts = _thresholds(solution[len(axes.squares) :])[:, 0]
    padded = np.concatenate([[-np.inf], cuts, [np.inf]])
    below = np.searchsorted(present, np.arange(outputs - 1), side="right")  # levels present at or below each cut
    mean, scale = half.standardisation
    weight = (axes.to_features @ solution[: len(axes.squares)]).T
    return OrdinalHead(weight=weight, thresholds=padded[below], mean=mean, scale=scale)


def _cross_validated(axes: PrincipalAxes, level: Int64[np.ndarray, " m"], folds: Int64[np.ndarray, " m"]) -> float:
    used = folds[:, None] != np.arange(folds.max() + 1)
    losses, solution = np.empty((len(STRENGTHS), len(level))), None
    for s, c in enumerate(STRENGTHS):
        solution = _minimise(axes, level, used, c, solution, 1e-3)
        along = axes.coordinates @ solution[: len(axes.squares)]
        loss = _terms(_thresholds(solution[len(axes.squares) :]), along, level)[0]
        losses[s] = loss[np.arange(len(level)), folds]
    return one_standard_error(losses)


def _thresholds(parameters: Float64[np.ndarray, "cuts p"]) -> Float64[np.ndarray, "cuts p"]:
    """The lowest threshold and the logs of the gaps above it, as thresholds."""
    steps = np.concatenate([parameters[:1], np.exp(parameters[1:])])
    return np.asarray(np.cumsum(steps, axis=0), dtype=np.float64)


def _terms(
    cuts: Float64[np.ndarray, "cuts p"], along: Float64[np.ndarray, "m p"], level: Int64[np.ndarray, " m"]
) -> tuple[
    Float64[np.ndarray, "m p"],
    Float64[np.ndarray, "m p"],
    Float64[np.ndarray, "m p"],
    Float64[np.ndarray, "m p"],
]:
    """Losses -log P(level), and their slopes by the upper cut, the lower cut (each for a fixed gap) and the gap.

    With upper cut a, lower cut b: sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), without
    cancellation.
    """
    ends = np.full((1, cuts.shape[1]), np.inf)
    padded = np.concatenate([-ends, cuts, ends])
    gaps = np.concatenate([ends, np.diff(cuts, axis=0), ends])  # of each level
    upper, lower, gap = padded[level + 1] - along, padded[level] - along, gaps[level]
    loss = np.logaddexp(0, -upper) + np.logaddexp(0, lower) - np.log(-np.expm1(-gap))
    with np.errstate(over="ignore"):
        return loss, -expit(-upper), expit(lower), -1 / np.expm1(gap)


def _minimise(
    axes: PrincipalAxes,
    level: Int64[np.ndarray, " m"],
    used: Bool[np.ndarray, "m p"],
    c: float,
    start: Float64[np.ndarray, "u p"] | None,
    tolerance: float | None,
) -> Float64[np.ndarray, "u p"]:
    """The weights along the axes, the lowest threshold and the logs of the gaps, for each set of rows.

    `tolerance` as in `minimise_cross_entropies`. Raises RuntimeError where the solver does not converge.
    """
    q, p = len(axes.squares), used.shape[1]
    k = int(level.max()) + 1
    above = np.eye(k)[level][:, 1:]  # whether cut j is the row's lower one
    under = np.eye(k)[level][:, :-1]  # and whether its upper one
    share = c * used.sum(axis=0) / 4
    step = 1 / np.sqrt(np.concatenate([1 + np.outer(axes.squares, share / len(level)), np.tile(share, (k - 1, 1))]))
    penalty = np.concatenate([step[:q] ** 2, np.zeros((k - 1, p))])
    weight = c * used

    def objective(flat: Float64[np.ndarray, " u"]) -> tuple[float, Float64[np.ndarray, " u"]]:
        v = flat.reshape(-1, p)
        u = v * step
        loss, by_upper, by_lower, by_gap = _terms(_thresholds(u[q:]), axes.coordinates @ u[:q], level)
        by_upper, by_lower, by_gap = weight * by_upper, weight * by_lower, weight * by_gap
        by_cut = under.T @ by_upper + above.T @ by_lower
        # Cut j moves with every step up to j, so a step's slope is the sum over the cuts from it upwards.
        by_step = np.cumsum(by_cut[::-1], axis=0)[::-1].copy()
        by_step[1:] += (under.T @ by_gap)[1:]
        by_step[1:] *= np.exp(u[q + 1 :])
        gradient = np.concatenate([axes.coordinates.T @ -(by_upper + by_lower), by_step]) * step + penalty * v
        return float((weight * loss).sum() + (penalty * v * v).sum() / 2), gradient.ravel()

    if start is None:
        below = np.cumsum(used.T.astype(np.float64) @ np.eye(k)[level], axis=1)
        cuts = logit(((below[:, :-1] + 0.5) / (below[:, -1:] + 1)).T)
        start = np.concatenate([np.zeros((q, p)), cuts[:1], np.log(np.maximum(np.diff(cuts, axis=0), 1e-3))])
    at = (start / step).ravel()
    enough = 1e-6
    if tolerance is not None:
        flat_start = np.concatenate([np.zeros((q, p)), start[q:] / step[q:]])
        enough = tolerance * float(np.abs(objective(flat_start.ravel())[1]).max())
    options = {"gtol": enough, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 20}
    result = minimize(objective, at, jac=True, method="L-BFGS-B", options=options)
    remaining = float(np.abs(result.jac).max())
    if remaining > max(1e-4, 10 * enough):
        raise RuntimeError(
            f"ordinal head on {len(level)} rows at c={c}: no convergence, gradient {remaining:.1e} after "
            f"{result.nit} steps; give a smaller c"
        )
    solution: Float64[np.ndarray, "u p"] = np.asarray(result.x).reshape(-1, p) * step
    return solution
