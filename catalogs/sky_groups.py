"""Groups of objects on the sky that training and test must not share: overlapping cutouts first, then tiles."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_ARCSEC = np.pi / 180 / 3600
# Pairs held at once: about 250 MB.
_PAIRS = 4_000_000


@dataclass(frozen=True)
class SkyGroups:
    """One group an object, None where its position is unknown; `notes` say in plain words what was found.

    `torn` marks objects whose cutout overlaps one of another group, which happens where friends-of-friends percolates
    only: leaving these out of one half leaves no overlap between the halves.
    """

    groups: list[str | None]
    torn: Bool[np.ndarray, " n"]
    notes: tuple[str, ...]


def unit_vectors(ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """Positions in degrees as float64 points on the unit sphere; NaN gives NaN."""
    longitude, latitude = np.radians(ra, dtype=np.float64), np.radians(dec, dtype=np.float64)
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def chord(arcsec: Float[np.ndarray, "*shape"] | float | int) -> Float[np.ndarray, "*shape"]:
    """The straight distance on the unit sphere between points this angle apart (at most 180 degrees)."""
    return np.asarray(2 * np.sin(np.minimum(np.asarray(arcsec, np.float64) * _ARCSEC, np.pi) / 2))


def sky_groups(
    ra: Float[np.ndarray, " n"],
    dec: Float[np.ndarray, " n"],
    cutout_diagonal_arcsec: Float[np.ndarray, " n"] | float | int,
    tile_deg: float | int = 1.0,
) -> SkyGroups:
    """The HEALPix tile of each object, such that objects whose cutouts overlap share one.

    `ra` and `dec` are ICRS degrees. Two cutouts overlap where the objects are closer than half the sum of their
    diagonals; friends-of-friends links these, and the whole group lies in the tile of its most central member. Tiles
    are those nested HEALPix pixels (Gorski et al. 2005) whose side is nearest to `tile_deg`. Where friends-of-friends
    percolates, so that a group is wider than a tile, its objects stay in their own tiles, and `torn` and a note name
    those that overlap across tiles. A group's name depends on nothing but its own members and those they overlap.
    Raises ValueError for diagonals that are negative or NaN, and for a tile that is no positive angle.
    """
    from astropy_healpix import HEALPix

    if not 0 < tile_deg <= 60:
        raise ValueError(f"tile_deg is {tile_deg}; give the side of a tile in degrees, in 0..60")
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    diagonals = np.broadcast_to(np.asarray(cutout_diagonal_arcsec, np.float64), ra.shape)[known]
    if not (diagonals >= 0).all():
        raise ValueError("cutout_diagonal_arcsec has negative or unknown values; give each object its cutout's size")
    order = int(np.clip(np.round(np.log2(np.degrees(np.sqrt(np.pi / 3)) / tile_deg)), 0, 29))
    healpix = HEALPix(nside=2**order, order="nested")
    points = unit_vectors(ra[known], dec[known])
    own = np.asarray(healpix.lonlat_to_healpix(*_quantities(ra[known], dec[known])), np.int64)
    friends = _components(points, diagonals)
    centre = _central(points, ra[known], dec[known], friends)
    width = np.zeros(len(centre))
    np.maximum.at(width, friends, np.linalg.norm(points - points[centre[friends]], axis=1))
    percolates = width > chord(tile_deg * 3600 / 2)
    tile = np.where(percolates[friends], own, own[centre[friends]])
    torn = np.zeros(len(ra), bool)
    if percolates.any():
        inside = np.flatnonzero(percolates[friends])
        for i, j in overlaps(points[inside], diagonals[inside]):
            apart = tile[inside[i]] != tile[inside[j]]
            torn[known[inside[i[apart]]]] = torn[known[inside[j[apart]]]] = True
    groups: list[str | None] = [None] * len(ra)
    for row, pixel in zip(known.tolist(), tile.tolist(), strict=True):
        groups[row] = f"healpix-{order}-{pixel}"
    return SkyGroups(groups, torn, _notes(len(ra), friends, tile, percolates, torn, tile_deg))


def friends_of_friends(
    ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"], linking_arcsec: Float[np.ndarray, " n"] | float | int
) -> Int[np.ndarray, " n"]:
    """A number for each group of objects that chains of pairs closer than the linking length hold together.

    With a length per object, a pair is linked below half the sum of its two. Objects without position are alone.
    """
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    lengths = np.broadcast_to(np.asarray(linking_arcsec, np.float64), ra.shape)[known]
    numbers = np.arange(len(ra))
    found = _components(unit_vectors(ra[known], dec[known]), lengths)
    _, first = np.unique(found, return_index=True)
    numbers[known] = known[first[found]]
    return np.unique(numbers, return_inverse=True)[1]


def overlaps(
    points: Float[np.ndarray, "n 3"], diagonals: Float[np.ndarray, " n"]
) -> Iterator[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]:
    """All pairs closer than half the sum of their diagonals (arcsec), each once, some millions at a time.

    Objects are searched by classes of size, so that a few large cutouts do not widen the search for all others.
    """
    from scipy.spatial import cKDTree

    sizes = np.frexp(diagonals)[1]
    classes = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    trees = [cKDTree(points[rows]) for rows in classes]
    for a, left in enumerate(classes):
        for b, right in enumerate(classes[a:], start=a):
            reach = float(chord((diagonals[left].max() + diagonals[right].max()) / 2))
            if reach == 0:
                continue
            parts = int(np.ceil(trees[a].count_neighbors(trees[b], reach) / _PAIRS))
            for part in range(parts):  # every n-th object: a dense region is spread over the parts
                rows = left[part::parts]
                near = cKDTree(points[rows]).sparse_distance_matrix(trees[b], reach, output_type="ndarray")
                i, j = rows[near["i"]], right[near["j"]]
                linked = near["v"] < chord((diagonals[i] + diagonals[j]) / 2)
                linked &= (i < j) if a == b else True
                yield i[linked], j[linked]


def _components(points: Float[np.ndarray, "n 3"], diagonals: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Groups of overlapping objects, numbered from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = np.arange(len(points))
    for i, j in overlaps(points, diagonals):
        ends = (groups[i], groups[j])
        count = int(groups.max()) + 1
        joined = coo_array((np.ones(len(i), np.int8), ends), shape=(count, count))
        groups = connected_components(joined, directed=False)[1][groups]
    return groups.astype(np.int64)


def _central(
    points: Float[np.ndarray, "n 3"],
    ra: Float[np.ndarray, " n"],
    dec: Float[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " groups"]:
    """The row of each group's member nearest to its mean; of equally near ones the first by (dec, ra)."""
    count = int(groups.max()) + 1 if len(groups) else 0
    alone = np.bincount(groups, minlength=count)[groups] == 1
    centre = np.zeros(count, np.int64)
    centre[groups[alone]] = np.flatnonzero(alone)
    rows = np.flatnonzero(~alone)
    rows = rows[np.lexsort((ra[rows] % 360, dec[rows], groups[rows]))]  # sums in one order, whatever the rows'
    starts = np.flatnonzero(np.r_[True, np.diff(groups[rows]) > 0]) if len(rows) else np.zeros(0, np.int64)
    if len(starts):
        sizes = np.diff(np.r_[starts, len(rows)])
        mean = np.add.reduceat(points[rows], starts) / sizes[:, None]
        off = np.linalg.norm(points[rows] - np.repeat(mean, sizes, axis=0), axis=1).round(12)  # 0.2 micro-arcsec
        best = rows[np.lexsort((np.arange(len(rows)), off, groups[rows]))[starts]]
        centre[groups[best]] = best
    return centre


