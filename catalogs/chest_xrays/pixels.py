"""DICOM pixels to grey in 0..1 with white bones: the grayscale pipeline of PS3.4 N.2 as far as a screen needs it.

Radiographs have at most 65,536 stored values, so that each step is worked out once per value and not once per pixel:
a table over all stored values is made and looked up at the end.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, final

import imagecodecs
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, Integer, UInt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_windowing, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
)

from catalogs.checks import refuse_pixels
from catalogs.chest_xrays.headers import error_kind, registered, silence
from catalogs.reading import Refusal, WindowPolicy

# Black and white where no window is declared: percentiles of the valid pixels.
PERCENTILES = (0.5, 99.5)
# Not GDCM where it can be had otherwise: it ends the process at some damaged JPEG-LS streams. Not pydicom's own RLE: it
# fills short streams and cuts long ones.
_PLUGINS = ("pyjpegls", "pylibjpeg")
# JPEG Lossless by libjpeg-turbo: GDCM takes more than twice as long, and may end the process.
_JPEG = (JPEGLossless, JPEGLosslessSV1)
# Whose pixels lie in the file as they are.
_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
# Pixels that are looked up and counted at a time: numpy makes eight bytes of each, which a processor's cache holds.
_LOOKED_UP, _COUNTED = 2**16, 2**18
# Of these rows and columns it is asked first whether an image has more than one value.
_SAMPLED = 16

NO_WINDOW = "no declared window"
BAD_WINDOW = "window not usable"
CONTRADICTORY = "contradictory polarity"


def decode(
    dataset: Dataset, window: WindowPolicy = "either"
) -> tuple[Float32[np.ndarray, "y x"], tuple[str, ...]] | Refusal:
    """Grey values 0..1 in which dense tissue is bright, NaN where padded, and flags; or why there are none.

    `dataset` is one that `catalogs.chest_xrays.headers.read_header` gave. Stored values become modality values
    (Modality LUT or rescale), then display values: by the first VOI LUT, else the first window, each scaled by its own
    range of output; else, with the flag "no declared window", linearly between the percentiles 0.5 and 99.5 of the
    valid pixels (their extremes where these coincide). A declared VOI LUT or window that cannot be applied, or under
    which all pixels have one value although they differ, counts as none, with the flag "window not usable". Then values
    are inverted once where either Photometric Interpretation is MONOCHROME1 or Presentation LUT Shape is INVERSE; where
    only one of the two asks for it although the other is given, the flag is "contradictory polarity". Stored values in
    the Pixel Padding range (PS3.3 C.7.5.1.1.2) are NaN and take no part in any scale.

    That is `window` "either". Within a cohort it would tell where an image comes from, so there is one policy for all:
    "declared" refuses what has no usable window (no_window), "percentiles" looks at none.

    Refusals: undecodable, shape, bad_header (an unusable modality LUT or rescale), too_large (memory), and those of
    `catalogs.checks.refuse_pixels`. Never raises for a bad file.
    """
    with silence(), np.errstate(all="ignore"):
        try:
            stored = _stored(dataset)
            if isinstance(stored, Refusal):
                return stored
        except (KeyboardInterrupt, SystemExit):
            raise
        except MemoryError:
            return Refusal("too_large", "the pixels need more memory than there is")
        except BaseException as error:  # noqa: BLE001 - a decoder in Rust panics with a BaseException
            syntax = registered(dataset.file_meta.TransferSyntaxUID, "an unknown transfer syntax")
            bits = int(dataset.BitsStored)
            return Refusal("undecodable", f"{bits}-bit pixels in {syntax} cannot be decoded ({error_kind(error)})")
        try:
            return _displayed(dataset, stored, window)
        except MemoryError:
            return Refusal("too_large", "the pixels need more memory than there is")
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return Refusal("bad_header", f"the header's account of the pixels is unusable ({error_kind(error)})")


@dataclass(frozen=True)
class _Stored:
    """Pixels as decoded, and how many bits at their top mean nothing (PS3.5 8.1.1)."""

    pixels: Integer[np.ndarray, "y x"]
    unused: int = 0


@final
class _Counts:
    """How many valid pixels are stored as each value; counted when asked, since it takes longer than all else."""

    def __init__(self, indices: UInt[np.ndarray, "y x"], padded: Bool[np.ndarray, " level"]) -> None:
        self._indices, self._padded = indices, padded

    @cached_property
    def pixels(self) -> Int64[np.ndarray, " level"]:
        """Of each level; by blocks of rows, since bincount makes a copy of eight bytes a pixel."""
        found = np.zeros(2 ** (8 * self._indices.itemsize), np.int64)
        rows = max(1, _COUNTED // self._indices.shape[1])
        for first in range(0, len(self._indices), rows):
            found += np.bincount(self._indices[first : first + rows].ravel(), minlength=len(found))
        counts: Int64[np.ndarray, " level"] = found.reshape(-1, len(self._padded)).sum(0)  # over unused bits
        counts[self._padded] = 0
        return counts

    @property
    def present(self) -> Bool[np.ndarray, " level"]:
        return self.pixels > 0

    @cached_property
    def sample(self) -> UInt[np.ndarray, " pixel"]:
        """Levels of some valid pixels, a few hundredths of all; none where these are padding."""
        some = self._indices[::_SAMPLED, ::_SAMPLED].ravel() & (len(self._padded) - 1)
        valid: UInt[np.ndarray, " pixel"] = some[~self._padded[some]]
        return valid


@dataclass(frozen=True)
class _Levels:
    """What every value that can be stored measures, at the index of its used bits, and how many pixels have it."""

    counts: _Counts
    values: Float64[np.ndarray, " level"]


def _stored(dataset: Dataset) -> _Stored | Refusal:
    syntax = dataset.file_meta.TransferSyntaxUID
    stored = _native(dataset) if syntax in _NATIVE else _jpeg(dataset) if syntax in _JPEG else None
    raw = stored is not None
    if stored is None:
        stored = np.asarray(pixel_array(dataset, index=0, decoding_plugin=_plugin(syntax)))
    declared = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape != declared:
        return Refusal("shape", f"the pixels decode to {stored.shape}, the header declares {declared}")
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return Refusal("undecodable", f"the pixels decode to {stored.dtype}; integers of at most 16 bits are read")
    unused = max(0, 8 * stored.itemsize - int(dataset.BitsStored)) if raw else 0  # pydicom has seen to them
    return _Stored(np.ascontiguousarray(stored, stored.dtype.newbyteorder("=")), unused)


def _native(dataset: Dataset) -> Integer[np.ndarray, "y x"] | None:
    """Uncompressed pixels where they are; None where their number is not the declared one: pydicom's then."""
    rows, columns, size = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated) // 8
    length = rows * columns * size
    if len(dataset.PixelData) != length + length % 2:
        return None
    kind = "i" if dataset.PixelRepresentation == 1 else "u"
    return np.frombuffer(dataset.PixelData, f"<{kind}{size}", rows * columns).reshape(rows, columns)


