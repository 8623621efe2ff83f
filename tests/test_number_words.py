"""Numbers in words: a minus that is one, no sign on nothing, percents that hide nothing, names in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.number_words import decimal, joined, number_words, percent


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(-0.0004, False, "0.000"), (-0.0004, True, "+0.000"), (-0.25, True, "−0.250"), (0.25, True, "+0.250"),
     (1234.5, False, "1,234.500")],
)  # fmt: skip
def test_decimals(value: float, signed: bool, text: str) -> None:
    assert decimal(value, signed=signed) == text


@given(st.floats(-1e6, 1e6), st.integers(0, 5))
def test_a_decimal_is_the_number_it_rounds_to(value: float, digits: int) -> None:
    text = decimal(value, digits)
    assert float(text.replace("−", "-").replace(",", "")) == pytest.approx(round(value, digits))
    assert not text.startswith("−0") or any(c in "123456789" for c in text)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.1, "10 %"), (0.5, "50 %"), (0.996, "99.6 %"), (1.0, "100 %")]
)
def test_percents(share: float, text: str) -> None:
    assert percent(share) == text


def test_percents_with_wanted_decimals() -> None:
    assert (percent(0.0012, 2), percent(0.886, 0), percent(0.5, 1)) == ("0.12 %", "89 %", "50.0 %")


def test_names_in_a_row() -> None:
    assert [joined(["a", "b", "c"][:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_what_is_not_there() -> None:
    assert number_words(None) == "–"
    assert number_words({"value": None, "low": None, "high": None}) == "not estimable"
    assert number_words({"value": -0.2, "low": None, "high": None}) == "−0.200 (no interval)"
    assert number_words({"value": -0.0001, "low": -0.02, "high": 0.02}) == "0.000 (−0.020 to 0.020)"
