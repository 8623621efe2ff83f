"""Parquet files, HATS leaves among them, whose rows hold an image: flux a band, or an encoded picture.

The layouts: Multimodal Universe (Angeloudi et al. 2024, arXiv:2412.02527) and the image feature of Hugging Face's
datasets, {bytes, path}.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from catalogs.checks import refuse_size
from catalogs.galaxies.item_rows import ItemReader, guarded, read_items
from catalogs.galaxies.stacks import MAX_ITEMS, Known, band_axis, item_number, numbered, texts, to_cutout
from catalogs.pictures import read_picture_files
from catalogs.reading import Cutout, Refusal, Request

PARQUET_SUFFIXES = (".parquet", ".pq")

_FLUX = ("flux", "array", "image_array", "image_flux")
_PICTURES = ("image", "images", "rgb_image", "rgb", "img", "picture", "png", "jpeg", "jpg")
_SCALES = ("image_scale", "pxscale", "pixel_scale", "rgb_pixel_scale")
# Rows are decoded a few at a time, so many that they hold about so many values.
_VALUES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class _Layout:
    """Where the images are: a column of structs, `column`, or columns of their own (None); or encoded pictures.

    `fields` gives the column or child that holds flux, band, ivar, mask, psf_fwhm, scale and shape; `beside` the
    columns that hold scale and ebv otherwise; `needed` all columns to read.
    """

    pictures: bool
    column: str | None
    fields: dict[str, str]
    beside: dict[str, str]
    needed: tuple[str, ...]


def read_parquet_images(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: the image in row `item` of a Parquet file, or why there is none.

    Flux: a column of structs or of lists of structs with flux and, where there are any, band, ivar, mask, psf_fwhm,
    scale; or columns of these names, with or without "image_". Flux is nested lists (band, y, x) or a flat list with
    `shape`. It is "linear"; bands are taken by name, else by position; ivar becomes `variance` and, where it is 0, NaN
    pixels; mask is True where a pixel is good, as in the Multimodal Universe, and others become NaN; scale (arcsec)
    gives `pixel_scale`, with psf_fwhm (arcsec) psf_fwhm_px; a column EBV gives ebv.
    Pictures: encoded JPEG, PNG or TIFF as binary or {bytes, path}, by `catalogs.pictures.read_pictures`; a path alone
    is not followed. Where a file has both, flux is read. Only these columns are read, a few rows at a time; rows in
    the file's order are read fastest.

    Refusals: those of `catalogs.galaxies.arrays.read_arrays`. Never raises for a bad file.
    """
    return read_items(rows, request, _opened)


def items_parquet_images(path: Path, bands: tuple[str, ...] = ()) -> list[str] | Refusal:
    """The items of a Parquet file whose rows hold images, "0" to "n-1", from its footer alone."""

    def items() -> list[str] | Refusal:
        with _file(path) as file:
            layout = file if isinstance(file, Refusal) else _layout(file.schema_arrow)
            return layout if isinstance(layout, Refusal) else numbered((file.metadata.num_rows, 1, 1, 1), 0, 0)

    return guarded(path, items)


def columns_parquet_images(path: Path, bands: tuple[str, ...] = ()) -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
    """The columns of numbers, booleans and text, by name; text that is absent is None, a number NaN."""

    def columns() -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
        with _file(path) as file:
            layout = file if isinstance(file, Refusal) else _layout(file.schema_arrow)
            if isinstance(layout, Refusal):
                return layout
            if file.metadata.num_rows > MAX_ITEMS:
                return Refusal("too_large", f"the file declares {file.metadata.num_rows:,} rows")
            flat = [field.name for field in file.schema_arrow if _is_value(field.type)]
            table = file.read(columns=flat, use_threads=False)
            return {name: table.column(name).to_pandas().to_numpy() for name in flat}

    return guarded(path, columns)


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    """An open pyarrow.parquet.ParquetFile, or why the file is none."""
    import pyarrow.parquet as pq  # not at the top: reading processes that see no Parquet start without it

    with path.open("rb") as start:
        begins = start.read(4)
        start.seek(0, 2)
        start.seek(max(start.tell() - 4, 0))
        ends = start.read(4)
    if begins != b"PAR1":
        yield Refusal("format", "the file is not Parquet")
    elif ends != b"PAR1":
        yield Refusal("truncated", "the file ends before its footer")
    else:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            yield file