def _jpeg(dataset: Dataset) -> Integer[np.ndarray, "..."]:
    """The values of a JPEG stream, which is unsigned, as the header says that they are signed."""
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    end = stream.rfind(b"\xff\xd9")
    if end < 0 or stream[end + 2 :].strip(b"\0"):
        raise ValueError("the stream ends before its End of Image")  # it would be filled up
    stored = imagecodecs.jpeg8_decode(stream)
    kind = "i" if dataset.PixelRepresentation == 1 else "u"
    signed: Integer[np.ndarray, "..."] = stored.view(f"{kind}{stored.itemsize}")
    return signed


def _plugin(syntax: UID) -> str:
    """The first plugin of `_PLUGINS` for a transfer syntax; "", pydicom's choice, where none decodes it."""
    decodes = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ()
    return next((plugin for plugin in _PLUGINS if plugin in decodes), "")


def _displayed(
    dataset: Dataset, stored: _Stored, window: WindowPolicy
) -> tuple[Float32[np.ndarray, "y x"], tuple[str, ...]] | Refusal:
    dtype = stored.pixels.dtype
    indices = stored.pixels.view(f"u{dtype.itemsize}")
    every = np.arange(2 ** (8 * dtype.itemsize - stored.unused), dtype=indices.dtype).view(dtype)
    every = (every << stored.unused >> stored.unused).astype(np.float64)  # which extends a sign
    padded = _padding(dataset, every)
    counts = _Counts(indices, padded)
    levels = _Levels(counts, _modality(dataset, every, counts))
    grey, flags = _grey(dataset, levels, window)
    if flags and window == "declared":
        return Refusal("no_window", "the header has no window that could be used, and the recipe takes declared ones")
    inverted, contradictory = _polarity(dataset)
    if inverted:
        grey = np.float32(1) - grey
    if contradictory:
        flags = (*flags, CONTRADICTORY)
    grey[padded] = np.nan
    pixels = _taken(np.tile(grey, 2**stored.unused), indices)
    # Some pixels that can be used answer for all: these are one band, and nothing but grey or NaN.
    refusal = refuse_pixels(pixels[None, ::_SAMPLED, ::_SAMPLED], ("grey",))
    return (refusal and refuse_pixels(pixels[None], ("grey",))) or (pixels, flags)


