"""Who is compared: a start, its features and a head, which learns from a draw of labels and is asked about the rest."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64

from domainssl.evaluation.constant_answers import constant_answer
from domainssl.evaluation.question import Question
from domainssl.evaluation.thresholds import thresholds
from domainssl.heads.head import Fit, TrainingHalf


@dataclass(frozen=True)
class Cell:
    """One column of the table."""

    start: str
    features: str
    head: str


@dataclass(frozen=True)
class Answer:
    """Predictions of the scored rows, and thresholds that were chosen within the drawn labels, if any."""

    predictions: Float64[np.ndarray, "s k"]
    thresholds: Float64[np.ndarray, " a"] | None = None


@runtime_checkable
class Contender(Protocol):
    """Learns from `rows` of the training half, whose labels alone it may see, and predicts the scored rows."""

    def __call__(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Answer: ...


@final
class FrozenFeatures:
    """A head on features that do not change; `with_thresholds`: also choose them within the drawn labels.

    `x` has one row an object of the question; `half` shares what is derived from the training half's (standardisation,
    graph) between heads, `training_half` makes it. Raises ValueError where a scored row holds NaN or infinity.
    """

    def __init__(
        self,
        question: Question,
        x: Float[np.ndarray, "n d"],
        fit: Fit,
        *,
        half: TrainingHalf | None = None,
        with_thresholds: bool = False,
    ) -> None:
        self._question = question
        self._fit = fit
        train, scored = question.halves()
        self._half = training_half(question, x) if half is None else half
        self._place = np.full(len(x), -1, np.int64)
        self._place[train] = np.arange(len(train))
        self._scored = x[scored]
        self._with_thresholds = with_thresholds
        bad = int((~np.isfinite(self._scored)).any(axis=1).sum())
        if bad:
            raise ValueError(f"features: {bad} of {len(scored)} scored rows hold NaN or infinity; leave them out")

    def __call__(self, rows: Int64[np.ndarray, " m"], rng: np.random.Generator) -> Answer:
        question, outputs = self._question, len(self._question.outputs)
        places, y = self._place[rows], question.y[rows]
        constant = constant_answer(question.kind, y, outputs)
        if constant is not None:
            none = np.full(len(question.answers), np.nan) if self._with_thresholds else None
            return Answer(np.tile(constant, (len(self._scored), 1)), none)
        head = self._fit(self._half, places, y, outputs, rng)
        predictions = head.predict(self._scored)
        if not self._with_thresholds:
            return Answer(predictions)
        return Answer(predictions, thresholds(question, self._fit, self._half, rows, rng))


def training_half(question: Question, x: Float[np.ndarray, "n d"]) -> TrainingHalf:
    """The features of the question's training half, standardised before threads share them."""
    train, _ = question.halves()
    half = TrainingHalf(x[train], question.groups[train])
    _ = half.z
    return half
