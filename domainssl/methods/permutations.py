"""Permutations of nine patches that are as unlike one another as can be, for jigsaw puzzles. Imports no torch."""

import itertools
import math

import numpy as np
from jaxtyping import UInt8

PATCHES = 9


def unlike_permutations(count: int) -> UInt8[np.ndarray, "n 9"]:
    """`count` permutations of 0..8, each the one farthest (Hamming distance) from those before; the identity first.

    Among equally far ones the first in lexicographic order, so that the answer is always the same. Greedy, as in
    Noroozi and Favaro 2016 (arXiv:1603.09246, algorithm 1), by the smallest distance rather than the mean: 64 of them
    differ in at least 7 places. Raises ValueError outside 2..362880.
    """
    if not 2 <= count <= math.factorial(PATCHES):
        raise ValueError(f"pretrain.jigsaw.permutations: {count} of nine patches; give 2 to 362880")
    every = np.array(list(itertools.permutations(range(PATCHES))), np.uint8)
    nearest = np.full(len(every), PATCHES + 1, np.uint8)
    chosen = [0]
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.count_nonzero(every != every[chosen[-1]], axis=1).astype(np.uint8))
        chosen.append(int(nearest.argmax()))
    return every[chosen]
