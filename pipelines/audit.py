"""What a run is asked about shortcuts: columns of the catalog and plain numbers of the images, none of them a label."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64

from domainssl.evaluation.audit import Attribute, audit, of_numbers, of_words
from domainssl.evaluation.image_measures import image_measures
from domainssl.evaluation.question import Question
from pipelines.objects import Objects

# Columns that tell how, where or of whom an image was made; those that the catalog has are asked about.
WORDS = ("catalog", "site", "scanner", "modality", "view", "laterality", "photometric", "burned_in", "sex")
NUMBERS = ("bits", "pixel_mm", "age", "redshift")
MOST_WORDS = 12  # of a column; the rarer ones count as one
OTHER = "other"


def audited(
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    embedded: Float[np.ndarray, "n d"],
    questions: Mapping[str, Question],
    scores: Mapping[str, Float64[np.ndarray, "n _"]],
    seed: int,
) -> list[dict[str, Any]]:
    """The entries of audit.json for the evaluated `rows`, of which `embedded` and `scores` are; none without labels."""
    if not questions:
        return []
    train = objects.train[rows]
    attributes = _attributes(objects, rows, train, set(questions))
    groups = objects.frame["group"].to_numpy(str)[rows]
    return audit(attributes, embedded, train, groups, questions, scores, seed)


def _attributes(
    objects: Objects, rows: Int64[np.ndarray, " n"], train: np.ndarray, labels: set[str]
) -> list[Attribute]:
    frame = objects.frame.iloc[rows]
    found = []
    for name in (*WORDS, *NUMBERS):
        if name not in frame or name in labels or frame[name].isna().all():
            continue
        if name in NUMBERS:
            found.append(of_numbers(name, pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64), train))
            continue
        words = frame[name].astype(object).where(frame[name].notna(), None)
        frequent = words.value_counts().index[: MOST_WORDS - 1]
        found.append(of_words(name, words.where(words.isna() | words.isin(frequent), OTHER).tolist()))
    measures: dict[str, np.ndarray] = dict(image_measures(objects.store, rows))
    for name, values in objects.store.nuisance.items():
        known = np.isfinite(values[rows])
        total = np.where(known, values[rows], 0).sum(axis=1)
        measures[name] = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
    found += [of_numbers(name, values.astype(np.float64), train) for name, values in measures.items()]
    return found
