"""Trouble with the input, told apart from oddity: images that are empty, cut, inverted or rotated.

All is measured on small grey copies and compared with the rest of the collection; no domain is known here.
Axes: n b image, y x pixels of a small copy, h hypothesis.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch.nn import functional

from domainssl.store import Batch, Store

SIDE = 32  # pixels of a small copy: layout survives, detail and most noise average out
SAMPLE = 2000  # images whose median is the template
BATCH_BYTES = 64 * 2**20
ENOUGH = 20  # images that a comparison with the collection needs

NO_STRUCTURE = 0.25  # correlation of neighbours among 16 x 16 means; noise has 0 +- 0.05, resampled noise up to 0.15
NO_SOURCE = 5.0  # robust sigmas of the brightest or darkest mean; noise alone reaches 4
LOW_CONTRAST = 0.1  # of the collection's median, for display images, and
LOW_MADS = 3.0  # robust sigmas below it
CUT_SHARE = 0.2  # of the frame, more than the collection's median
COMMON_SHARE = 0.1  # of the frame, more than nine in ten of the collection miss
FROZEN = {"display": 0.008, "linear": 0.02}  # spread of a frozen line: two of 255 grey levels; a small part of a sigma
# With the constants below, one of 688 real pictures that share a layout is told to be turned, and is. Of their copies,
# planted one at a time, 90 to 95 % of the turned, 97 % of the inverted and 86 % of those that are both are told.
LAYOUT = 0.4  # median correlation with the template; below, it says too little
FITS = 0.3  # correlation of another orientation with the template, at least
BETTER = 0.3  # by which it exceeds the correlation as stored
BOTH = 0.1  # more than that for a turned negative, the rarest kind
BELOW = 2.0  # robust sigmas by which the correlation as stored lies below the collection's

_HYPOTHESES = tuple((turns, sign) for sign in (1, -1) for turns in range(4))  # upright first


@dataclass(frozen=True)
class _Measured:
    """What the second pass keeps of each image."""

    empty: Bool[np.ndarray, " n"]
    contrast: Float32[np.ndarray, " n"]
    missing: Float32[np.ndarray, " n"]
    fits: Float32[np.ndarray, "n h"]


def find_trouble(store: Store, rows: Int64[np.ndarray, " n"], upright: bool, seed: int = 0) -> list[tuple[str, ...]]:
    """For each row the kinds of input trouble, out of "empty", "cut", "inverted" and "rotated"; mostly none.

    empty: nothing but noise or one value; in linear images no source above the noise at any scale from 1/32 to 1/8 of
    the frame. cut: much more of the frame than in the rest is invalid, or frozen at one value from a border inwards.
    Where `upright`, images share a layout, and the template is their median: inverted means that the negative, rotated
    that a quarter or half turn, fits it clearly better; neither is said where the collection hardly resembles it, of
    fewer than 20 images, or of an empty one.
    `seed` draws the images of the template where there are over 2,000. Reads the store twice at most, in batches.
    """
    template = _template(store, rows, seed) if upright and len(rows) >= ENOUGH else None
    parts = [_measured(batch, store.radiometry, template) for batch in _batches(store, rows)]
    if not parts:
        return []
    empty = np.concatenate([part.empty for part in parts])
    contrast = np.concatenate([part.contrast for part in parts])
    missing = np.concatenate([part.missing for part in parts])
    fits = np.concatenate([part.fits for part in parts])
    if store.radiometry == "display":
        empty |= _faint(contrast)
    cut = ~empty & (missing > max(np.median(missing) + CUT_SHARE, np.quantile(missing, 0.9) + COMMON_SHARE))
    best = np.where(empty, 0, _best_hypotheses(fits)) if template is not None else np.zeros(len(rows), np.int64)
    troubles = []
    for row in range(len(rows)):
        turns, sign = _HYPOTHESES[best[row]]
        named = {"empty": empty[row], "cut": cut[row], "inverted": sign < 0, "rotated": turns > 0}
        troubles.append(tuple(name for name, told in named.items() if told))
    return troubles


def _batches(store: Store, rows: Int64[np.ndarray, " n"]) -> Iterator[Batch]:
    step = max(1, BATCH_BYTES // (4 * len(store.bands) * store.size**2))
    for start in range(0, len(rows), step):
        yield store.batch(rows[start : start + step])


def _small(batch: Batch, radiometry: str) -> Float32[np.ndarray, "b y x"]:
    """Means over boxes of the bands' mean, in sky sigmas where linear; NaN where under half of a box is valid."""
    images = batch.images
    if radiometry == "linear":
        images = images / batch.nuisance["sky_sigma"][:, :, None, None]
    told = (torch.isfinite(images) & batch.valid).float()  # a band of unknown sigma has no part in the mean
    side = min(SIDE, images.shape[-1])
    weight = functional.adaptive_avg_pool2d(told.mean(1), side)
    total = functional.adaptive_avg_pool2d(torch.where(told > 0, images, 0.0).mean(1), side)
    valid = functional.adaptive_avg_pool2d(batch.valid.float()[:, 0], side)
    small = torch.where((valid >= 0.5) & (weight > 0), total / weight.clamp_min(1e-6), torch.nan)
    return np.asarray(small.numpy(), np.float32)