def _taken(grey: Float32[np.ndarray, " level"], indices: UInt[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """Each pixel's grey; every index is within, and numpy is fastest where it may wrap them."""
    pixels = np.empty(indices.shape, np.float32)
    rows = max(1, _LOOKED_UP // indices.shape[1])
    for first in range(0, len(indices), rows):
        np.take(grey, indices[first : first + rows], out=pixels[first : first + rows], mode="wrap")
    return pixels


def _given(dataset: Dataset, keyword: str) -> Any:
    """An element's value; None where it is absent or empty, which pydicom gives as None or "" according to the VR."""
    value = dataset.get(keyword)
    return None if isinstance(value, str) and not value.strip() else value


def _padding(dataset: Dataset, every: Float64[np.ndarray, " level"]) -> Bool[np.ndarray, " level"]:
    """Which stored values stand for no pixel: PixelPaddingValue, or from it to PixelPaddingRangeLimit."""
    first = _given(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(len(every), bool)
    last = _given(dataset, "PixelPaddingRangeLimit")
    ends = sorted(_as_stored(value, dataset) for value in (first, first if last is None else last))
    return (every >= ends[0]) & (every <= ends[1])


def _as_stored(value: Any, dataset: Dataset) -> int:
    """A 16-bit value in the representation of the pixels: writers confuse the VRs US and SS."""
    number = int(value)
    if dataset.PixelRepresentation == 1 and number > 32767:
        return number - 65536
    if dataset.PixelRepresentation == 0 and number < 0:
        return number + 65536
    return number


def _modality(dataset: Dataset, every: Float64[np.ndarray, " level"], counts: _Counts) -> Float64[np.ndarray, " level"]:
    """Modality LUT or rescale (PS3.3 C.11.1); a slope or intercept that is absent or empty is 1 or 0."""
    items = dataset.get("ModalityLUTSequence")
    if items:
        return _looked_up(every, counts, items[0], dataset)[0]
    slope, intercept = _given(dataset, "RescaleSlope"), _given(dataset, "RescaleIntercept")
    values = every * float(1 if slope is None else slope) + float(0 if intercept is None else intercept)
    if not np.isfinite(values).all():
        raise ValueError("the rescaled values are not finite")
    return values


def _looked_up(
    values: Float64[np.ndarray, " level"], counts: _Counts, item: Dataset, dataset: Dataset
) -> tuple[Float64[np.ndarray, " level"], Float64[np.ndarray, " entry"]]:
    """Values through a Modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1), and the entries of that LUT.

    Not by pydicom 3.0, in which tables of 10 or 12 bits fail as Modality LUT, and 8-bit entries wrap a VOI LUT's index.
    """
    length, first, _ = (int(value) for value in item.LUTDescriptor)
    length = length or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        # OW; a byte an entry where there are only so many (PS3.3 C.11.1.1.1).
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * length else f"{order}u2", count=length)
    entries = np.atleast_1d(np.asarray(data, np.float64))[:length]
    if len(entries) < length:
        raise ValueError("the LUT is shorter than its descriptor says")
    if first > 32767 and first > values[counts.present].max(initial=-np.inf):
        first -= 65536  # signed values under the VR US: otherwise all would lie before the table
    index = np.clip(np.rint(values) - first, 0, length - 1).astype(np.int64)
    return entries[index], entries


def _grey(
    dataset: Dataset, levels: _Levels, window: WindowPolicy
) -> tuple[Float32[np.ndarray, " level"], tuple[str, ...]]:
    """Each level's display value, 0..1, not yet inverted, and the flags of how it was found."""
    if window == "percentiles":
        return _shown(_by_percentiles(levels)), ()
    try:
        grey = _by_declared_window(dataset, levels)
        flags = () if grey is not None else (NO_WINDOW,)
        if grey is not None and _flat(_shown(grey), levels) and not _flat(levels.values, levels):
            grey, flags = None, (BAD_WINDOW,)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - an empty centre, a width of 0, text for a number ...
        grey, flags = None, (BAD_WINDOW,)
    if grey is None:
        grey = _by_percentiles(levels)
    return _shown(grey), flags


def _by_declared_window(dataset: Dataset, levels: _Levels) -> Float64[np.ndarray, " level"] | None:
    """Levels by the first VOI LUT, else the first window (PS3.3 C.11.2), 0..1; None where neither is declared.

    Raises anything where a declared one cannot be applied.
    """
    items = dataset.get("VOILUTSequence")
    if items:
        values, entries = _looked_up(levels.values, levels.counts, items[0], dataset)
        low, high = entries.min(), entries.max()
    elif _given(dataset, "WindowCenter") is None and _given(dataset, "WindowWidth") is None:
        return None
    else:
        # What the window gives far below and far above is its range of output, whatever pydicom takes that to be.
        windowed = apply_windowing(np.concatenate([levels.values, [-np.inf, np.inf]]), dataset, index=0)
        values, low, high = windowed[:-2], windowed[-2], windowed[-1]
    grey: Float64[np.ndarray, " level"] = (values - low) / (high - low)
    if not np.isfinite(grey).all():
        raise ValueError("the window gives no range of output")
    return grey


def _by_percentiles(levels: _Levels) -> Float64[np.ndarray, " level"]:
    """Levels linearly between two percentiles of the valid pixels, or between their extremes; 0 where all are equal."""
    present = np.flatnonzero(levels.counts.present)
    if not len(present):
        return np.zeros(len(levels.values))
    ordered = present[np.argsort(levels.values[present], kind="stable")]
    values, up_to = levels.values[ordered], np.cumsum(levels.counts.pixels[ordered])
    low, high = (_percentile(values, up_to, percent) for percent in PERCENTILES)
    if low == high:
        low, high = float(values[0]), float(values[-1])
    if low == high:
        return np.zeros(len(levels.values))
    grey: Float64[np.ndarray, " level"] = (levels.values - low) / (high - low)
    return grey


def _percentile(
    values: Float64[np.ndarray, " distinct"], up_to: Int64[np.ndarray, " distinct"], percent: float
) -> float:
    """numpy's, linear between ranks, from distinct values in order and the numbers of pixels up to each."""
    rank = percent / 100 * (int(up_to[-1]) - 1)
    lower, upper = (float(values[np.searchsorted(up_to, whole, side="right")]) for whole in (int(rank), ceil(rank)))
    return lower + (upper - lower) * (rank % 1)


def _shown(grey: Float64[np.ndarray, " level"]) -> Float32[np.ndarray, " level"]:
    shown: Float32[np.ndarray, " level"] = np.clip(grey, 0, 1).astype(np.float32)
    return shown


def _flat(values: Float[np.ndarray, " level"], levels: _Levels) -> bool:
    """Whether all valid pixels have one value."""
    some = values[levels.counts.sample]
    if len(some) and some.min() < some.max():
        return False
    present = values[levels.counts.present]
    return len(present) == 0 or bool(present.min() == present.max())


def _polarity(dataset: Dataset) -> tuple[bool, bool]:
    """Whether to invert, and whether the two elements that say so contradict each other (PS3.3 C.8.11.3.1.2)."""
    white_is_low = str(dataset.PhotometricInterpretation).strip() == "MONOCHROME1"
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    contradictory = (white_is_low and shape == "IDENTITY") or (not white_is_low and shape == "INVERSE")
    return white_is_low or shape == "INVERSE", contradictory
