"""Stacks of images in the files npy and npz.

The formats: NumPy's NEP 1 (npy 1.0 to 3.0), and zip archives of such files.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from catalogs.checks import MAX_PIXELS, refuse_size
from catalogs.galaxies.item_rows import ItemReader, guarded, read_items
from catalogs.galaxies.stacks import (
    BAND_NAMES,
    IVAR_NAMES,
    VARIANCE_NAMES,
    Known,
    axes_of,
    find_images,
    item_number,
    numbered,
    texts,
    to_cutout,
)
from catalogs.reading import Cutout, Refusal, Request

ARRAY_SUFFIXES = (".npy", ".npz")
# What galaxies with noise never reach when compressed, and a bomb always does.
_BOMB_RATIO = 100


def read_arrays(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: the image `item` of an npy or npz file, or why there is none.

    Arrays are (n, band, y, x), (n, y, x, band), (n, y, x) for one band, (band, y, x) or (y, x, band) for one object of
    several, or (y, x); where the band axis could be both, it is the first. In an npz the array named as `IMAGE_NAMES`
    is read, else the only one with such axes; `BAND_NAMES` name its bands, in any order, and without these the bands
    are taken by position. 8-bit integers are "display" (255 is white), all else "linear"; infinities become NaN. Of an
    npz, `VARIANCE_NAMES` or `IVAR_NAMES` (weights are taken for inverse variances) of the images' shape become
    `variance`, and where the inverse is 0 the pixel is NaN; masks are not applied, since nothing says what is good in
    them, and flagged. An npy is memory-mapped, an npz decompressed as far as the object; nothing is unpickled.

    Refusals: missing, empty, format, truncated, undecodable, too_large, no_image, shape, bands, item, and those of
    `catalogs.checks.refuse_pixels` ("missing_band" for linear values only). Where bands may be missing, one that the
    file does not name, while it names another, is NaN. Never raises for a bad file.
    """
    return read_items(rows, request, _opened)


def items_arrays(path: Path, bands: tuple[str, ...] = ()) -> list[str] | Refusal:
    """The items of an npy or npz file, "0" to "n-1", from its headers alone.

    A 3-D array is one object where there are several bands, by `bands` or by the file's own names, and a stack of
    n images where there is one. Where neither says, it is one object if its first or last axis is at most 16 long.
    """
    return guarded(path, lambda: _items(path, bands))


