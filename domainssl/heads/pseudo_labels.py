"""Pseudo-labels: what a linear head says of unlabelled rows, learnt from where the head is confident, class by class.

Axes: m labelled row, u unlabelled row, v view of a row, p problem (a fold that is left out, or none), k class.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from domainssl.heads.affine import softmax
from domainssl.heads.cross_entropy import minimise_cross_entropies, principal_axes

_TOLERANCE = 1e-3  # of the gradient at zero: what teaches and is compared need not be exact
# Confidences are compared at their best temperatures: a student is surer than its teacher, which alone is no merit.
_TEMPERATURES = np.geomspace(1 / 8, 8, 49)


@final
@dataclass(frozen=True)
class PseudoLabelling:
    """How students learn from unlabelled rows.

    `share` of the unlabelled rows are taken, of every class in proportion to its labelled rows, so that no class takes
    all (class-balanced self-training, Zou et al. 2018; class-wise thresholds, Zhang et al. 2021); of them those whose
    likeliest class has at least the probability `threshold`. Together they weigh `weight` times as much as the labelled
    rows. In each of `rounds`, the teacher is the mean of the last teacher and student (noisy student, Xie et al. 2020;
    mean teacher, Tarvainen and Valpola 2017).
    """

    share: float = 0.5
    threshold: float = 0.0
    weight: float = 2.0
    rounds: int = 3


@final
@dataclass(frozen=True)
class Labelled:
    """Standardised labelled rows, their classes as shares (one-hot) and, for consistency training, their views."""

    z: Float[np.ndarray, "m d"]
    shares: Float64[np.ndarray, "m k"]
    views: Float[np.ndarray, "m v d"] | None = None


@final
@dataclass(frozen=True)
class Unlabelled:
    """Standardised unlabelled rows: as the teacher sees them, and the views of each from which students learn."""

    seen: Float[np.ndarray, "u d"]
    taught: Float[np.ndarray, "u v d"]


@final
@dataclass(frozen=True)
class Student:
    """Affine functions of standardised rows, one a problem."""

    weight: Float64[np.ndarray, "d p k"]
    bias: Float64[np.ndarray, "p k"]

    def logits(self, z: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n p k"]:
        """What every problem's head says of every row."""
        d, p, k = self.weight.shape
        out: Float64[np.ndarray, "n p k"] = (z @ self.weight.reshape(d, p * k)).reshape(len(z), p, k) + self.bias
        return out


def confident(
    probabilities: Float64[np.ndarray, "u k"], shares: Float64[np.ndarray, " k"], share: float, threshold: float = 0.0
) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, " s"]]:
    """The rows that a head is surest of, and their likeliest classes; rows ascend.

    Of class c at most `share` * u * `shares`[c] rows, one at least where its share is not 0, and only rows whose
    likeliest class it is, with a probability above `threshold`. Of equally sure rows the first.
    """
    likeliest, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    taken = np.zeros(len(probabilities), dtype=bool)
    for c in np.flatnonzero(shares):
        of_class = np.flatnonzero((likeliest == c) & (best > threshold))
        quota = max(1, round(share * len(probabilities) * shares[c]))
        taken[of_class[np.argsort(-best[of_class], kind="stable")[:quota]]] = True
    rows = np.flatnonzero(taken)
    return rows, likeliest[rows]


def students(
    labelled: Labelled,
    unlabelled: Unlabelled,
    used: Bool[np.ndarray, "m p"],
    allowed: Bool[np.ndarray, "u p"],
    c: float,
    rule: PseudoLabelling,
    *,
    exact: bool = False,
) -> tuple[Student, Student]:
    """The plain heads and, after all rounds, their students: a pair of linear probes of inverse strength c a problem.

    Problem p learns from the labelled rows of `used` and may look at the unlabelled ones of `allowed`. Views of
    labelled rows carry the rows' own labels and weigh like those of pseudo-labelled ones. `exact`: the last round is
    solved to full precision. Where no row is confident and there are no such views, students are as plain heads.
    """
    plain = _solve(labelled.z, _own(labelled, used), used.astype(np.float64), c, exact=exact)
    student = plain
    teacher = softmax_of(plain.logits(unlabelled.seen))
    for number in range(rule.rounds):
        target, weight = _pseudo(teacher, labelled, used, allowed, rule)
        student = _taught(
            labelled, unlabelled, used, target, weight, c, rule, exact=exact and number == rule.rounds - 1
        )
        teacher = (teacher + softmax_of(student.logits(unlabelled.seen))) / 2
    return plain, student


