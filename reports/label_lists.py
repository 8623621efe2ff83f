"""Lists for people on the page: labels to check and what to label next, each beginning with its finding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from reports.sections import cards

MOST = 24  # rows shown of a list


@final
@dataclass(frozen=True)
class LabelList:
    """One section: its id on the page, heading, finding, what to make of it, the file that holds all rows, the first.

    `rows` hold rank (from 1), object_id, score (-1 to 1; None in a list without) and notes (texts), each with its
    picture in `pictures` (RGB, 0..255; None: no pictures); no rows give no section. Raises ValueError for more than 24
    rows, and where there is not one picture a row.
    """

    anchor: str
    heading: str
    finding: str
    advice: str
    file: str
    rows: Sequence[Mapping[str, Any]]
    pictures: UInt8[np.ndarray, "k p p 3"] | None

    def __post_init__(self) -> None:
        if len(self.rows) > MOST:
            raise ValueError(f"{self.heading}: {len(self.rows)} rows on the page; give the first {MOST}")
        if self.pictures is not None and len(self.pictures) != len(self.rows):
            raise ValueError(f"{self.heading}: {len(self.pictures)} pictures for {len(self.rows)} rows; give one a row")


def label_list_links(lists: Sequence[LabelList]) -> str:
    """Entries of the page's contents for the lists that have rows."""
    return "".join(f'\n<a href="#{escape(shown.anchor)}">{escape(shown.heading)}</a>' for shown in lists if shown.rows)


def label_list_sections(lists: Sequence[LabelList], row_of: Mapping[str, int]) -> str:
    """The lists that have rows, as sections; `row_of` says which objects are on the map."""
    return "".join(_section(shown, row_of) for shown in lists if shown.rows)


def _section(shown: LabelList, row_of: Mapping[str, int]) -> str:
    anchor = escape(shown.anchor)
    items = [{**row, "flags": row["notes"]} for row in shown.rows]
    return (
        f'\n<section id="{anchor}" aria-labelledby="{anchor}-heading">\n'
        f'<h2 id="{anchor}-heading">{escape(shown.heading)}</h2>\n'
        f"<p>{escape(shown.finding)}</p>"
        f'<p>{escape(shown.advice)} All rows: <a href="{escape(shown.file)}">{escape(shown.file)}</a>.</p>'
        f"{cards(items, shown.pictures, row_of)}\n</section>"
    )
