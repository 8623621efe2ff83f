"""What the published collections have in common: tables read as text, findings in their states, files on the disk."""

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pandas as pd

from catalogs.errors import CatalogError, MissingFileError
from catalogs.table_files import read_table

# In this order: where an image lies in two formats, the one with more grey levels is taken.
IMAGE_SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")
_STATES: Mapping[str, str | None] = {
    **dict.fromkeys(("1", "1.0"), "1"),
    **dict.fromkeys(("0", "0.0"), "0"),
    **dict.fromkeys(("-1", "-1.0"), "-1"),
    "": None,
}
_SEXES = {**dict.fromkeys(("m", "male"), "M"), **dict.fromkeys(("f", "female"), "F")}
_VIEWS = {"PA": "PA", "AP": "AP", **dict.fromkeys(("LATERAL", "LL", "RL"), "LATERAL")}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([YMWD]?)")
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 120.0


@final
@dataclass(frozen=True)
class Collection:
    """A published collection: what its labels are, and how its folder is read.

    `source` says how the labels came about, `level` what each was given to; one of a study holds for all its images.
    `patients` says whether the table tells them: where it does not, no split is known to be by patient. `findings` are
    the columns of `read(root)`'s table that hold labels, see `canonical`.
    """

    title: str
    source: str
    level: Literal["image", "study"]
    patients: Literal["known", "unknown"]
    findings: tuple[str, ...]
    read: Callable[[Path], pd.DataFrame]


