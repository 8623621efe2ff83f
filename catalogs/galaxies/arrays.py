"""Stacks of images in arrays: the rules of axes and bands that every container keeps, and the files npy and npz.

The formats: NumPy's NEP 1 (npy 1.0 to 3.0), and zip archives of such files.
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Shaped

from catalogs.checks import MAX_PIXELS, refuse_file, refuse_pixels, refuse_size, undecodable
from catalogs.reading import Cutout, Refusal

ARRAY_SUFFIXES = (".npy", ".npz")

# The names under which containers hold their images, in the order asked; case does not matter.
IMAGE_NAMES = ("image_array", "images", "image", "cutouts", "data", "x")
BAND_NAMES = ("image_band", "bands", "filters", "band", "filter")
VARIANCE_NAMES = ("image_variance", "variance", "var")
IVAR_NAMES = ("image_ivar", "ivar", "invvar", "weights")
# Arrays shaped as images that are none.
_COMPANIONS = (
    *VARIANCE_NAMES,
    *IVAR_NAMES,
    *("image_mask", "mask", "masks", "object_mask", "segmentation", "psf", "psfs"),
)
# One file of so many objects is taken for damaged or malicious.
MAX_ITEMS = 5_000_000
# Where nobody says how many bands there are, a 3-D array with so short an outer axis is one object's cube.
_FEW = 16
# What galaxies with noise never reach when compressed, and a bomb always does.
_BOMB_RATIO = 100

Answer = TypeVar("Answer")
ItemReader = Callable[[str | None], Cutout | Refusal]
Opener = Callable[[Path, tuple[str, ...]], AbstractContextManager[ItemReader | Refusal]]


@dataclass(frozen=True)
class Axes:
    """How an array holds images: `objects` of them, along its first axis if `stacked`; of one, `band` is the axis."""

    objects: int
    stacked: bool
    band: int | None


@dataclass(frozen=True)
class Known:
    """What a container knows of one object beside its pixels; arrays are shaped as one object of the file is.

    `variance` and `ivar` (its inverse, 0 where there is no measurement) are those of the pixels; `valid` is True where
    a pixel is good, for all bands or one a band; `scale` (arcsec), `psf_fwhm` (arcsec) and `ebv` (mag) are one value,
    or one a band of the file.
    """

    variance: Shaped[np.ndarray, "..."] | None = None
    ivar: Shaped[np.ndarray, "..."] | None = None
    valid: Bool[np.ndarray, "..."] | None = None
    scale: Shaped[np.ndarray, "..."] | None = None
    psf_fwhm: Shaped[np.ndarray, "..."] | None = None
    ebv: Shaped[np.ndarray, "..."] | None = None
    flags: tuple[str, ...] = ()


def read_arrays(rows: pd.DataFrame, *, bands: tuple[str, ...]) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: the image `item` of an npy or npz file, or why there is none.

    Arrays are (n, band, y, x), (n, y, x, band), (n, y, x) for one band, (band, y, x) or (y, x, band) for one object of
    several, or (y, x); where the band axis could be both, it is the first. In an npz the array named as `IMAGE_NAMES`
    is read, else the only one with such axes; `BAND_NAMES` name its bands, in any order, and without these the bands
    are taken by position. 8-bit integers are "display" (255 is white), all else "linear"; infinities become NaN. Of an
    npz, `VARIANCE_NAMES` or `IVAR_NAMES` (weights are taken for inverse variances) of the images' shape become
    `variance`, and where the inverse is 0 the pixel is NaN; masks are not applied, since nothing says what is good in
    them, and flagged. An npy is memory-mapped, an npz decompressed as far as the object; nothing is unpickled.

    Refusals: missing, empty, format, truncated, undecodable, too_large, no_image, shape, bands, item, and those of
    `catalogs.checks.refuse_pixels` ("missing_band" for linear values only). Never raises for a bad file.
    """
    return read_items(rows, bands, _opened)


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


