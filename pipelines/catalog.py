"""The catalogs of a recipe as one frame: read, matched with other tables, with sizes, reddening and groups."""

from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.canonical import CatalogSource
from catalogs.columns import Columns, missing_column, texts
from catalogs.cross_match import cross_match
from catalogs.galaxies.extinction import ebv_at
from catalogs.sky_groups import sky_groups
from catalogs.tables import combine, read_catalog
from pipelines.domains import DOMAINS
from pipelines.recipe import CatalogEntry, MatchEntry, Recipe
from pipelines.steps import Context

SIDE_ARCSEC = 60.0  # of cutouts whose size no recipe names: what they show may overlap within it
FEW_GROUPS = 20


def source(entry: CatalogEntry, domain: str) -> CatalogSource:
    """The recipe's catalog in the form that `catalogs` takes; images default to the table's folder."""
    images = entry.images or (entry.table.parent if entry.table else Path())
    return CatalogSource(
        entry.name,
        entry.table,
        images,
        Columns(**entry.columns),
        entry.bands,
        entry.file_pattern,
        DOMAINS[domain].suffixes,
        entry.object_per_hdu,
        layout=entry.layout,
    )


def read_catalogs(recipe: Recipe) -> tuple[pd.DataFrame, list[str]]:
    """One row an object, see `catalogs.tables.read_catalog`, and notes on what was matched and what was not.

    Rows to be cut from survey images have `cutout_arcsec`. Raises what `read_catalog` and `combine` raise, and
    CatalogError for a size or a match that cannot be.
    """
    frames, notes = [], []
    for entry in recipe.catalog:
        frame = read_catalog(source(entry, recipe.domain), recipe.label_columns)
        for number, match in enumerate(entry.match):
            frame, found = _matched(frame, entry, match, recipe)
            table = f"match {number}" if DOMAINS[recipe.domain].private else match.table.name
            notes += [f"catalog {entry.name!r}, {table}: {note}" for note in found]
        if entry.cutout is not None:
            frame["cutout_arcsec"] = _sizes(frame, entry)
        if entry.ebv_map is not None:
            frame["ebv"] = _reddening(frame, entry.ebv_map)
        frames.append(frame)
    return combine(frames, recipe.label_columns), notes


def grouped(context: Context, frame: pd.DataFrame) -> pd.DataFrame:
    """The catalog with a group in every row: the one it has, else by its place on the sky, else its own."""
    if DOMAINS[context.recipe.domain].sky:
        frame = _grouped_by_sky(context, frame)
    return frame.assign(group=frame["group"].where(frame["group"].notna(), frame["object_id"]))


def _matched(
    frame: pd.DataFrame, entry: CatalogEntry, match: MatchEntry, recipe: Recipe
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The catalog with the columns of another table; a label as text, like those of the catalog itself."""
    labels = recipe.label_columns
    name = f"{entry.name}: {match.table.name}"
    other = read_catalog(
        CatalogSource(name, match.table, match.table.parent, Columns(), entry.bands, files=False), match.columns
    )
    found = cross_match(frame, other, by=match.by, radius_arcsec=match.radius, columns=match.columns)
    matched = found.frame
    for column in match.columns:
        if column not in labels:  # a number again, where it is one
            numbers = pd.to_numeric(matched[column], errors="coerce")
            if numbers.notna().equals(matched[column].notna()):
                matched[column] = numbers
    if DOMAINS[recipe.domain].private:  # ids are examples of nothing here
        partners = len(frame) - len(found.unmatched_left)
        return matched, (f"{partners} of {len(frame)} rows have a match, {len(found.ambiguous)} are ambiguous",)
    return matched, found.notes


def _sizes(frame: pd.DataFrame, entry: CatalogEntry) -> "pd.Series[float]":
    """The side of each object's cutout in arcsec; NaN where the table does not know, which the reader refuses."""
    assert entry.cutout is not None
    if "arcsec" in entry.cutout:
        return pd.Series(entry.cutout["arcsec"], index=frame.index, dtype=np.float64)
    column, times = entry.cutout["column"], entry.cutout["times"]
    if column not in frame:
        raise missing_column(column, "cutout.column", frame.columns).within(f"catalog {entry.name!r}")
    sizes = pd.to_numeric(pd.Series(texts(frame[column]), index=frame.index), errors="coerce") * times
    # 0 in place of NaN: the row is still one of a survey image, and the reader says that its size is unknown
    return sizes.where(sizes > 0, 0.0)


def _reddening(frame: pd.DataFrame, folder: Path) -> "pd.Series[float]":
    """E(B-V) of the table, of the map where the table has none."""
    found = pd.Series(ebv_at(frame["ra"].to_numpy(), frame["dec"].to_numpy(), folder), index=frame.index)
    return frame["ebv"].fillna(found) if "ebv" in frame else found


def _grouped_by_sky(context: Context, frame: pd.DataFrame) -> pd.DataFrame:
    """Overlapping cutouts and tiles of the sky, for objects of which the table names no group but a position."""
    unknown = (frame["group"].isna() & frame["ra"].notna() & frame["dec"].notna()).to_numpy(bool)
    if not unknown.any():
        return frame
    rows = frame.loc[unknown]
    side = context.recipe.store.arcsec or SIDE_ARCSEC
    sides = rows["cutout_arcsec"] if "cutout_arcsec" in rows else pd.Series(np.nan, index=rows.index)
    diagonals = np.sqrt(2) * sides.where(sides > 0, side).to_numpy(np.float64)
    tile = context.recipe.store.tile_deg
    found = sky_groups(rows["ra"].to_numpy(np.float64), rows["dec"].to_numpy(np.float64), diagonals, tile)
    for note in found.notes:
        context.progress.note(f"prepare: {note}")
    if (count := len(set(found.groups))) < FEW_GROUPS:
        context.progress.note(
            f"prepare: {len(rows)} objects lie in {count} group(s) of {tile:g} degrees, too few to measure anything "
            "with; give a smaller store.tile_deg, or a group column"
        )
    groups = frame["group"].to_numpy(object, copy=True)
    groups[unknown] = found.groups
    return frame.assign(group=pd.Series(groups, index=frame.index, dtype=object))
