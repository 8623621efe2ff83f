"""Measured numbers in words, as sections and their sentences say them: one way for all, in plain text."""

from collections.abc import Mapping, Sequence
from typing import Any


def number_words(facts: Mapping[str, Any] | None) -> str:
    """A value with its low and high end, three decimals; why there is none, and a dash for None."""
    if facts is None:
        return "–"
    if facts["value"] is None:
        return "not estimable"
    if facts["low"] is None:
        return f"{decimal(facts['value'])} (no interval)"
    return f"{decimal(facts['value'])} ({decimal(facts['low'])} to {decimal(facts['high'])})"


def decimal(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number with so many decimals and a true minus sign; what rounds to nothing has no sign but a wanted plus."""
    rounded = round(float(value), digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:{'+' if signed else ''},.{digits}f}".replace("-", "−")


def percent(share: float, digits: int | None = None) -> str:
    """A share in percent; by itself with one decimal where whole percents would hide something, near 0 and near 1."""
    if digits is None:
        digits = 0 if 0.1 <= share <= 0.9 or share in (0, 1) else 1
    return f"{100 * share:.{digits}f} %"


def p_words(value: float) -> str:
    """A p-value after the letter: "= 0.03", or "below 0.01"."""
    return "below 0.01" if value < 0.01 else f"= {value:.2f}"


def joined(names: Sequence[str]) -> str:
    """Names in a row: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def begun(text: str) -> str:
    """The text with a capital at its start, and no other letter changed."""
    return text[:1].upper() + text[1:]
