"""Label columns of the catalog to targets: words, counts and numbers to the matrix that heads and metrics take."""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from catalogs.errors import CatalogError
from catalogs.galaxies.question_trees import asked_probability, counts, questions
from domainssl.options import Kind
from pipelines.recipe import LabelEntry

# "1.0" and "0.0" are what programs write that keep a column with empty cells as floating-point numbers.
YES = ("1", "1.0", "yes", "y", "true", "t", "positive", "present")
NO = ("0", "0.0", "no", "n", "false", "f", "negative", "absent")
NOTHING = ("", "no finding", "none")  # words of a cell with several findings that stand for none


@final
@dataclass(frozen=True)
class Targets:
    """A label's targets, one row an object, NaN where unknown, as `domainssl.heads.head` defines them.

    `outputs` names what a head predicts: the classes, no and yes, the findings, the levels, the answers, or the value.
    """

    kind: Kind
    y: Float64[np.ndarray, "n t"]
    outputs: tuple[str, ...]


def targets(frame: pd.DataFrame, label: str, entry: LabelEntry) -> Targets:
    """The targets of one label of the recipe; an empty cell is unknown.

    Raises CatalogError where no row has a value, and where a value is not what the label's kind asks for.
    """
    if entry.tree is not None:
        return _tree_votes(frame, label, entry, entry.tree)
    columns = [_without(frame[name], entry.unknown) for name in entry.columns or (label,)]
    if is_finding(entry):
        blanks = [_blank(frame, name) for name in entry.columns or (label,)]
        columns = [_settled(label, *pair, entry) for pair in zip(columns, blanks, strict=True)]
    if all(column.isna().all() for column in columns):
        raise CatalogError(
            "labels.{label}: no row has a value in this column; name a column that holds labels", label=label
        )
    if entry.kind == "classes":
        return _classes(label, columns[0])
    if entry.kind == "yes_no":
        y, outputs = _yes_no(label, columns[0], entry.yes)
        return Targets("yes_no", y[:, None], outputs)
    if entry.kind == "multilabel":
        return _findings(label, entry, columns)
    if entry.kind == "ordered":
        return _ordered(label, columns[0], entry.order)
    numbers = np.column_stack([_numbers(label, column) for column in columns])
    if entry.kind == "real":
        return Targets("real", numbers, (label,))
    if (numbers < 0).any():
        raise CatalogError(
            "labels.{label}: a count of votes is negative; give counts from 0 up, empty where unknown", label=label
        )
    return Targets("votes", _enough(numbers, entry.min_votes), entry.columns)


def is_finding(entry: LabelEntry) -> bool:
    """Whether cells hold yes or no of a finding, so that a source may be uncertain of them."""
    return entry.kind == "yes_no" or (entry.kind == "multilabel" and bool(entry.columns))


def unsettled(frame: pd.DataFrame, label: str, entry: LabelEntry) -> tuple[int, int]:
    """In how many cells of a finding, or of several, the source is uncertain, and in how many it says nothing."""
    names = entry.columns or (label,)
    uncertain = sum(int(_uncertain(_without(frame[name], entry.unknown)).sum()) for name in names)
    return uncertain, sum(int(_blank(frame, name).sum()) for name in names)


def _uncertain(column: "pd.Series[str]") -> "pd.Series[bool]":
    return pd.to_numeric(column.astype(object), errors="coerce") == -1


def _blank(frame: pd.DataFrame, name: str) -> "pd.Series[bool]":
    """The empty cells of a column, in catalogs whose tables have it: a survey without labels says nothing at all."""
    given = frame[name].notna()
    return ~given & (given.groupby(frame["catalog"]).transform("any") if "catalog" in frame else True)


def _settled(label: str, column: "pd.Series[str]", blank: "pd.Series[bool]", entry: LabelEntry) -> "pd.Series[str]":
    """Cells of -1 (uncertain) and empty ones as the recipe says (Irvin et al. 2019, arXiv:1901.07031, 3.1)."""
    uncertain = _uncertain(column)
    if uncertain.any() and entry.uncertain is None:
        raise CatalogError(
            "labels.{label}: {count} cells are -1, which stands for uncertain; say what they count as: "
            "labels.{label}.uncertain = 'ignore', 'zero' or 'one'",
            label=label,
            count=int(uncertain.sum()),
        )
    if entry.uncertain is not None:
        column = column.astype(object).mask(uncertain, {"ignore": None, "zero": "0", "one": "1"}[entry.uncertain])
    return column.astype(object).mask(blank, "0") if entry.blank == "zero" else column


def _without(column: "pd.Series[str]", unknown: tuple[float | str, ...]) -> "pd.Series[str]":
    """The column with None in the cells that stand for no value."""
    numbers = [value for value in unknown if isinstance(value, float)]
    words = [value for value in unknown if isinstance(value, str)]
    if not unknown:
        return column
    parsed = pd.to_numeric(column.astype(object), errors="coerce")
    return column.astype(object).mask(parsed.isin(numbers) | column.isin(words), None)


def _tree_votes(frame: pd.DataFrame, question: str, entry: LabelEntry, tree: str) -> Targets:
    y = _enough(counts(frame, tree, question, entry.form), entry.min_votes)
    if entry.min_asked > 0:
        y[~(asked_probability(frame, tree, question) >= entry.min_asked)] = np.nan
    if np.isnan(y).all():
        raise CatalogError("labels.{label}: no row has enough votes; lower min_votes and min_asked", label=question)
    return Targets("votes", y, questions(tree)[question].answers)


