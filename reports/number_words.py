"""Measured numbers in words, as sections and their sentences say them: one way for all, in plain text."""

from collections.abc import Mapping
from typing import Any


def number_words(facts: Mapping[str, Any] | None) -> str:
    """A value with its low and high end, three decimals; why there is none, and a dash for None."""
    if facts is None:
        return "–"
    if facts["value"] is None:
        return "not estimable"
    if facts["low"] is None:
        return f"{facts['value']:.3f} (no interval)".replace("-", "−")
    return f"{facts['value']:.3f} ({facts['low']:.3f} to {facts['high']:.3f})".replace("-", "−")


def p_words(value: float) -> str:
    """A p-value after the letter: "= 0.03", or "below 0.01"."""
    return "below 0.01" if value < 0.01 else f"= {value:.2f}"


def begun(text: str) -> str:
    """The text with a capital at its start, and no other letter changed."""
    return text[:1].upper() + text[1:]
