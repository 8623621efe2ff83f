"""What a run is asked about shortcuts: columns of the catalog, its files and plain numbers of the images, no label."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from domainssl.evaluation.audit import audit
from domainssl.evaluation.question import Question
from pipelines.attributes import Attributes
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel

MOST = 40_000  # evaluated objects that are asked about, since every attribute looks at images


def audited_places(questions: Iterable[Question], evaluated: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Which of the evaluated objects are asked about, ascending: of each question's halves as many, while there are."""
    if evaluated <= MOST:
        return np.arange(evaluated)
    rng = np.random.default_rng([seed, 89])
    halves = [half & question.known for question in questions for half in (question.train, question.test)]
    parts = by_turns([rng.permutation(np.flatnonzero(half)) for half in halves])
    return np.sort(np.array(list(dict.fromkeys(parts))[:MOST], np.int64))


def by_turns(parts: Sequence[np.ndarray]) -> list[int]:
    """The first of every part, then the second of those that have one, and so on."""
    padded = zip_longest(*(part.tolist() for part in parts))
    return [value for turn in padded for value in turn if value is not None]


def audited(
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    asked: Attributes,
    embedded: Float[np.ndarray, "n d"],
    labels: Mapping[str, PredictedLabel],
    seed: int,
) -> list[dict[str, Any]]:
    """The entries of audit.json for the evaluated `rows`, of which all else is; none without labels."""
    if not labels:
        return []
    groups = objects.frame["group"].to_numpy(str)[rows]
    questions = {name: label.question for name, label in labels.items()}
    scores = {name: label.scores for name, label in labels.items()}
    return audit((*asked.told, *asked.measured), embedded, objects.train[rows], groups, questions, scores, seed)
