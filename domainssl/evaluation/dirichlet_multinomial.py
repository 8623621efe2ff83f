"""Votes of several people with one object: a Dirichlet-multinomial, whose shares vary more than a multinomial's.

An object's volunteers choose with probabilities that nobody knows; these are drawn from a Dirichlet distribution with
a concentration an answer, and the votes from them (Mosimann 1962; for Galaxy Zoo Walmsley et al. 2020, 2022). The
expected share of an answer is its concentration over their total; the larger the total, the closer are shares to it.

Over a tree of questions the likelihood is a product over questions, since each is a draw of its own given how many were
asked. So of a head on frozen features, which shares no weight between questions, each question is fitted by itself.
Axes: n row, k answer.
"""

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize, minimize_scalar
from scipy.special import digamma, gammaln

# Within which a total concentration is looked for: below, all of an object's votes are for one answer; above, shares
# of a hundred votes cannot be told from a multinomial's.
LEAST_TOTAL, LARGEST_TOTAL = 0.1, 1000.0
HALF_A_VOTE = 0.5  # what each answer is given beforehand, so that none is impossible (Krichevsky and Trofimov 1981)


def log_likelihood(
    counts: Float64[np.ndarray, "n k"], concentration: Float64[np.ndarray, "n k"]
) -> Float64[np.ndarray, " n"]:
    """Log-probability of each row's votes, in nats, given how many voted; of whole counts never above 0.

    `counts` are 0 or more (fractions of votes as debiasing gives them are taken by the gamma function), `concentration`
    above 0. A row without votes gives 0; NaN in a row gives NaN. Raises ValueError for negative counts and for
    concentrations that are not above 0 and finite.
    """
    if (counts < 0).any():
        raise ValueError(f"votes: {np.nanmin(counts):g} is not a number of votes; give counts of 0 or more")
    if ((concentration <= 0) | np.isinf(concentration)).any():
        raise ValueError("concentration: some are not above 0 or not finite; give positive numbers")
    votes, total = counts.sum(axis=1), concentration.sum(axis=1)
    orders = gammaln(votes + 1) - gammaln(counts + 1).sum(axis=1)
    rising = (gammaln(counts + concentration) - gammaln(concentration)).sum(axis=1)
    found: Float64[np.ndarray, " n"] = orders + rising + gammaln(total) - gammaln(total + votes)
    return np.where(votes == 0, 0.0, found)


def effective_votes(votes: Float64[np.ndarray, " n"], total: float) -> Float64[np.ndarray, " n"]:
    """How many independent votes tell as much of the expected shares as a row's: votes (total + 1) / (votes + total).

    From 1 for a single vote to total + 1 for very many: more people say no more of an object that is one of its kind.
    """
    found: Float64[np.ndarray, " n"] = votes * (total + 1) / (votes + total)
    return found


def likeliest_total(counts: Float64[np.ndarray, "n k"], shares: Float64[np.ndarray, "n k"]) -> float:
    """The total concentration under which votes are likeliest where shares are expected, with a prior.

    The prior is log-normal about the number of answers, where all shares would be equally likely, with a standard
    deviation of a factor e: it weighs as much as a few rows. On simulated votes with a true total of 10, heads that
    learnt from 2 to 300 rows, which know the shares only roughly, were best at totals of 1 to 5.
    `shares` are above 0 and sum to 1. Without votes the total is the number of answers; it always lies within
    LEAST_TOTAL..LARGEST_TOTAL.
    """

    def cost(log_total: float) -> float:
        surprise = -log_likelihood(counts, np.exp(log_total) * shares).sum()
        return float(surprise + (log_total - np.log(counts.shape[1])) ** 2 / 2)

    bounds = (float(np.log(LEAST_TOTAL)), float(np.log(LARGEST_TOTAL)))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def pooled_concentration(counts: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, " k"]:
    """The concentrations under which all rows' votes are likeliest if objects did not differ otherwise (Minka 2000).

    With the prior of `likeliest_total`, and half a vote for each answer. What is said without looking at an image.
    Raises ValueError for negative counts.
    """
    votes, k = counts.sum(axis=1, keepdims=True), counts.shape[1]

    def cost(raw: Float64[np.ndarray, " k"]) -> tuple[float, Float64[np.ndarray, " k"]]:
        alpha = np.exp(raw)
        total = alpha.sum()
        beside = np.log(total / k)
        value = -log_likelihood(counts, np.broadcast_to(alpha, counts.shape)).sum() + beside**2 / 2
        value -= HALF_A_VOTE * np.log(alpha / total).sum()
        rise = digamma(counts + alpha) - digamma(alpha) + digamma(total) - digamma(total + votes)
        slope = -alpha * rise.sum(axis=0) + beside * alpha / total - HALF_A_VOTE * (1 - k * alpha / total)
        return float(value), slope

    shares = (counts.sum(axis=0) + HALF_A_VOTE) / (counts.sum() + HALF_A_VOTE * k)
    bounds = [(np.log(1e-9), np.log(LARGEST_TOTAL))] * k
    found = minimize(cost, np.log(k * shares), jac=True, method="L-BFGS-B", bounds=bounds)
    alpha: Float64[np.ndarray, " k"] = np.exp(found.x)
    return alpha
