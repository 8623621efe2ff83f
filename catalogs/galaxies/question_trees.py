"""The question trees of Galaxy Zoo: who was asked what, and which columns of the published tables hold the votes.

Trees: Willett et al. 2013 (Galaxy Zoo 2), Walmsley et al. 2022 (Galaxy Zoo DECaLS, figures 4 and A1); the campaigns of
the Galaxy Zoo Evo collections as their tables name them. Debiased fractions: Hart et al. 2016, Walmsley et al. 2022.
Not everybody is asked everything: who answers "smooth" is not asked for spiral arms, so a galaxy may have no votes for
a question, or the votes of two people among forty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from catalogs.columns import missing_column
from catalogs.errors import CatalogError

Form = Literal["raw", "debiased"]


@final
@dataclass(frozen=True)
class Question:
    """The answers to choose from; asked of those who gave one of `by` to the question `after`, or of all (None)."""

    answers: tuple[str, ...]
    after: str | None = None
    by: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Tree:
    """A campaign's questions, and its tables' names for the columns of "{question}" and "{answer}", tried in order.

    `raw` are counts of votes, `debiased` fractions of the question's votes, `total` counts of all its votes.
    """

    questions: Mapping[str, Question]
    raw: tuple[str, ...]
    debiased: tuple[str, ...] = ()
    total: tuple[str, ...] = ()


_GZ2 = {
    "t01_smooth_or_features": Question(("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact")),
    "t02_edgeon": Question(("a04_yes", "a05_no"), "t01_smooth_or_features", ("a02_features_or_disk",)),
    "t03_bar": Question(("a06_bar", "a07_no_bar"), "t02_edgeon", ("a05_no",)),
    "t04_spiral": Question(("a08_spiral", "a09_no_spiral"), "t02_edgeon", ("a05_no",)),
    "t05_bulge_prominence": Question(
        ("a10_no_bulge", "a11_just_noticeable", "a12_obvious", "a13_dominant"), "t02_edgeon", ("a05_no",)
    ),
    "t06_odd": Question(("a14_yes", "a15_no"), "t01_smooth_or_features", ("a01_smooth", "a02_features_or_disk")),
    "t07_rounded": Question(
        ("a16_completely_round", "a17_in_between", "a18_cigar_shaped"), "t01_smooth_or_features", ("a01_smooth",)
    ),
    "t08_odd_feature": Question(
        (
            *("a19_ring", "a20_lens_or_arc", "a21_disturbed", "a22_irregular", "a23_other", "a24_merger"),
            "a38_dust_lane",
        ),
        "t06_odd",
        ("a14_yes",),
    ),
    "t09_bulge_shape": Question(("a25_rounded", "a26_boxy", "a27_no_bulge"), "t02_edgeon", ("a04_yes",)),
    "t10_arms_winding": Question(("a28_tight", "a29_medium", "a30_loose"), "t04_spiral", ("a08_spiral",)),
    "t11_arms_number": Question(
        ("a31_1", "a32_2", "a33_3", "a34_4", "a36_more_than_4", "a37_cant_tell"), "t04_spiral", ("a08_spiral",)
    ),
}
_GZ2_EVO = {  # Galaxy Zoo 2 under the names of the later campaigns; without the odd features
    "smooth-or-featured": Question(("smooth", "featured-or-disk", "artifact")),
    "disk-edge-on": Question(("yes", "no"), "smooth-or-featured", ("featured-or-disk",)),
    "has-spiral-arms": Question(("yes", "no"), "disk-edge-on", ("no",)),
    "bar": Question(("yes", "no"), "disk-edge-on", ("no",)),
    "bulge-size": Question(("dominant", "obvious", "just-noticeable", "no"), "disk-edge-on", ("no",)),
    "something-odd": Question(("yes", "no"), "smooth-or-featured", ("smooth", "featured-or-disk")),
    "how-rounded": Question(("round", "in-between", "cigar"), "smooth-or-featured", ("smooth",)),
    "bulge-shape": Question(("round", "boxy", "no-bulge"), "disk-edge-on", ("yes",)),
    "spiral-winding": Question(("tight", "medium", "loose"), "has-spiral-arms", ("yes",)),
    "spiral-arm-count": Question(("1", "2", "3", "4", "more-than-4", "cant-tell"), "has-spiral-arms", ("yes",)),
}
_GZD_5 = {
    "smooth-or-featured": Question(("smooth", "featured-or-disk", "artifact")),
    "disk-edge-on": Question(("yes", "no"), "smooth-or-featured", ("featured-or-disk",)),
    "has-spiral-arms": Question(("yes", "no"), "disk-edge-on", ("no",)),
    "bar": Question(("strong", "weak", "no"), "disk-edge-on", ("no",)),
    "bulge-size": Question(("dominant", "large", "moderate", "small", "none"), "disk-edge-on", ("no",)),
    "how-rounded": Question(("round", "in-between", "cigar-shaped"), "smooth-or-featured", ("smooth",)),
    "edge-on-bulge": Question(("boxy", "none", "rounded"), "disk-edge-on", ("yes",)),
    "spiral-winding": Question(("tight", "medium", "loose"), "has-spiral-arms", ("yes",)),
    "spiral-arm-count": Question(("1", "2", "3", "4", "more-than-4", "cant-tell"), "has-spiral-arms", ("yes",)),
    "merging": Question(
        ("none", "minor-disturbance", "major-disturbance", "merger"),
        "smooth-or-featured",
        ("smooth", "featured-or-disk"),
    ),
}
_GZD_1_2 = {
    **_GZD_5,
    "bar": Question(("yes", "no"), "disk-edge-on", ("no",)),
    "bulge-size": Question(("dominant", "obvious", "none"), "disk-edge-on", ("no",)),
    "how-rounded": Question(("completely", "in-between", "cigar-shaped"), "smooth-or-featured", ("smooth",)),
    "spiral-arm-count": Question(("1", "2", "3", "4", "more-than-4"), "has-spiral-arms", ("yes",)),
    "merging": Question(
        ("neither", "tidal-debris", "both", "merger"), "smooth-or-featured", ("smooth", "featured-or-disk")
    ),
}
_COSMIC_DAWN = {
    **_GZD_5,
    "smooth-or-featured": Question(("smooth", "featured-or-disk", "problem")),
    "clumps": Question(("yes", "no"), "disk-edge-on", ("no",)),
    "problem": Question(("star", "artifact", "zoom"), "smooth-or-featured", ("problem",)),
    "artifact": Question(
        ("satellite", "scattered", "diffraction", "ray", "saturation", "other"), "problem", ("artifact",)
    ),
}


def _tree(questions: Mapping[str, Question], campaign: str, *, published: bool) -> Tree:
    """`campaign` is the ending of questions in collections of several; `published`: also as a table of its own."""
    endings = ("", f"-{campaign}") if published else (f"-{campaign}",)
    return Tree(
        questions,
        raw=tuple(f"{{question}}{ending}_{{answer}}" for ending in endings),
        debiased=("{question}_{answer}_debiased",) if published else (),
        total=tuple(f"{{question}}{ending}_total-votes" for ending in endings),
    )


TREES: Mapping[str, Tree] = {
    # tables of Willett et al. 2013 (SDSS zoo2MainSpecz) and Hart et al. 2016 (gz2_hart16)
    "gz2": Tree(_GZ2, raw=("{question}_{answer}_count",), debiased=("{question}_{answer}_debiased",)),
    "gz2_evo": _tree(_GZ2_EVO, "gz2", published=False),
    "gz_decals": _tree(_GZD_5, "dr5", published=True),  # gz_decals_volunteers_5
    "gz_decals_1_2": _tree(_GZD_1_2, "dr12", published=True),  # gz_decals_volunteers_1_and_2
    "gz_decals_8": _tree(_GZD_5, "dr8", published=False),
    "gz_cosmic_dawn": _tree(_COSMIC_DAWN, "cd", published=False),
}


def questions(tree: str) -> Mapping[str, Question]:
    """A tree's questions by name. Raises ValueError for a name that TREES lacks, with the nearest or all there are."""
    if tree not in TREES:
        raise ValueError(f"tree {tree!r} is not known{_nearest(tree, TREES)}")
    return TREES[tree].questions


