"""HDF5 files that hold many galaxies: Galaxy10, the Multimodal Universe, and any with one stack of images.

Galaxy10: Leung & Bovy, astroNN's documentation. Multimodal Universe: Angeloudi et al. 2024, arXiv:2412.02527.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from catalogs.checks import refuse_size
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

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")

_SCALES = ("image_scale", "pxscale", "pixel_scale")
# h5py's own chunks are long and thin: one galaxy of Galaxy10 DECaLS lies in 768 of them, (555, 16, 16, 1) each. All
# that one object touches, there 109 MB, has to stay decompressed for the next (bytes; prime slots, as HDF5 advises).
_CHUNK_CACHE = 128 * 2**20
_CHUNK_SLOTS = 100_003


def read_hdf5(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: the image `item` (a row number) of an HDF5 file, or why there is none.

    The images are the dataset at the file's root named as `catalogs.galaxies.stacks.IMAGE_NAMES`, else the only one of
    numbers with 3 or 4 axes; axes, bands and values are as in `catalogs.galaxies.arrays.read_arrays`, so that uint8
    colour is "display" and floats are "linear". Beside them, where they are of fitting shape: image_band (or bands,
    filters; a dataset or an attribute of the images; one list, or one an object) names the bands; image_ivar becomes
    `variance` and, where it is 0, NaN pixels; image_mask, where it is boolean, is True for good pixels, as in the
    Multimodal Universe, and others become NaN (integers are not applied, and flagged); image_scale or pxscale (arcsec)
    gives `pixel_scale`, and with image_psf_fwhm (arcsec) psf_fwhm_px; EBV gives ebv. Galaxies in the file's order are
    read fastest, since one that is compressed lies in chunks with others.

    Refusals: those of `read_arrays`, and "link" for images that lie in another file. Never raises for a bad file.
    HDF5 itself can loop for ever on damaged text of variable length: read untrusted files in a supervised process.
    """
    return read_items(rows, request, _opened)


def items_hdf5(path: Path, bands: tuple[str, ...] = ()) -> list[str] | Refusal:
    """The items of an HDF5 file, "0" to "n-1", by the rule of `catalogs.galaxies.arrays.items_arrays`."""

    def items() -> list[str] | Refusal:
        if refusal := _not_hdf5(path):
            return refusal
        with _file(path) as file:
            return _items(file, bands)

    return guarded(path, items)


