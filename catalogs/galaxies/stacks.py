"""Images in arrays: the rules of axes, bands and companions that every file of many objects keeps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from catalogs.checks import refuse_pixels, refuse_size
from catalogs.galaxies.band_names import place_bands
from catalogs.reading import Cutout, Refusal, Request

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


def band_order(names: Sequence[str], request: Request) -> list[int | None] | Refusal:
    """Where each band stands among a file's names, by whole names or by their last part ("des-g" is g).

    None for a band that the file does not name, where it names others and bands may be missing. A name that several
    have is refused.
    """
    bands = request.bands
    places, several = place_bands(bands, names, [re.split(r"[-_.:/ ]", name)[-1] for name in names])
    missing = places.count(None)
    if not several and (missing == 0 or (request.missing == "mask" and missing < len(bands))):
        return places
    return Refusal("bands", f"the file names {', '.join(names)[:200]}; the recipe names {', '.join(bands)}")


def texts(values: Shaped[np.ndarray, " n"]) -> tuple[str, ...]:
    """Names as text, from bytes too, without surrounding blanks."""
    return tuple((v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)).strip() for v in values.tolist())


def to_cutout(
    values: Shaped[np.ndarray, "..."],
    axis: int | None,
    names: Sequence[str],
    request: Request,
    known: Known,
) -> Cutout | Refusal:
    """One object's array to a cutout of the request's bands: by `names` where there are any, else by position.

    `axis` is the band axis, None for a single band. 8-bit integers become value / 255, "display".
    """
    bands = request.bands or tuple(names)
    order = band_order(names, replace(request, bands=bands)) if names else list(range(len(bands)))
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
    refusal = refuse_pixels(pixels, bands, request.missing)
    if refusal and not (refusal.reason == "missing_band" and display):
        return refusal
    scale, psf, ebv = (_per_band(value, order) for value in (known.scale, known.psf_fwhm, known.ebv))
    nuisance = {}
    if psf is not None and scale is not None:
        nuisance["psf_fwhm_px"] = np.where(psf > 0, psf, np.nan).astype(np.float32) / scale
    if ebv is not None:
        nuisance["ebv"] = ebv
    flags = known.flags
    told = None if scale is None else scale[[number is not None for number in order]]
    if told is None or not np.allclose(told, told[0], rtol=1e-3):
        flags = flags if told is None or np.isnan(told).any() else (*flags, "the bands differ in pixel scale")
        pixel_scale = float("nan")
    else:
        pixel_scale = float(told[0])
    return Cutout(
        pixels, bands, "display" if display else "linear", nuisance, flags, variance=variance, pixel_scale=pixel_scale
    )


def _planes(
    values: Shaped[np.ndarray, "..."], axis: int | None, order: Sequence[int | None]
) -> Float32[np.ndarray, "band y x"]:
    """The planes in this order, NaN where it says None."""
    planes = values[None] if axis is None else np.moveaxis(values, axis, 0)
    chosen = np.full((len(order), *planes.shape[1:]), np.nan, np.float32)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and so NaN
        for place, number in enumerate(order):
            if number is not None:
                chosen[place] = planes[number]
    chosen[~np.isfinite(chosen)] = np.nan
    return chosen


def _per_band(
    values: Shaped[np.ndarray, "..."] | None, order: Sequence[int | None]
) -> Float32[np.ndarray, " band"] | None:
    if values is None:
        return None
    found = np.asarray(values, np.float32)
    each = [found.item() if found.size == 1 else np.nan if number is None else found[number] for number in order]
    return np.array(each, np.float32)
