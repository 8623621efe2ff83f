"""The sections of the page as HTML; every text from outside is escaped here."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from reports.figures import STARTS, label_efficiency, start_name, training_curves
from reports.payload import webp

SENTENCES_IN_ONE_COLUMN = 12


def sentences(items: Sequence[str], css_class: str, empty: str = "") -> str:
    """A list, in columns where it is long, or the paragraph `empty` (nothing if that is empty too)."""
    if not items:
        return f'<p class="soft">{escape(empty)}</p>' if empty else ""
    label = ' aria-label="Notices"' if css_class == "notices" else ""
    # All stay in sight: the last sentence may be the warning.
    css_class += " many" if len(items) > SENTENCES_IN_ONE_COLUMN else ""
    return f'<ul class="{css_class}"{label}>' + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def few_labels(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figure, a table of values per label, metric and head, and the paired differences in words."""
    if not rows:
        return '<p class="soft">No labels were given, so no head was trained and nothing was measured.</p>'
    values = [row for row in rows if not row.get("difference_to")]
    differences = [row for row in rows if row.get("difference_to")]
    parts = []
    if figure := label_efficiency(rows):
        parts.append(
            "<p>Heads trained on few labels and measured on the test objects. Lines are means over draws of the "
            "labels, bands are 95&nbsp;% intervals.</p>"
            f'<div class="figure">{figure}</div>'
        )
    parts += [_value_table(*group) for group in _groups(values)]
    if differences:
        parts.append(
            "<h3>Paired differences</h3><p>The same draws of labels and the same test objects on both sides, so an "
            "interval that excludes zero is evidence even where the bands above overlap.</p>"
        )
        parts += [_difference_table(*group) for group in _groups(differences)]
    return "\n".join(parts)


def anomalies(
    ranked: Sequence[Mapping[str, Any]],
    pictures: UInt8[np.ndarray, "k p p 3"] | None,
    row_of: Mapping[str, int],
    *,
    trouble_apart: bool = False,
) -> str:
    """A grid of pictures with rank, id, score, flags and links; `row_of` says which of them are on the map.

    `trouble_apart` says that ranks are missing here because their objects stand in the section of input trouble.
    """
    if not ranked:
        return '<p class="soft">No anomalies were ranked.</p>'
    apart = ' Images at fault stand apart, under <a href="#input-trouble">Input trouble</a>.' if trouble_apart else ""
    return (
        "<p>The objects that are least like the others by their embeddings, the strangest first: rank, score, id, "
        "flags. Score: the mean over detectors of the share of objects that are less odd, 0 to 1. A high rank is a "
        f"reason to look, not a finding; artefacts rank high too.{apart}</p>"
        f"{_cards(ranked, pictures, row_of)}"
    )


