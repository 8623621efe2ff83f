"""Table files to data frames in which whole numbers stay whole: 64-bit ids survive missing neighbours."""

import gzip
import re
import urllib.parse
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd

from catalogs.errors import CatalogError, MissingFileError

Choice = Callable[[Sequence[str]], Collection[str]]
T = TypeVar("T")

# Cells of numeric columns that say "unknown"; in columns of text only the first three do, since "NA" can be a name.
_MISSING_TEXT = ("", "nan", "NaN")
_MISSING = (*_MISSING_TEXT, "-nan", "-NaN", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "--")
_WHOLE = {f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
# What places an object in HATS, and says nothing about it.
_HATS_PARTITION = ("Norder", "Dir", "Npix", "_healpix_29")
_ADDRESS = re.compile(r"^([a-z][a-z0-9]+):/+(?=\w)")


def _everything(columns: Sequence[str]) -> Collection[str]:
    return columns


def read_table(path: Path, as_text: Choice, wanted: Choice = _everything) -> pd.DataFrame:
    """The table of a file, by its suffix, or of a folder of Parquet files (plain, or a HATS catalog).

    CSV, TSV, ECSV, IPAC, FITS (the first table HDU), VOTable (its first table with rows), Parquet. `as_text` is told
    the column names and gives those that a CSV file keeps as they are written (ids, labels); `wanted` those to read,
    and Parquet's others are not even opened. The index is plain. Whole numbers with gaps have pandas' nullable type,
    text is stripped of FITS' padding and None where missing, columns whose cells are arrays are left out.

    `attrs` of the frame has "units" (column: unit, where the table says so) and "positions" ({"ra": column,
    "dec": column}, where a HATS catalog or a VOTable's UCDs name them). An address (https://...) is that of a HATS
    catalog, which LSDB reads. Raises MissingFileError, and CatalogError for what is no such table or is damaged.
    """
    if _ADDRESS.match(path.as_posix()):
        return _chosen(_read_remote(path, wanted), wanted)
    if path.is_dir():
        return _chosen(_read_folder(path, wanted), wanted)
    if not path.is_file():
        raise MissingFileError("table {path}: no such file", {"path": path})
    for suffixes, reader in _READERS:
        if path.name.lower().endswith(suffixes):
            return _chosen(_guarded(path, suffixes[0][1:], lambda: reader(path, as_text, wanted)), wanted)  # noqa: B023 - at once
    raise CatalogError(
        "table {path}: the name ends in none of {suffixes}", {"path": path}, suffixes=", ".join(TABLE_SUFFIXES)
    )


def _guarded(path: Path, kind: str, read: Callable[[], T]) -> T:
    """What `read` gives, its errors as one that names the file."""
    if path.stat().st_size == 0:
        raise CatalogError("table {path} is empty (0 bytes); fetch or write it again", {"path": path})
    try:
        return read()
    except CatalogError:
        raise
    except UnicodeDecodeError:
        raise CatalogError("table {path} is not UTF-8; save it again with that encoding", {"path": path}) from None
    except (OSError, EOFError, ValueError, LookupError, TypeError, ExpatError, pd.errors.ParserWarning) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CatalogError(
            "table {path} cannot be read as {kind}: {line}; if it was cut short or renamed, fetch it again",
            {"path": path, "line": line},
            kind=kind,
        ) from error


def _chosen(frame: pd.DataFrame, wanted: Choice) -> pd.DataFrame:
    kept = set(wanted([str(name) for name in frame.columns]))
    return frame[[name for name in frame.columns if name in kept]]


def _read_text(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    separator = "\t" if ".tsv" in path.name.lower() else ","
    with warnings.catch_warnings():
        # A row longer than the header is cut short with a warning; a catalog must not lose cells silently.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as lines:
            first, second = (lines.readline(100_000).decode("utf-8-sig") for _ in range(2))
        if first.startswith("# %ECSV"):  # as Gaia's bulk files are
            return _read_ecsv(path, as_text, wanted)
        titled = first.startswith("#") and separator not in first and separator in second  # CasJobs: "#Table1"
        layout: dict[str, Any] = {
            "sep": separator,
            "encoding": "utf-8-sig",
            "index_col": False,
            "skiprows": int(titled),
        }
        names = [str(name) for name in pd.read_csv(path, nrows=0, **layout).columns]
        text, kept = set(as_text(names)), set(wanted(names))
        frame: pd.DataFrame = pd.read_csv(
            path,
            **layout,
            usecols=None if kept >= set(names) else [name for name in names if name in kept],
            dtype=dict.fromkeys(text & kept, object),
            keep_default_na=False,
            na_values={name: list(_MISSING_TEXT if name in text else _MISSING) for name in names if name in kept},
            low_memory=False,
        )
        return frame


def _read_ecsv(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    from astropy.table import Table

    return _from_astropy(Table.read(path, format="ascii.ecsv"))


def _read_ipac(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    from astropy.table import Table

    return _from_astropy(Table.read(path, format="ascii.ipac"))


def _read_fits(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    from astropy.io import fits  # here: CSV and Parquet need not wait for it
    from astropy.table import Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units that astropy does not know do not matter here
        with fits.open(path, memmap=False) as hdus:
            tables = [hdu for hdu in hdus if type(hdu) in (fits.BinTableHDU, fits.TableHDU)]
            tables = [hdu for hdu in tables if hdu.name != "LDAC_IMHEAD"]  # SExtractor's copy of the image's header
            if not tables:
                raise ValueError("no HDU holds a table")
            return _from_astropy(Table.read(tables[0], astropy_native=False))


def _read_votable(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    from astropy.io import votable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # archives break the standard in harmless ways
        tables = list(votable.parse(path, verify="ignore").iter_tables())
        if not tables:
            raise ValueError("it holds no TABLE")
        table = next((table for table in tables if len(table.array)), tables[0])
        return _from_astropy(table.to_table(use_names_over_ids=True))


def _from_astropy(table: Any) -> pd.DataFrame:
    columns = {name: _column(table[name]) for name in table.colnames if table[name].ndim == 1}
    frame = pd.DataFrame({name: column for name, column in columns.items() if column is not None})
    frame.attrs["units"] = {name: str(table[name].unit) for name in frame.columns if table[name].unit is not None}
    ucds = {str(table[name].meta.get("ucd", "")).lower().replace(" ", ""): name for name in reversed(frame.columns)}
    frame.attrs["positions"] = {
        key: ucds[f"pos.eq.{key};meta.main"] for key in ("ra", "dec") if f"pos.eq.{key};meta.main" in ucds
    }
    return frame


def _column(column: Any) -> Any:
    """An astropy column as a pandas one, in native byte order; None where its cells are arrays or complex numbers."""
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.zeros(len(column), bool)
    values = np.asarray(np.ma.getdata(column))
    values = values.astype(values.dtype.newbyteorder("="))
    kind = values.dtype.kind
    if kind == "O" and not all(hidden or isinstance(v, str) for v, hidden in zip(values, mask, strict=True)):
        return None
    if kind in "SUO":
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


def _read_parquet(path: Path, as_text: Choice, wanted: Choice) -> pd.DataFrame:
    table = _parquet_file(path, wanted)
    frame = _from_arrow(table)
    frame.attrs["units"] = _parquet_units(table.schema)
    return frame


def _parquet_file(path: Path, wanted: Choice) -> Any:
    """The wanted columns of one file; those whose cells are lists or structures (images, light curves) stay closed."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:  # opened as a file: folders of its path are no columns
        schema = file.schema_arrow
        flat = [field.name for field in schema if not pa.types.is_nested(field.type)]
        masks = {name.removesuffix(".mask"): name for name in flat if name.endswith(".mask")}  # as astropy writes gaps
        kept = set(wanted([name for name in flat if name not in masks.values()]))
        table = file.read(columns=[name for name in flat if name in kept or name.removesuffix(".mask") in kept])
    for name, mask in masks.items():
        if name in kept:
            gaps = pc.if_else(table[mask], pa.scalar(None, table.schema.field(name).type), table[name])
            table = table.set_column(table.column_names.index(name), name, gaps).drop_columns([mask])
    return table


def _parquet_units(schema: Any) -> dict[str, str]:
    """Units from the fields' own metadata, and from the header that astropy and Rubin's pipelines store."""
    units = {field.name: field.metadata[b"unit"].decode() for field in schema if b"unit" in (field.metadata or {})}
    if b"table_meta_yaml" in (schema.metadata or {}):
        from astropy.table.meta import get_header_from_yaml

        header = get_header_from_yaml(schema.metadata[b"table_meta_yaml"].decode().splitlines())
        units |= {entry["name"]: str(entry["unit"]) for entry in header["datatype"] if "unit" in entry}
    return units


def _from_arrow(table: Any) -> pd.DataFrame:
    import pyarrow as pa

    nullable = {getattr(pa, plain)(): pd.api.types.pandas_dtype(whole) for plain, whole in _WHOLE.items()}
    # ignore_metadata: what was an index in pandas is a column here, and often the one of the ids.
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, types_mapper=nullable.get)
    for name in frame.columns:
        if pd.api.types.is_integer_dtype(frame[name].dtype) and not frame[name].isna().any():
            frame[name] = frame[name].to_numpy(str(frame[name].dtype).lower())
        elif isinstance(frame[name].dtype, pd.CategoricalDtype):
            frame[name] = frame[name].astype(object)
        elif frame[name].dtype == object:
            frame[name] = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in frame[name]]
    return frame


def _read_folder(folder: Path, wanted: Choice) -> pd.DataFrame:
    """All Parquet files of a folder as one table, in the order of their paths; of HATS, its objects.

    Folders named "column=value" give text columns, as in Hive and Arrow; HATS' own (Norder, Dir, Npix) do not.
    """
    import pyarrow as pa

    properties = _properties(folder)
    if "hats_primary_table_url" in properties:  # a collection: objects beside margins and indexes
        folder = folder / properties["hats_primary_table_url"]
        properties = _properties(folder)
    if (kind := properties.get("dataproduct_type", "object")) not in ("object", "source"):
        raise CatalogError(
            "table {folder} is the HATS {kind} of a catalog; name the folder of the catalog itself",
            {"folder": folder},
            kind=kind,
        )
    top = folder / "dataset" if properties and (folder / "dataset").is_dir() else folder
    files = [
        path
        for path in sorted([*top.rglob("*.parquet"), *top.rglob("*.pq")])
        if path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(top).parts)
    ]
    if not files:
        raise MissingFileError(
            "table {folder}: this folder holds no Parquet file; name a table's file, or a folder of them",
            {"folder": folder},
        )
    tables: list[Any] = []
    for file in files:
        tables.append(_guarded(file, "parquet", lambda: _partition(file, top, wanted, tables[:1])))  # noqa: B023 - at once
    table = pa.concat_tables(tables, promote_options="default")
    promised = properties.get("hats_nrows", "")
    if promised.isdigit() and int(promised) != table.num_rows:
        raise CatalogError(
            "table {folder}: the HATS catalog holds {rows} rows, and its properties promise {promised}{missing}; "
            "fetch it again",
            {"folder": folder},
            rows=table.num_rows,
            promised=promised,
            missing=_missing_partitions(folder, files),
        )
    frame = _from_arrow(table)
    frame.attrs["units"] = _parquet_units(table.schema)
    frame.attrs["positions"] = {
        key: column for key in ("ra", "dec") if (column := properties.get(f"hats_col_{key}")) in frame.columns
    }
    return frame


def _partition(file: Path, top: Path, wanted: Choice, first: Sequence[Any]) -> Any:
    """One file of a folder, with what the names of its folders say; its types must be those of the first file."""
    import pyarrow as pa

    table = _parquet_file(file, wanted)
    for column, value in re.findall(r"([^/=]+)=([^/]*)", file.relative_to(top).parent.as_posix()):
        if column not in (*_HATS_PARTITION, *table.column_names):
            cell = None if value == "__HIVE_DEFAULT_PARTITION__" else urllib.parse.unquote(value)
            table = table.append_column(column, pa.array([cell] * table.num_rows, pa.string()))
    table = table.drop_columns([name for name in table.column_names if name in _HATS_PARTITION])
    pa.unify_schemas([other.schema for other in first] + [table.schema], promote_options="default")
    return table


def _properties(folder: Path) -> dict[str, str]:
    """A HATS folder's properties (IVOA HATS note; lines "key = value"), {} for any other folder."""
    for name in ("collection.properties", "hats.properties", "properties"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
            return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _missing_partitions(folder: Path, files: Sequence[Path]) -> str:
    """Those that partition_info.csv lists and the folder lacks, for an error."""
    if not (folder / "partition_info.csv").is_file():
        return ""
    listed = pd.read_csv(folder / "partition_info.csv")
    there = {tuple(re.findall(r"(?:Norder|Npix)=(\d+)", file.as_posix())[-2:]) for file in files}
    absent = [
        f"Norder={order}/Npix={pixel}"
        for order, pixel in zip(listed["Norder"], listed["Npix"], strict=True)
        if (str(order), str(pixel)) not in there
    ]
    return f" ({len(absent)} partition(s) are missing: {', '.join(absent[:3])})" if absent else ""


def _read_remote(path: Path, wanted: Choice) -> pd.DataFrame:
    address = _ADDRESS.sub(r"\1://", path.as_posix())  # a Path keeps one slash only
    try:
        import lsdb
    except ImportError:
        raise CatalogError(
            "table {address}: HATS catalogs elsewhere need LSDB; pip install domainssl[hats], or copy it to a folder",
            {"address": address},
        ) from None
    catalog = lsdb.open_catalog(address, columns="all")
    names = [str(name) for name in catalog.columns if name not in _HATS_PARTITION]
    kept = set(wanted(names))
    frame = pd.DataFrame(catalog[[name for name in names if name in kept]].compute()).reset_index(drop=True)
    info = catalog.hc_structure.catalog_info
    frame.attrs["positions"] = {"ra": info.ra_column, "dec": info.dec_column}
    return frame


_READERS: tuple[tuple[tuple[str, ...], Callable[[Path, Choice, Choice], pd.DataFrame]], ...] = (
    ((".csv", ".csv.gz", ".tsv", ".tsv.gz"), _read_text),
    ((".ecsv", ".ecsv.gz"), _read_ecsv),
    ((".tbl",), _read_ipac),
    ((".fits", ".fit", ".fits.gz"), _read_fits),
    ((".vot", ".votable", ".xml", ".vot.gz", ".votable.gz", ".xml.gz"), _read_votable),
    ((".parquet", ".pq"), _read_parquet),
)
TABLE_SUFFIXES = tuple(suffix for suffixes, _ in _READERS for suffix in suffixes)
