"""The split: stable, by group, and a given split wins."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.splits import assign_halves, half

# Computed with sha256sum: the first bytes are e3 ca 5f 58 21 e3.
GOLDEN = {"": "test", "a": "test", "0": "train", "nih_00001280": "train", "PGC0000212": "train", "Ω": "test"}


def test_halves_never_change() -> None:
    assert {group: half(group) for group in GOLDEN} == GOLDEN


def test_roughly_half_is_test() -> None:
    share = sum(half(f"patient_{n}") == "test" for n in range(10_000)) / 10_000
    assert 0.48 < share < 0.52


@given(st.lists(st.text(max_size=4), max_size=30))
def test_rows_of_one_group_share_a_half(groups: list[str]) -> None:
    halves = assign_halves(pd.DataFrame({"group": pd.Series(groups, dtype=object), "split": [""] * len(groups)}))
    assert list(halves) == [half(group) for group in groups]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=30))
def test_a_given_split_wins_for_the_whole_group(rows: list[tuple[str, bool]]) -> None:
    # The opposite of the hash, so that following the hash would be seen.
    other = {group: "train" if half(group) == "test" else "test" for group in "abcdef"}
    frame = pd.DataFrame({"group": [g for g, _ in rows], "split": [other[g] if said else "" for g, said in rows]})
    said = {group for group, is_given in rows if is_given}
    assert list(assign_halves(frame)) == [other[g] if g in said else half(g) for g, _ in rows]


def test_keeps_the_index() -> None:
    frame = pd.DataFrame({"group": ["a", "b"], "split": ["", "train"]}, index=[7, 3])
    assert list(assign_halves(frame).index) == [7, 3]


def test_a_group_on_both_sides_is_refused() -> None:
    frame = pd.DataFrame({"group": ["p1", "p2", "p1"], "split": ["train", "train", "test"]})
    with pytest.raises(ValueError, match=r"1 group\(s\) have rows in both train and test \('p1'\)"):
        assign_halves(frame)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("AB")), min_size=1, max_size=60))
def test_strata_are_dealt_evenly_and_groups_stay_whole(rows: list[tuple[int, str]]) -> None:
    frame = pd.DataFrame({"group": [f"p{n}" for n, _ in rows], "split": [""] * len(rows)})
    strata = pd.Series([word for _, word in rows])
    halves = assign_halves(frame, strata)
    assert (halves.groupby(frame["group"]).nunique() == 1).all()
    main = strata.groupby(frame["group"]).agg(lambda words: words.mode().iloc[0])
    tests = halves.groupby(frame["group"]).first() == "test"
    for word in main.unique():
        of_word = tests[main == word]
        assert abs(int(of_word.sum()) - int((~of_word).sum())) <= 1
    assert list(assign_halves(frame.iloc[::-1], strata.iloc[::-1]).sort_index()) == list(halves)


def test_a_given_split_wins_over_strata() -> None:
    frame = pd.DataFrame({"group": ["a", "b", "c", "a"], "split": ["test", "", "", ""]})
    halves = assign_halves(frame, pd.Series(["x"] * 4))
    assert halves[0] == halves[3] == "test"
    assert set(halves[1:3]) == {"train", "test"}