def canonical(findings: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """The table of a collection, one row an image, in the order of its own tables.

    Columns: id (str, unique), file (relative to the root; where it is expected if it is absent), patient_id and
    study_id (unique among all patients' studies), view ("PA", "AP", "LATERAL"; any other is None), sex ("M", "F"), age
    (float64, years, NaN where unknown or above 120), split ("train", "test" or "", as published; validation is train),
    then each finding: "1", "0", "-1" where its source is uncertain, None where it says nothing. Text is None where
    unknown.
    """
    table = pd.DataFrame(columns, index=findings.index)
    for name in ("patient_id", "study_id", "view", "sex"):
        if name not in table:
            table[name] = None
    if "age" not in table:
        table["age"] = np.nan
    if "split" not in table:
        table["split"] = ""
    common = ["id", "file", "patient_id", "study_id", "view", "sex", "age", "split"]
    table = pd.concat([table[common], findings], axis=1).reset_index(drop=True)
    numbers = {"age", *findings.select_dtypes("float64").columns}
    for name in table.columns:
        if name not in numbers:
            values = table[name].astype(object)
            table[name] = values.where(values.notna(), None)
    return table.astype({"age": np.float64})


def find_table(root: Path, *names: str) -> Path | None:
    """The first of these files below a root, plain or with .gz; None where there is none."""
    candidates = (root / f"{name}{packed}" for name in names for packed in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def needed_table(root: Path, title: str, *names: str) -> Path:
    """Like `find_table`. Raises MissingFileError, which names the files that the layout needs, where there is none."""
    if (path := find_table(root, *names)) is None:
        raise MissingFileError(
            "{title}: the folder {root} does not hold {names} (or .gz); `images` is to name the folder that does",
            {"root": root},
            title=title,
            names=" or ".join(names),
        )
    return path


def read_columns(
    path: Path, title: str, needed: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """These columns of a table as text without surrounding blanks, None where empty, in the order asked.

    Each key is given the names, in any case, under which collections publish the column; optional ones that the table
    lacks are None throughout. No other column is kept. Raises CatalogError for a needed column that is absent, and what
    `catalogs.table_files.read_table` raises.
    """
    asked = {**needed, **(optional or {})}
    chosen: dict[str, str] = {}

    def choose(columns: Sequence[str]) -> list[str]:
        lower = {name.strip().lower(): name for name in reversed(columns)}
        for key, names in asked.items():
            if (found := next((lower[name.lower()] for name in names if name.lower() in lower), None)) is not None:
                chosen[key] = found
        return list(chosen.values())

    try:
        table = read_table(path, as_text=choose, wanted=choose)
    except CatalogError as error:
        raise error.within(title) from None
    for key, names in needed.items():
        if key not in chosen:
            raise CatalogError(
                "{title}: the table {path} has no column {names}; give the table as it was published",
                {"path": path},
                title=title,
                names=" or ".join(map(repr, names)),
            )
    columns = {key: _stripped(table[chosen[key]]) if key in chosen else None for key in asked}
    return pd.DataFrame(columns, index=table.index, dtype=object)


def read_text(path: Path, title: str) -> str:
    """The text of a file, plain or .gz. Raises CatalogError where it is not UTF-8."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
        raise CatalogError(
            "{title}: {path} is not UTF-8 text; give it as it was published", {"path": path}, title=title
        ) from None


def once(table: pd.DataFrame, keys: list[str], title: str) -> pd.DataFrame:
    """A table in which no two rows have the same keys: double rows complete each other, the first gives the place.

    Raises CatalogError for rows without a key, and for double rows that contradict each other.
    """
    if nameless := int(table[keys].isna().any(axis=1).sum()):
        raise CatalogError(
            "{title}: {count} row(s) of a table do not say what they are of ({keys} is empty); delete them",
            title=title,
            count=nameless,
            keys=" or ".join(map(repr, keys)),
        )
    double = table.duplicated(keys, keep=False)
    if not double.any():
        return table
    groups = table[double].groupby(keys, sort=False)
    if contradictory := int((groups.nunique() > 1).any(axis=1).sum()):
        raise CatalogError(
            "{title}: {count} of {keys} stand in several rows that contradict each other; keep one row each",
            title=title,
            count=contradictory,
            keys=" and ".join(map(repr, keys)),
        )
    first = table.index[double & ~table.duplicated(keys)]
    merged = groups.first().reset_index()[list(table.columns)].set_axis(first)
    whole = pd.concat([table[~double], merged]).sort_index().astype(object)
    return whole.where(whole.notna(), None)


def states(table: pd.DataFrame, findings: Sequence[str], title: str) -> pd.DataFrame:
    """The findings of a table as "1", "0", "-1" or None, from cells such as "1.0" or empty ones.

    Raises CatalogError for any other cell.
    """
    return pd.DataFrame(
        {name: _mapped(table[name], lambda cell: _STATES[cell], f"cell(s) of {name!r}", title) for name in findings},
        index=table.index,
    )


def among(cells: "pd.Series[Any]", known: Mapping[str, str | None], what: str, title: str) -> "pd.Series[Any]":
    """What the cells of a column mean, None where empty. Raises CatalogError for a cell that is not among the known."""
    return _mapped(cells, lambda cell: known[cell], what, title)


def sexes(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """ "M" or "F", None for anything else."""
    return _mapped(cells, lambda cell: _SEXES.get(cell.lower()))


def views(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """ "PA", "AP" or "LATERAL" (also for LL and RL); None for others: decubitus, oblique, axial."""
    return _mapped(cells, lambda cell: _VIEWS.get(cell.upper()))


def ages(cells: "pd.Series[Any]") -> "pd.Series[float]":
    """Years, from "58", "58.0" or DICOM's age strings ("058Y", "018M", PS3.5 6.2); NaN for others and above 120.

    Data_Entry_2017 has ages up to 414.
    """

    def years(cell: str) -> float | None:
        match = _AGE.fullmatch(cell.upper())
        found = float(match[1]) * _YEARS[match[2]] if match else None
        return found if found is not None and found <= _OLDEST else None

    return _mapped(cells, years).astype(np.float64)


def image_files(root: Path, folders: Iterable[Path]) -> dict[str, str]:
    """Images that lie right in these folders: name without suffix, and path relative to the root.

    Where several have one name, the first folder's is given, and of one folder's the first of IMAGE_SUFFIXES.
    """
    found: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        below = folder.relative_to(root).as_posix()
        names = [os.path.splitext(entry.name) for entry in os.scandir(folder)]  # noqa: PTH122 - 112,000 of them
        images = [
            (IMAGE_SUFFIXES.index(end.lower()), stem, end) for stem, end in names if end.lower() in IMAGE_SUFFIXES
        ]
        for _, stem, end in sorted(images):
            found.setdefault(stem, f"{below}/{stem}{end}")
    return found


def located(ids: "pd.Series[str]", there: Mapping[str, str], expected: "pd.Series[str]") -> "pd.Series[str]":
    """Where each image is, or where it is expected."""
    files = [there.get(name, otherwise) for name, otherwise in zip(ids, expected, strict=True)]
    return pd.Series(files, index=ids.index, dtype=object)


def _stripped(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    return _mapped(cells, lambda cell: cell.strip() or None)


def _mapped(
    cells: "pd.Series[Any]", meaning: Callable[[str], Any], what: str = "", title: str = ""
) -> "pd.Series[Any]":
    """Each cell's meaning, asked once for each distinct one; None where missing.

    A KeyError becomes a CatalogError that tells how many cells have no meaning, and not which.
    """
    codes, distinct = pd.factorize(cells)
    meanings = np.full(len(distinct) + 1, None, dtype=object)  # the last is what the code -1 points to: missing
    unknown = np.zeros(len(distinct) + 1, dtype=bool)
    for place, cell in enumerate(distinct):
        try:
            meanings[place] = meaning(str(cell))
        except KeyError:
            unknown[place] = True
    if unknown.any():
        raise CatalogError(
            "{title}: {count} {what} hold what the published table never holds; give the table as it was published",
            title=title,
            count=int(unknown[codes].sum()),
            what=what,
        )
    return pd.Series(meanings[codes], index=cells.index, dtype=object)
