"""Labels of one table brought to the objects of another: by id, or by position on the sky."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from catalogs.columns import missing_column, texts
from catalogs.errors import CatalogError
from catalogs.sky_groups import chord, unit_vectors

# Positions searched at once.
_BATCH = 1_000_000


@dataclass(frozen=True)
class Match:
    """Which rows of two tables are one object.

    `frame` is the left table with the columns brought over, missing where nothing matched; `right_row` and
    `separation_arcsec` (NaN by id) are those of each left row's partner, -1 and NaN without. Row numbers (from 0):
    `unmatched_left`, `unmatched_right`, and `ambiguous`, the left rows that had several candidates (of which the
    nearest was taken) or whose only ones went to a nearer row.
    """

    frame: pd.DataFrame
    right_row: Int[np.ndarray, " left"]
    separation_arcsec: Float[np.ndarray, " left"]
    unmatched_left: Int[np.ndarray, " a"]
    unmatched_right: Int[np.ndarray, " b"]
    ambiguous: Int[np.ndarray, " c"]
    notes: tuple[str, ...]


def cross_match(
    left: pd.DataFrame,
    right: pd.DataFrame,
    *,
    by: Literal["id", "position"],
    radius_arcsec: float | int = 1.0,
    columns: Sequence[str],
) -> Match:
    """Bring `columns` of `right` to the rows of `left`, one to one.

    By id: `object_id` of both are equal as text; an id that stands twice in one table matches nothing and is
    ambiguous. By position: `ra` and `dec` (ICRS degrees) of both; a pair matches where each is the other's nearest
    within the radius (inclusive), and strictly so: of equally near ones none is taken. Missing ids and positions match
    nothing. Without rows or matches the columns are there and empty. Exchanging the tables gives the same pairs.

    Raises CatalogError for a column that is missing or would be there twice, and for a radius outside 0..3600.
    """
    keys = ("object_id",) if by == "id" else ("ra", "dec")
    for table, wanted in ((left, keys), (right, (*keys, *columns))):
        for name in wanted:
            if name not in table:
                raise missing_column(name, "cross-match", table.columns)
    if double := [name for name in columns if name in left]:
        raise CatalogError("cross-match: both tables have a column {name!r}; rename one of them", name=double[0])
    if not 0 < radius_arcsec <= 3600:
        raise CatalogError("cross-match: radius_arcsec is {radius}; give one in 0..3600", radius=radius_arcsec)
    if by == "id":
        partner, ambiguous = _by_id(left["object_id"], right["object_id"])
        separation = np.full(len(left), np.nan)
    else:
        partner, separation, ambiguous = _by_position(_points(left), _points(right), float(chord(radius_arcsec)))
    matched = partner >= 0
    rest = np.ones(len(right), bool)
    rest[partner[matched]] = False
    frame = left.copy()
    for name in columns:
        frame[name] = _brought(right[name], partner).set_axis(left.index)
    unmatched_left, unmatched_right = np.flatnonzero(~matched), np.flatnonzero(rest)
    notes = (
        f"{matched.sum()} of {len(left)} rows have a match by {by} among {len(right)}",
        *_named("row(s) have none", left, unmatched_left),
        *_named("row(s) of the other table are left over", right, unmatched_right),
        *_named("row(s) are ambiguous: several candidates, or theirs went to another", left, ambiguous),
    )
    return Match(frame, partner, separation, unmatched_left, unmatched_right, ambiguous, notes)


def _by_id(left: "pd.Series[Any]", right: "pd.Series[Any]") -> tuple[Int[np.ndarray, " left"], Int[np.ndarray, " c"]]:
    ours, theirs = (pd.Series(texts(ids), dtype=object) for ids in (left, right))
    once = theirs[theirs.notna() & ~theirs.duplicated(keep=False)]
    partner = pd.Index(once).get_indexer(pd.Index(ours))
    partner = np.where(partner >= 0, once.index.to_numpy(np.int64)[partner] if len(once) else -1, -1)
    double = (ours.notna() & ours.duplicated(keep=False)).to_numpy(bool) & ours.isin(theirs).to_numpy(bool)
    partner[double] = -1
    several = ours.notna() & ours.isin(theirs[theirs.duplicated(keep=False)])
    return partner, np.flatnonzero(double | several.to_numpy(bool))


def _by_position(
    left: Float[np.ndarray, "left 3"], right: Float[np.ndarray, "right 3"], reach: float
) -> tuple[Int[np.ndarray, " left"], Float[np.ndarray, " left"], Int[np.ndarray, " c"]]:
    """Mutually nearest pairs, by trees on the unit sphere, where neither poles nor RA = 0 are special."""
    partner, separation = np.full(len(left), -1), np.full(len(left), np.nan)
    theirs = np.flatnonzero(np.isfinite(right).all(axis=1))
    near, away, tied = _nearest(left, right[theirs], reach)
    rows = np.flatnonzero(np.isfinite(away[:, 0]))  # only these can be anybody's nearest
    wanted, back_to = np.unique(near[rows, 0], return_inverse=True)
    back, _, back_tied = _nearest(right[theirs[wanted]], left[rows], reach)
    mutual = (back[back_to, 0] == np.arange(len(rows))) & ~tied[rows] & ~back_tied[back_to]
    pairs = rows[mutual]
    partner[pairs] = theirs[near[pairs, 0]]
    separation[pairs] = np.degrees(2 * np.arcsin(away[pairs, 0] / 2)) * 3600
    return partner, separation, np.flatnonzero(np.isfinite(away[:, 0]) & ((partner < 0) | np.isfinite(away[:, 1])))


def _nearest(
    points: Float[np.ndarray, "n 3"], among: Float[np.ndarray, "m 3"], reach: float
) -> tuple[Int[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Any]:
    """The two nearest within reach (inf and no row beyond it), and whether these are equally near."""
    from scipy.spatial import cKDTree

    near = np.zeros((len(points), 2), np.int64)
    away = np.full((len(points), 2), np.inf)
    if len(among):
        tree = cKDTree(among)
        known = np.flatnonzero(np.isfinite(points).all(axis=1))
        for start in range(0, len(known), _BATCH):
            rows = known[start : start + _BATCH]
            # The bound of the query is exclusive.
            away[rows], near[rows] = tree.query(points[rows], k=2, distance_upper_bound=np.nextafter(reach, 4))
    return near, away, np.isfinite(away[:, 0]) & (away[:, 0] == away[:, 1])


def _points(table: pd.DataFrame) -> Float[np.ndarray, "n 3"]:
    return unit_vectors(*(table[key].to_numpy(np.float64, na_value=np.nan) for key in ("ra", "dec")))


def _brought(column: "pd.Series[Any]", rows: Int[np.ndarray, " left"]) -> "pd.Series[Any]":
    """The column's values at these rows, missing at -1; whole numbers and yes/no stay such, as nullable types."""
    if (rows < 0).any() and isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
        kind = {"b": "boolean", "i": f"Int{8 * column.dtype.itemsize}", "u": f"UInt{8 * column.dtype.itemsize}"}
        column = column.astype(pd.api.types.pandas_dtype(kind[column.dtype.kind]))
    return column.reset_index(drop=True).reindex(pd.Index(rows).where(rows >= 0, len(column)))


def _named(what: str, table: pd.DataFrame, rows: Int[np.ndarray, " rows"]) -> tuple[str, ...]:
    """Nothing, or one note: how many rows, and three of them by id or position."""
    if not len(rows):
        return ()
    keys = [key for key in ("object_id", "ra", "dec") if key in table]
    shown = table[keys[:1] if keys[0] == "object_id" else keys].iloc[rows[:3]]
    return (f"{len(rows)} {what} ({', '.join(' '.join(map(str, row)) for row in shown.itertuples(index=False))})",)
