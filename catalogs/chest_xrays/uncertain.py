"""Findings that a source is uncertain of or does not mention: what they count as, by a policy that is always stated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from catalogs.errors import CatalogError


@final
@dataclass(frozen=True)
class Unsettled:
    """How many values of a finding its source was uncertain of, and on how many it said nothing."""

    uncertain: int
    blank: int


def settle(
    values: Sequence[str | None], policy: Literal["ignore", "zero", "one"], blank: Literal["unknown", "zero"]
) -> tuple[list[str | None], Unsettled]:
    """Each value of one finding as "1", "0" or None (unknown), and how many were not settled by the source.

    The uncertain ("-1") become None, "0" or "1": U-Ignore, U-Zeros and U-Ones of CheXpert (Irvin et al. 2019,
    arXiv:1901.07031, 3.1). The blank (None: not mentioned) stay None or become "0". Raises CatalogError for other
    values.
    """
    meaning = {
        "1": "1",
        "0": "0",
        "-1": {"ignore": None, "zero": "0", "one": "1"}[policy],
        None: {"unknown": None, "zero": "0"}[blank],
    }
    if strange := sum(value not in meaning for value in values):
        raise CatalogError("{count} value(s) of a finding are none of 1, 0, -1 and empty", count=strange)
    counts = Unsettled(sum(value == "-1" for value in values), sum(value is None for value in values))
    return [meaning[value] for value in values], counts
