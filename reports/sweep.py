"""What a sweep found: variants of one recipe side by side as a table (CSV), a figure (SVG) and a page (HTML)."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from reports import figures, sections
from reports.atomic import replacing
from reports.metric_rows import Column, Row, columns_of, is_number, metric_name, size_order

# Okabe & Ito's colours but ImageNet's blue; markers take turns at another pace, so that 40 variants differ.
COLOURS = ("#009E73", "#E69F00", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("D", "s", "^", "v", "P", "X", "o", "*")
REFERENCE = "#0072B2"
LEADING = (
    *(
        "label",
        "kind",
        "start",
        "features",
        "head",
        "draw",
        "labels_per_class",
        "n_labels",
        "metric",
        "better",
        "class",
    ),
    *("value", "low", "high", "n_groups", "difference_to"),
)
WHOLE = 1e-12  # references of two variants that differ by less are one
NOTHING = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 40"><text x="8" y="24">No score.</text></svg>'


@dataclass(frozen=True)
class SweptVariant:
    """One variant: its name, swept key and value in words, its rows of metrics.json, and what must be said of it."""

    name: str
    settings: Mapping[str, str]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class SweepPage:
    """What the page shows; `failed` are names of variants without results, `provenance` nested facts."""

    title: str
    subtitle: str
    variants: Sequence[SweptVariant]
    notices: Sequence[str] = ()
    failed: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A variant's leading scores of one label by number of labels, ImageNet's, and the paired difference of the two."""

    variant: str
    column: Column
    scores: Mapping[int | None, Row]
    reference: Mapping[int | None, Row]
    difference: Mapping[int | None, Row]


Panel = tuple[str, str]  # label and metric


def write_sweep(folder: Path, page: SweepPage) -> Path:
    """Writes evaluation.csv, evaluation.svg and evaluation.html, each under another name first; returns the page.

    The page needs no network, runs no script and opens from disk. Without a score to draw, the SVG says so in words.
    """
    write_table(folder / "evaluation.csv", page.variants)
    panels = curves(page.variants)
    with replacing(folder / "evaluation.svg") as partial:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{draw(panels, alone=True) or NOTHING}\n'
        partial.write_text(text, encoding="utf-8")
    path = folder / "evaluation.html"
    with replacing(path) as partial:
        partial.write_bytes(_html(page, panels, draw(panels)).encode("utf-8", errors="replace"))
    return path


def write_table(path: Path, variants: Sequence[SweptVariant]) -> None:
    """One line a row of metrics.json and variant: variant, swept keys, then the row's; None is an empty cell."""
    keys = list(dict.fromkeys(key for variant in variants for key in variant.settings))
    given = dict.fromkeys(name for variant in variants for row in variant.rows for name in row)
    names = [name for name in LEADING if name in given] + [name for name in given if name not in LEADING]
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="", errors="replace") as file:
        table = csv.writer(file)
        table.writerow(["variant", *keys, *names])
        for variant in variants:
            swept = [variant.settings.get(key, "") for key in keys]
            for row in variant.rows:
                table.writerow([variant.name, *swept, *("" if row.get(n) is None else row[n] for n in names)])


def curves(variants: Sequence[SweptVariant]) -> dict[Panel, list[Curve]]:
    """The leading metric of each label, a curve a variant, in order of appearance; what leads is `Column`'s to say.

    A variant that has no scores of its own (it was not pretrained) has a curve without scores.
    """
    found: dict[Panel, list[Curve]] = {}
    for variant in variants:
        for column in columns_of(variant.rows):
            values = column.values()
            mine, reference = ([row for row in values if row["start"] == s] for s in ("continued", "imagenet"))
            curve = Curve(variant.name, column, _by_size(mine), _by_size(reference), _by_size(column.to_imagenet()))
            found.setdefault((column.label, column.metric), []).append(curve)
    return found