def columns_arrays(path: Path, bands: tuple[str, ...] = ()) -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
    """The 1-D arrays of an npz with one value an object; an npy has none."""

    def columns() -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
        items = _items(path, bands)
        if isinstance(items, Refusal) or _is_npy(path):
            return items if isinstance(items, Refusal) else {}
        with zipfile.ZipFile(path) as archive:
            found = _members(archive)
            flat = [
                member
                for member in found.values()
                if member.shape == (len(items),)
                and member.dtype.kind in "biufSU"
                and member.name.casefold() not in BAND_NAMES
            ]
            for member in flat:
                if refusal := refuse_size((member.dtype.itemsize // 4, *member.shape)):
                    return refusal
            return {member.name: _whole(archive, member) for member in flat}

    return guarded(path, columns)


@dataclass(frozen=True)
class _Member:
    """An array of an npz by its header; `size` and `packed` are its bytes as the archive declares them."""

    name: str
    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int
    size: int
    packed: int


@contextmanager
def _opened(path: Path, request: Request) -> Iterator[ItemReader | Refusal]:
    if _is_npy(path):
        yield _npy_reader(path, request)
    elif zipfile.is_zipfile(path) or _begins(path, b"PK"):
        with zipfile.ZipFile(path) as archive, ExitStack() as members:
            yield _npz_reader(archive, members, request)
    else:
        yield _not_arrays(path)


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _is_npy(path: Path) -> bool:
    return _begins(path, b"\x93NUMPY")


def _not_arrays(path: Path) -> Refusal:
    pickled = _begins(path, b"\x80") and path.suffix.lower() in ARRAY_SUFFIXES
    return Refusal("format", f"the file is {'a pickle, which is never read' if pickled else 'neither npy nor npz'}")


def _npy_reader(path: Path, request: Request) -> ItemReader | Refusal:
    array = _mapped(path)
    if isinstance(array, Refusal):
        return array
    axes = axes_of(array.shape, array.dtype, len(request.bands))
    if isinstance(axes, Refusal):
        return axes

    def read(item: str | None) -> Cutout | Refusal:
        index = item_number(item, axes.objects)
        if isinstance(index, Refusal):
            return index
        return to_cutout(np.asarray(array[index] if axes.stacked else array), axes.band, (), request, Known())

    return read


def _mapped(path: Path) -> Any:
    with path.open("rb") as file:
        shape, _, dtype = _header(file)
    if dtype.hasobject:
        return Refusal("format", "the array holds Python objects, which are never unpickled")
    if 0 in shape:
        return Refusal("no_image", f"the array is empty: {' x '.join(map(str, shape))}")
    return np.lib.format.open_memmap(path, mode="r")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"npy version {version[0]}.{version[1]} is not read; 1.0 and 2.0 are")
    one = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if any(length < 0 for length in shape):
        raise ValueError("the header declares a negative length")
    return tuple(int(length) for length in shape), bool(fortran), dtype


def _members(archive: zipfile.ZipFile) -> dict[str, _Member]:
    found = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as file:
            shape, fortran, dtype = _header(file)
            name = info.filename.removesuffix(".npy")
            found[name] = _Member(
                name, info.filename, shape, dtype, fortran, file.tell(), info.file_size, info.compress_size
            )
    return found


def _values(file: Any, member: _Member, index: int | None) -> Shaped[np.ndarray, "..."]:
    """All values, or those of one object along the first axis, decompressed no further than needed.

    `file` is the open member, which keeps its place: objects in order are decompressed once.
    """
    whole = index is None or member.fortran
    shape = member.shape if whole else member.shape[1:]
    length = int(np.prod(shape, dtype=object)) * member.dtype.itemsize
    file.seek(member.start + (0 if whole else int(index or 0) * length))
    content = file.read(length)
    if len(content) < length:
        raise EOFError
    values = np.frombuffer(content, member.dtype).reshape(shape, order="F" if member.fortran else "C")
    return values[index] if member.fortran and index is not None else values


def _whole(archive: zipfile.ZipFile, member: _Member) -> Shaped[np.ndarray, "..."]:
    with archive.open(member.file) as file:
        return _values(file, member, None)


def _refuse_member(member: _Member) -> Refusal | None:
    """Size and agreement of the header with the archive, asked before anything is decompressed."""
    if member.dtype.hasobject:
        return Refusal("format", "the array holds Python objects, which are never unpickled")
    values = int(np.prod(member.shape, dtype=object))
    if member.start + values * member.dtype.itemsize > member.size:
        return Refusal("truncated", "the array's header promises more bytes than the archive holds")
    if values > MAX_PIXELS and (member.fortran or member.size > _BOMB_RATIO * max(member.packed, 1)):
        how = "in Fortran order" if member.fortran else f"compressed to {member.packed:,} bytes"
        return Refusal("too_large", f"the header declares {values:,} values {how}")
    return None


def _images(archive: zipfile.ZipFile) -> tuple[dict[str, _Member], _Member, tuple[str, ...]] | Refusal:
    """The arrays, that of the images, and the names of its bands."""
    found = _members(archive)
    kinds = {name: (member.shape, member.dtype) for name, member in found.items()}
    name = find_images(kinds, 3)
    if isinstance(name, Refusal) and name.reason == "no_image":
        name = find_images({key: kind for key, kind in kinds.items() if len(kind[0]) == 2} or kinds, 2)
    if isinstance(name, Refusal):
        return name
    images = found[name]
    if 0 in images.shape:
        return Refusal("no_image", f"the array is empty: {' x '.join(map(str, images.shape))}")
    named = _companion(found, BAND_NAMES)
    if named is None or named.dtype.kind not in "SU" or len(named.shape) != 1 or named.shape[0] > 1000:
        return found, images, ()
    refusal = _refuse_member(named)
    return refusal or (found, images, texts(_whole(archive, named)))


def _companion(found: Mapping[str, _Member], wanted: tuple[str, ...]) -> _Member | None:
    by_name = {name.casefold(): member for name, member in found.items()}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _npz_reader(archive: zipfile.ZipFile, members: ExitStack, request: Request) -> ItemReader | Refusal:
    opened = _images(archive)
    if isinstance(opened, Refusal):
        return opened
    found, images, names = opened
    axes = axes_of(images.shape, images.dtype, len(names) or len(request.bands))
    if isinstance(axes, Refusal):
        return axes
    used = {"images": images}
    for key, wanted in (("variance", VARIANCE_NAMES), ("ivar", IVAR_NAMES)):
        member = _companion(found, wanted)
        if member and member.shape == images.shape and member.dtype.kind in "uif" and "variance" not in used:
            used[key] = member
    for member in used.values():
        if refusal := _refuse_member(member):
            return refusal
    files = {key: members.enter_context(archive.open(member.file)) for key, member in used.items()}
    flags = ("mask not applied",) if _companion(found, ("mask", "masks", "image_mask")) else ()

    def read(item: str | None) -> Cutout | Refusal:
        number = item_number(item, axes.objects)
        if isinstance(number, Refusal):
            return number
        index = number if axes.stacked else None
        values = {key: _values(files[key], member, index) for key, member in used.items()}
        known = Known(variance=values.get("variance"), ivar=values.get("ivar"), flags=flags)
        return to_cutout(values["images"], axes.band, names, request, known)

    return read


def _items(path: Path, bands: tuple[str, ...]) -> list[str] | Refusal:
    if _is_npy(path):
        array = _mapped(path)
        if isinstance(array, Refusal):
            return array
        name = find_images({"images": (array.shape, array.dtype)}, 2)
        return name if isinstance(name, Refusal) else numbered(array.shape, 0, len(bands))
    if not (zipfile.is_zipfile(path) or _begins(path, b"PK")):
        return _not_arrays(path)
    with zipfile.ZipFile(path) as archive:
        opened = _images(archive)
        if isinstance(opened, Refusal):
            return opened
        _, images, names = opened
        return _refuse_member(images) or numbered(images.shape, len(names), len(bands))