def find_columns(table_columns: Iterable[str], tree: str, question: str, form: Form) -> tuple[str, ...]:
    """The table's columns of a question's answers, in the order of the tree, whatever their case.

    Raises CatalogError where the tree's tables hold no debiased votes, and for a column that the table lacks, with a
    near name; ValueError for an unknown tree or question.
    """
    names = _question(tree, question).answers
    patterns = TREES[tree].raw if form == "raw" else TREES[tree].debiased
    if not patterns:
        raise CatalogError(
            "labels.{question}.form: tables of {tree!r} hold no debiased votes; give 'raw'",
            question=question,
            tree=tree,
        )
    known = _by_lower(table_columns)
    wanted = [tuple(pattern.format(question=question, answer=name) for name in names) for pattern in patterns]
    best = max(wanted, key=lambda columns: sum(column.lower() in known for column in columns))
    for column in best:
        if column.lower() not in known:
            raise missing_column(column, f"labels.{question}", known.values())
    return tuple(known[column.lower()] for column in best)


def counts(frame: pd.DataFrame, tree: str, question: str, form: Form = "raw") -> Float64[np.ndarray, "row answer"]:
    """Votes for each answer of one question; NaN in a whole row where nobody was asked or an answer is unknown.

    A missing, negative or infinite count is unknown. Debiased counts are the published fractions, scaled to sum to 1
    (each answer is debiased by itself), times the question's votes, so that they still say how many people answered:
    the table's column of totals, or where it has none the sum of the raw columns.

    Raises as `find_columns` does, and CatalogError for a cell that is no number.
    """
    columns = find_columns(frame.columns, tree, question, form)
    values = np.column_stack([_numbers(frame[column], question) for column in columns])
    if form == "debiased":
        total = values.sum(axis=1, keepdims=True)
        share = values / np.where(total > 0, total, np.nan)
        values = share * _votes(frame, tree, question)[:, None]
    asked = values.sum(axis=1, keepdims=True) > 0  # NaN is not
    result: Float64[np.ndarray, "row answer"] = np.where(asked, values, np.nan)
    return result


