"""What a run is asked about shortcuts: columns of the catalog, its files and plain numbers of the images, no label."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from domainssl.evaluation.audit import audit
from pipelines.attributes import Attributes
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel

MOST = 40_000  # evaluated objects that are asked about, at random where there are more: every attribute looks at images


def audited_places(evaluated: int, seed: int) -> Int64[np.ndarray, " m"]:
    """Which of the evaluated objects are asked about, ascending."""
    return np.sort(np.random.default_rng([seed, 89]).permutation(evaluated)[:MOST])


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