def draw(panels: Mapping[Panel, Sequence[Curve]], *, alone: bool = False) -> str:
    """An SVG with a panel per label: a line with 95 % bars a variant, ImageNet dashed; empty without a value to draw.

    Where ImageNet's scores are the same for all variants they are one line with a band, else each variant's are dashed
    in its colour. Scores for all labels have no place on the axis and are in the table only. `alone`: for a file.
    """
    shown = {panel: parts for panel, parts in panels.items() if any(_points(curve.scores) for curve in parts)}
    if not shown:
        return ""
    names = list(dict.fromkeys(curve.variant for parts in shown.values() for curve in parts))
    with matplotlib.rc_context(figures._STYLE | {"svg.hashsalt": "sweep"}):
        figure, grid = figures._panels(len(shown), size=(4.6, 3.5))
        for axes, ((label, _), parts) in zip(grid, shown.items(), strict=True):
            _draw_reference(axes, parts, names)
            for curve in parts:
                _draw_variant(axes, curve, names)
            axes.set_title(label, loc="left")
            axes.set_ylabel(_metric(parts[0].column))
            counts = {x for curve in parts for x, _ in (*_points(curve.scores), *_points(curve.reference))}
            figures._label_axis(axes, sorted(counts), parts[0].column.unit(), {})
        handles: dict[str, Any] = {}
        for axes in grid:
            for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        columns = 2 if len(shown) > 1 else 1
        figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=columns, handlelength=3.2)
        title = "Each variant's score against the number of labels"
        return figures._svg(figure, "sweep", title, alone=alone)


def _draw_variant(axes: Axes, curve: Curve, names: Sequence[str]) -> None:
    points = _points(curve.scores)
    if not points:
        return
    number = names.index(curve.variant)
    step = min(0.02, 0.1 / len(names))  # aside, so that bars do not hide one another
    x = [count * (1 + step) ** (number - (len(names) - 1) / 2) for count, _ in points]
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.plot(x, [row["value"] for _, row in points], "-", color=colour, marker=marker, label=curve.variant)
    axes.vlines(x, *_bounds(points), color=colour, linewidth=1.4)


def _draw_reference(axes: Axes, parts: Sequence[Curve], names: Sequence[str]) -> None:
    drawn = [(curve, points) for curve in parts if (points := _points(curve.reference))]
    if not drawn:
        return
    first = drawn[0][1]
    if all(_alike(first, points) for _, points in drawn):
        x = [count for count, _ in first]
        axes.plot(x, [row["value"] for _, row in first], "--", color=REFERENCE, marker="o", label="ImageNet")
        if len(x) > 1:
            axes.fill_between(x, *_bounds(first), color=REFERENCE, alpha=0.14, linewidth=0)
        else:
            axes.vlines(x, *_bounds(first), color=REFERENCE, linewidth=1.4)
        return
    for curve, points in drawn:
        colour = COLOURS[names.index(curve.variant) % len(COLOURS)]
        axes.plot([count for count, _ in points], [row["value"] for _, row in points], "--", color=colour, alpha=0.8)
    axes.plot([], [], "--", color=figures._INK, label="dashed: ImageNet as in that variant")


def _alike(one: Sequence[tuple[int, Row]], other: Sequence[tuple[int, Row]]) -> bool:
    return [x for x, _ in one] == [x for x, _ in other] and all(
        math.isclose(a["value"], b["value"], rel_tol=0.0, abs_tol=WHOLE)
        for (_, a), (_, b) in zip(one, other, strict=True)
    )


def _points(scores: Mapping[int | None, Row]) -> list[tuple[int, Row]]:
    return [(size, row) for size, row in scores.items() if size is not None and is_number(row["value"])]


def _bounds(points: Sequence[tuple[int, Row]]) -> tuple[list[float], list[float]]:
    low, high = (
        [float(row[name]) if is_number(row[name]) else math.nan for _, row in points] for name in ("low", "high")
    )
    return low, high


def _by_size(rows: Sequence[Row]) -> dict[int | None, Row]:
    by_size = {row["labels_per_class"]: row for row in rows}
    return {size: by_size[size] for size in sorted(by_size, key=size_order)}