def _enough(votes: Float64[np.ndarray, "n t"], least: int) -> Float64[np.ndarray, "n t"]:
    """NaN in rows of too few votes, or none; an unknown count leaves the shares unknown."""
    total = votes.sum(axis=1, keepdims=True)
    # half a vote: the sum of debiased counts is a whole number but for rounding
    enough: Float64[np.ndarray, "n t"] = np.where((total > 0) & (total > least - 0.5), votes, np.nan)
    return enough


def _classes(label: str, column: "pd.Series[str]") -> Targets:
    names = sorted(column.dropna().astype(str).unique())
    if len(names) < 2:
        raise CatalogError(
            "labels.{label}: {word} is the only class; name a column that holds two or more",
            {"word": repr(names[0])},
            label=label,
        )
    return Targets("classes", _indices(column, names)[:, None], tuple(names))


def _indices(column: "pd.Series[str]", names: list[str]) -> Float64[np.ndarray, " n"]:
    codes = pd.Categorical(column.astype(object), categories=names).codes
    return np.where(codes < 0, np.nan, codes.astype(np.float64))


def _yes_no(label: str, column: "pd.Series[str]", yes: str | None) -> tuple[Float64[np.ndarray, " n"], tuple[str, str]]:
    words = [str(word) for word in column.dropna().unique()]
    if yes is not None:
        if yes not in words:
            raise CatalogError(
                "labels.{label}.yes: no cell holds {yes!r}; the words are {words}",
                {"words": _shown(words)},
                label=label,
                yes=yes,
            )
        positive, negative = [yes], [word for word in words if word != yes]
        if len(negative) > 1:
            raise CatalogError(
                "labels.{label}: {words} are more than two words; use kind = 'classes'",
                {"words": _shown(words)},
                label=label,
            )
    else:
        positive = [word for word in words if word.strip().lower() in YES]
        negative = [word for word in words if word.strip().lower() in NO]
        strange = sorted(set(words) - set(positive) - set(negative))
        if strange:
            raise CatalogError(
                "labels.{label}: {word} is neither yes nor no (yes, 1, no, 0 ...); name the word for yes in "
                "labels.{label}.yes, what stands for unknown in labels.{label}.unknown, or use kind = 'classes'",
                {"word": repr(strange[0])},
                label=label,
            )
    if not positive or not negative:
        raise CatalogError(
            "labels.{label}: {words} is the only answer; name a column that holds yes and no",
            {"words": _shown(words)},
            label=label,
        )
    y = np.where(column.isin(positive), 1.0, np.where(column.isin(negative), 0.0, np.nan))
    return y, (negative[0], positive[0])


def _findings(label: str, entry: LabelEntry, columns: "list[pd.Series[str]]") -> Targets:
    if entry.columns:
        answers = []
        for name, column in zip(entry.columns, columns, strict=True):
            words = set(column.dropna().astype(str).str.strip().str.lower())
            strange = sorted(words - set(YES) - set(NO))
            if strange:
                raise CatalogError(
                    "labels.{label}: column {name!r} has {word}, which is neither yes nor no; write 1 or 0, and leave "
                    "unknown cells empty",
                    {"word": repr(strange[0])},
                    label=label,
                    name=name,
                )
            lower = column.astype(object).where(column.notna(), None).map(lambda word: word and word.strip().lower())
            answers.append(np.where(lower.isin(YES), 1.0, np.where(lower.isin(NO), 0.0, np.nan)))
        return Targets("multilabel", np.column_stack(answers), entry.columns)
    cells = [
        None if pd.isna(cell) else [part.strip() for part in str(cell).split(entry.separator)] for cell in columns[0]
    ]
    names = sorted({part for cell in cells if cell for part in cell if part.lower() not in NOTHING})
    if not names:
        raise CatalogError("labels.{label}: no cell names a finding; name a column that holds findings", label=label)
    y = np.array([[np.nan] * len(names) if cell is None else [float(name in cell) for name in names] for cell in cells])
    return Targets("multilabel", y, tuple(names))


def _ordered(label: str, column: "pd.Series[str]", order: tuple[str, ...]) -> Targets:
    words = [str(word) for word in column.dropna().unique()]
    if order:
        strange = sorted(set(words) - set(order))
        if strange:
            raise CatalogError(
                "labels.{label}: {word} is not in its order {order}; add it in its place",
                {"word": repr(strange[0])},
                label=label,
                order=_shown(order),
            )
        names = [name for name in order if name in words]
    else:
        values = pd.to_numeric(pd.Series(words), errors="coerce").to_numpy(float)
        if np.isnan(values).any():
            raise CatalogError(
                "labels.{label}: {word} is no number; name the levels from the lowest in labels.{label}.order",
                {"word": repr(words[int(np.flatnonzero(np.isnan(values))[0])])},
                label=label,
            )
        level_of = {word: float(value) for word, value in zip(words, values, strict=True)}
        column = column.map(level_of, na_action="ignore").map(lambda value: f"{value:g}", na_action="ignore")
        names = [f"{value:g}" for value in np.unique(values)]  # "1" and "1.0" are one level
    if len(names) < 2:
        raise CatalogError(
            "labels.{label}: {word} is the only level; name a column that holds two or more",
            {"word": repr(names[0])},
            label=label,
        )
    return Targets("ordered", _indices(column, names)[:, None], tuple(names))


def _numbers(label: str, column: "pd.Series[str]") -> Float64[np.ndarray, " n"]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    wrong = column[np.isnan(values) & column.notna().to_numpy(bool)]
    if len(wrong):
        raise CatalogError(
            "labels.{label}: {word} is no number; leave unknown cells empty",
            {"word": repr(wrong.iloc[0])},
            label=label,
        )
    return np.where(np.isfinite(values), values, np.nan)


def _shown(words: "list[str] | tuple[str, ...]") -> str:
    some = ", ".join(map(repr, list(words)[:6]))
    return f"{some} and {len(words) - 6} more" if len(words) > 6 else some