def _template(store: Store, rows: Int64[np.ndarray, " n"], seed: int) -> Float32[np.ndarray, "y x"]:
    drawn = np.sort(np.random.default_rng(seed).permutation(rows)[:SAMPLE])
    copies = [_standard(_small(batch, store.radiometry), store.radiometry) for batch in _batches(store, drawn)]
    stack = np.concatenate(copies)
    stack[:, np.isnan(stack).all(axis=0)] = 0
    return np.asarray(np.nanmedian(stack, axis=0), np.float32)


def _standard(small: Float32[np.ndarray, "b y x"], radiometry: str) -> Float32[np.ndarray, "b y x"]:
    """Mean 0 and standard deviation 1 of the pixels that are there; NaN stays. Flux is compressed by asinh first."""
    values = np.arcsinh(small) if radiometry == "linear" else small
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=(1, 2), keepdims=True), 1)
    centred = values - np.where(there, values, 0).sum(axis=(1, 2), keepdims=True) / count
    spread = np.sqrt((np.where(there, centred, 0) ** 2).sum(axis=(1, 2), keepdims=True) / count)
    return np.asarray(centred / np.maximum(spread, 1e-6), np.float32)


def _measured(batch: Batch, radiometry: str, template: Float32[np.ndarray, "y x"] | None) -> _Measured:
    small = _small(batch, radiometry)
    there = ~np.isnan(small)
    frozen = _frozen_border(small, FROZEN[radiometry])
    shown = np.where(there & ~frozen, small, np.nan).astype(np.float32)
    shown[(there & ~frozen).mean(axis=(1, 2)) < 0.02] = np.nan  # too little is left to speak of
    empty = np.array([_is_empty(image) for image in shown], dtype=np.bool_)
    contrast = np.array([np.nanstd(image) if not np.isnan(image).all() else 0.0 for image in shown], np.float32)
    fits = np.zeros((len(small), len(_HYPOTHESES)), np.float32)
    if template is not None:
        image = _standard(shown, radiometry)
        for number, (turns, sign) in enumerate(_HYPOTHESES):
            fits[:, number] = sign * _correlation(image, np.rot90(template, turns))
    return _Measured(empty, contrast, (~there | frozen).mean(axis=(1, 2), dtype=np.float32), fits)


def _frozen_border(small: Float32[np.ndarray, "b y x"], spread: float) -> Bool[np.ndarray, "b y x"]:
    """Whole rows and columns from a border inwards that hold one value; a mark on a tenth of them is overlooked."""
    frozen = np.zeros(small.shape, np.bool_)
    for turns in range(4):
        turned, marked = np.rot90(small, turns, (1, 2)), np.rot90(frozen, turns, (1, 2))  # a view: marks reach `frozen`
        lines = np.sort(turned, axis=2)  # NaN at the end
        told = (~np.isnan(turned)).sum(axis=2)
        low, high = np.floor(0.1 * (told - 1)).astype(int), np.ceil(0.9 * (told - 1)).astype(int)
        low, high = np.maximum(low, 0), np.maximum(high, 0)
        bottom = np.take_along_axis(lines, low[:, :, None], 2)[:, :, 0]
        top = np.take_along_axis(lines, high[:, :, None], 2)[:, :, 0]
        # missing lines do not end the run: padding may lie outside what is frozen
        first = np.take_along_axis(bottom, np.argmax(told > 0, axis=1)[:, None], 1)
        one_value = (told == 0) | ((top - bottom <= spread) & (np.abs(bottom - first) <= spread))
        marked |= np.logical_and.accumulate(one_value, axis=1)[:, :, None]
    return np.asarray(frozen & ~np.isnan(small))


