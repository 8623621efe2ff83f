"""Catalogs to one frame with canonical columns: from a table of any format, or from a folder of files."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catalogs.errors import CatalogError, MissingFileError
from catalogs.items import container_table, expanded, is_container
from catalogs.scanning import READABLE_SUFFIXES, pattern_fields, scan, without_suffix
from catalogs.table_files import TABLE_SUFFIXES, read_table

# Recognised without configuration, whatever their case, the first that a table has.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("object_id", "objectid", "objid", "obj_id", "id_str", "source_id", "sourceid", "coadd_object_id", "ls_id"),
        *("dr7objid", "dr8objid", "dr12objid", "iauname", "targetid", "specobjid", "main_id", "image_id", "id"),
    ),
    "file": ("file", "filename", "file_name", "file_loc", "file_path", "filepath", "path", "image", "image_path"),
    "group": ("group", "group_id", "patient", "patient_id", "patientid", "subject_id"),
    "issuer": ("issuer", "issuer_of_patient_id", "issuerofpatientid"),
    "item": ("item",),
    "study": ("study", "study_id", "studyid", "study_uid", "study_instance_uid", "studyinstanceuid"),
    "split": ("split",),
    # Beside text in hours, SIMBAD and VizieR give degrees as RA_d and _RAJ2000: these come first.
    "ra": (
        *("ra_d", "_raj2000", "ra", "ra_deg", "radeg", "ra_icrs", "raj2000", "ra_j2000", "right_ascension"),
        *("coord_ra", "ramean", "alphawin_j2000", "alpha_j2000"),
    ),
    "dec": (
        *("dec_d", "_dej2000", "dec", "dec_deg", "decdeg", "dedeg", "de_icrs", "dej2000", "dec_j2000", "declination"),
        *("coord_dec", "decmean", "deltawin_j2000", "delta_j2000", "decl"),
    ),
    "redshift": ("redshift", "z_spec", "zspec", "specz", "spec_z", "z_redshift", "rvz_redshift"),
    "ebv": ("ebv", "e_bv", "ebmv", "ebv_sfd", "ebv_sfd98", "gal_ebv"),
}
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
class Columns:
    """Which columns of a table hold what; None: looked for under the usual names.

    `issuer` says who gave the group its id (the hospital of a patient's number), where several may give the same;
    `study` which images were taken together; `item` which object of a file of many (a row, an HDU).
    `file` is one column, or a column per band. `psf_fwhm_px` is one column for all bands, or a pattern with "{band}".
    """

    id: str | None = None
    file: str | Mapping[str, str] | None = None
    item: str | None = None
    group: str | None = None
    issuer: str | None = None
    study: str | None = None
    split: str | None = None
    ra: str | None = None
    dec: str | None = None
    redshift: str | None = None
    ebv: str | None = None
    psf_fwhm_px: str | None = None


@dataclass(frozen=True)
class CatalogSource:
    """A table and the folder that its files are relative to; without a table, the folder itself is scanned.

    `file_pattern`, relative to `images`, names the files by "{id}", "{band}" or any column: "{id}_{band}.fits".
    `suffixes` are those of files that a scan takes, see `catalogs.scanning.scan`; `object_per_hdu` makes each image HDU
    of these an object. A table may itself be the file of images (HDF5, npz, Parquet). With `files` False the table
    needs to name no file, and no id: then the row number is one.
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


def read_catalog(source: CatalogSource, label_columns: tuple[str, ...]) -> pd.DataFrame:
    """One row an object, in the table's order.

    Columns: object_id (str, unique), paths (tuple of absolute paths: one, or one a band; () where the table names
    none), item (str, None where the file holds one object), group, issuer and study (str, None where unknown), split
    ("train", "test" or ""; validation counts as train), ra and dec (float64, degrees), redshift (float64, NaN also
    below -1), catalog (its name), each label that the table has (str, None where missing), `ebv` and `psf_fwhm_px:BAND`
    (float32) where the table has them. NaN is unknown. The table's other columns follow as they are, except those of
    the same names and those whose cells are arrays. Whether the files exist is left to the readers.

    Raises MissingFileError for a missing table or folder; CatalogError for an empty table, a folder without readable
    files, a missing column, ids that are missing, double or floating-point, a split that is neither, and coordinates
    that are no degrees.
    """
    if not source.images.is_dir():
        raise MissingFileError("catalog {name!r}: images: no folder {at}", {"at": source.images}, name=source.name)
    clash = [label for label in label_columns if label in CANONICAL and label != "redshift"]  # a value to predict
    if clash:
        raise CatalogError(
            "catalog {name!r}: label {label!r} has the name of a canonical column; rename it in the table",
            name=source.name,
            label=clash[0],
        )
    table = _table(source, label_columns)
    if table.empty:
        raise CatalogError(
            "catalog {name!r}: {table} has no rows; give a table with one row an object",
            {"table": source.table},
            name=source.name,
        )
    return _Canonical(source, table).frame(label_columns)


def _table(source: CatalogSource, label_columns: tuple[str, ...]) -> pd.DataFrame:
    """The table as it is, of a folder the scan's, of a file of images what it says of them."""
    if source.table is None:
        try:
            found = scan(source.images, source.file_pattern, source.bands, source.suffixes)
        except CatalogError as error:
            raise error.within(f"catalog {source.name!r}") from None
        if "file" not in found:
            return found
        return expanded(found, source.images, source.bands, object_per_hdu=source.object_per_hdu)
    if is_container(source.table.name) and not source.table.name.lower().endswith(TABLE_SUFFIXES):
        return container_table(source.table, source.bands)
    found = read_table(source.table, as_text=_text_columns(source, label_columns))
    names_files = source.columns.file or source.file_pattern or usual_column("file", found.columns)
    if source.files and is_container(source.table.name) and names_files is None:  # Parquet: the images are in it
        found = found.assign(file=str(source.table), item=[str(row) for row in range(len(found))])
    return found


def combine(frames: Sequence[pd.DataFrame], label_columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Several catalogs as one, rows in order; a column that a catalog lacks is NaN there (None for text).

    A label may stand in one catalog only: a survey without labels beside a small labelled table.
    Raises ValueError where no frame is given; CatalogError where none has a label column, or where an object_id stands
    in two.
    """
    if not frames:
        raise ValueError("no catalog; a recipe names at least one")
    both = pd.concat(frames, ignore_index=True)
    for label in label_columns:
        if label not in both.columns:
            raise missing_column(label, f"labels.{label}", [c for c in both.columns if c not in CANONICAL])
    doubles = both.loc[both["object_id"].duplicated(keep=False)]
    if len(doubles):
        example = doubles["object_id"].iloc[0]
        catalogs = doubles.loc[doubles["object_id"] == example, "catalog"].unique()
        raise CatalogError(
            "object_id {example!r} and {more} more stand in the catalogs {catalogs}; "
            "give each object one id, or leave one of the catalogs out",
            {"example": example},
            more=doubles["object_id"].nunique() - 1,
            catalogs=" and ".join(map(repr, catalogs)),
        )
    for column in both.columns:
        if column == "ebv" or str(column).startswith("psf_fwhm_px:"):
            both[column] = both[column].astype(np.float32)
        elif both[column].dtype == object:
            both[column] = both[column].where(both[column].notna(), None)
    return both


class _Canonical:
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
        folder = os.path.abspath(self.source.images)  # noqa: PTH100 - resolve() would follow links, and is slow
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


def texts(values: "pd.Series[Any]") -> list[str | None]:
    """Each value as text, None where missing or empty; whole floats as integers (1.0, from a column with gaps, is "1").

    Text is stripped of surrounding blanks.
    """
    if pd.api.types.is_float_dtype(values.dtype):
        plain = values.to_numpy(np.float64, na_value=np.nan) if values.dtype != np.float32 else values.to_numpy()
        return [None if np.isnan(v) else str(int(v)) if np.isfinite(v) and v == int(v) else str(v) for v in plain]
    return [None if missing else str(v).strip() or None for v, missing in zip(values, values.isna(), strict=True)]


def usual_column(key: str, columns: Iterable[str]) -> str | None:
    """The first column that bears a usual name of `key` ("id", "file", "ra"...) in any case; None if there is none."""
    by_lower: dict[str, str] = {}
    for column in columns:
        by_lower.setdefault(str(column).lower(), column)
    return next((by_lower[name] for name in USUAL_NAMES.get(key, ()) if name in by_lower), None)


def missing_column(name: str, key: str, columns: Iterable[str]) -> CatalogError:
    """The error for a column that a table lacks: names a likely one, and all there are."""
    names = [str(column) for column in columns]
    lower = {column.lower(): column for column in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[close[0]]!r}?" if close else "."
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return CatalogError(
        "{key}: the table has no column {name!r}{hint} It has: {shown}",
        {"hint": hint, "shown": shown},
        key=key,
        name=name,
    )


def _text_columns(source: CatalogSource, labels: tuple[str, ...]) -> Callable[[Sequence[str]], set[str]]:
    """Which columns a CSV file keeps as written: ids, files, groups, splits, labels, and what names files."""

    def choose(columns: Sequence[str]) -> set[str]:
        chosen = {
            getattr(source.columns, key) or usual_column(key, columns)
            for key in ("id", "item", "group", "issuer", "study", "split")
        }
        file = source.columns.file or usual_column("file", columns)
        chosen |= set(file.values()) if isinstance(file, Mapping) else {file}
        chosen |= pattern_fields(source.file_pattern) if source.file_pattern else set()
        return {name for name in columns if name in chosen or name in labels}

    return choose


def _written_as_floats(ids: Sequence[str | None]) -> bool:
    """True where all ids are numbers and one is written with a point or an exponent, as spreadsheets do."""
    number = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
    given = [name for name in ids if name is not None]
    return all(number.fullmatch(name) for name in given) and any(re.search(r"[.eE]", name) for name in given)


def _first(values: Sequence[str | None]) -> str:
    return next((value for value in values if value is not None), "")
