"""Small counts stay hidden, also from who subtracts or knows the rule; ages above 89 are not written."""

from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.suppression import FEWEST, NOT_SMALL, SMALL, Suppressed, suppressed, tells_age, top_coded

COUNTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 60), max_size=7)


@pytest.mark.parametrize(
    ("counts", "cells", "total"),
    [
        ({}, {}, "0"),
        ({"a": 1200, "b": 30}, {"a": "1,200", "b": "30"}, "1,230"),
        ({"a": 1200, "b": 30, "c": 3}, {"a": "1,200", "b": NOT_SMALL, "c": SMALL}, "1,233"),
        ({"a": 1200, "b": 12, "c": 3}, {"a": NOT_SMALL, "b": NOT_SMALL, "c": SMALL}, "1,215"),  # 15 = 1..5 + 10..14
        ({"a": 3}, {"a": SMALL}, SMALL),
        ({"a": 3, "b": 4}, {"a": SMALL, "b": SMALL}, SMALL),
        ({"a": 9, "b": 9}, {"a": SMALL, "b": SMALL}, NOT_SMALL),  # 18 could only be 9 + 9
        ({"a": 3, "b": 11}, {"a": SMALL, "b": NOT_SMALL}, NOT_SMALL),
        ({"a": 5, "b": 5, "c": 7, "d": 40}, {"a": SMALL, "b": SMALL, "c": SMALL, "d": "40"}, "57"),
    ],
)
def test_examples(counts: dict[str, int], cells: dict[str, str], total: str) -> None:
    assert suppressed(counts) == Suppressed(cells, total)


def test_images_of_few_people_are_hidden_however_many() -> None:
    shown = suppressed({"a": 400, "b": 80, "c": 90}, {"a": 100, "b": 4, "c": 50}, 120)
    assert shown.cells == {"a": "400", "b": SMALL, "c": NOT_SMALL}
    assert suppressed({"a": 40, "b": 50}, {"a": 3, "b": 4}, 5) == Suppressed({"a": SMALL, "b": SMALL}, SMALL)
    assert suppressed({"a": 40}, {"a": 12}, 12) == Suppressed({"a": "40"}, "40")


def shown_number(text: str) -> int | None:
    return None if text in (SMALL, NOT_SMALL) else int(text.replace(",", ""))


@settings(max_examples=400, deadline=None)
@given(COUNTS)
def test_no_hidden_count_is_had_from_those_shown(counts: dict[str, int]) -> None:
    """Each small count may still be any of 1 to 9: there are counts, of the same page, in which it is."""
    shown = suppressed(counts)
    known = {name: shown_number(text) for name, text in shown.cells.items()}
    assert all(counts[name] == number >= FEWEST for name, number in known.items() if number is not None)
    assert all((counts[name] < FEWEST) == (text == SMALL) for name, text in shown.cells.items())
    small = [name for name, text in shown.cells.items() if text == SMALL]
    others = sum(text == NOT_SMALL for text in shown.cells.values())
    total = shown_number(shown.total)
    assert total in (None, sum(counts.values()))
    if not small:
        assert total is not None
        assert not others
    elif total is not None and sum(counts.values()) >= FEWEST:
        left = total - sum(number for number in known.values() if number is not None)
        for wanted in range(1, FEWEST):  # the rest of the small ones have 1 to 9 each, the others 10 or more
            rest = left - wanted
            least = len(small) - 1 + FEWEST * others
            assert rest >= least
            assert others or rest <= (FEWEST - 1) * (len(small) - 1)


@cache
def pages(cells: int) -> dict[tuple[tuple[str, ...], str], list[tuple[int, ...]]]:
    """Every table of so many counts with a total up to 40, by the page that it makes."""
    found: dict[tuple[tuple[str, ...], str], list[tuple[int, ...]]] = {}
    for counts in product(range(1, 41), repeat=cells):
        if sum(counts) > 40:
            continue
        shown = suppressed(dict(zip("abc", counts, strict=False)))
        found.setdefault((tuple(shown.cells.values()), shown.total), []).append(counts)
    return found


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_nor_by_who_knows_the_rule(cells: int) -> None:
    """All tables that give the same page, tried one by one: every hidden count differs among them."""
    for (texts, _), tables in pages(cells).items():
        for place, text in enumerate(texts):
            if text == SMALL:
                assert len({table[place] for table in tables}) > 1, (texts, tables)


@pytest.mark.parametrize(
    "name", ["age", "Age", "PatientAge", "patient_age", "age_years", "AgeGroup", "ages", "age-band"]
)
def test_names_of_ages(name: str) -> None:
    assert tells_age(name)


@pytest.mark.parametrize("name", ["image", "stage", "average", "dosage", "agent", "Stage2", "coverage", "finding"])
def test_names_of_others(name: str) -> None:
    assert not tells_age(name)


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("89", "89"),
        ("90", "90+"),
        ("92.5", "90+"),
        ("092Y", "90+"),
        ("90-99", "90+"),
        ("85-94", "85-90+"),
        ("> 90", "90+"),
        ("unknown", "unknown"),
    ],
)
def test_classes_of_ages(text: str, coded: str) -> None:
    assert top_coded(text, is_age=True) == coded


@pytest.mark.parametrize(
    ("text", "coded"),
    [
        ("aged 93, and age: 88", "aged 90+, and age: 88"),
        ("Age 101 or 95 years, 97-year-old, 91 y, 99yo", "Age 90+ or 90+ years, 90+-year-old, 90+ y, 90+yo"),
        ("a woman of 64 years", "a woman of 64 years"),
        ("95 % interval 0.91 to 0.97 with 100 labels", "95 % interval 0.91 to 0.97 with 100 labels"),
        ("image 93, stage 94, version 3.11.95", "image 93, stage 94, version 3.11.95"),
    ],
)
def test_ages_in_words(text: str, coded: str) -> None:
    assert top_coded(text) == coded
    assert top_coded(coded) == coded


@given(st.integers(0, 130), st.sampled_from(["age {}", "Aged {}", "{} years", "a {}-year-old", "{} y"]))
def test_no_age_above_89_is_left(age: int, words: str) -> None:
    assert (str(age) in top_coded(words.format(age))) == (age <= 89 or age == 90)  # 90+ itself
