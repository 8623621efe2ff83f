"""The model card (Mitchell et al. 2019, Model Cards for Model Reporting): one structure, as Markdown and as HTML.

Its texts are plain; both renderers escape them, so that no word of the user becomes a mark, a link or an element.
"""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal, final

from reports.atomic import replacing

State = Literal["better", "worse", "unknown"]

# What CommonMark, its tables (GFM) or HTML in it would take for a mark anywhere in a line …
_MARKS = re.compile(r"[\\`*\[\]<>|&~$#]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)")
# … and where a block begins: lists and rules.
_BEGINS = re.compile(r"^(\d*)([+=.)-])")
# A column of such cells is set to the right.
_NUMBER = re.compile(r"[−+]?(?:[<≥] )?[\d,]*\.?\d+(?: \([^)]*\))?|–|not estimable")


@final
@dataclass(frozen=True)
class Table:
    """Rows of words and numbers below their heads; ValueError where a row has another number of cells."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"{self.caption}: a row of {len(row)} cells below {len(self.head)} heads")


@final
@dataclass(frozen=True)
class CardSection:
    """One section: its finding, a sentence made from numbers, what else is to be said, and tables.

    `state`: "worse" is a warning, "better" good news, "unknown" neither.
    """

    heading: str
    finding: str
    said: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    state: State = "unknown"


@final
@dataclass(frozen=True)
class ModelCard:
    """The card: a title, sentences that nobody may overlook, and sections. Tables without rows are left out."""

    title: str
    notices: tuple[str, ...]
    sections: tuple[CardSection, ...]


def write_card(path: Path, card: ModelCard) -> None:
    """Writes the card as one UTF-8 Markdown file, under another name first; equal cards give equal files."""
    with replacing(path) as partial:
        # a lone surrogate in a name must not stop the report
        partial.write_bytes(card_markdown(card).encode("utf-8", errors="replace"))


def card_markdown(card: ModelCard) -> str:
    """The card in CommonMark with tables as GitHub's dialect has them."""
    parts = [f"# {markdown_text(card.title)}"]
    parts += [f"> **{markdown_text(notice)}**" for notice in card.notices]
    for section in card.sections:
        parts += [f"## {markdown_text(section.heading)}", f"**{markdown_text(section.finding)}**"]
        if section.said:
            parts.append("\n".join(f"- {_block(sentence)}" for sentence in section.said))
        for table in filter(_has_rows, section.tables):
            parts += [f"{_block(table.caption)}:", _markdown_table(table)]
    return "\n\n".join(parts) + "\n"


def card_html(card: ModelCard | None, where: str = "") -> str:
    """The card as the last section of a page, each of its sections folded, and `where` else it stands; "" for None."""
    if card is None:
        return ""
    return (
        '\n<section id="model-card" aria-labelledby="model-card-heading">\n'
        '<h2 id="model-card-heading">Model card</h2>'
        '<p class="soft how">What a stranger must know of the encoder and its heads before using them (after Mitchell '
        f"et al. 2019). {_html(where)}</p>{''.join(map(_html_section, card.sections))}\n"
        "</section>"
    )


def markdown_text(text: str) -> str:
    """Plain text so escaped that it is shown as it stands, in one line; nothing becomes "–"."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", " ".join(shown.split())) or "–"


def _block(text: str) -> str:
    """The same where a block begins."""
    return _BEGINS.sub(r"\1\\\2", markdown_text(text))


def _markdown_table(table: Table) -> str:
    head, *rows = [f"| {' | '.join(map(markdown_text, line))} |" for line in (table.head, *table.rows)]
    rule = " | ".join("---:" if right else "---" for right in _right(table))
    return "\n".join([head, f"| {rule} |", *rows])


def _html_section(section: CardSection) -> str:
    said = "".join(f"<li>{_html(sentence)}</li>" for sentence in section.said)
    listed = f'<ul class="findings">{said}</ul>' if said else ""
    tables = "".join(map(_html_table, filter(_has_rows, section.tables)))
    more = f"<details><summary>{_html(section.heading)}: details</summary>{listed}{tables}</details>"
    return (
        f'<h3>{_html(section.heading)}</h3><div class="verdict {section.state}"><p>{_html(section.finding)}</p></div>'
        f"{more if listed or tables else ''}"
    )


def _html_table(table: Table) -> str:
    numbers = [' class="number"' if column else "" for column in _right(table)]
    head = "".join(f'<th scope="col"{kind}>{_html(name)}</th>' for kind, name in zip(numbers, table.head, strict=True))
    rows = ""
    for row in table.rows:
        cells = "".join(f"<td{kind}>{_html(cell)}</td>" for kind, cell in zip(numbers[1:], row[1:], strict=True))
        rows += f'<tr><th scope="row">{_html(row[0])}</th>{cells}</tr>'
    return (
        f'<div class="scroll"><table><caption>{_html(table.caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _right(table: Table) -> list[bool]:
    """Which columns are numbers, and so set to the right; never the first."""
    columns = zip(*table.rows, strict=True)
    return [place > 0 and all(map(_NUMBER.fullmatch, cells)) for place, cells in enumerate(columns)]


def _has_rows(table: Table) -> bool:
    return bool(table.rows)


def _html(text: str) -> str:
    return escape(text).replace("\u00a0", "&nbsp;")
