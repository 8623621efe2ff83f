"""Whether labels contradict a head more often and more firmly than classes that merely overlap would.

A wrong label does not care how sure the head is; a right one becomes the more certain the surer it is. So wrong labels
show as a floor under the probability of the unlikely (Copas 1988, "Binary regression models for contaminated data",
Journal of the Royal Statistical Society B 50, 225). Classes that overlap have none: that is the null hypothesis.
"""

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import t

from domainssl.evaluation.intervals import MINIMUM_GROUPS

_LAPSE = 0.05  # share of labels at random in the alternative that the test looks towards
_RIDGE = 1e-2  # on the calibration, so that it exists where a line parts the classes
_LEAST = 1e-12


def contradiction_p(
    probabilities: Float64[np.ndarray, "n k"],
    given: Int64[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    remoteness: Float64[np.ndarray, "n q"],
) -> float:
    """One-sided p-value of more firm contradictions than overlapping classes explain.

    Null hypothesis: given the out-of-sample `probabilities` (0 to 1, no NaN), labels are drawn with probabilities
    proportional to exp(slope_j * log(p_j) + offset_j), slopes and offsets fitted to these labels (vector scaling, Guo
    et al. 2017; for two classes beta calibration, Kull et al. 2017); all slopes also change with `remoteness` (any
    finite numbers a row), since a head may be too sure of rows far from all others: without it, three in four samples
    of heavy-tailed features without a wrong label were rejected. Each row is then scored by the log-ratio of its label
    under the same with 5 % of the labels at random to that without. The sum's excess over its expectation, with what
    the fitted calibration explains projected out, is compared with its spread over `groups` (Newey 1985, Econometrica
    53, 1047), so that rows of one group need not be independent, and skewness is taken out of that (Hall 1992). NaN for
    fewer than 10 groups or fewer than two classes.
    """
    present = np.unique(given)
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max(initial=-1)) + 1
    if len(present) < 2 or count < MINIMUM_GROUPS:
        return float("nan")
    k, label = len(present), np.searchsorted(present, given)
    surety = np.log(np.maximum(probabilities[:, present], _LEAST))
    log_p = log_softmax(_calibrated(_calibration(surety, label, remoteness), surety, remoteness), axis=1)
    p = np.exp(log_p)
    ratio = np.logaddexp(np.log1p(-_LAPSE), np.log(_LAPSE / k) - log_p)
    centred = ratio - (p * ratio).sum(axis=1, keepdims=True)
    shared = _slopes(p * centred, surety, remoteness).sum(axis=0)
    taught = np.linalg.solve(_information(p, surety, remoteness) + _RIDGE * np.eye(len(shared)), shared)
    excess = centred[np.arange(len(label)), label] - _slopes(np.eye(k)[label] - p, surety, remoteness) @ taught
    of_group = np.bincount(member, weights=excess)
    return float(t.sf(_skewness_removed(of_group), count - 1)) if of_group.std() > 0 else 1.0


def _calibrated(
    at: Float64[np.ndarray, " u"], surety: Float64[np.ndarray, "n k"], remoteness: Float64[np.ndarray, "n q"]
) -> Float64[np.ndarray, "n k"]:
    """Logits by the parameters: a slope a class, what remoteness adds to all slopes, an offset a class."""
    k = surety.shape[1]
    turned = remoteness @ at[k:-k]
    logits: Float64[np.ndarray, "n k"] = (at[:k] + turned[:, None]) * surety + at[-k:]
    return logits


def _slopes(
    by_logit: Float64[np.ndarray, "n k"], surety: Float64[np.ndarray, "n k"], remoteness: Float64[np.ndarray, "n q"]
) -> Float64[np.ndarray, "n u"]:
    """What is a slope by each logit as one by each parameter, row by row."""
    along = by_logit * surety
    return np.concatenate([along, along.sum(axis=1, keepdims=True) * remoteness, by_logit], axis=1)


def _calibration(
    surety: Float64[np.ndarray, "n k"], label: Int64[np.ndarray, " n"], remoteness: Float64[np.ndarray, "n q"]
) -> Float64[np.ndarray, " u"]:
    """The parameters that make the labels likeliest, but for a weak pull to the probabilities as they are."""
    n, k = surety.shape
    truth = np.eye(k)[label]
    start = np.concatenate([np.ones(k), np.zeros(remoteness.shape[1] + k)])

    def objective(at: Float64[np.ndarray, " u"]) -> tuple[float, Float64[np.ndarray, " u"]]:
        log_p = log_softmax(_calibrated(at, surety, remoteness), axis=1)
        pull = at - start
        gradient = _slopes(np.exp(log_p) - truth, surety, remoteness).sum(axis=0) + _RIDGE * pull
        return float(-(log_p * truth).sum() + _RIDGE * (pull @ pull) / 2) / n, gradient / n

    result = minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-7, "maxiter": 1000})
    return np.asarray(result.x, dtype=np.float64)


def _information(
    p: Float64[np.ndarray, "n k"], surety: Float64[np.ndarray, "n k"], remoteness: Float64[np.ndarray, "n q"]
) -> Float64[np.ndarray, "u u"]:
    """The Fisher information of the parameters, summed over rows."""
    once, twice = p * surety, p * surety**2
    slopes, offsets = twice.T @ remoteness, once.T @ remoteness
    turns, both = (remoteness * twice.sum(axis=1, keepdims=True)).T @ remoteness, np.diag(once.sum(axis=0))
    same = np.block(
        [
            [np.diag(twice.sum(axis=0)), slopes, both],
            [slopes.T, turns, offsets.T],
            [both, offsets, np.diag(p.sum(axis=0))],
        ]
    )
    mean = _slopes(p, surety, remoteness)
    return np.asarray(same - mean.T @ mean, dtype=np.float64)


def _skewness_removed(values: Float64[np.ndarray, " g"]) -> float:
    """The t-statistic of a positive mean, transformed so that skewed values keep their level (P. Hall 1992, "On the
    removal of skewness by transformation", Journal of the Royal Statistical Society B 54, 221).

    Wrong labels are a few large values among many small ones: without this, half of the power was lost.
    """
    n, mean = len(values), values.mean()
    plain = mean * np.sqrt(n) / values.std(ddof=1)
    skew = ((values - mean) ** 3).mean() / values.std() ** 3 / np.sqrt(n)
    return float(plain + skew * plain**2 / 3 + skew**2 * plain**3 / 27 + skew / 6)
