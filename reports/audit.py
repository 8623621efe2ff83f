"""Shortcuts: what the embedding tells beside the labels, whether that tells a label, and scores level by level."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from reports.metric_rows import metric_name
from reports.number_words import begun, number_words

State = Literal["better", "worse", "unknown"]
NAMES = {
    "catalog": "catalog (which collection)",
    "pixel_mm": "mm a pixel",
    "frame": "shape of the frame",
    "sky_sigma": "sky noise",
    "psf_fwhm_px": "seeing (PSF)",
    "ebv": "E(B-V)",
    "number_range": "number range",
    "file_bytes": "file size",
    "file_rows": "rows",
    "file_columns": "columns",
    "file_format": "file format",
    "sky": "place on the sky (ninth)",
    "found_mark": "mark found (side)",
    "mark_share": "mark or device found (share of the frame)",
    "offset_x": "centre of light (sideways)",
    "offset_y": "centre of light (height)",
    "crop": "black share (crop)",
    "flux": "flux (magnitude)",
    "radius": "half-light radius (size)",
    "radius_arcsec": "radius of the catalog",
}


def audit_section(entries: Sequence[Mapping[str, Any]]) -> str:
    """The section, one part a label, each beginning with its finding; nothing where nothing was asked.

    `entries` are those of audit.json: attribute, levels, told, and by label among, told and within.
    """
    labels = list(dict.fromkeys(label for entry in entries for label in entry["labels"]))
    if not labels:
        return ""
    parts = "".join(_label(label, entries) for label in labels)
    return (
        '<section id="shortcuts" aria-labelledby="shortcuts-heading">\n<h2 id="shortcuts-heading">Shortcuts</h2>'
        f'{parts}<p class="soft how">'
        "How to read: numbers are AUROCs on the test half, .5 is chance, of linear heads; words "
        "are told apart as they are, numbers as their lower, middle and upper third. An attribute is marked where the "
        "embedding tells it among objects of one class and it alone tells the label: then a head can score by it. One "
        "that tells the label, while the embedding was not seen to tell it, is called bound to the label: what comes "
        "with it may be learnt in its place. "
        "Intervals are so wide that of runs in which nothing is told, one in twenty marks anything. That an attribute "
        "is told proves no shortcut: it may come with what is looked for (the view with the severity), and matching on "
        "it would not remove all confounding.</p>\n</section>"
    )


def suspects(label: str, entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries that the audit calls suspicious for this label, clearest first."""
    found = [entry for entry in entries if entry["labels"][label]["suspicious"]]
    return sorted(found, key=lambda entry: -float(entry["labels"][label]["told"]["value"]))


