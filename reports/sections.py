"""The sections of the page as HTML; every text from outside is escaped here."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from reports.few_labels import few_labels as few_labels  # one of the sections that page.py asks for
from reports.figures import training_curves
from reports.number_words import percent
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


def begun_with(said: Sequence[str]) -> str:
    """The finding of a section, at its head; nothing for none."""
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in said)
    return f'<div class="verdict unknown">{told}</div>' if told else ""


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
        f"{cards(ranked, pictures, row_of)}"
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
        f"{cards(ranked, pictures, row_of)}"
    )


def training(records: Sequence[Mapping[str, Any]], guard: Mapping[str, Any] | None = None) -> str:
    """What the guard chose and why, the loss and the measures of collapse.

    `guard` holds chosen ("epoch 6" or "start"), why (a sentence), measured_by, and candidates with name, score and gain
    beside the start with its low and high; None where none watched. That the start was kept is a warning.
    """
    figure = training_curves(records)
    if not figure:
        return _guard(guard) + '<p class="soft">No record of pretraining was given.</p>'
    return (
        f"{_guard(guard)}"
        "<p>A collapsed encoder gives every object the same embedding: RankMe (Garrido et al. 2023), spread and "
        "uniformity would show it, while the loss may not.</p>"
        f'<div class="figure">{figure}</div>'
    )


def _guard(guard: Mapping[str, Any] | None) -> str:
    if guard is None:
        return ""
    kept = str(guard["chosen"]) == "start"
    sentence = f"<strong>{'The start was kept' if kept else 'Chosen: ' + escape(str(guard['chosen']))}.</strong> "
    said = f'<p class="verdict {"worse" if kept else "better"}">{sentence}{escape(str(guard["why"]))}</p>'
    lines = ""
    for candidate in guard["candidates"]:
        name = str(candidate["name"])
        mark = " (chosen)" if name == str(guard["chosen"]) else ""
        gain = [candidate.get(key) for key in ("gain", "low", "high")]
        beside = "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain).replace("-", "−") if all(map(_is_number, gain)) else "–"
        beside = "–" if name == "start" else beside
        score = f"{candidate['score']:.3f}".replace("-", "−") if _is_number(candidate["score"]) else "not estimable"
        lines += (
            f'<tr><th scope="row">{escape(name)}{mark}</th><td class="number">{score}</td>'
            f'<td class="number">{beside}</td></tr>'
        )
    if not lines:
        return said
    return (
        f'{said}<div class="scroll"><table><caption>What was chosen from <span class="soft">measured by '
        f"{escape(str(guard['measured_by']))}</span></caption>"
        '<thead><tr><th scope="col">Encoder</th><th scope="col" class="number">Score</th>'
        '<th scope="col" class="number">Beside the start (95&nbsp;% interval)</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def left_out(quarantine: Mapping[str, int], kept: int) -> str:
    """How many objects were not used, by reason."""
    total = sum(quarantine.values())
    if not total:
        return "<p>Nothing: every object of the catalog was read.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(str(reason))}</th><td class="number">{count:,}</td>'
        f'<td class="number">{percent(count / (total + kept), 2)}</td></tr>'
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


def cards(
    ranked: Sequence[Mapping[str, Any]], pictures: UInt8[np.ndarray, "k p p 3"] | None, row_of: Mapping[str, int]
) -> str:
    """A grid of pictures with rank, score, id, flags and links; `row_of` says which of them are on the map."""
    shown = []
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
        shown.append(
            f'<li>{picture}<div class="heading"><span class="rank">{int(item["rank"])}</span>'
            f"{_score_html(item)}</div>"
            f'<div class="id">{escape(name)}</div>{flags}<div class="links">{links}</div></li>'
        )
    return f'<ol class="anomalies">{"".join(shown)}</ol>'


def _score_html(item: Mapping[str, Any]) -> str:
    return "" if item["score"] is None else f'<span class="score" title="score">{_score(item["score"])}</span>'


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
        return {True: "yes", False: "no", None: "not set"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_fact, value)) or "none"
    if isinstance(value, Mapping):
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(float(value))


def _score(value: Any) -> str:
    return f"{float(value):.4f}" if _is_number(value) else "unknown"
