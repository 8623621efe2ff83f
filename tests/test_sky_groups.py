"""Groups on the sky: no overlap between groups, stable names, and honesty where friends-of-friends percolates."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.sky_groups import chord, friends_of_friends, sky_groups, unit_vectors

CENTRES = [(0.0, 0.0), (359.999, 45.0), (50.0, 89.99), (10.0, -90.0)]


def patch(seed: int, count: int, centre: tuple[float, float], degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Random points about a centre, over its edge at RA = 0 and a pole."""
    generator = np.random.default_rng(seed)
    ra, dec = np.radians(centre)
    east = np.array([-np.sin(ra), np.cos(ra), 0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    middle = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    x, y = np.radians(generator.uniform(-degrees / 2, degrees / 2, (2, count, 1)))
    points = middle + x * east + y * north
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360, np.degrees(np.arcsin(points[:, 2]))


def brute(ra: np.ndarray, dec: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    points = unit_vectors(ra, dec)
    away = np.linalg.norm(points[:, None] - points[None], axis=2)
    return away < chord((diagonal[:, None] + diagonal[None]) / 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from(CENTRES), st.sampled_from([0.0, 5.0, 60.0, 400.0]))
def test_overlapping_cutouts_share_a_group_or_are_named(
    seed: int, count: int, centre: tuple[float, float], arcsec: float
) -> None:
    ra, dec = patch(seed, count, centre, 0.5)
    diagonal = np.random.default_rng(seed).lognormal(0, 1, count) * arcsec
    found = sky_groups(ra, dec, diagonal, tile_deg=0.1)
    overlap = brute(ra, dec, diagonal)
    torn = np.zeros(count, bool)
    for i, j in zip(*np.nonzero(overlap), strict=True):
        torn[i] |= found.groups[i] != found.groups[j]
    np.testing.assert_array_equal(found.torn, torn)
    friends = friends_of_friends(ra, dec, diagonal)
    reach = overlap | np.eye(count, dtype=bool)
    for _ in range(7):
        reach = reach @ reach
    np.testing.assert_array_equal(friends[:, None] == friends[None], reach)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(CENTRES), st.sampled_from([20.0, 200.0]))
def test_names_depend_on_neither_order_nor_far_objects(seed: int, centre: tuple[float, float], arcsec: float) -> None:
    ra, dec = patch(seed, 40, centre, 0.5)
    ra[3], dec[3] = ra[2], dec[2]
    diagonal = np.random.default_rng(seed).uniform(0.5, 1, 40) * arcsec
    alone = sky_groups(ra, dec, diagonal, tile_deg=0.2)
    far, away = patch(seed + 1, 500, (180.0, 0.0), 2)
    order = np.random.default_rng(seed).permutation(540)
    mixed = sky_groups(
        np.concatenate([ra, far])[order], np.concatenate([dec, away])[order], np.r_[diagonal, [300.0] * 500][order], 0.2
    )
    rows = np.argsort(order)[:40]
    assert [mixed.groups[row] for row in rows] == alone.groups
    np.testing.assert_array_equal(mixed.torn[rows], alone.torn)


def test_a_group_over_a_border_lies_in_the_tile_of_its_centre() -> None:
    ra, dec = np.linspace(44, 46, 500), np.full(500, 20.0)
    tiles = sky_groups(ra, dec, 0, 0.5).groups
    border = next(row for row in range(499) if tiles[row] != tiles[row + 1])
    trio = np.array([border - 1, border, border + 1])
    found = sky_groups(ra[trio], dec[trio], 20, 0.5)
    assert found.groups == [tiles[border]] * 3
    assert tiles[border + 1] != tiles[border]
    assert not found.torn.any()
    assert found.notes == (
        "3 objects lie in 1 tile(s) of about 0.5 degrees; 3 have a cutout that overlaps another's, in 1 group(s), the "
        "largest of 3",
        "all objects lie in one tile, so that groups divide nothing; give a smaller tile_deg",
    )


def test_percolation_is_divided_by_tiles_and_told() -> None:
    ra, dec = patch(0, 4000, (150.0, 2.0), 2)
    found = sky_groups(ra, dec, 300, 0.5)  # 27 neighbours each, where 4.5 suffice
    assert found.groups == sky_groups(ra, dec, 0, 0.5).groups
    assert 0.2 < found.torn.mean() < 0.7
    assert "1 chain(s) wider than a tile, of 4000 objects; these are divided by tiles alone" in found.notes[1]
    kept = ~found.torn
    overlap = brute(ra[kept], dec[kept], np.full(kept.sum(), 300.0))
    tile = np.array(found.groups)[kept]
    assert (tile[:, None] == tile[None])[overlap].all()


def test_unknown_positions_have_no_group() -> None:
    ra, dec = np.array([1.0, np.nan, 1.0]), np.array([2.0, 2.0, np.nan])
    found = sky_groups(ra, dec, 10)
    assert found.groups[1:] == [None, None]
    assert found.groups[:1] == sky_groups(ra[:1], dec[:1], 0).groups
    assert found.notes[-1] == "2 object(s) have no position, and no group"
    assert len(set(friends_of_friends(ra, dec, 10))) == 3
    empty = sky_groups(np.zeros(0), np.zeros(0), 10)
    assert empty.groups == []
    assert len(empty.torn) == 0


def test_errors() -> None:
    one = np.zeros(1)
    for diagonal in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="negative or unknown values; give each object its cutout's size"):
            sky_groups(one, one, diagonal)
    for tile in (0, -1, float("nan"), 90):
        with pytest.raises(ValueError, match="give the side of a tile in degrees"):
            sky_groups(one, one, 1, tile)


@pytest.mark.slow
def test_a_million_objects_in_seconds() -> None:
    generator = np.random.default_rng(0)
    ra, dec = generator.uniform(0, 360, 10**6), np.degrees(np.arcsin(generator.uniform(-1, 1, 10**6)))
    start = time.process_time()
    sky_groups(ra, dec, 60)
    assert time.process_time() - start < 60  # some 10 on one core
