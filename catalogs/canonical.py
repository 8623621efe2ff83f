"""One table on its way to canonical columns: ids, files, groups, halves, positions in degrees."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from catalogs.columns import Columns, missing_column, texts, usual_column
from catalogs.errors import CatalogError
from catalogs.scanning import READABLE_SUFFIXES, pattern_fields, root, without_suffix

# What one unit of an angle is in degrees, as FITS, VOTable and astropy write it; h:m:s is text.
DEGREES_PER_UNIT: Mapping[str, float] = {
    **dict.fromkeys(("", "deg", "degree", "degrees", "d:m:s"), 1.0),
    **dict.fromkeys(("rad", "radian", "radians"), 180 / np.pi),
    **dict.fromkeys(("hourangle", "h", "hr", "hour", "hours", "h:m:s"), 15.0),
}
SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "val", "valid", "validation"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    "": "",
}
CANONICAL = ("object_id", "paths", "item", "group", "issuer", "study", "split", "ra", "dec", "redshift", "catalog")


@dataclass(frozen=True)
class CatalogSource:
    """A table and the folder that its files are relative to; without a table, the folder itself is scanned.

    `images` may also be a zip archive or a DICOMDIR, see `catalogs.scanning.scan`; a table's files are then members of
    the archive, or file ids of the DICOMDIR. `file_pattern`, relative to `images`, names the files by "{id}", "{band}"
    or any column: "{id}_{band}.fits".
    `suffixes` are those of files that a scan takes, see `catalogs.scanning.scan`; `object_per_hdu` makes each image HDU
    of these an object. A table may itself be the file of images (HDF5, npz, Parquet). With `files` False the table
    needs to name no file, and no id: then the row number is one. `layout` names a public collection of radiographs
    whose own tables are read.
    """

    name: str
    table: Path | None
    images: Path
    columns: Columns
    bands: tuple[str, ...]
    file_pattern: str | None = None
    suffixes: tuple[str, ...] = READABLE_SUFFIXES
    object_per_hdu: bool = False
    files: bool = True
    layout: str | None = None


@final
class CanonicalTable:
    """One table on its way to canonical columns; remembers which of its columns were taken up."""

    def __init__(self, source: CatalogSource, table: pd.DataFrame) -> None:
        self.source = source
        self.table = table
        self.used: set[str] = set()

    def frame(self, label_columns: tuple[str, ...]) -> pd.DataFrame:
        ids = self.ids()
        columns: dict[str, Any] = {
            "object_id": pd.Series(ids, dtype=object),
            "paths": pd.Series(self.paths(ids) if self.source.files else [()] * len(ids), dtype=object),
            "item": pd.Series(self.optional("item"), dtype=object),
            "group": pd.Series(self.optional("group"), dtype=object),
            "issuer": pd.Series(self.optional("issuer"), dtype=object),
            "study": pd.Series(self.optional("study"), dtype=object),
            "split": pd.Series(self.splits(), dtype=object),
            "ra": self.degrees("ra", 0, 360),
            "dec": self.degrees("dec", -90, 90),
            "redshift": self.redshifts(),
            "catalog": pd.Series([self.source.name] * len(ids), dtype=object),
        }
        for label in label_columns:
            if label in self.table.columns and label not in columns:
                self.used.add(label)
                columns[label] = pd.Series(texts(self.table[label]), dtype=object)
        if (ebv := self.column("ebv")) is not None:
            columns["ebv"] = self.numbers(ebv, "ebv").astype(np.float32)
        if (psf := self.source.columns.psf_fwhm_px) is not None:
            for band in self.source.bands:
                column = self.existing(psf.replace("{band}", band), "columns.psf_fwhm_px")
                columns[f"psf_fwhm_px:{band}"] = self.numbers(column, "psf_fwhm_px").astype(np.float32)
        others = [name for name in self.table.columns if name not in self.used and name not in columns]
        return pd.concat([pd.DataFrame(columns), self.table[others]], axis=1)

    def error(self, template: str, quoted: dict[str, object] | None = None, **fields: object) -> CatalogError:
        return CatalogError(template, quoted, **fields).within(f"catalog {self.source.name!r}")

    def existing(self, name: str, key: str) -> str:
        """The column of this name, remembered as used; its absence is an error that helps."""
        if name not in self.table:
            raise missing_column(name, key, self.table.columns).within(f"catalog {self.source.name!r}")
        self.used.add(name)
        return name

    def column(self, key: str) -> str | None:
        """The configured column, else the first with a usual name, else None."""
        configured = getattr(self.source.columns, key)
        if configured is not None:
            return self.existing(configured, f"columns.{key}")
        declared = self.table.attrs.get("positions", {}).get(key)  # by HATS, or by a VOTable's UCDs
        if declared in self.table:
            return self.existing(declared, key)
        found = usual_column(key, self.table.columns)
        return None if found is None else self.existing(found, f"columns.{key}")

    def ids(self) -> list[str]:
        column = self.column("id")
        found: list[str | None]
        if column is None and not self.source.files:
            found, what = list(map(str, range(len(self.table)))), "row numbers"
        elif column is None:
            found, what = self.ids_from_files()
        else:
            found, what = texts(self.table[column]), f"column {column!r}"
            brick = next((str(name) for name in self.table if str(name).lower() == "brickid"), None)
            if column.lower() == "objid" and self.source.columns.id is None and brick is not None:
                # Legacy Surveys number objects within a brick; "brickid_objid" is what Galaxy Zoo DESI calls them.
                bricks = texts(self.table[self.existing(brick, "columns.id")])
                found = [f"{a}_{b}" if a and b else None for a, b in zip(bricks, found, strict=True)]
                what = f"columns {brick!r} and {column!r}"
            floats = pd.api.types.is_float_dtype(self.table[column].dtype) or _written_as_floats(found)
            if floats:
                raise self.error(
                    "ids in column {column!r} are floating-point numbers ({example}); these lose digits: "
                    "store them as integers or as text",
                    {"example": _first(found)},
                    column=column,
                )
        absent = [str(row + 1) for row, name in enumerate(found) if not name]
        if absent:
            raise self.error(
                "{count} row(s) have no id ({what}; row {rows}); give each an id, or delete them",
                count=len(absent),
                what=what,
                rows=", ".join(absent[:3]),
            )
        ids = [str(name) for name in found]
        counts = pd.Series(ids, dtype=object).value_counts(sort=False)
        doubles = counts[counts > 1]
        if len(doubles):
            shown = ", ".join(f"{name!r} {n} times" for name, n in doubles.iloc[:3].items())
            raise self.error(
                "{count} id(s) stand in several rows ({what}): {shown}; keep one row each, "
                "or name another column in columns.id",
                {"shown": shown},
                count=len(doubles),
                what=what,
            )
        return ids

    def ids_from_files(self) -> tuple[list[str | None], str]:
        column = self.source.columns.file or usual_column("file", self.table.columns)
        if not isinstance(column, str):
            raise self.error(
                "no column holds ids; name one in columns.id. The table has: {columns}", self.all_columns()
            )
        files = texts(self.table[self.existing(column, "columns.file")])
        items = self.optional("item")
        names = [None if file is None else without_suffix(Path(file).name) for file in files]
        ids = [name if item is None else f"{name}/{item}" for name, item in zip(names, items, strict=True)]
        return ids, "file names as ids"

    def paths(self, ids: list[str]) -> list[tuple[str, ...]]:
        folder = os.path.abspath(root(self.source.images))  # noqa: PTH100 - resolve() would follow links, and is slow
        if self.source.file_pattern is not None:
            if self.source.columns.file is not None:
                raise self.error("columns.file and file_pattern both name the files; keep one of them")
            return self.paths_from_pattern(self.source.file_pattern, folder, ids)
        configured = self.source.columns.file
        if isinstance(configured, Mapping):
            for band in self.source.bands:
                if band not in configured:
                    raise self.error(
                        "columns.file names no column for band {band!r}; it has {columns}",
                        band=band,
                        columns=", ".join(configured),
                    )
            names = [configured[band] for band in self.source.bands]
        else:
            column = self.column("file")
            if column is None:
                raise self.error(
                    "no column names the files; give columns.file, or file_pattern. The table has: {columns}",
                    self.all_columns(),
                )
            names = [column]
        files = [texts(self.table[self.existing(name, "columns.file")]) for name in names]
        if root(self.source.images) != self.source.images:
            files = as_on_disk(files, Path(folder))
        return [
            tuple(os.path.join(folder, file) for file in row) if all(row) else ()  # noqa: PTH118 - a million rows
            for row in zip(*files, strict=True)
        ]

    def paths_from_pattern(self, pattern: str, folder: str, ids: list[str]) -> list[tuple[str, ...]]:
        fields = pattern_fields(pattern)
        values: dict[str, list[str]] = {"id": ids}
        for field in fields - {"id", "band"}:
            column = texts(self.table[self.existing(field, "file_pattern")])
            values[field] = ["" if value is None else value for value in column]
        bands = self.source.bands if "band" in fields else ("",)
        rows = zip(*values.values(), strict=True)
        return [
            tuple(
                os.path.join(folder, pattern.format(band=band, **dict(zip(values, row, strict=True))))  # noqa: PTH118
                for band in bands
            )
            for row in rows
        ]

    def all_columns(self) -> dict[str, object]:
        """For an error: a table without a header line has data there."""
        return {"columns": ", ".join(map(str, self.table.columns))}

    def optional(self, key: str) -> list[str | None]:
        column = self.column(key)
        return [None] * len(self.table) if column is None else texts(self.table[column])

    def splits(self) -> list[str]:
        column = self.column("split")
        if column is None:
            return [""] * len(self.table)
        found = texts(self.table[column])
        unknown = sorted({text for text in found if text and text.strip().lower() not in SPLITS})
        if unknown:
            raise self.error(
                "split: column {column!r} has {values}; it takes train, val, test, or an empty cell",
                {"values": ", ".join(map(repr, unknown[:3]))},
                column=column,
            )
        return [SPLITS[(text or "").strip().lower()] for text in found]

    def numbers(self, column: str, key: str) -> "pd.Series[float]":
        values = self.table[column]
        if not pd.api.types.is_numeric_dtype(values.dtype):
            written = pd.Series(texts(values), dtype=object)
            parsed = pd.to_numeric(written, errors="coerce")
            wrong = written[parsed.isna() & written.notna()]
            if len(wrong):
                raise self.error(
                    "{key}: column {column!r} has {value!r}, which is no number",
                    {"value": wrong.iloc[0]},
                    key=key,
                    column=column,
                )
            values = parsed
        return pd.Series(values.to_numpy(np.float64, na_value=np.nan), dtype=np.float64)

    def degrees(self, key: str, low: float | int, high: float | int) -> "pd.Series[float]":
        column = self.column(key)
        if column is None:
            return pd.Series(np.full(len(self.table), np.nan))
        values = self.angles(column, key)
        wrong = values[(values < low) | (values > high)]
        if len(wrong):
            raise self.error(
                "{key}: column {column!r} has {value:g} and {more} more outside {low}..{high}; "
                "give ICRS degrees, and an empty cell where unknown",
                {"value": wrong.iloc[0]},
                key=key,
                column=column,
                more=len(wrong) - 1,
                low=low,
                high=high,
            )
        return values

    def angles(self, column: str, key: str) -> "pd.Series[float]":
        """A column in degrees: by the unit that the table gives it, which are degrees where it gives none."""
        unit = self.table.attrs.get("units", {}).get(column, "")
        factor = DEGREES_PER_UNIT.get(unit.strip().strip("'\"").lower())
        if factor is None:
            raise self.error(
                "{key}: column {column!r} has the unit {unit!r}; give degrees, radians or hours",
                key=key,
                column=column,
                unit=unit,
            )
        if ":" in unit:
            return self.sexagesimal(column, key) * factor
        return self.numbers(column, key) * factor

    def sexagesimal(self, column: str, key: str) -> "pd.Series[float]":
        from astropy.coordinates import Angle

        written = texts(self.table[column])
        try:
            parsed = Angle([text or "0" for text in written], "deg").degree
        except ValueError as error:
            raise self.error(
                "{key}: column {column!r}: {error}", {"error": str(error).splitlines()[0]}, key=key, column=column
            ) from None
        return pd.Series(np.where([text is None for text in written], np.nan, parsed), dtype=np.float64)

    def redshifts(self) -> "pd.Series[float]":
        column = self.column("redshift")
        if column is None:
            return pd.Series(np.full(len(self.table), np.nan))
        values = self.numbers(column, "redshift")
        return values.where(values >= -1)  # -9, -99 and the like stand for unknown


def as_on_disk(columns: list[list[str | None]], folder: Path) -> list[list[str | None]]:
    """File ids of a DICOMDIR, which a table may hold with either slash and in any case of letters, as paths on disk."""
    from catalogs.chest_xrays.dicomdir import FolderNames  # here: other domains need no pydicom

    names = FolderNames(folder)
    return [[file and str(names.find(Path(file.replace("\\", "/")).parts)) for file in column] for column in columns]


def _written_as_floats(ids: Sequence[str | None]) -> bool:
    """True where all ids are numbers and one is written with a point or an exponent, as spreadsheets do."""
    number = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
    given = [name for name in ids if name is not None]
    return all(number.fullmatch(name) for name in given) and any(re.search(r"[.eE]", name) for name in given)


def _first(values: Sequence[str | None]) -> str:
    return next((value for value in values if value is not None), "")
