"""What the headers of an archive say, asked before anything is decoded: whose images they are, views, devices, pixels.

A table wins over headers, column by column and row by row.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from catalogs.columns import USUAL_NAMES, texts
from catalogs.reading import WindowPolicy
from catalogs.supervisor import supervised
from pipelines.domains import DOMAINS
from pipelines.privacy import PublicError
from pipelines.reading_jobs import Survey, ask
from pipelines.recipe import CatalogEntry, Recipe
from pipelines.steps import Context

CHUNK = 256  # files that a reading process is asked about at once
_WRITTEN = ("view", "sex", "age", "scanner", "site")  # also found under other usual names
# From so many images on, one number for more than half of them is no patient's.
FEWEST_TO_JUDGE = 10
_INTERNAL = ("elsewhere", "window", "spacing_mm", "longer_side")  # facts for this step alone


def surveyed(context: Context, frame: pd.DataFrame, *, splits: bool = True) -> pd.DataFrame:
    """The catalog with what the headers add to it; as it is in domains without a survey.

    Columns that begin with "_" are for this step alone, and come from headers only. With `splits`, raises PublicError
    where a split by patient would be a lie: PatientID is blank in files whose patient no table names, or one number
    stands for more than half of a catalog's images.
    """
    survey = DOMAINS[context.recipe.domain].survey
    if survey is None:
        return frame
    frame = _usual_names(frame, context.recipe)
    paths = [next(iter(paths), None) for paths in frame["paths"]]
    jobs = [Survey(tuple(paths[n : n + CHUNK]), survey) for n in range(0, len(paths), CHUNK)]
    told: dict[str | None, Mapping[str, Any]] = {}
    with context.progress.counter("prepare: headers", len(paths)) as counter:
        for job, answers in supervised(jobs, ask, context.workers):
            told |= {path: answer for path, answer in zip(job.paths, answers, strict=True) if answer}
            counter.advance(len(job.paths))
    names = dict.fromkeys(("view", "burned_in", *_INTERNAL, *(next(iter(told.values()), {}))))
    headers = pd.DataFrame([told.get(path) or {} for path in paths], frame.index, list(names))
    headers = headers.rename(columns={name: f"_{name}" for name in _INTERNAL})
    headers["_patient"] = headers["issuer"].fillna("") + "\0" + headers["group"] if "group" in headers else None
    frame = _filled(frame, headers, context.recipe)
    asked = pd.Series([path in told for path in paths], index=frame.index)
    # Others are refused when they are read, and do not decide how these are shown.
    taken = frame["_elsewhere"].isna() & _of_a_taken_view(context.recipe, frame)
    frame["_window"] = frame["_window"].where(taken, None)
    if splits:
        _check_patients(context, frame[taken], asked[taken])
    return frame


def torn_patients(frame: pd.DataFrame) -> int:
    """How many patients of the headers have images in both halves, since the table has them in several groups."""
    if "_patient" not in frame:
        return 0
    return int((frame.groupby("_patient")["half"].nunique() > 1).sum())


def window_policy(recipe: Recipe, frame: pd.DataFrame) -> WindowPolicy | None:
    """The one policy of a cohort: the recipe's; "auto" takes declared windows where every DICOM file declares one.

    None in domains without a survey.
    """
    if DOMAINS[recipe.domain].survey is None:
        return None
    if recipe.store.window != "auto":
        return recipe.store.window
    declared = frame["_window"].dropna()
    return "declared" if len(declared) and (declared == "yes").all() else "percentiles"


def _usual_names(frame: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Columns of the tables that say what headers say too, under the headers' names; each catalog has its own."""
    for name in (name for name in _WRITTEN if name not in recipe.label_columns):
        usual = [c for c in frame if str(c).lower() in USUAL_NAMES[name] and c not in recipe.label_columns]
        others = sorted(usual, key=lambda column: USUAL_NAMES[name].index(str(column).lower()))
        if others:
            written = frame[others].astype(object).bfill(axis=1).iloc[:, 0]
            frame = frame.drop(columns=others).assign(**{name: written})
    read = DOMAINS[recipe.domain].view_word
    if "view" in frame and "view" not in recipe.label_columns and read is not None:
        frame["view"] = pd.Series([text and read(text) for text in texts(frame["view"])], frame.index, object)
    return frame


def _filled(frame: pd.DataFrame, headers: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    named = frame["group"].notna()
    for name in (column for column in headers if column not in recipe.label_columns):
        header = headers[name].astype(object).where(headers[name].notna(), None)
        if name == "issuer":  # a header's belongs to the header's number
            header = header.where(~named, None)
        if name not in frame:
            frame[name] = header
        elif frame[name].isna().any():
            own = frame[name].astype(object)
            frame[name] = own.where(own.notna(), header)
    if recipe.store.arcsec is None:
        side = pd.Series(recipe.store.crop or frame["_longer_side"], index=frame.index)
        frame["pixel_mm"] = frame["_spacing_mm"].astype(float) * side.astype(float) / recipe.store.size
    return frame


def _of_a_taken_view(recipe: Recipe, frame: pd.DataFrame) -> "pd.Series[bool]":
    taken, found = pd.Series(True, index=frame.index), frame["view"].fillna("UNKNOWN")
    for entry in recipe.catalog:
        if views := taken_views(recipe, entry):
            others = set(DOMAINS[recipe.domain].kept["view"]) - set(views)
            taken &= ~((frame["catalog"] == entry.name) & found.isin(others))
    return taken


def taken_views(recipe: Recipe, entry: CatalogEntry) -> tuple[str, ...]:
    """The views of a catalog that are read, () for all."""
    return DOMAINS[recipe.domain].taken_views if entry.views is None else entry.views


def _check_patients(context: Context, frame: pd.DataFrame, asked: "pd.Series[bool]") -> None:
    remedy = (
        "name the table's column of patients in columns.group (where each image is of a patient of its own, the id)"
    )
    nameless = frame["group"].isna()
    if blank := int((nameless & asked).sum()):
        raise PublicError(
            f"PatientID is blank, zeros or a word for nobody in {blank} of {int(asked.sum())} DICOM files, and the "
            f"table does not say whose they are: a split by patient would be a lie; {remedy}"
        )
    if others := int(nameless.sum()):
        context.progress.note(
            f"prepare: of {others} image(s) neither table nor file says whose they are; each counts as a "
            "group of its own"
        )
    people = frame.loc[~nameless, ["catalog", "issuer", "group"]].fillna("")
    for _, of_catalog in people.groupby("catalog"):
        most = int(of_catalog.value_counts().iloc[0])
        if len(of_catalog) >= FEWEST_TO_JUDGE and most > len(of_catalog) / 2:
            raise PublicError(
                f"one patient number stands for {most} of {len(of_catalog)} images, so it is no patient's: a split by "
                f"patient would be a lie; {remedy}"
            )