def columns_hdf5(path: Path, bands: tuple[str, ...] = ()) -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
    """The 1-D datasets at the root with one value an object (numbers, booleans, text), by name."""

    def columns() -> dict[str, Shaped[np.ndarray, " n"]] | Refusal:
        if refusal := _not_hdf5(path):
            return refusal
        with _file(path) as file:
            items = _items(file, bands)
            if isinstance(items, Refusal):
                return items
            flat = {name: held for name, held in _datasets(file).items() if held.shape == (len(items),)}
            found: dict[str, Shaped[np.ndarray, " n"]] = {}
            for name, held in flat.items():
                if refusal := refuse_size((max(held.dtype.itemsize // 4, 1), *held.shape)):
                    return refusal
                if held.dtype.kind in "biufS" or _h5py().check_string_dtype(held.dtype):
                    values = held[:]
                    found[name] = np.array(texts(values), object) if values.dtype.kind in "SO" else values
            return found

    return guarded(path, columns)


def _h5py() -> Any:
    import h5py  # not at the top: reading processes that see no HDF5 start without it

    return h5py


def _not_hdf5(path: Path) -> Refusal | None:
    return None if _h5py().is_hdf5(path) else Refusal("format", "the file is not HDF5")


def _file(path: Path) -> Any:
    return _h5py().File(path, "r", rdcc_nbytes=_CHUNK_CACHE, rdcc_nslots=_CHUNK_SLOTS, rdcc_w0=0.0)


def _datasets(file: Any) -> dict[str, Any]:
    """The datasets at the root whose values lie in this file: no soft, external or virtual ones."""
    h5py = _h5py()
    found = {}
    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            held = file[name]
            if isinstance(held, h5py.Dataset) and not held.external and not held.is_virtual:
                found[name] = held
    return found


def _images(file: Any) -> tuple[dict[str, Any], Any] | Refusal:
    """The datasets, and that of the images, whose sizes are still to be asked."""
    found = _datasets(file)
    name = find_images({key: (held.shape, held.dtype) for key, held in found.items() if held.shape}, 3)
    if isinstance(name, Refusal):
        elsewhere = len(file) > sum(1 for key in file if key in found or _is_group(file, key))
        return Refusal("link", "what could hold the images lies in another file, never opened") if elsewhere else name
    images = found[name]
    if 0 in images.shape:
        return Refusal("no_image", f"the dataset is empty: {' x '.join(map(str, images.shape))}")
    return found, images


def _is_group(file: Any, key: str) -> bool:
    return isinstance(file.get(key, getlink=True), _h5py().HardLink) and isinstance(file[key], _h5py().Group)


def _names(found: dict[str, Any], images: Any) -> Any:
    """The names of the bands: a dataset of one list, or of one an object; or a list from an attribute; or None."""
    lowered = {name.casefold(): held for name, held in found.items()}
    attributes = {name.casefold(): np.asarray(value) for name, value in images.attrs.items()}
    for source in (lowered, attributes):
        for name in BAND_NAMES:
            held = source.get(name)
            if held is None or held.dtype.kind not in "SUO" or refuse_size((*held.shape, held.dtype.itemsize)):
                continue
            if len(held.shape) == 1 or (len(held.shape) == 2 and len(images.shape) == 4):
                return held
    return None


def _items(file: Any, bands: tuple[str, ...]) -> list[str] | Refusal:
    opened = _images(file)
    if isinstance(opened, Refusal):
        return opened
    found, images = opened
    names = _names(found, images)
    return numbered(images.shape, 0 if names is None else int(names.shape[-1]), len(bands))


@contextmanager
def _opened(path: Path, request: Request) -> Iterator[ItemReader | Refusal]:
    if refusal := _not_hdf5(path):
        yield refusal
        return
    with _file(path) as file:
        yield _reader(file, request)


def _reader(file: Any, request: Request) -> ItemReader | Refusal:
    opened = _images(file)
    if isinstance(opened, Refusal):
        return opened
    found, images = opened
    names = _names(found, images)
    count = len(request.bands) if names is None else int(names.shape[-1])
    axes = axes_of(images.shape, images.dtype, count)
    if isinstance(axes, Refusal):
        return axes
    lowered = {name.casefold(): held for name, held in found.items()}

    def like_images(*wanted: str) -> Any:
        held = next((lowered[name] for name in wanted if name in lowered), None)
        return held if held is not None and held.shape == images.shape and held.dtype.kind in "uif" else None

    def values_of(*wanted: str) -> Any:
        shapes = ((axes.objects,), (axes.objects, count)) if axes.stacked else ((count,), (1,), ())
        held = (lowered[name] for name in wanted if name in lowered)
        return next((one for one in held if one.shape in shapes and one.dtype.kind in "uif"), None)

    variance, ivar = like_images(*VARIANCE_NAMES), like_images(*IVAR_NAMES)
    mask = lowered.get("image_mask")
    unknown = mask is not None and mask.dtype.kind != "b"
    mask = None if unknown else mask
    image = images.shape[axes.stacked :]
    flat = image[1:] if axes.band == 0 else image[:2]
    if mask is not None and mask.shape not in (images.shape, (*images.shape[: axes.stacked], *flat)):
        return Refusal("shape", f"image_mask is {mask.shape} and the images are {images.shape}")
    scale, psf, ebv = values_of(*_SCALES), values_of("image_psf_fwhm"), values_of("ebv")
    for held in (images, variance, ivar, mask):
        if held is not None and held.chunks and (refusal := refuse_size(held.chunks)):
            return refusal  # HDF5 decompresses whole chunks

    def read(item: str | None) -> Cutout | Refusal:
        number = item_number(item, axes.objects)
        if isinstance(number, Refusal):
            return number
        at = number if axes.stacked else ()

        def of(held: Any) -> Any:
            return None if held is None else np.asarray(held[at])

        own = () if names is None else texts(np.asarray(names[at] if len(names.shape) == 2 else names[:]))
        known = Known(
            variance=of(variance),
            ivar=None if variance is not None else of(ivar),
            valid=of(mask),
            scale=of(scale),
            psf_fwhm=of(psf),
            ebv=of(ebv),
            flags=("mask not applied",) if unknown else (),
        )
        return to_cutout(np.asarray(images[at]), axes.band, own, request, known)

    return read
