"""By what a run's scores are split: sex, age, view, site, scanner of people; brightness, size, redshift of galaxies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int64

from domainssl.evaluation.audit import Attribute, of_numbers, of_words
from domainssl.evaluation.certainty import Certainty
from domainssl.evaluation.question import Question
from domainssl.evaluation.subgroups import Answered, subgroups
from domainssl.evaluation.thresholds import at_specificity
from domainssl.evaluation.transfer import transfer
from domainssl.evaluation.units import make_units
from domainssl.heads.head import Fit, TrainingHalf
from domainssl.heads.out_of_fold import out_of_fold
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.privacy import PublicError
from pipelines.recipe import Recipe
from pipelines.recipe_messages import did_you_mean

PEOPLE = ("sex", "age", "view", "site", "scanner")
# Of galaxies the first of each that a catalog has, in any letter case: more of them would say nearly the same again.
BRIGHTNESS = (
    *("mag_r", "r_mag", "rmag", "mag_auto_r", "petromag_r", "modelmag_r", "cmodelmag_r", "dered_r", "dered_mag_r"),
    *("mag_g", "mag_i", "mag_z", "mag_auto", "magnitude", "mag"),
)
SIZE = (
    *("petror50_r", "petror90_r", "petro_theta", "petro_th50", "petrorad_r", "shape_r", "half_light_radius", "hlr"),
    *("r_eff", "re", "r50", "flux_radius", "radius", "d25"),
)
REDSHIFT = ("redshift",)
VALID = {BRIGHTNESS: (0.0, 50.0), SIZE: (0.0, np.inf), REDSHIFT: (-0.01, 20.0)}  # beyond stand -99, 99 and their like
# Decades leave most collections of some hundred people with too few of either answer in each; these four have names in
# the clinic (young adults, middle age, young-old, old), and the last begins below the age at which pages hide ages.
AGES = (40, 60, 75)
AGE_NAMES = ("below 40", "40 to 59", "60 to 74", "75 and above")
OLDEST = 120  # years; above it an age is a mistake
MOST_WORDS = 12  # of a column; the rarer ones count as one
OTHER = "other"
TAUGHT = 5000  # labelled rows that a threshold is chosen on at most


def subgrouped(
    recipe: Recipe,
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    embedded: Float[np.ndarray, "n d"],
    questions: Mapping[str, Question],
    scores: Mapping[str, Float64[np.ndarray, "n _"]],
    taught: Mapping[str, tuple[Fit, Certainty]],
) -> list[dict[str, Any]]:
    """The entries of subgroups.json, one a label, of the evaluated `rows`, whose `embedded` and `scores` are given.

    The recipe's columns must be there, see `check_columns`.
    """
    if not questions:
        return []
    frame, train = objects.frame.iloc[rows], objects.train[rows]
    found = attributes(frame, train, recipe)
    answered = [
        Answered(question, scores[label], _thresholds(question, embedded, *taught[label], recipe.seed))
        for label, question in questions.items()
    ]
    entries = subgroups(found, answered, recipe.seed)
    for entry, (label, question) in zip(entries, questions.items(), strict=True):
        name, fit = recipe.classify.transfer, taught[label][0]
        known = name in frame and name not in recipe.label_columns
        levels = _words(name, frame[name]) if known else None
        entry["transfer"] = None if levels is None else transfer(levels, question, embedded, fit, recipe.seed)
    return entries


def check_columns(recipe: Recipe, frame: pd.DataFrame) -> None:
    """Raises PublicError for a column of `classify.subgroups` or `classify.transfer` that the catalog does not have."""
    for key, name in [*(("subgroups", name) for name in recipe.classify.subgroups), *_transfer_column(recipe)]:
        if name not in frame:
            hint = did_you_mean(name, map(str, frame.columns))
            raise PublicError(
                f"classify.{key}: no column {name!r} in the catalog{hint or '; name one that it has'} "
                "(private domains keep few columns)"
            )


def attributes(frame: pd.DataFrame, train: Bool[np.ndarray, " n"], recipe: Recipe) -> list[Attribute]:
    """Each row's level of what the catalog has, the recipe's own columns last; none that holds labels."""
    labels, found = set(recipe.label_columns), []
    if DOMAINS[recipe.domain].sky:
        lower = {str(name).lower(): str(name) for name in reversed(frame.columns)}
        for names, (low, high) in VALID.items():
            usual = [lower[name] for name in names if name in lower and lower[name] not in labels]
            for name in usual[:1]:
                values = _numbers(frame[name])
                found.append(of_numbers(name, np.where((values > low) & (values < high), values, np.nan), train))
    else:
        for name in PEOPLE:
            if name in frame and name not in labels:
                found.append(of_ages(_numbers(frame[name])) if name == "age" else _words(name, frame[name]))
    for name in recipe.classify.subgroups:
        if name not in {attribute.name for attribute in found}:
            values = _numbers(frame[name])
            is_number = np.isfinite(values).sum() == frame[name].notna().sum() and frame[name].nunique() > MOST_WORDS
            found.append(of_numbers(name, values, train) if is_number else _words(name, frame[name]))
    return found


def of_ages(years: Float64[np.ndarray, " n"]) -> Attribute:
    """Ages as AGE_NAMES, unknown where they are not within 0 to OLDEST years."""
    known = (years >= 0) & (years <= OLDEST)
    level = np.searchsorted(AGES, years, side="right")
    return Attribute("age", np.where(known, level, -1).astype(np.int64), AGE_NAMES)


def _words(name: str, column: "pd.Series[Any]") -> Attribute:
    words = column.astype(object).where(column.notna(), None)
    frequent = words.value_counts().index[: MOST_WORDS - 1]
    return of_words(name, words.where(words.isna() | words.isin(frequent), OTHER).tolist())


def _numbers(column: "pd.Series[Any]") -> Float64[np.ndarray, " n"]:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


def _transfer_column(recipe: Recipe) -> list[tuple[str, str]]:
    """The column of transfer where the recipe names another one than usual."""
    name = recipe.classify.transfer
    return [("transfer", name)] if name not in ("", type(recipe.classify)().transfer) else []


def _thresholds(
    question: Question, embedded: Float[np.ndarray, "n d"], fit: Fit, certainty: Certainty, seed: int
) -> Float64[np.ndarray, " a"] | None:
    """For yes/no and findings, where calibrated scores of heads that did not learn from a unit keep the specificity."""
    if question.kind not in ("yes_no", "multilabel"):
        return None
    rng = np.random.default_rng([seed, 84])
    rows = np.sort(rng.permutation(np.flatnonzero(question.train & question.known))[:TAUGHT])
    half = TrainingHalf(embedded[rows], question.groups[rows])
    told = out_of_fold(fit, half, np.arange(len(rows)), question.y[rows], len(question.outputs), rng).predictions
    asked = ~np.isnan(told).any(axis=1)
    if not asked.any():
        return None
    rows, told = rows[asked], certainty.calibrated(told[asked])
    units = make_units(question.kind, question.y[rows], question.units[rows], question.groups[rows])
    joined = units.join(told, question.aggregate)
    yes = joined[:, 1:] if question.kind == "yes_no" else joined
    return at_specificity(yes, units.truth, question.specificity)
