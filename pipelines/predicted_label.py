"""One label of a run, once its head has learnt from all labels of the training half."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.evaluation.certainty import Certainty
from domainssl.evaluation.question import Question
from domainssl.heads.head import Fit, FittedHead
from pipelines.targets import Targets


@final
@dataclass(frozen=True)
class PredictedLabel:
    """What is true of all objects (`targets`), what is asked of the evaluated ones (`question`), the head that predicts
    with what fits such a one, how far it is to be trusted, and its calibrated `scores` of the evaluated objects."""

    targets: Targets
    question: Question
    fit: Fit
    head: FittedHead
    certainty: Certainty
    scores: Float64[np.ndarray, "n k"]

    def part(self, places: Int64[np.ndarray, " m"]) -> "PredictedLabel | None":
        """The same of some of the evaluated objects; None where these leave nothing to learn or to ask."""
        question = self.question.part(places)
        return question and replace(self, question=question, scores=self.scores[places])
