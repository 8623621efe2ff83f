"""Classification metrics under many sets of row weights at once: what a bootstrap needs, exact, ties included."""

import numpy as np
from jaxtyping import Bool, Float, Int


def auroc(
    scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Area under the ROC curve, once for every row of `weights`.

    The probability that a positive row scores above a negative one, ties counting one half (Mann and Whitney 1947).
    `weights` are non-negative, usually bootstrap multiplicities. NaN where the positive or the negative rows weigh
    nothing altogether. Raises ValueError where scores are NaN.
    """
    _refuse_nan("scores", scores)
    return _auroc(scores, positive, _columns(weights))


def macro_auroc(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Mean one-vs-rest AUROC over the classes that are present, once for every row of `weights`.

    Column c of `probabilities` scores class c; `labels` are class indices in 0..k-1. A class that weighs nothing in a
    resample, or everything, is left out of that resample's mean; NaN where none remains.
    Raises ValueError where probabilities are NaN.
    """
    _refuse_nan("probabilities", probabilities)
    _check_labels(labels, probabilities.shape[1])
    columns = _columns(weights)
    per_class = [_auroc(probabilities[:, c], labels == c, columns) for c in np.unique(labels)]
    return _mean_of_present(np.array(per_class).reshape(len(per_class), len(weights)))


def balanced_accuracy(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], n_classes: int, weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, " r"]:
    """Mean recall over the classes that are present, once for every row of `weights`.

    `predicted` and `labels` are class indices in 0..n_classes-1. A class whose rows weigh nothing in a resample is left
    out of that resample's mean; NaN where none remains (Brodersen et al. 2010).
    """
    _check_labels(labels, n_classes)
    is_class = np.equal.outer(np.unique(labels), labels).astype(np.float64)  # class n
    columns = _columns(weights)
    support = is_class @ columns  # class r
    hits = (is_class * (predicted == labels)) @ columns
    recall = np.full_like(hits, np.nan)
    np.divide(hits, support, out=recall, where=support > 0)
    return _mean_of_present(recall)


def _auroc(
    scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], columns: Float[np.ndarray, "n r"]
) -> Float[np.ndarray, " r"]:
    positives = np.flatnonzero(positive)
    positives = positives[np.argsort(scores[positives], kind="stable")]
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]  # in order, so that `below` is read in order
    # Row i holds the weight of the i lowest positives. They are the few in one-vs-rest, and cumsum the dear step.
    below = np.zeros((len(positives) + 1, columns.shape[1]))
    np.cumsum(columns[positives], axis=0, out=below[1:])
    left = np.searchsorted(scores[positives], scores[negatives], side="left")
    right = np.searchsorted(scores[positives], scores[negatives], side="right")
    weight = columns[negatives]
    lost = np.einsum("nr,nr->r", weight, below[left])
    tied = left < right
    if tied.any():
        lost += np.einsum("nr,nr->r", weight[tied], below[right[tied]] - below[left[tied]]) / 2
    pairs = below[-1] * weight.sum(axis=0)
    area = np.full(len(pairs), np.nan)
    np.divide(pairs - lost, pairs, out=area, where=pairs > 0)
    return area


def _columns(weights: Float[np.ndarray, "r n"]) -> Float[np.ndarray, "n r"]:
    """One contiguous row of resamples an object, so that picking objects copies whole rows; float64 for exact sums."""
    return np.ascontiguousarray(weights.T, dtype=np.float64)


def _mean_of_present(values: Float[np.ndarray, "k r"]) -> Float[np.ndarray, " r"]:
    present = np.isfinite(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _refuse_nan(name: str, values: Float[np.ndarray, "..."]) -> None:
    missing = int(np.isnan(values).sum())
    if missing:
        raise ValueError(f"{name}: {missing} of {values.size} values are NaN; leave their rows out")


def _check_labels(labels: Int[np.ndarray, " n"], n_classes: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= n_classes):
        raise ValueError(
            f"labels: {labels.min()}..{labels.max()} are not all in 0..{n_classes - 1}; leave unlabelled rows out"
        )
