"""The questions every reader asks of a file and of its pixels; an answer other than None is a Refusal.

Details name no file: names can tell who a patient is, and the row's object_id says which file it was.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from catalogs.reading import Refusal

# Declared pixels, all bands together: beyond this a header is taken for damaged or malicious.
MAX_PIXELS = 100_000_000
# Cutouts with a shorter side hold nothing that an encoder could use.
MIN_SIDE = 8


def refuse_file(path: Path) -> Refusal | None:
    """Refusal "missing" or "empty" for a path that holds no bytes, else None."""
    if not path.is_file():
        return Refusal("missing", "there is no such file")
    if path.stat().st_size == 0:
        return Refusal("empty", "the file has 0 bytes")
    return None


def refuse_size(shape: Sequence[int], limit: int | None = None) -> Refusal | None:
    """Refusal "too_large" where a header declares more than `limit` values (None: `MAX_PIXELS`), else None; reads no
    data."""
    declared, most = 1, MAX_PIXELS if limit is None else limit
    for length in shape:
        declared *= int(length)  # Python's integers: a hostile header overflows 64 bits
    if declared > most:
        sides = " x ".join(str(n) for n in shape)
        return Refusal("too_large", f"the header declares {sides} pixels, more than {most:,}")
    return None


def refuse_pixels(
    pixels: Float[np.ndarray, "band y x"], bands: tuple[str, ...], missing: Literal["refuse", "mask"] = "refuse"
) -> Refusal | None:
    """Refusal where the pixels cannot be used, else None.

    Reasons in the order asked: "too_small" (a side below `MIN_SIDE`), "no_valid_pixels" (all NaN), "constant" (every
    finite pixel has one value), "missing_band" (a band all NaN, or of one value while others are not: surveys fill
    unobserved bands with zeros); this one not where bands may be missing.
    """
    height, width = pixels.shape[1:]
    if min(height, width) < MIN_SIDE:
        return Refusal("too_small", f"{height} x {width} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed")
    low, high = pixels.min(axis=(1, 2)), pixels.max(axis=(1, 2))
    if not (np.isfinite(low) & np.isfinite(high)).all():
        finite = np.isfinite(pixels)
        if not finite.any():
            return Refusal("no_valid_pixels", "every pixel is NaN or infinite")
        low = np.where(finite, pixels, np.inf).min(axis=(1, 2))
        high = np.where(finite, pixels, -np.inf).max(axis=(1, 2))
    if low.min() == high.max():
        return Refusal("constant", f"every valid pixel has the value {float(low.min()):g}")
    for band, lowest, highest in zip(bands, low, high, strict=True) if missing == "refuse" else ():
        if lowest > highest:
            return Refusal("missing_band", f"band {band} has no valid pixel")
        if lowest == highest:
            return Refusal("missing_band", f"band {band} has the value {float(lowest):g} in every valid pixel")
    return None


def undecodable(error: Exception, path: Path) -> Refusal:
    """Refusal "undecodable" with the first line of an error, cleaned of the file's path and name."""
    # An OSError's text ends with the path; strerror is the sentence alone.
    text = str(getattr(error, "strerror", None) or error)
    line = next(iter(text.strip().splitlines()), "")
    line = line.replace(str(path), "the file").replace(str(path.parent), "the folder").replace(path.name, "the file")
    line = re.sub(r" at 0x[0-9a-fA-F]+", "", line)  # addresses differ from run to run
    return Refusal("undecodable", f"{type(error).__name__}: {line}"[:300])
