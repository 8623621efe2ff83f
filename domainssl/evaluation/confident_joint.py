"""Confident learning: which given labels a head's out-of-sample probabilities contradict (Northcutt et al. 2021).

C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels", Journal of Artificial
Intelligence Research 70, 1373 (2021), arXiv:1911.00068. A class counts as a row's true one where the head is at least
as sure of it as it is on average of the rows that carry it, so an overconfident or rare class asks for more or less.
"""

import numpy as np
from jaxtyping import Float64, Int64


def class_thresholds(
    probabilities: Float64[np.ndarray, "n k"], given: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " k"]:
    """The mean probability of each class over the rows that carry it (self-confidence), 0 to 1; inf without a row.

    `given` is -1 where the label is unknown; such rows, and rows of NaN, count nowhere.
    """
    known = (given >= 0) & ~np.isnan(probabilities).any(axis=1)
    label, p = given[known], probabilities[known]
    total = np.bincount(label, weights=p[np.arange(len(label)), label], minlength=p.shape[1])
    count = np.bincount(label, minlength=p.shape[1])
    return np.divide(total, count, out=np.full(p.shape[1], np.inf), where=count > 0)


def confident_class(
    probabilities: Float64[np.ndarray, "n k"], thresholds: Float64[np.ndarray, " k"]
) -> Int64[np.ndarray, " n"]:
    """The likeliest of the classes whose probability reaches their threshold; -1 where none does, and for NaN."""
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)  # NaN reaches nothing
    return np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1).astype(np.int64)


def confident_joint(
    given: Int64[np.ndarray, " n"], confident: Int64[np.ndarray, " n"], classes: int
) -> Int64[np.ndarray, "k k"]:
    """How many rows carry each class (down) and are confidently of each class (across); -1 counts nowhere."""
    counted = (given >= 0) & (confident >= 0)
    cells = np.bincount(given[counted] * classes + confident[counted], minlength=classes**2)
    return cells.reshape(classes, classes).astype(np.int64)


def wrong_share(joint: Int64[np.ndarray, "k k"], counts: Int64[np.ndarray, " k"]) -> float:
    """The estimated share of wrong labels, 0 to 1: the joint calibrated to `counts` rows a class, off its diagonal.

    Each row of the joint is scaled to the class's count; a class without a confident row counts as right. NaN where
    there are no rows at all.
    """
    confident = joint.sum(axis=1)
    off = confident - np.diag(joint)
    wrong = np.divide(off, confident, out=np.zeros(len(joint)), where=confident > 0)
    total = int(counts.sum())
    return float((wrong * counts).sum() / total) if total else float("nan")


def suspects(
    probabilities: Float64[np.ndarray, "n k"],
    given: Int64[np.ndarray, " n"],
    thresholds: Float64[np.ndarray, " k"],
) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, " s"], Float64[np.ndarray, " s"]]:
    """Rows that are confidently of another class than the one they carry: rows, suggested classes, scores.

    The most suspicious come first, by the normalised margin: the score is the suggested class's probability minus the
    given one's, -1 to 1. Below 0 the given class is the likelier one and only the thresholds speak for the other. Of
    equal scores the earlier row comes first.
    """
    confident = confident_class(probabilities, thresholds)
    rows = np.flatnonzero((given >= 0) & (confident >= 0) & (confident != given))
    score = probabilities[rows, confident[rows]] - probabilities[rows, given[rows]]
    order = np.argsort(-score, kind="stable")
    return rows[order], confident[rows][order], score[order]
