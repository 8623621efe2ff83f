"""Columns that a recipe names beside those of images and labels, checked before any image is read; imports no torch."""

import pandas as pd

from catalogs.galaxies.question_trees import questions
from pipelines.privacy import PublicError
from pipelines.recipe import Recipe
from pipelines.recipe_limits import SPLIT_BY_LABEL, TOLD_BY_LABEL
from pipelines.recipe_messages import did_you_mean


def check_columns(recipe: Recipe, frame: pd.DataFrame) -> None:
    """Whether the catalog has the columns that scores are to be split by or compared with, and they hold no votes.

    Raises PublicError for a column of `classify.subgroups`, `transfer` or `metadata` that the catalog does not have, or
    that holds a label's votes for an answer (a recipe alone does not tell the columns of a question's tree).
    """
    asked = recipe.classify
    answers = {
        label.lower(): tuple(answer.lower() for answer in questions(entry.tree)[label].answers)
        for label, entry in recipe.labels.items()
        if entry.tree is not None
    }
    other = () if asked.transfer in ("", type(asked)().transfer) else (asked.transfer,)
    for key, names, why in (
        ("subgroups", asked.subgroups, SPLIT_BY_LABEL),
        ("transfer", other, SPLIT_BY_LABEL),
        ("metadata", asked.metadata, TOLD_BY_LABEL),
    ):
        for name in names:
            if name not in frame:
                hint = did_you_mean(name, map(str, frame.columns))
                raise PublicError(
                    f"classify.{key}: no column {name!r} in the catalog{hint or '; name one that it has'} "
                    "(private domains keep few columns)"
                )
            # Counts, fractions and debiased fractions alike: "{question}…_{answer}…" in every campaign.
            if any(
                name.lower().startswith(question) and any(word in name.lower() for word in words)
                for question, words in answers.items()
            ):
                raise PublicError(f"classify.{key}: {name!r} {why}")
