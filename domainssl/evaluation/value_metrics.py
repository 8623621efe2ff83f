"""Metrics of ordered levels, of real values and of votes. The first of each dict is the primary one.

Every metric raises ValueError for NaN scores and NaN truth.
"""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.evaluation.metric import Metric, Prediction
from domainssl.evaluation.metrics import ratio, refuse_nan, weighted_mean, weighted_median

_NOTHING = 1e-12  # relative; a spread below it is rounding
_LOWEST_SHARE = 1e-6  # a share predicted as 0 must not cost infinitely much


def _ordinal_error(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Mean absolute difference, in levels, of the predicted distribution's median from the truth."""
    difference = median_level(prediction) - _levels(prediction, truth)
    return weighted_mean(np.abs(difference)[None].astype(np.float64), weights)


def _quadratic_kappa(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Cohen's kappa of the median levels, weighted by squared differences; NaN where one level is all (Cohen 1968)."""
    p = median_level(prediction).astype(np.float64)
    t = _levels(prediction, truth).astype(np.float64)
    # By chance the mean squared difference is E[p^2] + E[t^2] - 2 E[p] E[t]; in sums, exact for multiplicities.
    sums = np.stack([np.ones(len(p)), p, t, p * p + t * t, (p - t) ** 2]) @ weights
    total, sum_p, sum_t, squares, differences = sums
    by_chance = total * squares - 2 * sum_p * sum_t
    by_chance[by_chance <= _NOTHING * total * squares] = 0.0
    return np.asarray(1 - ratio(total * differences, by_chance))[None]


def _r2(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Coefficient of determination: 1 - squared errors / squared deviations from the resample's mean.

    NaN where the truth does not vary.
    """
    squared_error = _errors(prediction, truth) ** 2
    values = truth[:, 0] - (truth.mean() if len(truth) else 0.0)  # sums of squares keep their digits near 0
    total, s, squares, errors = np.stack([np.ones(len(values)), values, values**2, squared_error]) @ weights
    spread = squares - ratio(s * s, total)
    spread[~(spread > _NOTHING * squares)] = 0.0
    return np.asarray(1 - ratio(errors, spread))[None]


def _median_absolute_error(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Median absolute error, in the truth's unit."""
    return weighted_median(np.abs(_errors(prediction, truth)), weights)[None]


def _outlier_fraction(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Share of rows whose absolute error is above `prediction.outlier`."""
    assert prediction.outlier is not None, "the metric needs the error beyond which a value is an outlier"
    outlying = np.abs(_errors(prediction, truth)) > prediction.outlier
    return weighted_mean(outlying[None].astype(np.float64), weights)


def _vote_cross_entropy(
    prediction: Prediction, truth: Float64[np.ndarray, "n k"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Mean cross-entropy, in nats, of the expected shares (at least 1e-6) relative to the shares of the votes."""
    shares = _shares(prediction, truth)
    losses = -(shares * np.log(np.maximum(prediction.scores, _LOWEST_SHARE))).sum(axis=1)
    return weighted_mean(losses[None], weights, ~np.isnan(losses)[None])


def _vote_error(
    prediction: Prediction, truth: Float64[np.ndarray, "n k"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Mean, over rows, of the mean absolute difference of expected shares from the shares of the votes."""
    differences = np.abs(prediction.scores - _shares(prediction, truth)).mean(axis=1)
    return weighted_mean(differences[None], weights, ~np.isnan(differences)[None])


def median_level(prediction: Prediction) -> Int64[np.ndarray, " n"]:
    """The lowest level at or below which lies half of the probability."""
    refuse_nan("scores", prediction.scores)
    at_or_below = prediction.scores.cumsum(axis=1)
    half = at_or_below[:, -1:] / 2
    return np.asarray(
        np.argmax(at_or_below >= half - 1e-9, axis=1), dtype=np.int64
    )  # 0.1 + 0.4 and its like are a half


def _levels(prediction: Prediction, truth: Float64[np.ndarray, "n 1"]) -> Int64[np.ndarray, " n"]:
    refuse_nan("truth", truth)
    top = prediction.scores.shape[1] - 1
    level = truth[:, 0]
    strange = level[(level < 0) | (level > top) | (level != np.round(level))]
    if len(strange):
        raise ValueError(f"truth: {strange[0]:g} is not a level index in 0..{top}; leave unlabelled rows out")
    return level.astype(np.int64)


def _errors(prediction: Prediction, truth: Float64[np.ndarray, "n 1"]) -> Float64[np.ndarray, " n"]:
    refuse_nan("scores", prediction.scores)
    refuse_nan("truth", truth)
    assert prediction.scores.shape == truth.shape, (prediction.scores.shape, truth.shape)
    return np.asarray(prediction.scores[:, 0] - truth[:, 0])


def _shares(prediction: Prediction, truth: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Each answer's share of a row's votes; NaN in rows without votes, which count for nothing."""
    refuse_nan("scores", prediction.scores)
    refuse_nan("truth", truth)
    assert prediction.scores.shape == truth.shape, (prediction.scores.shape, truth.shape)
    if (truth < 0).any():
        raise ValueError(f"truth: {truth.min():g} is not a number of votes; give counts of 0 or more")
    return ratio(truth, truth.sum(axis=1, keepdims=True))


ORDERED_METRICS: dict[str, Metric] = {
    "ordinal_error": Metric(_ordinal_error, "lower", "all"),
    "quadratic_kappa": Metric(_quadratic_kappa, "higher", "all"),
}

REAL_METRICS: dict[str, Metric] = {
    "r2": Metric(_r2, "higher", "all"),
    "mad": Metric(_median_absolute_error, "lower", "all"),
    "outlier_fraction": Metric(_outlier_fraction, "lower", "all", ("outlier",)),
}

VOTE_METRICS: dict[str, Metric] = {
    "vote_cross_entropy": Metric(_vote_cross_entropy, "lower", "all"),
    "vote_error": Metric(_vote_error, "lower", "all"),
}