def _html(page: SweepPage, panels: Mapping[Panel, Sequence[Curve]], figure: str) -> str:
    notes = [f"{variant.name}: {variant.note}" for variant in page.variants if variant.note]
    if page.failed:
        notes.append(f"No results, since a step failed: {', '.join(page.failed)}.")
    if len(page.variants) > 1:
        notes.append(
            f"{len(page.variants)} variants were scored on the same test objects: the best one was found by looking at "
            "them, so its score is a little optimistic."
        )
    style = (files("reports") / "assets" / "page.css").read_text(encoding="utf-8")
    tables = "\n".join(_table(label, parts) for (label, _), parts in panels.items())
    return Template(PAGE).substitute(
        title=escape(page.title),
        subtitle=escape(page.subtitle),
        style=style,
        notices=sections.sentences(page.notices, "notices"),
        notes=sections.sentences(notes, "findings"),
        figure=f'<div class="figure">{figure}</div>' if figure else '<p class="soft">There is no score to draw.</p>',
        tables=tables or '<p class="soft">Nothing was measured.</p>',
        provenance=sections.provenance(page.provenance),
    )


def _table(label: str, parts: Sequence[Curve]) -> str:
    """Variants down, numbers of labels across."""
    sizes = sorted({size for curve in parts for size in (*curve.scores, *curve.reference)}, key=size_order)
    rows = [row for curve in parts for row in curve.scores.values()]
    groups = sorted({int(row["n_groups"]) for row in rows if is_number(row.get("n_groups"))})
    ends = " to ".join(f"{count:,}" for count in dict.fromkeys((*groups[:1], *groups[-1:])))
    caption = escape(_metric(parts[0].column)) + (f", {ends} test groups" if groups else "")
    body = ""
    for curve in parts:
        cells = "".join(f"<td>{_cell(curve, size)}</td>" for size in sizes)
        features = "" if curve.column.features == "last" else f", features {curve.column.features}"
        name = f'{escape(curve.variant)} <span class="interval">{escape(curve.column.head + features)}</span>'
        body += f'<tr><th scope="row">{name}</th>{cells}</tr>'
    header = "".join(f'<th scope="col">{"all" if size is None else f"{size:,}"}</th>' for size in sizes)
    notes = list(dict.fromkeys(str(row["note"]) for row in rows if row.get("note")))
    return (
        f'<div class="scroll"><table class="metrics"><caption>{escape(label)} <span class="soft">{caption}</span>'
        f'</caption><thead><tr><th scope="col">{escape(parts[0].column.unit())}</th>{header}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{sections.sentences(notes, 'findings')}"
    )


def _metric(column: Column) -> str:
    better = column.better()
    return metric_name(column.metric) + (f" ({better} is better)" if better != "neither" else "")


def _cell(curve: Curve, size: int | None) -> str:
    row, difference = curve.scores.get(size), curve.difference.get(size)
    if row is None or not is_number(row["value"]):
        return '<span class="soft">–</span>'
    digits = curve.column.digits()
    if difference is None or not is_number(difference["value"]):
        return _value(row, f".{digits}f")
    p = difference.get("p_holm")
    chance = "" if p is None else ", p &lt; 0.001" if p < 0.001 else f", p {p:.3f}"
    return f'{_value(row, f".{digits}f")}<span class="interval">{_value(difference, f"+.{digits}f")}{chance}</span>'


def _value(row: Row, form: str) -> str:
    text = f"{row['value']:{form}}"
    if is_number(row["low"]) and is_number(row["high"]):
        text += f" ({row['low']:{form}} to {row['high']:{form}})"
    return text.replace("-", "−")


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
$notices
</header>
<main>
<section aria-labelledby="scores">
<h2 id="scores">Scores by variant</h2>
<p>Heads on the features of continued pretraining, trained on few labels and measured on the test objects; values are
means over draws of the labels, with 95&nbsp;% intervals. Below each stands its difference to ImageNet's weights without
pretraining, paired: the same draws and the same test objects on both sides, p after Holm. All variants have one seed,
and one budget but for what was swept.</p>
$figure
$tables
$notes
</section>
<section aria-labelledby="provenance">
<h2 id="provenance">Provenance</h2>
$provenance
</section>
</main>
</body>
</html>
"""
