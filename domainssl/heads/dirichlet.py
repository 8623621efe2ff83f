"""Votes of many people as a Dirichlet-multinomial: expected shares by a linear map, and how far votes stray."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from domainssl.evaluation.dirichlet_multinomial import (
    HALF_A_VOTE,
    effective_votes,
    likeliest_total,
    log_likelihood,
)
from domainssl.heads.affine import affine, softmax
from domainssl.heads.cross_entropy import PrincipalAxes, principal_axes
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.labels import in_row_order, standardised_rows
from domainssl.heads.strength import one_standard_error

# Towards the default goes the rule of one standard error, and it is taken where nothing can be compared: on simulated
# votes on features of galaxies, 0.001 was best for two questions and 0.01 for the third at 5 labels an answer, each by
# up to 0.03 nats. Weak penalties are for few features.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.1, 1.0)
DEFAULT = 3e-3
CHOOSING = 20  # rows; fewer tell strengths apart by luck, and the default is taken
_LOWEST_SHARE = 1e-12  # so that a concentration is never 0; what it costs to be wrong is 28 nats
_PATH_TOLERANCE = 1e-3  # of the gradient at the start: held-out likelihoods are compared, not reported


@final
@dataclass(frozen=True)
class DirichletHead(FittedHead):
    """Concentrations total * softmax(weight @ (x - mean) / scale + bias); `votes` is the usual number of a row's votes.

    The total is one for all objects: concentrations that are each the exponential of a linear map, so that it varies,
    gave test votes a lower likelihood at 1 to 100 labels an answer, on simulated votes on features of galaxies.
    """

    weight: Float64[np.ndarray, "k d"]
    bias: Float64[np.ndarray, " k"]
    total: Float64[np.ndarray, ""]
    votes: Float64[np.ndarray, ""]
    mean: Float64[np.ndarray, " d"]
    scale: Float64[np.ndarray, " d"]

    def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """The expected share of each answer; a row with NaN or infinity gives NaN."""
        return softmax(affine(x, self.weight, self.bias, self.mean, self.scale))

    def concentration(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
        """The Dirichlet concentration of each answer, above 0; a row with NaN or infinity gives NaN."""
        return self.around(self.predict(x))

    def around(self, shares: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """The concentrations about expected shares, where these are known already; NaN stays NaN."""
        concentration: Float64[np.ndarray, "n k"] = self.total * np.maximum(shares, _LOWEST_SHARE)
        return concentration


def fit_dirichlet(
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> DirichletHead:
    """Predicts concentrations from rows of vote counts, of which every vote counts; rows without votes say nothing.

    Maximises the Dirichlet-multinomial likelihood with an L2 penalty on the weights and half a vote for each answer
    at the mean of the features, so that an answer without a vote has a small share and not none. The strength is
    chosen in folds by group; the total is the likeliest for the votes of rows that were left out, with its prior,
    since rows that were learnt from lie too close to what is expected of them. A single row leaves both as they are by
    default. Raises ValueError for unknown or negative counts, and where no row has votes.
    """
    rows, y = in_row_order(rows, y)
    if y.shape[1] != outputs:
        raise ValueError(f"votes: {y.shape[1]} columns for {outputs} answers; give one an answer")
    bad = int((~(y >= 0)).any(axis=1).sum())
    if bad:
        raise ValueError(f"votes: {bad} of {len(y)} rows hold negative or unknown counts; leave them out")
    asked = y.sum(axis=1) > 0
    if not asked.any():
        raise ValueError(f"votes: none of {len(y)} rows has votes; a head needs some")
    rows, y = rows[asked], y[asked]
    axes = principal_axes(standardised_rows(half, rows))
    folds = grouped_folds(np.zeros(len(rows), dtype=np.int64), half.groups[rows], rng)
    c, total = (DEFAULT, float(outputs)) if folds is None else _chosen(axes, y, folds)
    everything = np.ones((len(rows), 1), dtype=bool)
    solution = maximise_likelihoods(axes, y, everything, np.array([c]), total)[:, 0]
    mean, scale = half.standardisation
    return DirichletHead(
        weight=(axes.to_features @ solution[:-1]).T,
        bias=solution[-1],
        total=np.array(total),
        votes=np.array(float(np.median(y.sum(axis=1)))),
        mean=mean,
        scale=scale,
    )


def maximise_likelihoods(
    axes: PrincipalAxes,
    counts: Float64[np.ndarray, "n k"],
    used: Bool[np.ndarray, "n p"],
    c: Float64[np.ndarray, " p"],
    total: float,
    *,
    start: Float64[np.ndarray, "a p k"] | None = None,
    tolerance: float = 1e-5,
) -> Float64[np.ndarray, "a p k"]:
    """Minimises c / e * -(log-likelihood of the used rows) + |weight|^2 / 2 for p problems of one total concentration.

    e is the mean number of effective votes of a row, so that c means what it does to a linear probe: one row of usual
    votes is one row. Gives the weights along the axes and, in the last of the a rows, the biases, as
    `minimise_cross_entropies` does, and is preconditioned as that is. `tolerance` is the largest gradient that is left,
    as a share of that at zero weights. Raises RuntimeError where the solver does not converge.
    """
    (n, k), p, q = counts.shape, used.shape[1], len(axes.squares)
    row = c / effective_votes(counts.sum(axis=1), total).mean()
    curvature = c * (1 - 1 / k) / k
    along = 1 + np.outer(axes.squares, curvature * used.mean(axis=0))
    step = (1 / np.sqrt(np.concatenate([along, (curvature * used.sum(axis=0))[None]])))[:, :, None]
    inputs = np.concatenate([axes.coordinates, np.ones((n, 1))], axis=1)
    penalty = step**2
    penalty[-1] = 0.0
    weight, votes = (used * row)[:, :, None], np.broadcast_to(counts[:, None], (n, p, k))

    def objective(flat: Float64[np.ndarray, " u"]) -> tuple[float, Float64[np.ndarray, " u"]]:
        v = flat.reshape(q + 1, p, k)
        log_shares = _log_shares((inputs @ (v * step).reshape(q + 1, p * k)).reshape(n, p, k))
        shares = np.exp(log_shares)
        alpha = total * shares
        # As gamma(a) = gamma(1 + a) / a, so that shares which are 0 in float64 have a likelihood and a slope.
        gained = np.where(votes > 0, gammaln(votes + alpha) - gammaln(1 + alpha) + log_shares, 0.0)
        slope = np.where(votes > 0, alpha * (digamma(votes + alpha) - digamma(1 + alpha)) + 1, 0.0)
        residual = weight * (shares * slope.sum(axis=2, keepdims=True) - slope)
        penalised = penalty * v
        gradient = (inputs.T @ residual.reshape(n, p * k)).reshape(q + 1, p, k) * step + penalised
        before = _log_shares(v[-1] * step[-1])  # at the mean of the features
        loss = -(weight * gained).sum() + (penalised * v).sum() / 2 - HALF_A_VOTE * (row[:, None] * before).sum()
        gradient[-1] += HALF_A_VOTE * row[:, None] * (k * np.exp(before) - 1) * step[-1]
        return float(loss), gradient.ravel()

    zero = np.zeros((q + 1, p, k))
    enough = tolerance * float(np.abs(objective(zero.ravel())[1]).max())
    at = zero if start is None else start / step
    options = {"gtol": enough, "ftol": 0.0, "maxiter": 10_000, "maxfun": 20_000, "maxcor": 20}
    result = minimize(objective, at.ravel(), jac=True, method="L-BFGS-B", options=options)
    remaining = float(np.abs(result.jac).max())
    if remaining > max(1e-4, 10 * enough):  # a line search may end at the limit of float64 just above gtol
        raise RuntimeError(
            f"dirichlet head on {n} rows at c={c.max()}: no convergence, gradient {remaining:.1e} after {result.nit} "
            "steps; give a smaller c"
        )
    solution: Float64[np.ndarray, "a p k"] = np.asarray(result.x).reshape(q + 1, p, k) * step
    return solution


def _chosen(
    axes: PrincipalAxes, counts: Float64[np.ndarray, "n k"], folds: Int64[np.ndarray, " n"]
) -> tuple[float, float]:
    """The strength by the rule of one standard error, and the likeliest total for votes of rows that were left out.

    Each strength is fitted at the total that suited the one before it, and judged at the one that suits its own
    held-out votes: shares that were learnt at a wrong total are wrong too.
    """
    held_out = folds[:, None] == np.arange(folds.max() + 1)
    strengths = STRENGTHS if len(counts) >= CHOOSING else (DEFAULT,)
    solution = None

    def left_out(c: float, total: float) -> tuple[Float64[np.ndarray, "n k"], float]:
        nonlocal solution
        at = np.full(held_out.shape[1], c)
        solution = maximise_likelihoods(axes, counts, ~held_out, at, total, start=solution, tolerance=_PATH_TOLERANCE)
        shares = np.empty(counts.shape)
        for fold, rows in enumerate(held_out.T):
            shares[rows] = softmax(axes.coordinates[rows] @ solution[:-1, fold] + solution[-1, fold])
        shares = np.maximum(shares, _LOWEST_SHARE)
        return shares, likeliest_total(counts, shares)

    losses, totals = [], [float(counts.shape[1])]
    for c in strengths:
        shares, total = left_out(c, totals[-1])
        totals.append(total)
        losses.append(-log_likelihood(counts, total * shares))
    c = one_standard_error(np.array(losses), strengths, DEFAULT)
    return c, left_out(c, totals[1 + strengths.index(c)])[1]


def _log_shares(logits: Float64[np.ndarray, "*n k"]) -> Float64[np.ndarray, "*n k"]:
    logits = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))
