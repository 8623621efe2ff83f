"""JPEG, PNG and TIFF to cutouts: display values in 0..1, or linear values from floating-point TIFF."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import tifffile
from jaxtyping import Float32, Shaped
from PIL import Image

from catalogs.checks import refuse_file, refuse_pixels, refuse_size, undecodable
from catalogs.reading import Cutout, Radiometry, Refusal, Request

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# ITU-R BT.601, on the display values as they are (luma).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_ORIENTATION = 274  # the same tag in EXIF and in TIFF 6.0


@dataclass(frozen=True)
class Decoded:
    """A picture as its file holds it, upright and without alpha; `top` is the largest value its integers can have."""

    values: Shaped[np.ndarray, "y x channel"]
    top: int | None


def read_pictures(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order: float32 pixels (band, y, x), or why there are none.

    Integers become value / (2^bits - 1), or value / `white` where given (4095 for 12-bit data in 16-bit files),
    clipped to 0..1, "display". Floating-point TIFF is "linear" and keeps its values; infinities become NaN. With one
    band, colour becomes ITU-R BT.601 luma; with three, grey is repeated; otherwise the channels must be as many as the
    bands. EXIF and TIFF orientation are honoured, palettes expanded, alpha is dropped. `rows.paths` gives one file, or
    one a band, each then taken as grey.

    Refusals: missing, empty, format, undecodable, too_large, bands, shape, and those of
    `catalogs.checks.refuse_pixels` (of which "missing_band" for linear values only: a display may lack a colour).
    Never raises for a bad file.
    """
    for paths in rows["paths"]:
        yield read_picture_files(tuple(paths), request.bands, request.white)


def file_content(path: Path) -> bytes | Refusal:
    """All bytes of a file, or why there are none."""
    return refuse_file(path) or path.read_bytes()


def read_picture_files(
    paths: tuple[str, ...],
    bands: tuple[str, ...],
    white: float | int | None,
    content_of: Callable[[Path], bytes | Refusal] = file_content,
    limit: int | None = None,
) -> Cutout | Refusal:
    """The cutout of one object from one picture, or from one a band; see `read_pictures`, and `decode_picture`."""
    if not paths:
        return Refusal("missing", "the table names no file")
    if len(paths) not in (1, len(bands)):
        return Refusal("bands", f"{len(paths)} files for {len(bands)} bands ({', '.join(bands)})")
    groups = [bands] if len(paths) == 1 else [(band,) for band in bands]
    planes, kinds = [], set()
    for path, group in zip(paths, groups, strict=True):
        decoded = decode_picture(Path(path), content_of, limit)
        if isinstance(decoded, Refusal):
            return decoded if len(paths) == 1 else Refusal(decoded.reason, f"band {group[0]}: {decoded.detail}")
        pixels, radiometry = _scaled(decoded, white)
        matched = _matched(pixels, group)
        if isinstance(matched, Refusal):
            return matched
        planes.append(matched)
        kinds.add(radiometry)
    shapes = sorted({plane.shape[1:] for plane in planes})
    if len(shapes) > 1 or len(kinds) > 1:
        return Refusal(
            "shape", f"the bands' files differ: {' and '.join(map(str, shapes))}, {', '.join(sorted(kinds))}"
        )
    stacked = np.concatenate(planes)
    refusal = refuse_pixels(stacked, bands)
    if refusal and not (refusal.reason == "missing_band" and "display" in kinds):
        return refusal
    return Cutout(pixels=stacked, bands=bands, radiometry=kinds.pop())


def decode_picture(
    path: Path, content_of: Callable[[Path], bytes | Refusal] = file_content, limit: int | None = None
) -> Decoded | Refusal:
    """The values of a JPEG, PNG or TIFF, recognised by its first bytes; its size is asked before it is decoded, see
    `catalogs.checks.refuse_size`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF, large sizes: either answered below, or of no matter
        try:
            content = content_of(path)
            if isinstance(content, Refusal):
                return content
            if content.startswith(_TIFF):
                return _decode_tiff(content, limit)
            if content.startswith((_JPEG, _PNG)):
                return _decode_jpeg_or_png(content, limit)
        except Image.DecompressionBombError:
            return Refusal("too_large", "the header declares more pixels than are read")
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return undecodable(error, path)
    kind = "a web page" if content.lstrip()[:1] == b"<" else "neither JPEG nor PNG nor TIFF"
    return Refusal("format", f"the file is {kind}")


@dataclass(frozen=True)
class PictureLayout:
    """What a picture's header says: channels without alpha, palettes counted as colour, and the type of its values."""

    channels: int
    dtype: str