def trouble(
    ranked: Sequence[Mapping[str, Any]], pictures: UInt8[np.ndarray, "k p p 3"] | None, row_of: Mapping[str, int]
) -> str:
    """The same grid for objects whose images are at fault, headed by how many there are of each kind (flag)."""
    if not ranked:
        return '<p class="soft">None was found.</p>'
    counts = Counter(str(flag) for item in ranked for flag in dict.fromkeys(item.get("flags") or ()))
    kinds = "".join(
        f'<li><span class="flag">{escape(kind)}</span> {count:,}</li>'
        for kind, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    return (
        "<p>These images are inverted, rotated, cut or empty, or otherwise not as such images should be, which alone "
        "can make them odd; look at the input before at the object. Ranks are of the same ranking as above.</p>"
        f'<ul class="kinds" aria-label="Objects by flag">{kinds}</ul>'
        f"{_cards(ranked, pictures, row_of)}"
    )


def training(records: Sequence[Mapping[str, Any]]) -> str:
    """The loss and the measures of collapse."""
    figure = training_curves(records)
    if not figure:
        return '<p class="soft">No record of pretraining was given.</p>'
    return (
        "<p>A collapsed encoder gives every object the same embedding: RankMe (Garrido et al. 2023), spread and "
        "uniformity would show it, while the loss may not.</p>"
        f'<div class="figure">{figure}</div>'
    )


def left_out(quarantine: Mapping[str, int], kept: int) -> str:
    """How many objects were not used, by reason."""
    total = sum(quarantine.values())
    if not total:
        return "<p>Nothing: every object of the catalog was read.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(str(reason))}</th><td class="number">{count:,}</td>'
        f'<td class="number">{count / (total + kept):.2%}</td></tr>'
        for reason, count in sorted(quarantine.items(), key=lambda item: (-item[1], item[0]))
    )
    return (
        f"<p>{total:,} of {total + kept:,} objects were left out; quarantine.csv names each of them.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">Reason</th><th scope="col" class="number">Objects</th>'
        f'<th scope="col" class="number">Share</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def provenance(facts: Mapping[str, Any]) -> str:
    """Nested facts as one table: a heading per group, dotted names below it."""
    if not facts:
        return '<p class="soft">None was given.</p>'
    loose = {name: value for name, value in facts.items() if not isinstance(value, Mapping)}
    groups = [("", loose)] + [(str(name), value) for name, value in facts.items() if isinstance(value, Mapping)]
    rows = []
    for heading, group in groups:
        if heading:
            rows.append(f'<tr class="group"><th scope="rowgroup" colspan="2">{escape(heading)}</th></tr>')
        rows += [
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(_fact(value))}</td></tr>'
            for name, value in _flattened(group)
        ]
    return f'<table class="provenance"><tbody>{"".join(rows)}</tbody></table>'


def _cards(
    ranked: Sequence[Mapping[str, Any]], pictures: UInt8[np.ndarray, "k p p 3"] | None, row_of: Mapping[str, int]
) -> str:
    cards = []
    for position, item in enumerate(ranked):
        name = str(item["object_id"])
        if pictures is None:
            picture = '<div class="picture no-picture">no picture</div>'
        else:
            encoded = webp(pictures[position], quality=86)
            picture = f'<img class="picture" alt="Picture of {escape(name)}" src="data:image/webp;base64,{encoded}">'
        flags = "".join(f'<span class="flag">{escape(str(flag))}</span>' for flag in item.get("flags") or ())
        links = "".join(map(_link, (item.get("links") or {}).items()))
        if name in row_of:
            links += f'<button type="button" data-row="{row_of[name]}">on the map</button>'
        cards.append(
            f'<li>{picture}<div class="heading"><span class="rank">{int(item["rank"])}</span>'
            f'<span class="score" title="score">{_score(item["score"])}</span></div>'
            f'<div class="id">{escape(name)}</div>{flags}<div class="links">{links}</div></li>'
        )
    return f'<ol class="anomalies">{"".join(cards)}</ol>'


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, list[Mapping[str, Any]]]]:
    """Rows by label, metric and head, in order of appearance."""
    keys = dict.fromkeys((str(row["label"]), str(row["metric"]), str(row["head"])) for row in rows)
    return [
        (*key, [row for row in rows if (str(row["label"]), str(row["metric"]), str(row["head"])) == key])
        for key in keys
    ]


def _value_table(label: str, metric: str, head: str, rows: list[Mapping[str, Any]]) -> str:
    """Starts down, labels per class across."""
    given = dict.fromkeys(str(row["start"]) for row in rows)
    starts = [start for start in STARTS if start in given] + [start for start in given if start not in STARTS]
    lines = [(escape(start_name(start)), [row for row in rows if row["start"] == start]) for start in starts]
    return _matrix(_caption(label, metric, head, rows), lines, signed=False)


def _difference_table(label: str, metric: str, head: str, rows: list[Mapping[str, Any]]) -> str:
    """Pairs of starts down, labels per class across, and below it what the intervals say."""
    pairs = dict.fromkeys((str(row["start"]), str(row["difference_to"])) for row in rows)
    members = {pair: [row for row in rows if (row["start"], row["difference_to"]) == pair] for pair in pairs}
    lines = [
        (
            f'{escape(start_name(start))}<span class="interval">− {escape(start_name(other))}</span>',
            members[start, other],
        )
        for start, other in pairs
    ]
    words = "".join(
        f"<li>{_reading(start_name(start), start_name(other), members[start, other])}</li>" for start, other in pairs
    )
    return _matrix(_caption(label, metric, head, rows), lines, signed=True) + f'<ul class="findings">{words}</ul>'


