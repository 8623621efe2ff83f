"""Metrics of classes, of one yes/no answer and of several findings. The first of each dict is the primary one.

One vs rest, each class is an answer, and yes/no is one answer whose score is the second class's: so ranking metrics are
written once, for answers. Every metric raises ValueError for NaN scores and for truth that is no class or answer.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64

from domainssl.evaluation.metric import Measure, Metric, Prediction
from domainssl.evaluation.metrics import auroc, average_precision, ratio, refuse_nan, weighted_mean


def _auroc(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """AUROC of each answer."""
    known = _known(prediction, truth)
    columns = range(truth.shape[1])
    return np.stack([auroc(prediction.scores[:, a], truth[:, a] == 1, weights, known[:, a]) for a in columns])


def _average_precision(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Average precision of each answer."""
    known = _known(prediction, truth)
    columns = range(truth.shape[1])
    return np.stack(
        [average_precision(prediction.scores[:, a], truth[:, a] == 1, weights, known[:, a]) for a in columns]
    )


def _no_skill(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Share of yes: the average precision of scores that tell nothing. Without a yes NaN, as the average precision."""
    share = weighted_mean(truth.T, weights, _known(prediction, truth).T)
    return np.where(share > 0, share, np.nan)


def _brier(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Mean squared difference of each answer's probability from the truth: 0 to 1 (Brier 1950)."""
    known = _known(prediction, truth)
    return weighted_mean((prediction.scores.T - truth.T) ** 2, weights, known.T)


def _sum_of_brier(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Mean squared distance of the class probabilities from the truth, summed over classes: 0 to 2 (Brier 1950)."""
    squares = (prediction.scores - _one_hot(prediction, truth)) ** 2
    return weighted_mean(squares.sum(axis=1)[None], weights)


def _recall(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "k r"]:
    """Each class's recall by the highest score, the first of equals; the mean is balanced accuracy (Brodersen 2010)."""
    is_class = _one_hot(prediction, truth).T == 1
    hit = (prediction.scores.argmax(axis=1) == truth[:, 0]).astype(np.float64)
    return weighted_mean(np.broadcast_to(hit, is_class.shape), weights, is_class)


def _mean_of_recalls(
    prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "1 r"]:
    """Mean of sensitivity and specificity by the highest score; no where equal; NaN where either is undefined."""
    return np.asarray(_recall(prediction, truth, weights).mean(axis=0, keepdims=True))


def _balanced_accuracy(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Mean of each answer's sensitivity and specificity where 0.5 or more is a yes; NaN where either is undefined."""
    at_half = replace(prediction, thresholds=np.full(truth.shape[1], 0.5))
    return np.asarray(_sensitivity(at_half, truth, weights) + _specificity(at_half, truth, weights)) / 2


def _sensitivity(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Share of the yes rows whose score is at the answer's threshold or above; NaN where the threshold is NaN."""
    counted = _known(prediction, truth) & (truth == 1) & ~np.isnan(_thresholds(prediction))
    called = prediction.scores >= _thresholds(prediction)
    return weighted_mean(called.T.astype(np.float64), weights, counted.T)


def _specificity(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Share of the no rows whose score is below the answer's threshold; NaN where the threshold is NaN."""
    counted = _known(prediction, truth) & (truth == 0) & ~np.isnan(_thresholds(prediction))
    left = prediction.scores < _thresholds(prediction)
    return weighted_mean(left.T.astype(np.float64), weights, counted.T)


def _ppv(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Positive predictive value at the given prevalence (Altman and Bland 1994); NaN where nothing would be a yes."""
    prevalence = _prevalence(prediction)
    right = _sensitivity(prediction, truth, weights) * prevalence
    wrong = (1 - _specificity(prediction, truth, weights)) * (1 - prevalence)
    return ratio(right, right + wrong)


def _npv(
    prediction: Prediction, truth: Float64[np.ndarray, "n a"], weights: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "a r"]:
    """Negative predictive value at the given prevalence (Altman and Bland 1994); NaN where nothing would be a no."""
    prevalence = _prevalence(prediction)
    right = _specificity(prediction, truth, weights) * (1 - prevalence)
    wrong = (1 - _sensitivity(prediction, truth, weights)) * prevalence
    return ratio(right, right + wrong)


def _one_vs_rest(measure: Measure) -> Measure:
    """The measure of answers with every class as an answer."""

    def of_classes(
        prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
    ) -> Float64[np.ndarray, "k r"]:
        return measure(prediction, _one_hot(prediction, truth), weights)

    return of_classes


def _of_yes(measure: Measure) -> Measure:
    """The measure of answers with one answer, yes, which is the second of two classes."""

    def of_yes(
        prediction: Prediction, truth: Float64[np.ndarray, "n 1"], weights: Float64[np.ndarray, "n r"]
    ) -> Float64[np.ndarray, "1 r"]:
        assert prediction.scores.shape[1] == 2, prediction.scores.shape
        refuse_nan("truth", truth)
        return measure(replace(prediction, scores=prediction.scores[:, 1:]), truth, weights)

    return of_yes


def _one_hot(prediction: Prediction, truth: Float64[np.ndarray, "n 1"]) -> Float64[np.ndarray, "n k"]:
    """1 at each row's class, else 0; checks scores and truth."""
    refuse_nan("scores", prediction.scores)
    refuse_nan("truth", truth)
    k = prediction.scores.shape[1]
    is_class = truth == np.arange(k)
    strange = truth[~is_class.any(axis=1), 0]
    if len(strange):
        raise ValueError(f"truth: {strange[0]:g} is not a class index in 0..{k - 1}; leave unlabelled rows out")
    return np.asarray(is_class, dtype=np.float64)


def _known(prediction: Prediction, truth: Float64[np.ndarray, "n a"]) -> Bool[np.ndarray, "n a"]:
    """Where an answer is known; checks scores and truth."""
    refuse_nan("scores", prediction.scores)
    assert prediction.scores.shape == truth.shape, (prediction.scores.shape, truth.shape)
    known = np.asarray(~np.isnan(truth))
    strange = truth[known & (truth != 0) & (truth != 1)]
    if len(strange):
        raise ValueError(f"truth: {strange[0]:g} is not an answer; give 0 for no, 1 for yes, NaN for unknown")
    return known


def _thresholds(prediction: Prediction) -> Float64[np.ndarray, " a"]:
    assert prediction.thresholds is not None, "the metric needs thresholds"
    return prediction.thresholds


def _prevalence(prediction: Prediction) -> Float64[np.ndarray, "a 1"]:
    assert prediction.prevalence is not None, "the metric needs a prevalence"
    return prediction.prevalence[:, None]


CLASS_METRICS: dict[str, Metric] = {
    "macro_auroc": Metric(_one_vs_rest(_auroc), "higher", "classes"),
    "macro_auprc": Metric(_one_vs_rest(_average_precision), "higher", "classes"),
    "auprc_no_skill": Metric(_one_vs_rest(_no_skill), "neither", "classes"),
    "balanced_accuracy": Metric(_recall, "higher", "classes"),
    "brier": Metric(_sum_of_brier, "lower", "all"),
}

YES_NO_METRICS: dict[str, Metric] = {
    "auroc": Metric(_of_yes(_auroc), "higher", "classes"),
    "auprc": Metric(_of_yes(_average_precision), "higher", "classes"),
    "auprc_no_skill": Metric(_of_yes(_no_skill), "neither", "classes"),
    "balanced_accuracy": Metric(_mean_of_recalls, "higher", "all"),
    "brier": Metric(_of_yes(_brier), "lower", "all"),
    "sensitivity": Metric(_of_yes(_sensitivity), "higher", "classes", ("thresholds",)),
    "specificity": Metric(_of_yes(_specificity), "higher", "classes", ("thresholds",)),
    "ppv": Metric(_of_yes(_ppv), "higher", "classes", ("thresholds", "prevalence")),
    "npv": Metric(_of_yes(_npv), "higher", "classes", ("thresholds", "prevalence")),
}

MULTILABEL_METRICS: dict[str, Metric] = {
    "macro_auroc": Metric(_auroc, "higher", "classes"),
    "macro_auprc": Metric(_average_precision, "higher", "classes"),
    "auprc_no_skill": Metric(_no_skill, "neither", "classes"),
    "balanced_accuracy": Metric(_balanced_accuracy, "higher", "classes"),
    "brier": Metric(_brier, "lower", "classes"),
    "sensitivity": Metric(_sensitivity, "higher", "classes", ("thresholds",)),
    "specificity": Metric(_specificity, "higher", "classes", ("thresholds",)),
    "ppv": Metric(_ppv, "higher", "classes", ("thresholds", "prevalence")),
    "npv": Metric(_npv, "higher", "classes", ("thresholds", "prevalence")),
}
