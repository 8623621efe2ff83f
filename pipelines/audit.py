"""What a run is asked about shortcuts: columns of the catalog, its files and plain numbers of the images, no label."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

from domainssl.evaluation.audit import audit
from domainssl.evaluation.question import Question
from pipelines.attributes import Attributes
from pipelines.objects import Objects


def audited(
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    asked: Attributes,
    embedded: Float[np.ndarray, "n d"],
    questions: Mapping[str, Question],
    scores: Mapping[str, Float64[np.ndarray, "n _"]],
    seed: int,
) -> list[dict[str, Any]]:
    """The entries of audit.json for the evaluated `rows`, of which all else is; none without labels."""
    if not questions:
        return []
    groups = objects.frame["group"].to_numpy(str)[rows]
    return audit((*asked.told, *asked.measured), embedded, objects.train[rows], groups, questions, scores, seed)