@contextmanager
def _opened(path: Path, request: Request) -> Iterator[ItemReader | Refusal]:
    with _file(path) as file:
        layout = file if isinstance(file, Refusal) else _layout(file.schema_arrow)
        if isinstance(layout, Refusal):
            yield layout
            return
        source = _Rows(file, layout.needed)

        def read(item: str | None) -> Cutout | Refusal:
            number = item_number(item, file.metadata.num_rows)
            row = number if isinstance(number, Refusal) else source.row(number)
            if isinstance(row, Refusal):
                return row
            return _picture(row, layout, request) if layout.pictures else _flux(row, layout, request)

        yield read


class _Rows:
    """Rows of a Parquet file by number; keeps its place, so that rows in order are each decoded once."""

    def __init__(self, file: Any, columns: tuple[str, ...]) -> None:
        self._file, self._columns = file, list(columns)
        groups = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
        self._ends = np.cumsum(groups)
        self._first = self._end = 0  # of the batch at hand
        self._group = -1
        self._batch: Any = None
        self._batches: Iterator[Any] = iter(())

    def row(self, number: int) -> Any | Refusal:
        """The row as a record batch of length 1."""
        group = int(np.searchsorted(self._ends, number, side="right"))
        if group != self._group or number < self._first:
            refusal = self._start(group)
            if refusal:
                return refusal
        while number >= self._end:
            self._batch = None  # the last is freed before the next is decoded
            self._batch = next(self._batches, None)
            if self._batch is None:
                return Refusal("truncated", "the file ends before its data do")
            self._first, self._end = self._end, self._end + self._batch.num_rows
        return self._batch.slice(number - self._first, 1)

    def _start(self, group: int) -> Refusal | None:
        declared = self._file.metadata.row_group(group)
        length = max(declared.num_rows, 1)
        leaves = [declared.column(n) for n in range(declared.num_columns)]
        leaves = [leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] in self._columns]
        # Values of nested flux, bytes of pictures: each a row, on average.
        average = max((max(leaf.num_values, leaf.total_uncompressed_size // 4) // length for leaf in leaves), default=0)
        if refusal := refuse_size((average,)):
            return refusal
        self._batches = self._file.iter_batches(
            batch_size=max(1, min(1024, _VALUES_AT_ONCE // max(average, 1))),
            row_groups=[group],
            columns=self._columns,
            use_threads=False,
        )
        self._group = group
        self._first = self._end = int(self._ends[group]) - declared.num_rows
        return None


def _layout(schema: Any) -> _Layout | Refusal:
    """Flux in structs, flux in columns, or pictures: the first that the schema has."""
    import pyarrow as pa

    top = {field.name.casefold(): field.name for field in schema}
    usual = (("ebv", "ebv"), *(("scale", name) for name in reversed(_SCALES)))
    beside = {key: top[name] for key, name in usual if name in top}
    for name in sorted(top.values(), key=lambda name: not name.casefold().startswith("image")):
        kind = schema.field(name).type
        lists = _is_list(kind)
        kind = kind.value_type if lists else kind
        if pa.types.is_struct(kind):
            children = {kind.field(n).name.casefold(): kind.field(n) for n in range(kind.num_fields)}
            fields = _fields({key: child.name for key, child in children.items()})
            flux = children[fields["flux"].casefold()].type if "flux" in fields else None
            # Light curves have a flux as well, of one axis.
            if flux is not None and ("shape" in fields or lists + _axes(flux) > 1):
                return _Layout(False, name, fields, beside, (name, *beside.values()))
    fields = _fields({key: name for key, name in top.items() if _axes(schema.field(name).type)})
    if "flux" in fields and ("shape" in fields or _axes(schema.field(fields["flux"]).type) > 1):
        return _Layout(False, None, fields, beside, (*fields.values(), *beside.values()))
    pictures = [name for name in top.values() if _is_picture(schema.field(name).type)]
    named = [name for wanted in _PICTURES for name in pictures if name.casefold() == wanted]
    if named or len(pictures) == 1:
        column = (named or pictures)[0]
        return _Layout(True, column, {}, beside, (column, *beside.values()))
    if pictures:
        return Refusal("no_image", f"{', '.join(pictures[:9])} could all be the image; name one of them image")
    return Refusal("no_image", "no column holds images")


def _fields(names: dict[str, str]) -> dict[str, str]:
    """Which of these names (by lower case) stands for each field."""
    found = {"flux": next((names[name] for name in _FLUX if name in names), None)}
    for key in ("band", "ivar", "mask", "psf_fwhm", "scale", "shape"):
        found[key] = next((names[name] for name in (f"image_{key}", key) if name in names), None)
    return {key: name for key, name in found.items() if name is not None}


def _axes(kind: Any) -> int:
    """How deep the lists of a type are nested."""
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape)
    if isinstance(kind, pa.BaseExtensionType):
        return _axes(kind.storage_type)
    return 1 + _axes(kind.value_type) if _is_list(kind) else 0


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_picture(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(n).name == "bytes" and _is_picture(kind.field(n).type) for n in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_value(kind: Any) -> bool:
    import pyarrow as pa

    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(text or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _picture(row: Any, layout: _Layout, request: Request) -> Cutout | Refusal:
    content = row.column(layout.column)[0].as_py()
    if isinstance(content, dict):
        content = content["bytes"]
    if not content:
        return Refusal("missing", "the row holds no picture, or the path of one only")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(content)
        cutout = read_picture_files((str(path),), request.bands, None)
    if isinstance(cutout, Refusal):
        return cutout
    scale = row.column(layout.beside["scale"])[0].as_py() if "scale" in layout.beside else None
    pixel_scale = float("nan") if scale is None else float(scale)
    return Cutout(cutout.pixels, request.bands, cutout.radiometry, pixel_scale=pixel_scale)


def _flux(row: Any, layout: _Layout, request: Request) -> Cutout | Refusal:
    held = {key: _field(row, layout, name) for key, name in layout.fields.items()}
    held |= {key: _ndarray(row.column(name)) for key, name in layout.beside.items() if key not in held}
    flux = held["flux"]
    if flux is None or flux.size == 0:
        return Refusal("missing", "the row holds no image")
    if flux.dtype.kind not in "uif":
        return Refusal("format", f"flux of type {flux.dtype} is not read; numbers are")
    image = _shape(flux, held.get("shape"))
    if isinstance(image, Refusal):
        return image
    band = held.get("band")
    names = () if band is None else texts(band.reshape(-1))
    axis = band_axis(image, len(names) or len(request.bands))
    if isinstance(axis, Refusal):
        return axis
    ivar, valid = held.get("ivar"), held.get("mask")
    flat = image[:2] if axis == 2 else image[-2:]
    for key, array in (("ivar", ivar), ("mask", valid)):
        if array is not None and array.size not in (flux.size, flux.size if key == "ivar" else int(np.prod(flat))):
            return Refusal("shape", f"{key} has {array.size:,} values and flux {flux.size:,}")
    boolean = valid is not None and valid.dtype.kind == "b"
    known = Known(
        ivar=None if ivar is None else ivar.reshape(image),
        valid=valid.reshape(image if valid.size == flux.size else flat) if valid is not None and boolean else None,
        scale=held.get("scale"),
        psf_fwhm=held.get("psf_fwhm"),
        ebv=held.get("ebv"),
        flags=() if valid is None or boolean else ("mask not applied",),
    )
    return to_cutout(flux.reshape(image), axis, names, request, known)


def _shape(flux: Shaped[np.ndarray, "..."], declared: Shaped[np.ndarray, "..."] | None) -> tuple[int, ...] | Refusal:
    """The axes of a row's image: its own, or for flat lists those of `shape`, which may leave out the bands."""
    if declared is None:
        return flux.shape if flux.ndim > 1 else Refusal("shape", "flux is a flat list without its shape")
    last = declared.reshape(-1, declared.shape[-1])[0] if declared.ndim else declared.reshape(1)
    shape = tuple(int(length) for length in last)
    if len(shape) == 2 and flux.ndim > 1:
        shape = (len(flux), *shape)
    if int(np.prod(shape, dtype=object)) != flux.size or min(shape) < 1:
        return Refusal("shape", f"flux has {flux.size:,} values and its shape is {shape}")
    return shape


def _field(row: Any, layout: _Layout, name: str) -> Shaped[np.ndarray, "..."] | None:
    """One field of a row as an array; of a list of structs, stacked along a first axis for the bands."""
    import pyarrow as pa

    if layout.column is None:
        return _ndarray(row.column(name))
    column = row.column(layout.column)
    if not column[0].is_valid:
        return None
    if pa.types.is_struct(column.type):
        return _ndarray(column.field(name))
    return _ndarray(column[0].values.field(name), stacked=True)


def _ndarray(values: Any, stacked: bool = False) -> Shaped[np.ndarray, "..."] | None:
    """An Arrow array of equally long nested lists as a NumPy array; of a single row, without the row's axis."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.null_count == len(values):
        return None
    shape = [len(values)]
    while _axes(values.type):
        if isinstance(values.type, pa.FixedShapeTensorType):
            shape += list(values.type.shape)
            values = values.storage.flatten()
            break
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
            continue
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        if len(set(lengths.tolist())) != 1 or np.isnan(lengths[0]):
            raise ValueError("the lists of an image differ in length")
        shape.append(int(lengths[0]))
        values = values.flatten()
    found: Shaped[np.ndarray, "..."] = values.to_numpy(zero_copy_only=False).reshape(shape)
    return found if stacked else np.asarray(found[0])
