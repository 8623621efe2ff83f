"""Files to the store: every file is decoded once, in parallel; what cannot be read is listed with its reason."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from catalogs.chest_xrays.collections import COLLECTIONS
from catalogs.chest_xrays.marks import FEWEST_PIXELS
from catalogs.quarantine import summary, write_quarantine
from catalogs.reading import Radiometry, Request, WindowPolicy
from catalogs.splits import assign_halves
from catalogs.supervisor import supervised
from domainssl.shards import HIDDEN, Layout, layout_of, read_layout, shard_is_done, write_layout
from pipelines.asked_columns import check_columns
from pipelines.atomic import atomic_write
from pipelines.catalog import grouped, read_catalogs
from pipelines.domains import DOMAINS
from pipelines.duplicates import find_duplicates, leaks
from pipelines.header_survey import CHUNK, surveyed, taken_views, torn_patients, window_policy
from pipelines.marks import hide_marks, to_review
from pipelines.number_ranges import RANGE, number_ranges
from pipelines.privacy import PublicError, guarded, hide, pseudonyms, write_sources
from pipelines.reading_jobs import Rows, ShardJob, probe, write
from pipelines.recipe import Recipe
from pipelines.steps import Context, StepResult
from pipelines.targets import targets


def run(context: Context, like: Path | None = None) -> StepResult:
    """Read the tables, lay the images down in the store, write catalog.parquet and quarantine.csv.

    Raises ValueError where no image at all could be read, naming the reasons; with `like`, the folder of a finished
    run's store, also where these images would be laid down otherwise, before they are.
    """
    with guarded(DOMAINS[context.recipe.domain].private):
        return _run(context, like)


def strata(recipe: Recipe, frame: pd.DataFrame) -> "pd.Series[str]":
    """What rows of the two halves should be alike in: words of labels that are classes, and the site (else scanner)."""
    kinds = ("classes", "yes_no", "ordered", "multilabel")
    labels = [
        name for label, entry in recipe.labels.items() if entry.kind in kinds for name in entry.columns or (label,)
    ]
    names = [name for name in (*labels, "site") if name in frame]
    if "site" not in names and "scanner" in frame:
        names.append("scanner")
    words = frame[names].astype(object).where(frame[names].notna(), "").astype(str)
    return words.agg("\0".join, axis=1) if names else pd.Series("", index=frame.index)


def preparation(recipe: Recipe, radiometry: Radiometry, window: WindowPolicy | None = None) -> str:
    """The name of how files become pixels: in words, and with a hash of everything that decides it.

    A catalog's `white` is no part of it: it says what its files mean, and pixels are 0..1 whatever it is.
    """
    store, version = recipe.store, DOMAINS[recipe.domain].version
    described = {
        "domain": recipe.domain,
        "version": version,
        "bands": recipe.bands,
        "size": store.size,
        "crop": store.crop,
        "arcsec": store.arcsec,
        "radiometry": radiometry,
        "letterbox": 2,
        **({} if window is None else {"window": window}),
        **({"marks": DOMAINS[recipe.domain].marks_version} if _mark_finder(recipe) is not None else {}),
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    cut = f" of {store.crop} source px" if store.crop else f" of {store.arcsec:g} arcsec" if store.arcsec else ""
    shown = "" if window is None else ", declared windows" if window == "declared" else ", percentiles"
    return f"{recipe.domain} {version}, {radiometry} {','.join(recipe.bands)}, {store.size} px{cut}{shown} ({digest})"


def _run(context: Context, like: Path | None) -> StepResult:
    recipe, folder = context.recipe, context.run.store
    frame, notes = read_catalogs(recipe)
    for note in notes:
        context.progress.note(f"prepare: {note}")
    _check_labels(recipe, frame)
    frame = surveyed(context, frame, splits=like is None)
    nameless = _patient_unknown(recipe, frame)
    frame = grouped(context, frame)
    frame["half"] = assign_halves(frame, strata(recipe, frame) if recipe.split == "stratified" else None)
    torn = torn_patients(frame) if like is None else 0
    if torn:
        context.progress.note(
            f"prepare: by their headers {torn} patients have images in both halves, since the table has them in "
            "several groups; give columns.group the patients' numbers"
        )
    kept = _catalog(context, frame if RANGE in frame else frame.assign(**{RANGE: number_ranges(frame)}))
    frame["object_id"] = kept["object_id"]
    if like is None:
        check_columns(recipe, kept)
    wanted = None if like is None else read_layout(like)
    window = _window(recipe, frame, wanted)
    rows = _rows(recipe, frame, window)
    layout = _layout(context, rows, window)
    if wanted is not None:
        _same_layout(layout, wanted)
    if layout_of(folder) not in (None, layout):  # left by an interrupted run, which showed images otherwise
        for path in folder.glob("shard-*"):
            path.unlink()
    write_layout(folder, layout)

    step = layout.rows_per_shard(len(frame))
    starts = range(0, len(frame), step)
    waiting = [
        ShardJob(
            number,
            _part(rows, start, start + step),
            layout,
            recipe.store,
            folder,
            DOMAINS[recipe.domain].find_marks,
            paint_over=recipe.store.marks == "hide",
            private=DOMAINS[recipe.domain].private,
        )
        for number, start in enumerate(starts)
        if not shard_is_done(folder, number)
    ]
    with context.progress.counter("prepare", len(frame)) as counter:
        counter.advance(len(frame) - sum(len(job.rows.frame) for job in waiting))
        for job, _ in supervised(waiting, write, context.workers):
            counter.advance(len(job.rows.frame))

    index = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("shard-*.parquet"))], ignore_index=True)
    refused = index.loc[index["offset"] < 0, ["object_id", "reason", "detail"]]
    write_quarantine(refused, context.run.quarantine)
    with atomic_write(context.run.catalog) as part:
        kept.to_parquet(part, index=False)
    counts: dict[str, object] = {"rows": len(frame), "stored": len(frame) - len(refused), "refused": summary(refused)}
    if layout.radiometry == "linear":
        units = index.loc[index["offset"] >= 0, "unit"].replace("", "unknown").value_counts()
        counts["flux unit"] = {str(unit): int(count) for unit, count in units.items()}
        if len(units) > 1:
            found = ", ".join(f"{unit} {count}" for unit, count in units.items())
            context.progress.note(f"prepare: flux comes in different units ({found}); brightness does not compare")
    if len(refused) == len(frame):
        raise _nothing(context, refused)
    if len(refused):
        context.progress.note(f"prepare: {len(refused)} of {len(frame)} left out, see {context.run.quarantine.name}")
    counts |= _duplicates(context, kept, index)
    if DOMAINS[recipe.domain].private:
        stored = frame["object_id"].isin(index.loc[index["offset"] >= 0, "object_id"])
        counts |= {"patient unknown": int((nameless & stored).sum()), "patients in both halves by headers": torn}
    outputs = [folder, context.run.catalog, context.run.quarantine, context.run.duplicates]
    if DOMAINS[recipe.domain].find_marks is not None:
        counts |= _marks(context, frame, index, like)
        outputs.append(context.run.review)
    return StepResult(
        tuple(outputs), {"counts": counts, "preparation": layout.preparation}, _content(folder, kept, recipe, layout)
    )


def _mark_finder(recipe: Recipe) -> Callable[[Float[np.ndarray, "y x"]], Bool[np.ndarray, "y x"]] | None:
    return DOMAINS[recipe.domain].find_marks if recipe.store.marks == "hide" else None


def _marks(context: Context, frame: pd.DataFrame, index: pd.DataFrame, like: Path | None) -> dict[str, object]:
    """Writes the store's hidden region and review.csv; what the manifest says of them."""
    stored, side = index[index["offset"] >= 0].reset_index(drop=True), context.recipe.store.size
    declared = frame.set_index("object_id")["burned_in"].reindex(stored["object_id"]).reset_index(drop=True)
    review = to_review(stored["object_id"], declared)
    write_quarantine(review, context.run.review)  # of the same form
    if len(review):
        context.progress.note(f"prepare: a person has to look at {len(review)} images, see {context.run.review.name}")
    counts: dict[str, object] = {"to be looked at": len(review)}
    if _mark_finder(context.recipe) is None:
        return counts
    if side < FEWEST_PIXELS:
        context.progress.note(f"prepare: marks are hardly found at store.size {side}; give {FEWEST_PIXELS} or more")
    facts = hide_marks(context.run.store, side, stored, like)
    if facts["images with marks"]:
        context.progress.note(
            f"prepare: marks are burned into {facts['images with marks']} of {len(stored)} images; "
            f"{100 * facts['hidden share']:.1f} % of the frame is hidden in all"
        )
    return {**counts, "marks": {**facts, "version": DOMAINS[context.recipe.domain].marks_version}}


