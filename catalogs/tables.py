"""Catalogs to one frame with canonical columns: from a table of any format, or from files alone."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from catalogs.canonical import CANONICAL, CanonicalTable, CatalogSource
from catalogs.columns import missing_column, usual_column
from catalogs.errors import CatalogError, MissingFileError
from catalogs.items import container_table, expanded, is_container
from catalogs.scanning import ANY_SUFFIX, is_source, pattern_fields, root, scan
from catalogs.table_files import TABLE_SUFFIXES, read_table


def read_catalog(source: CatalogSource, label_columns: tuple[str, ...]) -> pd.DataFrame:
    """One row an object, in the table's order.

    Columns: object_id (str, unique), paths (tuple of absolute paths: one, or one a band; () where the table names
    none), item (str, None where the file holds one object), group, issuer and study (str, None where unknown), split
    ("train", "test" or ""; validation counts as train), ra and dec (float64, degrees), redshift (float64, NaN also
    below -1), catalog (its name), each label that the table has (str, None where missing), `ebv` and `psf_fwhm_px:BAND`
    (float32) where the table has them. NaN is unknown. The table's other columns follow as they are, except those of
    the same names and those whose cells are arrays. Whether the files exist is left to the readers.

    Raises MissingFileError for a missing table or folder; CatalogError for an empty table, a folder without readable
    files, a damaged zip archive or DICOMDIR, a missing column, ids that are missing, double or floating-point, a split
    that is neither, and coordinates that are no degrees.
    """
    if not is_source(source.images, source.suffixes):
        other = ", zip archive or DICOMDIR" if source.suffixes == ANY_SUFFIX else ""
        raise MissingFileError(
            "catalog {name!r}: images: no folder{other} {at}", {"at": source.images}, name=source.name, other=other
        )
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
    return CanonicalTable(source, table).frame(label_columns)


def _table(source: CatalogSource, label_columns: tuple[str, ...]) -> pd.DataFrame:
    """The table as it is, of a folder the scan's, of a file of images what it says of them, of a collection its own."""
    if source.layout is not None:
        from catalogs.chest_xrays.collections import COLLECTIONS

        return COLLECTIONS[source.layout].read(source.images)
    if source.table is None:
        try:
            found = scan(source.images, source.file_pattern, source.bands, source.suffixes)
        except CatalogError as error:
            raise error.within(f"catalog {source.name!r}") from None
        if "file" not in found:
            return found
        return expanded(found, root(source.images), source.bands, object_per_hdu=source.object_per_hdu)
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