def least_loss(logits: Float64[np.ndarray, "m k"], labels: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """The cross-entropy of every row, in nats, at the one temperature for all rows that makes their mean least."""
    scaled = logits[None] / _TEMPERATURES[:, None, None]
    scaled = scaled - scaled.max(axis=2, keepdims=True)
    losses = np.log(np.exp(scaled).sum(axis=2)) - scaled[:, np.arange(len(labels)), labels]
    best: Float64[np.ndarray, " m"] = losses[losses.mean(axis=1).argmin()]
    return best


def softmax_of(logits: Float64[np.ndarray, "u p k"]) -> Float64[np.ndarray, "u p k"]:
    """Probabilities of every problem."""
    u, p, k = logits.shape
    return softmax(logits.reshape(u * p, k)).reshape(u, p, k)


def apart(
    groups: Shaped[np.ndarray, " m"], held_out: Bool[np.ndarray, "m p"], of: Shaped[np.ndarray, " u"]
) -> Bool[np.ndarray, "u p"]:
    """Which rows, whose groups are `of`, have nobody of their group among those that a problem holds out."""
    return np.stack([~np.isin(of, groups[held]) for held in held_out.T], axis=1)


def _pseudo(
    teacher: Float64[np.ndarray, "u p k"],
    labelled: Labelled,
    used: Bool[np.ndarray, "m p"],
    allowed: Bool[np.ndarray, "u p"],
    rule: PseudoLabelling,
) -> tuple[Float64[np.ndarray, "u p k"], Float64[np.ndarray, "u p"]]:
    """One-hot pseudo-labels, and 1 for the rows that have one."""
    target, weight = np.zeros(teacher.shape), np.zeros(allowed.shape)
    for p in range(allowed.shape[1]):
        rows = np.flatnonzero(allowed[:, p])
        shares = labelled.shares[used[:, p]].mean(axis=0)
        places, classes = confident(teacher[rows, p], shares, rule.share, rule.threshold)
        target[rows[places], p, classes] = 1.0
        weight[rows[places], p] = 1.0
    return target, weight


def _taught(
    labelled: Labelled,
    unlabelled: Unlabelled,
    used: Bool[np.ndarray, "m p"],
    target: Float64[np.ndarray, "u p k"],
    weight: Float64[np.ndarray, "u p"],
    c: float,
    rule: PseudoLabelling,
    *,
    exact: bool,
) -> Student:
    """The students of these pseudo-labels; all views of a row share its weight."""
    own, taken = _own(labelled, used), np.flatnonzero(weight.any(axis=1))  # what no problem learns from costs nothing
    views, targets, weights = unlabelled.taught[taken], target[taken], weight[taken]
    if labelled.views is not None:
        views = np.concatenate([labelled.views, views])
        targets, weights = np.concatenate([own, targets]), np.concatenate([used.astype(np.float64), weights])
    total = weights.sum(axis=0)
    weights = weights * (rule.weight * used.sum(axis=0) / np.where(total > 0, total, 1.0))
    n, v, d = views.shape
    return _solve(
        np.concatenate([labelled.z, views.reshape(n * v, d)]),
        np.concatenate([own, np.repeat(targets, v, axis=0)]),
        np.concatenate([used.astype(np.float64), np.repeat(weights / v, v, axis=0)]),
        c,
        exact=exact,
    )


def _own(labelled: Labelled, used: Bool[np.ndarray, "m p"]) -> Float64[np.ndarray, "m p k"]:
    return np.repeat(labelled.shares[:, None], used.shape[1], axis=1)


def _solve(
    z: Float[np.ndarray, "n d"],
    target: Float64[np.ndarray, "n p k"],
    weight: Float64[np.ndarray, "n p"],
    c: float,
    *,
    exact: bool = False,
) -> Student:
    axes = principal_axes(z.astype(np.float64))
    at = np.full(target.shape[1], c)
    solution = minimise_cross_entropies(axes, target, weight, at, tolerance=None if exact else _TOLERANCE)
    return Student(np.einsum("dq,qpk->dpk", axes.to_features, solution[:-1], optimize=True), solution[-1])