def read_items(rows: pd.DataFrame, bands: tuple[str, ...], opener: Opener) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order; each run of rows with the same file opens it once, and closes it after."""
    items = rows["item"] if "item" in rows else [None] * len(rows)
    pairs = ((tuple(paths), _item(item)) for paths, item in zip(rows["paths"], items, strict=True))
    for paths, group in groupby(pairs, key=lambda pair: pair[0]):
        with ExitStack() as opened:
            read: ItemReader | Refusal = _one_file(paths) or _enter(opened, opener, Path(paths[0]), bands)
            for _, item in group:
                yield read if isinstance(read, Refusal) else _answer(read, item, Path(paths[0]))
            del read  # it may hold a memory map


def guarded(path: Path, ask: Callable[[], Answer | Refusal]) -> Answer | Refusal:
    """What `ask` gives for a file that is there, or the refusal that its error means."""
    refusal = refuse_file(path)
    if refusal:
        return refusal
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
        return refuse_error(error, path)


def refuse_error(error: Exception, path: Path) -> Refusal:
    """The refusal that an error of NumPy, zipfile, HDF5 or Arrow means."""
    text = str(error).casefold()
    if "crc" in text:
        return Refusal("undecodable", "the file's values do not agree with their checksum")
    if isinstance(error, EOFError | zipfile.BadZipFile) or any(
        word in text for word in ("truncated", "greater than file size", "unexpected end", "eof")
    ):
        return Refusal("truncated", "the file ends before its data do, or its directory is damaged")
    return undecodable(error, path)


def find_images(found: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], least: int) -> str | Refusal:
    """Which array of a file holds the images: of 4 to `least` axes, by `IMAGE_NAMES`, else the only one there is."""
    shaped = [name for name, (shape, _) in found.items() if least <= len(shape) <= 4]
    shaped = [name for name in shaped if name.casefold() not in _COMPANIONS]
    fitting = [name for name in shaped if found[name][1].kind in "uif"]
    named = [name for wanted in IMAGE_NAMES for name in fitting if name.casefold() == wanted]
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    if fitting:
        return Refusal("no_image", f"{', '.join(sorted(fitting)[:9])} could all be the images; name one of them images")
    if any(len(found[name][0]) >= 3 or name.casefold() in IMAGE_NAMES for name in shaped):
        types = sorted({str(found[name][1]) for name in shaped})
        return Refusal("format", f"values of type {', '.join(types)[:80]} are not read; numbers are")
    return Refusal("no_image", f"no array of numbers has {' or '.join(map(str, range(least, 5)))} axes")


def axes_of(shape: Sequence[int], dtype: np.dtype[Any], count: int) -> Axes | Refusal:
    """How an array of this shape holds images of `count` bands; asks one object's size, and reads nothing."""
    if dtype.kind not in "uif":
        return Refusal("format", f"values of type {dtype} are not read; numbers are")
    stacked = _is_stack(shape, count)
    image = tuple(shape[1:] if stacked else shape)
    band = band_axis(image, count)
    return band if isinstance(band, Refusal) else Axes(int(shape[0]) if stacked else 1, stacked, band)


def band_axis(image: Sequence[int], count: int) -> int | Refusal | None:
    """The band axis of one object's array, first where it could be both; None for a single band without one."""
    if len(image) not in (2, 3):
        return Refusal("shape", f"one object has {len(image)} axes; 2, or 3 with one for bands, are read")
    if refusal := refuse_size(image):
        return refusal
    if len(image) == 2:
        return None if count == 1 else Refusal("bands", f"1 found; {count} are needed")
    if count not in (image[0], image[2]):
        return Refusal("bands", f"{image[0]} or {image[2]} found, by the array's shape; {count} are needed")
    return 0 if count == image[0] else 2


def numbered(shape: Sequence[int], names: int, bands: int) -> list[str] | Refusal:
    """The items of an array by the rule of `items_arrays`; `names` and `bands` are counts, 0 where unknown."""
    count = names or bands
    if len(shape) == 3 and not count:
        count = 2 if min(shape[0], shape[2]) <= _FEW else 1
    objects = int(shape[0]) if _is_stack(shape, count) else 1
    if objects > MAX_ITEMS:
        return Refusal("too_large", f"the file declares {objects:,} objects, more than {MAX_ITEMS:,}")
    return [str(number) for number in range(objects)]


def _is_stack(shape: Sequence[int], count: int) -> bool:
    return len(shape) == 4 or (len(shape) == 3 and count == 1 and shape[2] != 1)


def item_number(item: str | None, objects: int) -> int | Refusal:
    """The number that an item names among so many objects; None names the only one."""
    if item is None:
        return 0 if objects == 1 else Refusal("item", f"the file holds {objects:,} objects and the row names none")
    if item.isascii() and item.isdigit() and len(item) < 19 and int(item) < objects:
        return int(item)
    return Refusal("item", f"the row names item {item[:40]!r}; the file holds {objects:,}, counted from 0")


def band_order(names: Sequence[str], bands: tuple[str, ...]) -> list[int] | Refusal:
    """Where each band stands among a file's names, by whole names or by their last part ("des-g" is g)."""
    last = [re.split(r"[-_.:/ ]", name)[-1] for name in names]
    for known, fold in ((names, str), (names, str.casefold), (last, str), (last, str.casefold)):
        folded, wanted = [fold(name) for name in known], [fold(band) for band in bands]
        if all(folded.count(band) == 1 for band in wanted):
            return [folded.index(band) for band in wanted]
    return Refusal("bands", f"the file names {', '.join(names)[:200]}; the recipe names {', '.join(bands)}")


def texts(values: Shaped[np.ndarray, " n"]) -> tuple[str, ...]:
    """Names as text, from bytes too, without surrounding blanks."""
    return tuple((v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)).strip() for v in values.tolist())


