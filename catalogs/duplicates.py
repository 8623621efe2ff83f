"""Objects that stand in a catalog twice: at one position, or with one image. They are reported, never removed."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from catalogs.sky_groups import friends_of_friends

_CELLS = 20
_WINDOW = 5
_BITS = _CELLS**2
# Of 400 bits. On EFIGI's pictures different galaxies differ in more, JPEG re-encoding and halving the size in fewer.
_MAX_DIFFERENT = 40
_TABLES = 40
_NEIGHBOURS = 32


def duplicate_positions(
    ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"], radius_arcsec: float | int
) -> list[Int[np.ndarray, " rows"]]:
    """Rows (ascending) of each group of objects that chains of pairs closer than the radius hold together.

    Degrees; objects without a position are no duplicates. No duplicates: []. Raises ValueError for a radius that is no
    positive number.
    """
    if not radius_arcsec > 0:
        raise ValueError(f"radius_arcsec is {radius_arcsec}; give a positive one")
    return _groups(friends_of_friends(ra, dec, radius_arcsec))


def image_fingerprint(pixels: Float[np.ndarray, "band y x"]) -> bytes:
    """82 bytes: a digest of the very pixels, and 400 bits of what the image shows.

    A bit says whether one of 20 x 20 cells is brighter than the median of its 5 x 5 neighbours, in the mean of the
    bands' ranks. Ranks, since they are the same after every monotone stretch; local, since all galaxies are a blob in
    the middle; not made alike for rotated or mirrored images, which catalogs do not repeat by accident. NaN counts as
    the faintest. Raises ValueError for an image without pixels.
    """
    if not pixels.size:
        raise ValueError(f"an image of shape {pixels.shape} has no pixels, and no fingerprint")
    digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels, np.float32).tobytes()).digest()
    height, width = pixels.shape[1:]
    ranks = np.mean([_ranks(band) for band in pixels], axis=0)
    cells = _overlap(height) @ ranks @ _overlap(width).T
    edge = _WINDOW // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(cells, edge, mode="reflect"), (_WINDOW, _WINDOW))
    brighter = cells > np.median(windows, axis=(2, 3)) + 1e-9  # an even sky is rounding errors apart
    return digest + np.packbits(brighter).tobytes()


def duplicate_images(fingerprints: Sequence[bytes]) -> list[Int[np.ndarray, " rows"]]:
    """Rows (ascending) of each group of images whose fingerprints are of one image, by chains of pairs.

    Equal pixels are always found. Others are where at most 40 of the 400 bits differ: candidates agree in all bits of
    one of 40 random choices (locality-sensitive hashing, Indyk & Motwani 1998), so that time grows about as the number
    of images; of two that differ in 5 % of the bits virtually all are found, in 10 % most. Images without any
    structure (blank ones) say nothing and are compared by their pixels alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not fingerprints:
        return []
    raw = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(fingerprints), -1)
    exact = np.unique(raw[:, :32].copy().view("V32").ravel(), return_inverse=True, return_index=True)
    first, image = exact[1], exact[2]
    bits = np.unpackbits(raw[first, 32:], axis=1)
    rows = np.flatnonzero(bits.any(axis=1))
    left, right = _similar(bits[rows])
    joined = coo_array((np.ones(len(left), np.int8), (rows[left], rows[right])), shape=(len(first), len(first)))
    return _groups(connected_components(joined, directed=False)[1][image])


def _similar(bits: UInt8[np.ndarray, "n bits"]) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Pairs that differ in few bits, each at least once."""
    count = len(bits)
    words = np.zeros((count, -(-_BITS // 64) * 8), np.uint8)
    words[:, : _BITS // 8] = np.packbits(bits, axis=1)
    long = words.view(np.uint64)
    length = int(np.clip(np.ceil(np.log2(max(count, 2))), 12, 24))  # about one image a key
    found: list[tuple[Int[np.ndarray, " a"], Int[np.ndarray, " a"]]] = []
    generator = np.random.default_rng(0)
    for _ in range(_TABLES):
        chosen = generator.choice(_BITS, length, replace=False)
        keys = bits[:, chosen] @ (1 << np.arange(length, dtype=np.int64))
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for step in range(1, min(_NEIGHBOURS, count)):  # beyond it, a key is one of many images
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(same):
                break
            i, j = order[same], order[same + step]
            close = np.bitwise_count(long[i] ^ long[j]).sum(axis=1) <= _MAX_DIFFERENT
            found.append((i[close], j[close]))
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *(i for i, _ in found)]), np.concatenate([none, *(j for _, j in found)])


def _ranks(band: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    """Each pixel's share of fainter pixels, 0..1; equal pixels have equal ranks, NaN is the faintest."""
    known = np.where(np.isnan(band), -np.inf, band)
    _, which, counts = np.unique(known, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return (middle / max(band.size - 1, 1))[which].reshape(band.shape)


def _overlap(size: int) -> Float[np.ndarray, "cells size"]:
    """How much of each cell's mean comes from each pixel of an axis."""
    edges, pixel = np.linspace(0, size, _CELLS + 1), np.arange(size)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: Float[np.ndarray, "cells size"] = np.clip(shared, 0, None) / (size / _CELLS)
    return weights


def _groups(numbers: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " rows"]]:
    """The rows of each number that stands more than once, in order of their first rows."""
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))
