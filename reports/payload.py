"""What the page's script reads: typed arrays as gzip in base64, columns, and thumbnails as WebP sheets."""

import base64
import gzip
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int64, UInt8
from PIL import Image

TILE = 48
# Sheets of 24 x 24 tiles: a browser decodes one when its first object is pointed at, not 20,000 pictures at once.
SHEET_COLUMNS = 24
SCALE_CLIPPED_FROM = 100


def packed(array: Float[np.ndarray, "..."] | Int[np.ndarray, "..."] | bytes) -> str:
    """Base64 of gzip of the bytes, as float32 or int32 in little endian; equal input gives equal text."""
    if isinstance(array, np.ndarray):
        array = array.astype("<f4" if array.dtype.kind == "f" else "<i4").tobytes()
    return base64.b64encode(gzip.compress(array, compresslevel=6, mtime=0)).decode("ascii")


def column(name: str, values: Iterable[Any]) -> dict[str, Any]:
    """One column to colour the map by: numbers give a continuous scale, anything else classes in order of frequency.

    None, NaN and "" are unknown. Booleans are the classes yes and no. From 100 known values on, the continuous scale
    holds the middle 98 %, so that one outlier does not flatten it; `min` and `max` are the whole range.
    """
    cells = [None if _is_unknown(value) else value for value in values]
    known = [cell for cell in cells if cell is not None]
    head: dict[str, Any] = {"name": name, "unknown": len(cells) - len(known)}
    if known and all(isinstance(cell, (int, float, np.integer, np.floating)) and not _is_flag(cell) for cell in known):
        largest = float(np.finfo(np.float32).max)
        numbers = np.clip([math.nan if cell is None else float(cell) for cell in cells], -largest, largest)
        finite = numbers[np.isfinite(numbers)]
        low, high = (
            np.quantile(finite, (0.01, 0.99)) if len(finite) >= SCALE_CLIPPED_FROM else (finite.min(), finite.max())
        )
        if low == high:
            low, high = finite.min(), finite.max()
        limits = {"low": float(low), "high": float(high), "min": float(finite.min()), "max": float(finite.max())}
        return head | {"kind": "continuous", "values": packed(numbers)} | limits
    texts = [None if cell is None else ("yes" if cell else "no") if _is_flag(cell) else str(cell) for cell in cells]
    counts = Counter(text for text in texts if text is not None)
    names = sorted(counts, key=lambda text: (-counts[text], text))
    code = {text: number for number, text in enumerate(names)}
    codes = np.array([-1 if text is None else code[text] for text in texts], np.int64)
    return head | {"kind": "categorical", "values": packed(codes), "names": names, "counts": [counts[t] for t in names]}


def sprite_sheets(thumbnails: UInt8[np.ndarray, "m t t 3"]) -> dict[str, Any]:
    """Thumbnails resized to 48 pixels a side and laid out row by row on WebP sheets."""
    per_sheet = SHEET_COLUMNS**2
    images = []
    for start in range(0, len(thumbnails), per_sheet):
        tiles = [_resized(picture, TILE) for picture in thumbnails[start : start + per_sheet]]
        rows = math.ceil(len(tiles) / SHEET_COLUMNS)
        sheet = np.zeros((rows * TILE, SHEET_COLUMNS * TILE, 3), np.uint8)
        for position, tile in enumerate(tiles):
            top, left = (TILE * part for part in divmod(position, SHEET_COLUMNS))
            sheet[top : top + TILE, left : left + TILE] = tile
        images.append(webp(sheet, quality=72))
    return {"tile": TILE, "columns": SHEET_COLUMNS, "tiles": per_sheet, "images": images}


def tile_numbers(count: int, rows: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " n"]:
    """Which tile shows each of `count` objects; -1 for those without."""
    tiles = np.full(count, -1, np.int64)
    tiles[rows] = np.arange(len(rows))
    return tiles


def webp(picture: UInt8[np.ndarray, "h w 3"], *, quality: int) -> str:
    """Base64 of a lossy WebP."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    return base64.b64encode(file.getvalue()).decode("ascii")


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or opens a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def id_list(object_ids: Sequence[str]) -> str:
    """The ids as packed JSON; a lone surrogate, which no text file can hold, is written as JSON's escape."""
    return packed(json.dumps([str(name) for name in object_ids]).encode("ascii"))


def _resized(picture: UInt8[np.ndarray, "t t 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    if len(picture) == side:
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def _is_flag(cell: Any) -> bool:
    return isinstance(cell, (bool, np.bool_))


def _is_unknown(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, str) and not value):
        return True
    return isinstance(value, (float, np.floating)) and not math.isfinite(value)