def picture_layout(path: Path) -> PictureLayout | Refusal:
    """The layout of a JPEG, PNG or TIFF from its header alone; a refusal where that cannot be read."""
    refusal = refuse_file(path)
    if refusal:
        return refusal
    with warnings.catch_warnings(), _quiet_tifffile():
        warnings.simplefilter("ignore")
        try:
            with path.open("rb") as file:
                start = file.read(32)
            if start.startswith(_PNG):
                bits, colour = start[24], start[25]  # of IHDR, PNG specification 11.2.1
                return PictureLayout(3 if colour & 2 else 1, "uint16" if bits == 16 else "uint8")
            if start.startswith(_JPEG):
                with Image.open(path, formats=("JPEG",)) as image:
                    return PictureLayout(1 if image.mode == "L" else 3, "uint8")
            with tifffile.TiffFile(path) as tiff:
                series, page = tiff.series[0], tiff.series[0].keyframe
                outer = [n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in "YX"]
                alpha = sum(kind in (1, 2) for kind in page.extrasamples)
                palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
                return PictureLayout(3 if palette else int(np.prod(outer, dtype=int)) - alpha, str(series.dtype))
        except Exception as error:  # noqa: BLE001 - one bad file must not end an inspection of a folder
            return undecodable(error, path)


def _decode_jpeg_or_png(content: bytes, limit: int | None) -> Decoded | Refusal:
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
        refusal = refuse_size((image.height, image.width), limit)
        if refusal:
            return refusal
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        if content.startswith(_PNG):
            # Not Pillow: it cuts 16-bit colour to 8 bits.
            values = imagecodecs.png_decode(content)
        else:
            values = np.asarray(image.convert("RGB") if image.mode not in ("L", "RGB") else image)
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2] in (2, 4):
        values = values[:, :, :-1]
    return Decoded(_upright(values, orientation), int(np.iinfo(values.dtype).max))


def _decode_tiff(content: bytes, limit: int | None) -> Decoded | Refusal:
    with _quiet_tifffile():
        return _decode_tiff_page(content, limit)


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """It logs on stderr what it also raises."""
    logger = logging.getLogger("tifffile")
    spoken, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = spoken


def _decode_tiff_page(content: bytes, limit: int | None) -> Decoded | Refusal:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        series = file.series[0]
        refusal = refuse_size(series.shape, limit)
        if refusal:
            return refusal
        page = series.keyframe
        values, axes = series.asarray(squeeze=True), series.get_axes(squeeze=True)
        orientation = page.tags.valueof(_ORIENTATION, default=1)
        colours, inverted = page.colormap, page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        bits = int(np.max(page.bitspersample))
        alpha = any(kind in (1, 2) for kind in page.extrasamples)
    if values.ndim not in (2, 3) or not {"Y", "X"} <= set(axes):
        return Refusal("shape", f"the TIFF holds axes {axes} of {values.shape}; one image is read")
    if values.ndim == 2:
        values = values[:, :, None]
    else:
        values = np.moveaxis(values, next(n for n, axis in enumerate(axes) if axis not in "YX"), 2)
    if alpha and values.shape[2] > 1:
        values = values[:, :, :-1]
    if values.dtype.kind == "f":
        return Decoded(_upright(values, orientation), None)
    if values.dtype.kind not in "bui":
        return Refusal("format", f"values of type {values.dtype} are not read")
    top = 2**bits - 1 if values.dtype.kind in "bu" else int(np.iinfo(values.dtype).max)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and colours is not None:
        values, top = colours[:, values[:, :, 0]].transpose(1, 2, 0), 65535
    elif inverted:
        values = top - values.astype(np.int64)
    return Decoded(_upright(values, orientation), top)


def _upright(values: Shaped[np.ndarray, "y x channel"], orientation: int) -> Shaped[np.ndarray, "y2 x2 channel"]:
    """Undo an EXIF orientation 1..8 (CIPA DC-008, tag 274); other values leave the picture as it is."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _scaled(decoded: Decoded, white: float | int | None) -> tuple[Float32[np.ndarray, "channel y x"], Radiometry]:
    with np.errstate(over="ignore"):
        pixels = np.ascontiguousarray(decoded.values.transpose(2, 0, 1), np.float32)
    if decoded.top is None:
        pixels[~np.isfinite(pixels)] = np.nan
        return pixels, "linear"
    pixels /= np.float32(white or decoded.top)  # in place: a large picture's copies are what memory goes to
    return np.clip(pixels, 0, 1, out=pixels), "display"


def _matched(
    pixels: Float32[np.ndarray, "channel y x"], bands: tuple[str, ...]
) -> Float32[np.ndarray, "band y x"] | Refusal:
    channels = pixels.shape[0]
    if channels == len(bands):
        return pixels
    if channels == 3 and len(bands) == 1:
        return np.tensordot(_LUMA, pixels, axes=1)[None]
    if channels == 1 and len(bands) == 3:
        return np.repeat(pixels, 3, axis=0)
    return Refusal("bands", f"the picture has {channels} channels; the recipe names {len(bands)} ({', '.join(bands)})")
