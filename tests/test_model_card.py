"""The card as text: its structure, tables that hold together, words of the user that stay words."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reports.model_card import CardSection, ModelCard, Table, card_html, card_markdown, markdown_text, write_card

GOLDEN = """\
# Model card: galaxies, a\\|b

> **Simulated \\<b\\>all\\</b\\>.**

## Data

**4 objects of 3 groups.**

- \\- no list in a list, 2 \\* 3
- 1\\. nor a number
- dwarf_elliptical and \\_this\\_ stay

Counts:

| Class | Objects | Value |
| --- | ---: | --- |
| a\\|b | 1,200 | 0.9 |
| \\`c\\` | < 10 | 1.2.3 |

## Limits

**None \\[x\\](y).**
""".replace("< 10", "\\< 10")


def card(*sections: CardSection, notices: tuple[str, ...] = ()) -> ModelCard:
    return ModelCard("Model card: galaxies, a|b", notices, sections)


def test_the_whole_card_in_markdown(tmp_path: Path) -> None:
    table = Table("Counts", ("Class", "Objects", "Value"), (("a|b", "1,200", "0.9"), ("`c`", "< 10", "1.2.3")))
    empty = Table("Nothing", ("A", "B"), ())
    said = ("- no list in a list, 2 * 3", "1. nor a number", "dwarf_elliptical and _this_ stay")
    whole = card(
        CardSection("Data", "4 objects of 3 groups.", said, (table, empty)),
        CardSection("Limits", "None [x](y)."),
        notices=("Simulated <b>all</b>.",),
    )
    assert card_markdown(whole) == GOLDEN
    write_card(tmp_path / "model_card.md", whole)
    assert (tmp_path / "model_card.md").read_text() == GOLDEN
    assert [path.name for path in tmp_path.iterdir()] == ["model_card.md"]


def test_a_row_has_a_cell_for_every_head() -> None:
    with pytest.raises(ValueError, match="Counts: a row of 1 cells below 2 heads"):
        Table("Counts", ("A", "B"), (("a",),))


def test_the_page_s_section_escapes_and_folds() -> None:
    table = Table("<i>", ("<a>", "n"), (("<b>", "1"),))
    text = card_html(card(CardSection("<h>", "<f>", ("<s>\u00a0%",), (table,), "worse")), "<w>")
    assert not re.search(r"<(a|b|f|h|i|s|w)>", text)
    assert '<div class="verdict worse"><p>&lt;f&gt;</p></div><details>' in text
    assert "&lt;s&gt;&nbsp;%" in text
    assert '<th scope="row">&lt;b&gt;</th><td class="number">1</td>' in text
    assert "<details>" not in card_html(card(CardSection("a", "b")))
    assert card_html(None) == ""


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="ab1 \t\n|\\`*_[]()<>#+-=.!&~$:/@\"'", max_size=40),
    st.sampled_from(
        ["</details><script>", "https://evil.invalid", "www.evil.invalid", "![x](https://e)", "&copy;", "\ud800"]
    ),
)


def plain(text: str) -> str:
    """What is left to read of a text: printable characters, blanks run together."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "–"


@settings(deadline=None)
@given(HOSTILE, HOSTILE)
@example("- a", "1. a")
@example("12) a", "+ a")
@example("===", "---")
@example("_a_", "a\\")
def test_no_word_becomes_a_mark(one: str, two: str) -> None:
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is absent")
    reader = markdown.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    table = Table(one, ("Class", two), ((one, two), (two, one)))
    whole = card(CardSection("Data", one, (two, one), (table,)), notices=(two,))
    found = reader.parse(card_markdown(whole).encode(errors="replace").decode())
    inline = [token for token in found if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children or ()}
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    read = ["".join(child.content for child in token.children or ()) for token in inline]
    first, second = (plain(text).encode(errors="replace").decode() for text in (one, two))
    cells = ["Class", second, first, second, second, first]
    assert read == [whole.title, second, "Data", first, second, first, f"{first}:", *cells]
    assert [token.type for token in found if token.type.endswith("_open")].count("bullet_list_open") == 1


@settings(deadline=None)
@given(HOSTILE)
def test_every_line_of_a_table_has_as_many_cells(text: str) -> None:
    table = Table("t", ("a", text), ((text, "1"),))
    block = card_markdown(card(CardSection("h", "f", (), (table,)))).split("\n\n")[-1].strip("\n").split("\n")
    assert [len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) for line in block] == [3, 3, 3]
    assert "\n" not in markdown_text(text)
