"""What a page that is handed out may say of few people: small counts hidden, also from subtraction; ages top-coded.

The rules are those of statistical disclosure control (Hundepool et al. 2012, Statistical Disclosure Control, ch. 4, on
primary and complementary cell suppression) and of HIPAA's safe harbour (45 CFR 164.514(b)(2)(i)(C): ages above 89).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

FEWEST = 10  # a count of fewer images, or patients, is not shown
SMALL, NOT_SMALL = f"< {FEWEST}", f"≥ {FEWEST}"
OLDEST = 89

_NUMBER = r"\d+(?:\.\d+)?"
_AGE_NAME = re.compile(r"(?<![a-z])age(?:s|d|[ _-]?(?:band|group|bin|class|range|years?))?(?![a-z])")
_AGES_IN_WORDS = (
    re.compile(rf"(\bage[ds]?\b[^\d\n]{{0,12}})({_NUMBER})(?!\+)", re.IGNORECASE),
    re.compile(rf"(\b)({_NUMBER})(?= ?-?(?:years?|yrs?|yo|y/o|y)\b)", re.IGNORECASE),
)


@final
@dataclass(frozen=True)
class Suppressed:
    """Counts by name and their total as they may be shown: the number, "< 10", or "≥ 10" where it must hide another."""

    cells: Mapping[str, str]
    total: str


def suppressed(counts: Mapping[str, int], people: Mapping[str, int] | None = None, all_people: int = 0) -> Suppressed:
    """Counts (from 1 up) of images, hidden where they are below 10 or of fewer than 10 people.

    `people` by name and `all_people` are those to whom the images belong, None where the images stand for themselves.
    While what is shown would tell a hidden count to be none of 1 to 9, as the total less the other cells does, the next
    smallest is hidden too; where that cannot help, so is the total. A total below 10, or of fewer than 10 people, is
    hidden as well. No counts give no cells and a total of "0".
    """
    assert all(count > 0 for count in counts.values()), counts
    total, of = sum(counts.values()), counts if people is None else people
    small = [name for name in counts if of[name] < FEWEST or counts[name] < FEWEST]
    others = sorted((name for name in counts if name not in small), key=lambda name: (counts[name], name))
    hidden = 0
    while hidden <= len(others):
        left = sum(counts[name] for name in [*small, *others[:hidden]])
        if _ambiguous(left, len(small), hidden, counts[others[hidden]] if hidden < len(others) else None):
            break
        hidden += 1
    cells = {name: SMALL if name in small else f"{counts[name]:,}" for name in counts}
    cells |= dict.fromkeys(others[:hidden], NOT_SMALL)
    if 0 < (total if people is None else min(total, all_people)) < FEWEST:
        return Suppressed(cells, SMALL)
    return Suppressed(cells, NOT_SMALL if hidden > len(others) else f"{total:,}")


def _ambiguous(left: int, small: int, others: int, next_one: int | None) -> bool:
    """Whether each of `small` hidden counts may be any of 1 to 9, where with `others` they sum to `left`.

    Who knows the rule knows that each of the others is 10 or more and at most `next_one`, the smallest that is shown.
    """
    if small == 0:
        return True
    most_of_others = others * (left if next_one is None else next_one)
    least = left - (FEWEST - 1) * (small - 1) - most_of_others
    most = left - (small - 1) - FEWEST * others
    return least <= 1 and most >= FEWEST - 1


def tells_age(name: str) -> bool:
    """Whether a column's name says that it holds ages: age, PatientAge, age_group; not image or stage."""
    return _AGE_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ")) is not None


def top_coded(text: str, *, is_age: bool = False) -> str:
    """The text with "90+" for ages above 89: what stands by "age" or "years", and with `is_age` every number."""
    if is_age:
        numbers = re.findall(_NUMBER, text)
        if numbers and all(float(number) > OLDEST for number in numbers):
            return f"{OLDEST + 1}+"
        return re.sub(_NUMBER, lambda found: _coded(found.group()), text)
    for pattern in _AGES_IN_WORDS:
        text = pattern.sub(lambda found: found[1] + _coded(found[2]), text)
    return text


def _coded(number: str) -> str:
    return f"{OLDEST + 1}+" if float(number) > OLDEST else number
