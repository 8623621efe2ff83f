"""How far to trust a head: probabilities in place of scores, sets that hold the truth, and images far from all labels.

All is learnt from labelled rows of the training half, by what heads that did not learn from a row say of it; the test
half judges and nothing else.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from domainssl.evaluation.calibration import Calibration, How, fit_calibration, unchanged
from domainssl.evaluation.conformal import least_rows, sets
from domainssl.evaluation.novelty import Familiar, fit_familiar
from domainssl.evaluation.reliability import one_a_group
from domainssl.heads.head import Fit, FittedHead, TrainingHalf
from domainssl.heads.out_of_fold import OutOfFold, out_of_fold
from domainssl.options import Kind

# The share of labels whose class no head left out (all of one patient, or a single one), beyond which sets would be
# calibrated on others than those that they are made for.
NEVER_ASKED = 0.05
ONE_OF_SEVERAL: tuple[Kind, ...] = ("classes", "yes_no", "ordered")


@final
@dataclass(frozen=True)
class Asked:
    """One thing that is asked of an image: which class, or whether it has one of several findings.

    `conformity` are, of each part's calibrating rows, one a group, the scores of the truth.
    """

    calibration: Calibration
    how: How
    conformity: tuple[Float64[np.ndarray, " _"], ...]

    @property
    def rows(self) -> int:
        """How many rows sets are calibrated on."""
        return sum(map(len, self.conformity))


@final
@dataclass(frozen=True)
class Certainty:
    """What was learnt for one label: a question, or one a finding; none for real values and votes.

    `heads` left a part of the labelled rows out each. `familiar` is None where too few groups were labelled to tell
    what is far.
    """

    kind: Kind
    heads: tuple[FittedHead, ...]
    questions: tuple[Asked, ...]
    familiar: Familiar | None

    def calibrated(self, predictions: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Predictions of the label's head with their scores calibrated; those of real values and votes as they are."""
        if not self.questions:
            return predictions
        if self.kind in ONE_OF_SEVERAL:
            return self.questions[0].calibration.apply(predictions)
        parts = zip(self.questions, predictions.T, strict=True)
        return np.column_stack([asked.calibration.apply(_two(column))[:, 1] for asked, column in parts])

    def sets(
        self, x: Float[np.ndarray, "n d"], calibrated: Float64[np.ndarray, "n k"]
    ) -> tuple[Bool[np.ndarray, "n c"] | None, ...]:
        """Of each question which classes (for a finding: no, yes) are in each row's set; None where none can be had.

        `x` are unstandardised features. What the calibrated predictions hold likeliest always is in the set.
        """
        if not self.questions:
            return ()
        scores = [by_question(self.kind, head.predict(x)) for head in self.heads]
        found: list[Bool[np.ndarray, "n c"] | None] = []
        for place, (asked, told) in enumerate(zip(self.questions, by_question(self.kind, calibrated), strict=True)):
            if asked.rows < least_rows():
                found.append(None)
                continue
            likeliest = told == told.max(axis=1, keepdims=True)
            found.append(sets(asked.conformity, [parts[place] for parts in scores]) | likeliest)
        return tuple(found)


def fit_certainty(
    kind: Kind,
    fit: Fit,
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    y: Float64[np.ndarray, "m t"],
    outputs: int,
    rng: np.random.Generator,
) -> Certainty:
    """Learns from the labelled `rows` of the training half and their targets `y`.

    Scores stay as they are and nothing is promised where too few rows could be left out of a head: fewer than nine
    groups, or of some class none.
    """
    mean, scale = half.standardisation
    familiar = fit_familiar(half.x[rows], half.groups[rows], mean, scale, rng)
    if kind in ("real", "votes"):
        return Certainty(kind, (), (), familiar)
    left_out = out_of_fold(fit, half, rows, y, outputs, rng)
    truths = y.T if kind == "multilabel" else y[:, :1].T
    questions = [
        _learn(scores, truth, left_out, half.groups[rows], rng)
        for scores, truth in zip(by_question(kind, left_out.predictions), truths, strict=True)
    ]
    return Certainty(kind, left_out.heads, tuple(questions), familiar)


def _learn(
    scores: Float64[np.ndarray, "m k"],
    truth: Float64[np.ndarray, " m"],
    left_out: OutOfFold,
    groups: Shaped[np.ndarray, " m"],
    rng: np.random.Generator,
) -> Asked:
    labelled = ~np.isnan(truth)
    known = labelled & ~np.isnan(scores).any(axis=1)
    heads = range(len(left_out.heads))
    nothing = tuple(np.empty(0) for _ in heads)
    if not known.any():
        return Asked(unchanged(scores.shape[1]), "unfitted", nothing)
    classes = truth[known].astype(np.int64)
    scores, groups, part = scores[known], groups[known], left_out.part[known]
    calibration, how = fit_calibration(scores, classes, groups, rng)
    rows = one_a_group(groups, rng)
    if (~np.isin(truth[labelled], classes[rows])).mean() > NEVER_ASKED:
        return Asked(calibration, how, nothing)
    of_truth = scores[rows, classes[rows]]
    return Asked(calibration, how, tuple(of_truth[part[rows] == head] for head in heads))


def by_question(kind: Kind, predictions: Float64[np.ndarray, "n k"]) -> list[Float64[np.ndarray, "n c"]]:
    """The class scores of each question; of a finding those of no and yes."""
    return [_two(column) for column in predictions.T] if kind == "multilabel" else [predictions]


def _two(yes: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 2"]:
    return np.column_stack([1 - yes, yes])