def _patient_unknown(recipe: Recipe, frame: pd.DataFrame) -> "pd.Series[bool]":
    """Of which rows nobody says whose images they are: neither table nor header, or a collection that tells no
    patients."""
    untold = [e.name for e in recipe.catalog if e.layout is not None and COLLECTIONS[e.layout].patients == "unknown"]
    return frame["group"].isna() | frame["catalog"].isin(untold)


def _duplicates(context: Context, catalog: pd.DataFrame, index: pd.DataFrame) -> dict[str, object]:
    """Writes duplicates.csv; how many objects stand there, and how many sets of them both halves have."""
    stored = index[index["offset"] >= 0]
    frame = catalog.set_index("object_id", drop=False).loc[stored["object_id"]]
    found = find_duplicates(frame, stored["fingerprint"])
    with atomic_write(context.run.duplicates) as part:
        found.to_csv(part, index=False)
    count, torn = int(found["object_id"].nunique()), leaks(found)
    if count:
        context.progress.note(
            f"prepare: {count} objects stand there more than once, see {context.run.duplicates.name}"
            + (f"; of {torn} the training and the test half both have one, which flatters every figure" if torn else "")
        )
    return {"duplicates": count, "duplicates in both halves": torn}


def _catalog(context: Context, frame: pd.DataFrame) -> pd.DataFrame:
    """What catalog.parquet holds: in a private domain pseudonyms and few columns, else all but the paths."""
    domain = DOMAINS[context.recipe.domain]
    if not domain.private:
        return frame.drop(columns=["paths", "issuer"])
    hidden = hide(frame, pseudonyms(context.run), context.recipe.label_columns, domain.kept)
    write_sources(context.run, frame, hidden["object_id"])
    return hidden


