"""Cross-match: one to one, the same from both sides, equal to brute force and to astropy, near poles and RA = 0."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.cross_match import Match, cross_match

CENTRES = [(0.0, 0.0), (359.9999, 45.0), (123.0, 90.0), (10.0, -90.0)]


def sky(seed: int, count: int, centre: tuple[float, float], arcsec: float, prefix: str) -> pd.DataFrame:
    """Random positions about a centre; now and then one is unknown."""
    generator = np.random.default_rng(seed)
    where = SkyCoord(*centre, unit="deg").directional_offset_by(
        generator.uniform(0, 360, count) * u.deg, generator.uniform(0, arcsec, count) * u.arcsec
    )
    ra, dec = np.asarray(where.ra.deg), np.asarray(where.dec.deg)
    ra[generator.random(count) < 0.05] = np.nan
    return pd.DataFrame({"object_id": [f"{prefix}{n}" for n in range(count)], "ra": ra, "dec": dec})


def separations(left: pd.DataFrame, right: pd.DataFrame) -> np.ndarray:
    """All angles in arcsec, by the haversine formula; infinite where a position is unknown."""
    a, b = np.radians(left[["ra", "dec"]].to_numpy()), np.radians(right[["ra", "dec"]].to_numpy())
    latitude, longitude = a[:, None, 1] - b[None, :, 1], a[:, None, 0] - b[None, :, 0]
    root = np.sin(latitude / 2) ** 2 + np.cos(a[:, None, 1]) * np.cos(b[None, :, 1]) * np.sin(longitude / 2) ** 2
    return np.nan_to_num(np.degrees(2 * np.arcsin(np.sqrt(root))) * 3600, nan=np.inf)


def pairs(match: Match) -> set[tuple[int, int]]:
    return {(row, int(partner)) for row, partner in enumerate(match.right_row) if partner >= 0}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 40), st.sampled_from(CENTRES), st.floats(0.1, 60))
def test_equals_brute_force_and_is_the_same_from_both_sides(
    seed: int, ours: int, theirs: int, centre: tuple[float, float], radius: float
) -> None:
    left, right = sky(seed, ours, centre, 60, "l"), sky(seed + 1, theirs, centre, 60, "r")
    right["label"] = np.arange(theirs)
    match = cross_match(left, right, by="position", radius_arcsec=radius, columns=["label"])
    away = separations(left, right)
    expected = {
        (i, j)
        for i in range(ours)
        for j in range(theirs)
        if away[i, j] <= radius and away[i, j] == away[i].min() == away[:, j].min()
    }
    assert pairs(match) == expected
    assert len({j for _, j in expected}) == len(expected)
    back = cross_match(
        right.drop(columns="label"), left.assign(x=0), by="position", radius_arcsec=radius, columns=["x"]
    )
    assert {(i, j) for j, i in pairs(back)} == expected
    within = (away <= radius).sum(axis=1)
    assert set(match.ambiguous) == {i for i in range(ours) if within[i] > 1 or (within[i] and match.right_row[i] < 0)}
    assert set(match.unmatched_left) == set(range(ours)) - {i for i, _ in expected}
    assert set(match.unmatched_right) == set(range(theirs)) - {j for _, j in expected}
    for i, j in expected:
        assert match.frame["label"].iloc[i] == j
        np.testing.assert_allclose(match.separation_arcsec[i], away[i, j], atol=1e-6)


def test_agrees_with_astropy_over_the_whole_sky() -> None:
    generator = np.random.default_rng(1)
    ra, dec = generator.uniform(0, 360, 5000), np.degrees(np.arcsin(generator.uniform(-1, 1, 5000)))
    right = pd.DataFrame({"ra": ra, "dec": dec, "z": ra})
    left = right.sample(2000, random_state=1)[["ra", "dec"]]
    left["dec"] = (left["dec"] + generator.normal(0, 0.5 / 3600, 2000)).clip(-90, 90)
    match = cross_match(left, right, by="position", radius_arcsec=1, columns=["z"])
    there, away, _ = SkyCoord(left["ra"], left["dec"], unit="deg").match_to_catalog_sky(SkyCoord(ra, dec, unit="deg"))
    near = away.arcsec <= 1
    np.testing.assert_array_equal(match.right_row, np.where(near, there, -1))
    np.testing.assert_allclose(match.separation_arcsec[near], away.arcsec[near], atol=1e-6)
    assert list(match.frame.index) == list(left.index)
    assert match.notes[0] == f"{near.sum()} of 2000 rows have a match by position among 5000"


def test_equally_near_ones_are_ambiguous() -> None:
    left = pd.DataFrame({"object_id": ["a", "b"], "ra": [1.0, 5.0], "dec": [2.0, 6.0]})
    right = pd.DataFrame({"ra": [1.0, 1.0, 5.0], "dec": [2.0, 2.0, 6.0], "l": ["x", "y", "z"]})
    match = cross_match(left, right, by="position", columns=["l"])
    assert match.right_row.tolist() == [-1, 2]
    assert match.ambiguous.tolist() == [0]
    assert match.unmatched_right.tolist() == [0, 1]
    assert match.notes == (
        "1 of 2 rows have a match by position among 3",
        "1 row(s) have none (a)",
        "2 row(s) of the other table are left over (1.0 2.0, 1.0 2.0)",
        "1 row(s) are ambiguous: several candidates, or theirs went to another (a)",
    )


def test_the_radius_is_inclusive() -> None:
    left, right = (pd.DataFrame({"ra": [0.0], "dec": [dec]}) for dec in (0.0, 1 / 3600))
    for radius, found in ((1.0 + 1e-9, 0), (1.0 - 1e-9, -1)):
        match = cross_match(left, right.assign(l=1), by="position", radius_arcsec=radius, columns=["l"])
        assert match.right_row.tolist() == [found]


def test_by_id_whatever_the_types() -> None:
    big = 1237648720693755918
    left = pd.DataFrame({"object_id": [str(big), "7", None, "d", "e", "e", "f"]}, index=list("tuvwxyz"))
    right = pd.DataFrame(
        {"object_id": pd.array([big + 1, 7, big, None], "Int64"), "n": [1, 2, big, 4], "s": list("abcd")}
    )
    match = cross_match(left, right, by="id", columns=["n", "s"])
    assert match.right_row.tolist() == [2, 1, -1, -1, -1, -1, -1]
    assert match.frame["n"].iloc[0] == big  # no float on the way
    assert list(match.frame.index) == list("tuvwxyz")
    assert match.frame["s"].isna().tolist() == [False, False, *[True] * 5]
    doubles = pd.DataFrame({"object_id": ["d", "d", "e", "7"], "n": [1, 2, 3, 4]})
    match = cross_match(left, doubles, by="id", columns=["n"])
    assert pairs(match) == {(1, 3)}
    assert match.ambiguous.tolist() == [3, 4, 5]
    assert match.unmatched_right.tolist() == [0, 1, 2]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from("abcdef"), max_size=8), st.lists(st.sampled_from("abcdef"), max_size=8))
def test_by_id_is_one_to_one_and_the_same_from_both_sides(ours: list[str], theirs: list[str]) -> None:
    left, right = (pd.DataFrame({"object_id": pd.Series(ids, dtype=object)}) for ids in (ours, theirs))
    forth = cross_match(left, right.assign(l=1), by="id", columns=["l"])
    back = cross_match(right, left.assign(l=1), by="id", columns=["l"])
    assert pairs(forth) == {(i, j) for j, i in pairs(back)}
    assert {ours[i] for i, _ in pairs(forth)} == {name for name in ours if ours.count(name) == theirs.count(name) == 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "id", "columns": ["l"]}, "cross-match: the table has no column 'object_id'"),
        ({"by": "position", "columns": ["m"]}, "cross-match: the table has no column 'm'"),
        ({"by": "position", "columns": ["here"]}, "both tables have a column 'here'; rename one"),
        ({"by": "position", "columns": [], "radius_arcsec": 0}, r"radius_arcsec is 0; give one in 0\.\.3600"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    left = pd.DataFrame({"object_id": ["a"], "ra": [0.0], "dec": [0.0], "here": [1]})
    right = pd.DataFrame({"ra": [0.0], "dec": [0.0], "l": [1], "here": [1]})
    with pytest.raises(ValueError, match=message):
        cross_match(left, right, **options)
