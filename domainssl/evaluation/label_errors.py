"""Labels to check: given classes that a head contradicts which has not seen them, and whether there are any at all.

Measured on simulated features, Gaussian classes in 16 or 32 dimensions; "right" is the share the head predicts right.
How often the test at 5 % says that labels are wrong, in 200 to 300 samples where none is, and in 60 with a tenth wrong:

    500 labels, 2 classes, 91 % right                  4.7 %     87 %
    600, 4 classes, 93 % right                         1.3 %    100 %
    600, 4 classes, 51 % right (with errors: 64 %)     5.7 %     87 %
    600, 3 classes, groups of 6, 82 % right            3.0 %     92 %
    600, 5 classes of very different sizes, 93 %       0.5 %
    600, 4 classes of two parts each, 82 %             4.0 %

Where outliers are common (Student's t, 5 degrees of freedom) there are false alarms in 7 % of samples of 600 labels but
in 15 % of 2,000, since a wrong label and an outlier look alike there. Of the first 100 suspects of 2,000 labels, a
tenth of them wrong, all were wrong at 99 % right, 99 at 94 % and 83 at 80 %; below that the list is mostly overlap.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from domainssl.evaluation.confident_joint import (
    class_thresholds,
    confident_class,
    confident_joint,
    suspects,
    wrong_share,
)
from domainssl.evaluation.contradictions import contradiction_p
from domainssl.heads.cross_entropy import principal_axes
from domainssl.heads.head import TrainingHalf
from domainssl.heads.labels import standardised_rows
from domainssl.heads.linear import fit_linear_at
from domainssl.heads.linear_out_of_fold import linear_out_of_fold, whole_group_folds

# Of unseen labels, wrong ones included, the share that heads predict below which most of a list was overlap: in
# simulations of 2,000 labels with a tenth wrong and 2, 4 or 6 classes, half of it was at .70 to .76.
ENOUGH = 0.7
PLANTED = 0.1  # share of the training half's labels that are made wrong on purpose
FIRST = 100  # places of the list whose precision is measured


@final
@dataclass(frozen=True)
class LabelErrors:
    """Suspects among one label's given classes, the most suspicious first, and how far the list can be trusted.

    `rows` are those asked about, `suggested` the classes that the head holds for right, `score` by how much these are
    more probable (-1 to 1). `judged` labels of the training half had a say, of which the share `wrong` is estimated to
    be wrong and the share `right` is what heads say that have not seen them. `p` is small where labels contradict the
    head more firmly than overlapping classes do (NaN: not estimable): the list means something only then. `planted`
    labels were made wrong on purpose; of the first places of the list made then, as many as were planted and 100 at
    most, `precision` is the share that were planted and `before` the share that had been suspects all along (NaN where
    it is empty): labels that are wrong already stand there too.
    """

    rows: Int64[np.ndarray, " s"]
    suggested: Int64[np.ndarray, " s"]
    score: Float64[np.ndarray, " s"]
    judged: int
    right: float
    wrong: float
    p: float
    planted: int
    precision: float
    before: float


def find_label_errors(
    x: Float[np.ndarray, "n d"],
    given: Int64[np.ndarray, " n"],
    outputs: int,
    groups: Shaped[np.ndarray, " n"],
    train: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
) -> LabelErrors | None:
    """What confident learning finds among the given classes 0..outputs-1 (-1: unknown) of both halves.

    Rows of the training half are judged by linear heads that have not seen their group, all others by one that has
    learnt the whole training half; strength, thresholds, estimates and the test come from the training half alone. Rows
    of classes that fewer than 5 groups of it have are left out. None where fewer than two classes are left. Raises
    ValueError where features of the training half hold NaN or infinity; elsewhere such rows are no suspects.
    """
    rows = np.flatnonzero(train & (given >= 0))
    folds = whole_group_folds(given[rows], groups[rows], rng)
    rows, folds = rows[folds >= 0], folds[folds >= 0]
    if len(rows) == 0:
        return None
    labels = given[rows]
    half = TrainingHalf(x[rows], groups[rows])
    z = standardised_rows(half, np.arange(len(rows)))
    axes = principal_axes(z)
    probabilities, c = linear_out_of_fold(axes, labels, outputs, folds)
    thresholds = class_thresholds(probabilities, labels)
    joint = confident_joint(labels, confident_class(probabilities, thresholds), outputs)

    others = np.flatnonzero(~train & np.isin(given, labels))
    judged = probabilities
    if len(others):
        head = fit_linear_at(half, np.arange(len(rows)), labels[:, None].astype(np.float64), outputs, c)
        judged = np.concatenate([probabilities, head.predict(x[others])])
    asked = np.concatenate([rows, others])
    found, suggested, score = suspects(judged, given[asked], thresholds)

    flipped = _flipped(labels, rng)
    trial, _ = linear_out_of_fold(axes, flipped, outputs, folds, c)
    first = suspects(trial, flipped, class_thresholds(trial, flipped))[0]
    planted = flipped != labels
    first = first[: min(FIRST, int(planted.sum()))]
    before = np.isin(rows[first], asked[found]) & ~planted[first]
    return LabelErrors(
        rows=asked[found],
        suggested=suggested,
        score=score,
        judged=len(rows),
        right=float((probabilities.argmax(axis=1) == labels).mean()),
        wrong=wrong_share(joint, np.bincount(labels, minlength=outputs)),
        p=contradiction_p(probabilities, labels, groups[rows], _remoteness(z)),
        planted=int(planted.sum()),
        precision=float(planted[first].mean()) if len(first) else float("nan"),
        before=float(before.mean()) if len(first) else float("nan"),
    )


def _flipped(labels: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Int64[np.ndarray, " m"]:
    """The labels with a tenth of them, at least one, changed to another of their classes at random."""
    classes, place = np.unique(labels, return_inverse=True)
    chosen = rng.permutation(len(labels))[: max(1, round(PLANTED * len(labels)))]
    place[chosen] = (place[chosen] + rng.integers(1, len(classes), size=len(chosen))) % len(classes)
    return np.asarray(classes[place], dtype=np.int64)


def _remoteness(z: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "m 2"]:
    """How far from the mean each row lies, as the logarithm, standardised, and its square; 0 where all are alike."""
    distance = np.log(np.maximum(np.linalg.norm(z, axis=1), 1e-12))
    spread = distance.std()
    away = (distance - distance.mean()) / spread if spread > 1e-9 else np.zeros(len(z))
    return np.stack([away, away**2], axis=1)