def _rows(recipe: Recipe, frame: pd.DataFrame, window: WindowPolicy | None) -> Rows:
    requests = {
        entry.name: Request(
            *(entry.bands, entry.white, entry.missing_band, entry.reproject),
            wcs=False,
            window=window or "either",
            views=taken_views(recipe, entry),
        )
        for entry in recipe.catalog
    }
    return Rows(frame, requests, DOMAINS[recipe.domain].read, recipe.bands)


def _part(rows: Rows, start: int, end: int) -> Rows:
    return replace(rows, frame=rows.frame.iloc[start:end])


def _layout(context: Context, rows: Rows, window: WindowPolicy | None) -> Layout:
    """How the store is laid out; linear or display, as the first readable image says, with which others must agree."""
    recipe = context.recipe
    parts = [_part(rows, start, start + CHUNK) for start in range(0, len(rows.frame), CHUNK)]
    found = (answer for _, answer in supervised(parts, probe, 1) if answer)
    radiometry: Radiometry = next(found, "display")
    return Layout(recipe.bands, recipe.store.size, radiometry, preparation(recipe, radiometry, window))


def _window(recipe: Recipe, frame: pd.DataFrame, like: Layout | None) -> WindowPolicy | None:
    """The cohort's window policy; on new data "auto" is what it was for the run that is applied."""
    found = window_policy(recipe, frame)
    if like is None or found is None or recipe.store.window != "auto":
        return found
    policies: tuple[WindowPolicy, ...] = ("declared", "percentiles")
    return next((p for p in policies if preparation(recipe, like.radiometry, p) == like.preparation), found)


def _same_layout(found: Layout, wanted: Layout) -> None:
    if found != wanted:
        parts = [name for name, value in vars(found).items() if value != getattr(wanted, name)]
        differing = next(part for part in ("bands", "radiometry", "size", "preparation") if part in parts)
        raise PublicError(
            f"the images would not be prepared as the run's were: {differing} {_short(found, differing)} here, "
            f"{_short(wanted, differing)} there; apply the run to images of the same kind, or start one on these"
        )


def _short(layout: Layout, part: str) -> str:
    value = getattr(layout, part)
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _nothing(context: Context, refused: pd.DataFrame) -> PublicError:
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary(refused).items())
    first = refused.iloc[0]
    return PublicError(
        f"none of {len(refused)} images could be read ({reasons}), for example {first['object_id']}: "
        f"{first['detail']}; see {context.run.quarantine.name}, or try `domainssl inspect` on the folder"
    )


def _check_labels(recipe: Recipe, frame: pd.DataFrame) -> None:
    """Labels that cannot be what the recipe says are refused before any image is read."""
    for name, entry in recipe.labels.items():
        targets(frame, name, entry)


def _content(folder: Path, frame: pd.DataFrame, recipe: Recipe, layout: Layout) -> str:
    """A hash of the stored pixels, how they were prepared, their nuisance and what later steps read of each object,
    labels left out."""
    digest = hashlib.sha256(layout.preparation.encode())
    for path in sorted([*folder.glob("shard-*"), *folder.glob(HIDDEN)]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    uses = {entry.name: entry.use for entry in recipe.catalog}
    rules = json.dumps({"uses": uses, "labelled": bool(recipe.labels)}, sort_keys=True)
    described = frame[["object_id", "catalog", "group", "split", "half"]].to_csv(index=False) + rules
    digest.update(described.encode())
    return digest.hexdigest()