def _quantities(ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]) -> tuple[object, object]:
    from astropy import units as u

    return ra * u.deg, dec * u.deg


def _notes(
    count: int,
    friends: Int[np.ndarray, " n"],
    tile: Int[np.ndarray, " n"],
    percolates: Bool[np.ndarray, " groups"],
    torn: Bool[np.ndarray, " m"],
    tile_deg: float | int,
) -> tuple[str, ...]:
    sizes = np.bincount(friends)
    tiles = len(np.unique(tile))
    notes = [
        f"{len(tile)} objects lie in {tiles} tile(s) of about {tile_deg:g} degrees; {(sizes[friends] > 1).sum()} have "
        f"a cutout that overlaps another's, in {(sizes > 1).sum()} group(s), the largest of {max(sizes, default=0)}"
    ]
    if percolates.any():
        notes.append(
            f"overlapping cutouts form {percolates.sum()} chain(s) wider than a tile, of {sizes[percolates].sum()} "
            f"objects; these are divided by tiles alone, and {torn.sum()} objects overlap one of another tile: leave "
            "them out of training or test, or take smaller cutouts"
        )
    if tiles == 1 and len(tile) > 1:
        notes.append("all objects lie in one tile, so that groups divide nothing; give a smaller tile_deg")
    if count > len(tile):
        notes.append(f"{count - len(tile)} object(s) have no position, and no group")
    return tuple(notes)