def _is_empty(image: Float32[np.ndarray, "y x"]) -> bool:
    """No neighbouring means are alike, and none stands out, at any scale."""
    if np.isnan(image).all() or np.nanmax(image) - np.nanmin(image) < 1e-6:
        return True
    scales = [image]
    while len(scales[-1]) >= 16:
        scales.append(_halved(scales[-1]))
    if _alike(scales[min(1, len(scales) - 1)]) >= NO_STRUCTURE:
        return False
    return all(_peak(scale) < NO_SOURCE for scale in scales)


def _halved(image: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y2 x2"]:
    side = len(image) // 2 * 2
    boxes = image[:side, :side].reshape(side // 2, 2, side // 2, 2)
    there = ~np.isnan(boxes)
    count = there.sum(axis=(1, 3))
    total = np.where(there, boxes, 0).sum(axis=(1, 3))
    return np.where(count >= 2, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _alike(image: Float32[np.ndarray, "y x"]) -> float:
    """Correlation of pixels with their neighbours to the right and below (Moran 1950); 0 where there are none."""
    centred = image - np.nanmean(image) if not np.isnan(image).all() else image
    products = np.concatenate([(centred[1:] * centred[:-1]).ravel(), (centred[:, 1:] * centred[:, :-1]).ravel()])
    variance = float(np.nanmean(centred**2)) if not np.isnan(centred).all() else 0.0
    if np.isnan(products).all() or variance <= 0:
        return 0.0
    return float(np.nanmean(products)) / variance


def _peak(image: Float32[np.ndarray, "y x"]) -> float:
    """How far the most extreme pixel stands out, in robust sigmas."""
    values = image[~np.isnan(image)]
    if len(values) < 9:
        return 0.0
    away = np.abs(values - np.median(values))
    sigma = 1.4826 * float(np.median(away))
    return float(away.max()) / sigma if sigma > 0 else np.inf


def _correlation(
    image: Float32[np.ndarray, "b y x"], template: Float32[np.ndarray, "y x"]
) -> Float32[np.ndarray, " b"]:
    """Pearson's, over the pixels that each image has; 0 where they are too few or of one value."""
    there = ~np.isnan(image)
    count = np.maximum(there.sum(axis=(1, 2)), 1)
    x, y = np.where(there, image, 0), np.where(there, template, 0)
    mean_x, mean_y = x.sum(axis=(1, 2)) / count, y.sum(axis=(1, 2)) / count
    covariance = (x * y).sum(axis=(1, 2)) / count - mean_x * mean_y
    spread = ((x**2).sum(axis=(1, 2)) / count - mean_x**2) * ((y**2).sum(axis=(1, 2)) / count - mean_y**2)
    told = (spread > 1e-8) & (count > 0.1 * template.size)
    return np.where(told, covariance / np.sqrt(np.maximum(spread, 1e-8)), 0).astype(np.float32)


def _faint(contrast: Float32[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Far less contrast than the collection has, also on a log scale with its own spread."""
    if len(contrast) < ENOUGH:
        return np.zeros(len(contrast), np.bool_)
    logs = np.log(np.maximum(contrast, 1e-6))
    middle = np.median(logs)
    spread = 1.4826 * np.median(np.abs(logs - middle))
    return np.asarray((logs < middle + np.log(LOW_CONTRAST)) & (logs < middle - LOW_MADS * spread))


def _best_hypotheses(fits: Float32[np.ndarray, "n h"]) -> Int64[np.ndarray, " n"]:
    """The number of the orientation and sign that fits the template clearly best; 0, upright, where none does."""
    stored = fits[:, 0]
    middle = float(np.median(stored))
    if middle < LAYOUT:
        return np.zeros(len(fits), np.int64)
    spread = 1.4826 * float(np.median(np.abs(stored - middle)))
    best = fits.argmax(axis=1)
    fit = fits[np.arange(len(fits)), best]
    both = np.array([turns > 0 and sign < 0 for turns, sign in _HYPOTHESES])
    told = (fit >= FITS) & (fit >= stored + BETTER + BOTH * both[best]) & (stored < middle - BELOW * spread)
    return np.where(told, best, 0).astype(np.int64)