def asked_probability(frame: pd.DataFrame, tree: str, question: str) -> Float64[np.ndarray, " row"]:
    """The share of the volunteers whose earlier answers led to a question, 0..1: the product along its branch.

    From raw votes; 1 for a question asked of all, NaN where an earlier question's votes are unknown. Walmsley et al.
    2022 take vote fractions where it exceeds 0.5. Raises as `counts` does.
    """
    asked: Float64[np.ndarray, " row"] = np.ones(len(frame))
    step = _question(tree, question)
    while step.after is not None:
        earlier = _question(tree, step.after)
        votes = counts(frame, tree, step.after)
        led = votes[:, [earlier.answers.index(answer) for answer in step.by]].sum(axis=1) / votes.sum(axis=1)
        asked = np.where(led == 0, 0.0, led * asked)  # where nobody was led on, the later shares are NaN
        step = earlier
    return asked


def _question(tree: str, question: str) -> Question:
    known = questions(tree)
    if question not in known:
        raise ValueError(f"question {question!r} is not in tree {tree!r}{_nearest(question, known)}")
    return known[question]


def _votes(frame: pd.DataFrame, tree: str, question: str) -> Float64[np.ndarray, " row"]:
    """How many people answered, NaN where unknown."""
    known = _by_lower(frame.columns)
    for pattern in TREES[tree].total:
        if (name := pattern.format(question=question).lower()) in known:
            return _numbers(frame[known[name]], question)
    total: Float64[np.ndarray, " row"] = counts(frame, tree, question).sum(axis=1)
    return total


def _numbers(column: "pd.Series[float]", question: str) -> Float64[np.ndarray, " row"]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = column[np.isnan(values) & column.notna().to_numpy(bool)]
    if len(wrong):
        raise CatalogError(
            "labels.{question}: column {name!r} has {word}, which is no number; leave unknown cells empty",
            {"word": repr(wrong.iloc[0])},
            question=question,
            name=column.name,
        )
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _by_lower(columns: Iterable[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for column in columns:
        known.setdefault(str(column).lower(), column)
    return known


def _nearest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
