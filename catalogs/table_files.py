"""CSV, FITS and Parquet to data frames in which whole numbers stay whole: 64-bit ids survive missing neighbours."""

import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from catalogs.errors import CatalogError, MissingFileError

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".fits", ".fit", ".fits.gz", ".parquet", ".pq")

# Cells of numeric columns that say "unknown"; in columns of text only the first three do, since "NA" can be a name.
_MISSING_TEXT = ("", "nan", "NaN")
_MISSING = (*_MISSING_TEXT, "-nan", "-NaN", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "--")
_WHOLE = {f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def read_table(path: Path, as_text: Callable[[Sequence[str]], Collection[str]]) -> pd.DataFrame:
    """The table of a CSV, TSV, FITS (first table HDU) or Parquet file, by its suffix, with a plain index.

    `as_text` is told the column names and gives those that a CSV file keeps as they are written (ids, labels). Whole
    numbers with gaps have pandas' nullable type, text is stripped of FITS' padding and None where missing, columns
    whose cells are arrays are left out. Raises MissingFileError, and CatalogError for a file that is no such table.
    """
    if not path.is_file():
        raise MissingFileError("table {path}: no such file", {"path": path})
    readers: dict[tuple[str, ...], Callable[[], pd.DataFrame]] = {
        (".csv", ".csv.gz"): lambda: _read_csv(path, ",", as_text),
        (".tsv",): lambda: _read_csv(path, "\t", as_text),
        (".fits", ".fit", ".fits.gz"): lambda: _read_fits(path),
        (".parquet", ".pq"): lambda: _read_parquet(path),
    }
    for suffixes, reader in readers.items():
        if path.name.lower().endswith(suffixes):
            if path.stat().st_size == 0:
                raise CatalogError("table {path} is empty (0 bytes)", {"path": path})
            try:
                return reader()
            except UnicodeDecodeError:
                raise CatalogError(
                    "table {path} is not UTF-8; save it again with that encoding", {"path": path}
                ) from None
            except (OSError, ValueError, KeyError, TypeError, pd.errors.ParserWarning) as error:
                line = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise CatalogError(
                    "table {path} cannot be read as {kind}: {line}", {"path": path, "line": line}, kind=suffixes[0][1:]
                ) from error
    raise CatalogError(
        "table {path}: the name ends in none of {suffixes}", {"path": path}, suffixes=", ".join(TABLE_SUFFIXES)
    )


def _read_csv(path: Path, separator: str, as_text: Callable[[Sequence[str]], Collection[str]]) -> pd.DataFrame:
    with warnings.catch_warnings():
        # A row longer than the header is cut short with a warning; a catalog must not lose cells silently.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        header = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig", index_col=False)
        text = set(as_text([str(name) for name in header.columns]))
        return pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            index_col=False,
            dtype=dict.fromkeys(text, object),
            keep_default_na=False,
            na_values={name: list(_MISSING_TEXT if name in text else _MISSING) for name in header.columns},
            low_memory=False,
        )


def _read_fits(path: Path) -> pd.DataFrame:
    from astropy.io import fits  # here: CSV and Parquet need not wait for it
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units that astropy does not know do not matter here
        with fits.open(path, memmap=False) as hdus:
            tables = [hdu for hdu in hdus if type(hdu) in (fits.BinTableHDU, fits.TableHDU)]
            if not tables:
                raise ValueError("no HDU holds a table")
            table = Table.read(tables[0], astropy_native=False)
    columns = {name: _from_astropy(table[name]) for name in table.colnames if len(table[name].shape) == 1}
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None})


def _from_astropy(column: Any) -> Any:
    """A FITS column as a pandas one, in native byte order; None where its cells are arrays of varying length."""
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.zeros(len(column), bool)
    values = np.asarray(np.ma.getdata(column))
    values = values.astype(values.dtype.newbyteorder("="))
    kind = values.dtype.kind
    if kind in "SU":
        decoded = np.char.decode(values, "utf-8", "replace") if kind == "S" else values
        stripped = [None if hidden else str(text).strip() for text, hidden in zip(decoded, mask, strict=True)]
        return pd.Series(stripped, dtype=object)
    if kind in "iu" and mask.any():
        return pd.arrays.IntegerArray(values, mask)
    if kind == "f" and mask.any():
        values[mask] = np.nan
    if kind == "b" and mask.any():
        return pd.arrays.BooleanArray(values, mask)
    return values if kind in "iufb" else None


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    kept = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    nullable = {getattr(pa, plain)(): pd.api.types.pandas_dtype(whole) for plain, whole in _WHOLE.items()}
    # ignore_metadata: what was an index in pandas is a column here, and often the one of the ids.
    frame: pd.DataFrame = table.select(kept).to_pandas(ignore_metadata=True, types_mapper=nullable.get)
    for name in frame.columns:
        if pd.api.types.is_integer_dtype(frame[name].dtype) and not frame[name].isna().any():
            frame[name] = frame[name].to_numpy(str(frame[name].dtype).lower())
        elif isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(object)
        elif frame[name].dtype == object:
            frame[name] = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in frame[name]]
    return frame
