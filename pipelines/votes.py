"""Votes in a run: the distribution that each object's volunteers would give, and what the test half says of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Float64, Shaped

from catalogs.galaxies.question_trees import TREES, questions
from domainssl.evaluation.dirichlet_multinomial import pooled_concentration
from domainssl.evaluation.vote_intervals import MOST_VOTES, vote_intervals
from domainssl.evaluation.votes_judged import COVERAGES, judged_votes
from domainssl.heads.dirichlet import DirichletHead
from domainssl.heads.head import FittedHead
from pipelines.recipe import LabelEntry
from pipelines.targets import Targets

# What follows the names of an answer and of a question in predictions.parquet, after two colons.
LOW, HIGH = (f"{side}{round(100 * COVERAGES[0])}" for side in ("low", "high"))
ASKED = "asked"


def vote_columns(
    label: str, outputs: tuple[str, ...], head: FittedHead, shares: Float64[np.ndarray, "n k"]
) -> dict[str, Float32[np.ndarray, " n"]]:
    """LABEL:ANSWER::low90 and ::high90, between which the share of an answer lies for nine objects in ten or more.

    Of as many volunteers as the median labelled object had; NaN where the shares are. Heads that give no
    concentrations have none of these columns.
    """
    if not isinstance(head, DirichletHead):
        return {}
    votes = usual_votes(head)
    found = vote_intervals(head.around(shares), np.full(len(shares), votes), COVERAGES[0])
    columns: dict[str, Float32[np.ndarray, " n"]] = {}
    for name, low, high in zip(outputs, found.low.T, found.high.T, strict=True):
        for side, count in ((LOW, low), (HIGH, high)):
            columns[f"{label}:{name}::{side}"] = np.where(count < 0, np.nan, count / votes).astype(np.float32)
    return columns


def usual_votes(head: DirichletHead) -> int:
    """How many volunteers the intervals of predictions.parquet speak of: 1 to MOST_VOTES."""
    return min(max(round(float(head.votes)), 1), MOST_VOTES)


def with_asked(predictions: pd.DataFrame, labels: Mapping[str, LabelEntry]) -> pd.DataFrame:
    """The table with QUESTION::asked, the share of volunteers who would come to a question, 0..1.

    It is the product of the expected shares of the answers that lead there (Walmsley et al. 2022 leave out what is
    said of a question where it is below one half). Only of questions that not everybody is asked, of a tree, whose
    earlier questions are labels of the same run; other labels have no such column.
    """
    asked = {f"{label}::{ASKED}": _asked(predictions, label, labels) for label in labels}
    return predictions.assign(**{name: share for name, share in asked.items() if share is not None})


def vote_facts(
    targets: Targets,
    head: FittedHead,
    embedded: Float32[np.ndarray, "n d"],
    train: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    seed: int,
) -> dict[str, Any]:
    """What certainty.json says of a label's vote distributions, under "votes"; nothing of other labels and heads.

    Beside it stands what would be said without the images, from the votes of the training half.
    """
    if not isinstance(head, DirichletHead):
        return {}
    known = ~np.isnan(targets.y).all(axis=1)
    test = np.flatnonzero(~train & known)
    pooled = pooled_concentration(targets.y[train & known])
    alpha, given = head.concentration(embedded[test]), targets.y[test]
    found = judged_votes(targets.outputs, alpha, pooled, given, groups[test], np.random.default_rng([seed, 84]))
    return {"votes": found and {"volunteers": usual_votes(head), "total": float(head.total), **found}}


def _asked(predictions: pd.DataFrame, label: str, labels: Mapping[str, LabelEntry]) -> Float[np.ndarray, " n"] | None:
    """By the first tree that has the question and whose earlier questions are all there; None where there is none."""
    for tree in TREES:
        if _outputs(label, labels, tree) is None or questions(tree)[label].after is None:
            continue
        asked, step = np.ones(len(predictions), np.float32), questions(tree)[label]
        while step.after is not None:
            outputs = _outputs(step.after, labels, tree)
            if outputs is None:
                break
            led = predictions[[f"{step.after}:{outputs[answer]}" for answer in step.by]].to_numpy(np.float32)
            asked, step = asked * led.sum(axis=1), questions(tree)[step.after]
        else:
            return np.asarray(asked.clip(max=1.0))  # a last digit of float32
    return None


def _outputs(label: str, labels: Mapping[str, LabelEntry], tree: str) -> dict[str, str] | None:
    """The name of the output for each answer where a label is a question of the tree, named or by its columns."""
    entry = labels.get(label)
    if entry is None or entry.kind != "votes" or label not in questions(tree):
        return None
    answers = questions(tree)[label].answers
    if entry.tree is not None:
        return {answer: answer for answer in answers} if entry.tree == tree else None
    for pattern in TREES[tree].raw:
        columns = {answer: pattern.format(question=label, answer=answer) for answer in answers}
        if set(columns.values()) == set(entry.columns):
            return columns
    return None