def to_cutout(
    values: Shaped[np.ndarray, "..."],
    axis: int | None,
    names: Sequence[str],
    bands: tuple[str, ...],
    known: Known,
) -> Cutout | Refusal:
    """One object's array to a cutout of `bands`: by `names` where there are any, else by position.

    `axis` is the band axis, None for a single band. 8-bit integers become value / 255, "display".
    """
    order = band_order(names, bands) if names else list(range(len(bands)))
    if isinstance(order, Refusal):
        return order
    display = values.dtype.kind == "u" and values.dtype.itemsize == 1
    pixels = _planes(values, axis, order)
    if display:
        pixels /= np.float32(255)
    variance = None if known.variance is None else _planes(known.variance, axis, order)
    if known.ivar is not None:
        ivar = _planes(known.ivar, axis, order)
        pixels[ivar <= 0] = np.nan
        with np.errstate(divide="ignore"):
            variance = 1 / ivar
    if variance is not None:
        # Below the smallest normal number lies what writers made of 1 / 0 (numpy's nan_to_num gives the largest).
        variance[~(variance >= np.finfo(np.float32).tiny) | np.isnan(pixels)] = np.nan
    if known.valid is not None:
        per_band = known.valid.ndim == values.ndim and axis is not None
        valid = _planes(known.valid, axis if per_band else None, order if per_band else [0]).astype(bool)
        pixels = np.where(valid, pixels, np.float32(np.nan))
    refusal = refuse_pixels(pixels, bands)
    if refusal and not (refusal.reason == "missing_band" and display):
        return refusal
    scale, psf, ebv = (_per_band(value, order) for value in (known.scale, known.psf_fwhm, known.ebv))
    nuisance = {}
    if psf is not None and scale is not None:
        nuisance["psf_fwhm_px"] = np.where(psf > 0, psf, np.nan).astype(np.float32) / scale
    if ebv is not None:
        nuisance["ebv"] = ebv
    flags = known.flags
    if scale is None or not np.allclose(scale, scale[0], rtol=1e-3):
        flags = flags if scale is None or np.isnan(scale).any() else (*flags, "the bands differ in pixel scale")
        pixel_scale = float("nan")
    else:
        pixel_scale = float(scale[0])
    return Cutout(
        pixels, bands, "display" if display else "linear", nuisance, flags, variance=variance, pixel_scale=pixel_scale
    )


def _planes(values: Shaped[np.ndarray, "..."], axis: int | None, order: list[int]) -> Float32[np.ndarray, "band y x"]:
    planes = values[None] if axis is None else np.moveaxis(values, axis, 0)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so NaN
        chosen = np.array(planes[order], np.float32, order="C")
    chosen[~np.isfinite(chosen)] = np.nan
    return chosen


def _per_band(values: Shaped[np.ndarray, "..."] | None, order: list[int]) -> Float32[np.ndarray, " band"] | None:
    if values is None:
        return None
    found = np.asarray(values, np.float32)
    return np.full(len(order), found.item(), np.float32) if found.size == 1 else found[order]


def _item(item: Any) -> str | None:
    return None if item is None or item is pd.NA or item != item or item == "" else str(item)


def _one_file(paths: tuple[str, ...]) -> Refusal | None:
    if not paths:
        return Refusal("missing", "the table names no file")
    if len(paths) > 1:
        return Refusal("bands", f"{len(paths)} files; a file of many objects holds all their bands")
    return refuse_file(Path(paths[0]))


def _enter(opened: ExitStack, opener: Opener, path: Path, bands: tuple[str, ...]) -> ItemReader | Refusal:
    try:
        return opened.enter_context(opener(path, bands))
    except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
        return refuse_error(error, path)


def _answer(read: ItemReader, item: str | None, path: Path) -> Cutout | Refusal:
    try:
        return read(item)
    except Exception as error:  # noqa: BLE001 - one bad object must not end a run over a million
        return refuse_error(error, path)


# ---- npy and npz


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
def _opened(path: Path, bands: tuple[str, ...]) -> Iterator[ItemReader | Refusal]:
    if _is_npy(path):
        yield _npy_reader(path, bands)
    elif zipfile.is_zipfile(path) or _begins(path, b"PK"):
        with zipfile.ZipFile(path) as archive, ExitStack() as members:
            yield _npz_reader(archive, members, bands)
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


def _npy_reader(path: Path, bands: tuple[str, ...]) -> ItemReader | Refusal:
    array = _mapped(path)
    if isinstance(array, Refusal):
        return array
    axes = axes_of(array.shape, array.dtype, len(bands))
    if isinstance(axes, Refusal):
        return axes

    def read(item: str | None) -> Cutout | Refusal:
        index = item_number(item, axes.objects)
        if isinstance(index, Refusal):
            return index
        return to_cutout(np.asarray(array[index] if axes.stacked else array), axes.band, (), bands, Known())

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


def _npz_reader(archive: zipfile.ZipFile, members: ExitStack, bands: tuple[str, ...]) -> ItemReader | Refusal:
    opened = _images(archive)
    if isinstance(opened, Refusal):
        return opened
    found, images, names = opened
    axes = axes_of(images.shape, images.dtype, len(names) or len(bands))
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
        return to_cutout(values["images"], axes.band, names, bands, known)

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
