"""Draws of labels that hold nothing to tell apart: no head can be fitted, and one answer stands for every row."""

import numpy as np
from jaxtyping import Float64

RARELY, MOSTLY = 0.01, 0.99  # what an answer that was never or always given is predicted as


def constant_answer(kind: str, y: Float64[np.ndarray, "m t"], outputs: int) -> Float64[np.ndarray, " k"] | None:
    """What to predict of every row where all labels are of one class or level, no finding is known with both yes and
    no, or all votes are for one answer; None where a head can be fitted.

    `y` are targets as `domainssl.heads.head` defines them, without unknown rows. A finding that is always yes is
    predicted as 0.99, one that is always no as 0.01, and as 0.5 where it is unknown.
    """
    if kind in ("classes", "yes_no", "ordered"):
        classes = np.unique(y[:, 0])
        return np.eye(outputs)[int(classes[0])] if len(classes) == 1 else None
    if kind == "votes":
        voted = np.flatnonzero(y.sum(axis=0) > 0)
        return np.eye(outputs)[int(voted[0])] if len(voted) == 1 else None
    if kind == "multilabel":
        yes, no = (y == 1).any(axis=0), (y == 0).any(axis=0)
        return None if (yes & no).any() else np.where(yes, MOSTLY, np.where(no, RARELY, 0.5))
    return None