def bound(label: str, entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries that tell the label beyond chance and are not suspicious: the embedding was not seen to tell them
    among objects of one class, or that is not estimable; clearest first."""
    found = [
        entry for entry in entries
        if not entry["labels"][label]["suspicious"]
        and (entry["labels"][label].get("told") or {}).get("low") is not None
        and entry["labels"][label]["told"]["low"] > 0.5
    ]  # fmt: skip
    return sorted(found, key=lambda entry: -float(entry["labels"][label]["told"]["value"]))


def finding(label: str, entries: Sequence[Mapping[str, Any]]) -> tuple[str, State]:
    """What the audit says of a label in plain text, and its state: better, worse (some are marked) or unknown."""
    asked = [entry for entry in entries if "told" in entry["labels"][label]]
    measured = [entry for entry in asked if _has_interval(entry["labels"][label])]
    marked, tied = suspects(label, entries), bound(label, entries)
    if not asked:
        return "Whether attributes tell this label was not measured: it is of no classes.", "unknown"
    if not measured and not tied:
        return "Whether attributes tell this label is not estimable: too few test groups.", "unknown"
    if not marked and tied:
        return f"No attribute was seen to serve as a shortcut, but {_bound_sentence(label, tied)}", "worse"
    if not marked:
        names = ", ".join(map(attribute_name, measured))
        groups = measured[0]["told"]["groups"]
        return f"No shortcut was noticed in {groups:,} test groups. Asked about: {names}.", "better"
    first = marked[0]["labels"][label]
    others = [attribute_name(entry) for entry in marked[1:]]
    more = f" So {'do' if len(others) > 1 else 'does'} {', '.join(others)}." if others else ""
    besides = f" Besides, {_bound_sentence(label, tied)}" if tied else ""
    return (
        f"{len(marked)} of {len(measured)} attributes could serve as a shortcut. {begun(attribute_name(marked[0]))} "
        f"alone tells the label with {number_words(first['told'])}, and the embedding tells it with "
        f"{number_words(first['among'])} among objects of one class.{more}{besides}"
    ), "worse"


def _label(label: str, entries: Sequence[Mapping[str, Any]]) -> str:
    said, state = finding(label, entries)
    marked, tied = suspects(label, entries), bound(label, entries)
    return (
        f'<div class="label-column"><h3>{escape(label)}</h3><div class="verdict {state}"><p><strong>{escape(said)}'
        f"</strong></p></div>{_table(label, entries, marked, tied)}{_levels(label, entries)}</div>"
    )


def _bound_sentence(label: str, tied: Sequence[Mapping[str, Any]]) -> str:
    named = [
        f"{attribute_name(entry)}, which tells it with {number_words(entry['labels'][label]['told'])}" for entry in tied
    ]
    return (
        f"the label is bound to {'; '.join(named)}. The embedding was not seen to tell that among objects of one "
        "class, but a head may learn whatever else comes with it."
    )


def _table(
    label: str,
    entries: Sequence[Mapping[str, Any]],
    marked: Sequence[Mapping[str, Any]],
    tied: Sequence[Mapping[str, Any]],
) -> str:
    heads = ("Attribute", "The embedding tells it", "… among one class", "It alone tells the label")
    rows = ""
    for entry in entries:
        facts = entry["labels"][label]
        flag = "marked" if entry in marked else "bound to the label" if entry in tied else ""
        name = _name(entry) + (f' <span class="flag">{flag}</span>' if flag else "")
        cells = (entry["told"], facts.get("among"), facts.get("told"))
        numbers = "".join(f'<td class="number">{number_words(cell)}</td>' for cell in cells)
        rows += f'<tr><th scope="row">{name}</th>{numbers}</tr>'
    head = "".join(f'<th scope="col"{"" if i == 0 else _NUMBER}>{name}</th>' for i, name in enumerate(heads))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


_NUMBER = ' class="number"'


def _levels(label: str, entries: Sequence[Mapping[str, Any]]) -> str:
    rows, metric = "", ""
    for entry in entries:
        for level in entry["labels"][label]["within"]:
            metric = metric or str(level["metric"] or "")
            rows += (
                f'<tr><th scope="row">{_name(entry)}: {escape(str(level["level"]))}</th>'
                f'<td class="number">{number_words(level)}</td><td class="number">{level["groups"]:,}</td></tr>'
            )
    if not rows:
        return ""
    return (
        "<details><summary>The head's own score within each level</summary><p>Exploratory: of the head that learnt "
        "from all labels, with 95&nbsp;% intervals that no one corrected for their number.</p>"
        '<div class="scroll"><table><thead><tr><th scope="col">Level</th><th scope="col" class="number">'
        f'{escape(metric_name(metric))}</th><th scope="col" class="number">Test groups</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _has_interval(facts: Mapping[str, Any]) -> bool:
    return all(facts[key]["low"] is not None for key in ("among", "told"))


def attribute_name(entry: Mapping[str, Any]) -> str:
    """What an entry's attribute is called, as plain text."""
    name = str(entry["attribute"])
    return NAMES.get(name, name)


def _name(entry: Mapping[str, Any]) -> str:
    return escape(attribute_name(entry))
