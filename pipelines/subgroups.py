"""By what a run's scores are split: sex, age, view, site, scanner of people; brightness, size, redshift of galaxies."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int64

from domainssl.evaluation.audit import Attribute, of_numbers
from domainssl.evaluation.multiplicity import holm
from domainssl.evaluation.subgroups import Answered, subgroups
from domainssl.evaluation.thresholds import at_specificity
from domainssl.evaluation.transfer import transfer
from domainssl.evaluation.units import make_units
from domainssl.heads.head import TrainingHalf
from domainssl.heads.out_of_fold import out_of_fold
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel
from pipelines.recipe import Recipe
from pipelines.usual_columns import MOST_WORDS, OTHER, numbers, usual_column, words

PEOPLE = ("sex", "age", "view", "site", "scanner")
GALAXIES = ("magnitude", "radius_arcsec", "redshift")  # of the first usual column each
# Decades leave most collections of some hundred people with too few of either answer in each; these four have names in
# the clinic (young adults, middle age, young-old, old), and the last begins below the age at which pages hide ages.
AGES = (40, 60, 75)
AGE_NAMES = ("below 40", "40 to 59", "60 to 74", "75 and above")
OLDEST = 120  # years; above it an age is a mistake
TAUGHT = 5000  # labelled rows that a threshold is chosen on at most


def subgrouped(
    recipe: Recipe,
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    embedded: Float[np.ndarray, "n d"],
    labels: Mapping[str, PredictedLabel],
) -> list[dict[str, Any]]:
    """The entries of subgroups.json, one a label, of the evaluated `rows`, whose `embedded` are given.

    The recipe's columns must be there, see `pipelines.asked_columns`.
    """
    if not labels:
        return []
    frame, train = objects.frame.iloc[rows], objects.train[rows]
    found = attributes(frame, train, recipe)
    answered = [Answered(one.question, one.scores, _thresholds(one, embedded, recipe.seed)) for one in labels.values()]
    entries = subgroups(found, answered, recipe.seed)
    name = recipe.classify.transfer
    levels = _sites(words(name, frame[name])) if name in frame and name not in recipe.label_columns else None
    for entry, one in zip(entries, labels.values(), strict=True):
        entry["transfer"] = levels and transfer(levels, one.question, embedded, one.fit, recipe.seed)
    cells = [cell for entry in entries if entry["transfer"] for cell in entry["transfer"]["cells"] if "loss" in cell]
    for cell, p in zip(cells, holm([cell["loss"]["p"] for cell in cells]), strict=True):  # over all labels of the run
        cell["loss"]["p_holm"] = None if np.isnan(p) else float(p)
    return entries


def _sites(levels: Attribute) -> Attribute:
    """Without the rare ones that count as one: together they are no place."""
    other = levels.names.index(OTHER) if OTHER in levels.names and len(levels.names) == MOST_WORDS else -2
    return replace(levels, level=np.where(levels.level == other, -1, levels.level))


def attributes(frame: pd.DataFrame, train: Bool[np.ndarray, " n"], recipe: Recipe) -> list[Attribute]:
    """Each row's level of what the catalog has, the recipe's own columns last; none that holds labels."""
    labels, found = set(recipe.label_columns), []
    if DOMAINS[recipe.domain].sky:
        usual = [usual_column(frame, what, labels) for what in GALAXIES]
        found = [of_numbers(*column, train) for column in usual if column is not None]
    else:
        for name in PEOPLE:
            if name in frame and name not in labels:
                found.append(of_ages(numbers(frame[name])) if name == "age" else words(name, frame[name]))
    for name in recipe.classify.subgroups:
        if name not in {attribute.name for attribute in found}:
            values = numbers(frame[name])
            is_number = np.isfinite(values).sum() == frame[name].notna().sum() and frame[name].nunique() > MOST_WORDS
            found.append(of_numbers(name, values, train) if is_number else words(name, frame[name]))
    return found


def of_ages(years: Float64[np.ndarray, " n"]) -> Attribute:
    """Ages as AGE_NAMES, unknown where they are not within 0 to OLDEST years."""
    known = (years >= 0) & (years <= OLDEST)
    level = np.searchsorted(AGES, years, side="right")
    return Attribute("age", np.where(known, level, -1).astype(np.int64), AGE_NAMES)


def _thresholds(
    label: PredictedLabel, embedded: Float[np.ndarray, "n d"], seed: int
) -> Float64[np.ndarray, " a"] | None:
    """For yes/no and findings, where calibrated scores of heads that did not learn from a unit keep the specificity."""
    question = label.question
    if question.kind not in ("yes_no", "multilabel"):
        return None
    rng = np.random.default_rng([seed, 86])
    rows = np.sort(rng.permutation(np.flatnonzero(question.train & question.known))[:TAUGHT])
    half = TrainingHalf(embedded[rows], question.groups[rows])
    told = out_of_fold(label.fit, half, np.arange(len(rows)), question.y[rows], len(question.outputs), rng).predictions
    asked = ~np.isnan(told).any(axis=1)
    if not asked.any():
        return None
    rows, told = rows[asked], label.certainty.calibrated(told[asked])
    units = make_units(question.kind, question.y[rows], question.units[rows], question.groups[rows])
    joined = units.join(told, question.aggregate)
    yes = joined[:, 1:] if question.kind == "yes_no" else joined
    return at_specificity(yes, units.truth, question.specificity)