def _matrix(caption: str, lines: list[tuple[str, list[Mapping[str, Any]]]], *, signed: bool) -> str:
    """A table whose lines are named by HTML, with a cell for each number of labels per class."""
    counts = _counts([row for _, members in lines for row in members])
    body = ""
    for name, members in lines:
        at = {row["labels_per_class"]: row for row in members}
        cells = "".join(f"<td>{_with_interval(at.get(count), signed=signed)}</td>" for count in counts)
        body += f'<tr><th scope="row">{name}</th>{cells}</tr>'
    header = "".join(f'<th scope="col">{_labels(count)}</th>' for count in counts)
    return (
        f'<div class="scroll"><table class="metrics">{caption}<thead><tr><th scope="col">labels per class</th>{header}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _reading(start: str, other: str, rows: list[Mapping[str, Any]]) -> str:
    """Where the intervals of a difference exclude zero, in words; a bound at zero does not exclude it."""
    measured = [row for row in rows if all(_is_number(row[name]) for name in ("value", "low", "high"))]
    if not measured:
        return f"{escape(start)} and {escape(other)}: not measured."
    higher = [row for row in measured if row["low"] > 0]
    lower = [row for row in measured if row["high"] < 0]
    undecided = [row for row in measured if row["low"] <= 0 <= row["high"]]
    parts = [
        f"{word} {escape(other)} with {_listed(_counts(found))} labels per class: the interval excludes zero"
        for word, found in (("higher than", higher), ("lower than", lower))
        if found
    ]
    if undecided:
        parts.append(
            f"not told apart from {escape(other)} with {_listed(_counts(undecided))} labels per class: "
            "the interval includes zero"
        )
    return f"{escape(start)} is " + "; ".join(parts) + "."


def _counts(rows: Iterable[Mapping[str, Any]]) -> list[int | None]:
    """The numbers of labels per class that occur, in order; None (all labels) is the last."""
    return sorted({row["labels_per_class"] for row in rows}, key=lambda count: math.inf if count is None else count)


def _listed(counts: list[int | None]) -> str:
    names = [_labels(count) for count in counts]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _caption(label: str, metric: str, head: str, rows: list[Mapping[str, Any]]) -> str:
    groups = sorted({int(row["n_groups"]) for row in rows if _is_number(row.get("n_groups"))})
    tested = "" if not groups else f", {groups[0]:,} test groups" if len(groups) == 1 else (
        f", {groups[0]:,} to {groups[-1]:,} test groups"
    )  # fmt: skip
    return f'<caption>{escape(label)}: {escape(metric)} <span class="soft">{escape(head)} head{tested}</span></caption>'


def _with_interval(row: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if row is None or not _is_number(row["value"]):
        return '<span class="soft">–</span>'
    form = "+.3f" if signed else ".3f"
    value = f"{row['value']:{form}}".replace("-", "−")
    if not (_is_number(row["low"]) and _is_number(row["high"])):
        return value
    low, high = (f"{row[bound]:{form}}".replace("-", "−") for bound in ("low", "high"))
    return f'{value} <span class="interval">[{low}, {high}]</span>'


def _labels(count: int | None) -> str:
    return "all" if count is None else f"{count:,}"


def _link(named: tuple[str, str]) -> str:
    """A link, or nothing: an address that is not http or https could run a script."""
    name, url = named
    if urlsplit(str(url)).scheme not in ("http", "https"):
        return ""
    return f'<a href="{escape(str(url))}" target="_blank" rel="noopener noreferrer">{escape(str(name))}</a>'


def _flattened(group: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in group.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _fact(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_fact, value))
    if isinstance(value, Mapping):
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(float(value))


def _score(value: Any) -> str:
    return f"{float(value):.4f}" if _is_number(value) else "unknown"
