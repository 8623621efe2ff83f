"""Figures as SVG text to put inside a page: few-label curves and training curves.

Text and lines take the colour of the surrounding text (`currentColor`), so a figure reads in light, dark and print.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

# Okabe & Ito's colours, told apart with every common colour blindness; marker and dash repeat the distinction in print.
STARTS: dict[str, tuple[str, str, str]] = {
    "random": ("#E69F00", "s", "random weights"),
    "imagenet": ("#0072B2", "o", "ImageNet"),
    "continued": ("#009E73", "D", "continued pretraining"),
}
OTHER_STARTS = (("#CC79A7", "^"), ("#D55E00", "v"), ("#56B4E9", "P"))
# Too dark for a dark page, which sets these CSS variables to lighter ones.
PAGE_COLOURS = {"#0072b2": "blue", "#009e73": "green"}
HEAD_DASHES = ("-", "--", ":", "-.")

# Drawn in this colour, then written as currentColor: matplotlib itself only takes fixed colours.
_INK = "#010203"
_STYLE: dict[Any, Any] = {  # Any: matplotlib's own key type is not public
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "legend.fontsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.18,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
}
_PANEL = (4.2, 3.0)


def label_efficiency(rows: Sequence[Mapping[str, Any]]) -> str:
    """One panel per label column and metric: value against labels per class, a line with its 95 % band per start.

    `rows` are those of metrics.json. Rows that are differences, whose value is unknown (None, NaN), or that stand for
    all labels (`labels_per_class` None) are not drawn. A start at one label count only is a point with an error bar.
    No row to draw gives an empty string.
    """
    drawn = [row for row in rows if not row.get("difference_to") and _known(row["value"]) and row["labels_per_class"]]
    panels = list(dict.fromkeys((row["label"], row["metric"]) for row in drawn))
    if not panels:
        return ""
    heads = list(dict.fromkeys(row["head"] for row in drawn))
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "label-efficiency"}):
        figure, grid = _panels(len(panels))
        for axes, (label, metric) in zip(grid, panels, strict=True):
            here = [row for row in drawn if (row["label"], row["metric"]) == (label, metric)]
            _draw_starts(axes, here, heads)
            axes.set_title(f"{label}: {metric}", loc="left")
            axes.set_ylabel(str(metric))
            _label_axis(axes, sorted({int(row["labels_per_class"]) for row in here}))
        handles: dict[str, Any] = {}
        for axes in grid:
            for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=3)
        return _svg(figure, "label-efficiency", "Quality of the heads against the number of labels per class")


def training_curves(records: Sequence[Mapping[str, Any]]) -> str:
    """The loss, and the measures of collapse, against the epoch.

    `records` hold one mapping per epoch: epoch, phase, loss, rankme, rankme_centred, spread, alignment, uniformity;
    a value that is missing, None or NaN leaves a gap, a measure without any value leaves out its panel, and epochs
    that do not increase (counted anew in each phase) are counted through. A vertical line marks a change of phase.
    No record, or none with a value, gives an empty string.
    """
    panels: list[tuple[str, tuple[tuple[str, str], ...]]] = [
        ("Loss", (("loss", "loss"),)),
        ("RankMe (effective rank)", (("rankme", "raw"), ("rankme_centred", "centred"))),
        ("Spread (towards 0: collapse)", (("spread", "spread"),)),
        ("Alignment (lower: views agree)", (("alignment", "alignment"),)),
        ("Uniformity (lower: more even)", (("uniformity", "uniformity"),)),
    ]
    shown = [panel for panel in panels if any(_known(r.get(key)) for r in records for key, _ in panel[1])]
    if not shown:
        return ""
    epochs = [float(record["epoch"]) for record in records]
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        epochs = [float(position) for position in range(1, len(records) + 1)]
    phases = [str(record.get("phase") or "") for record in records]
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "training"}):
        figure, grid = _panels(len(shown), columns=3)
        for axes, (title, series) in zip(grid, shown, strict=True):
            for (key, name), colour, dash in zip(series, ("#0072B2", "#D55E00"), ("-", "--"), strict=False):
                values = [float(r[key]) if _known(r.get(key)) else math.nan for r in records]
                axes.plot(epochs, values, dash, color=colour, marker="o", markersize=3.5, label=name)
            if len(series) > 1:
                axes.legend()
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.margins(y=0.12)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            _mark_phases(axes, epochs, phases, named=axes is grid[0])
        return _svg(figure, "training", "Loss and measures of collapse during pretraining")


def start_name(start: str) -> str:
    """How a start is called in figures and tables."""
    return STARTS[start][2] if start in STARTS else start


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(float(value))


def _draw_starts(axes: Axes, rows: list[Mapping[str, Any]], heads: list[str]) -> None:
    starts = [s for s in STARTS if any(row["start"] == s for row in rows)]
    others = [s for s in dict.fromkeys(row["start"] for row in rows) if s not in STARTS]
    looks = [STARTS[s][:2] for s in starts] + [OTHER_STARTS[i % len(OTHER_STARTS)] for i in range(len(others))]
    for start, (colour, marker) in zip(starts + others, looks, strict=True):
        for head in heads:
            line = sorted(
                (row for row in rows if row["start"] == start and row["head"] == head),
                key=lambda row: int(row["labels_per_class"]),
            )
            if not line:
                continue
            x = [int(row["labels_per_class"]) for row in line]
            low = [float(row["low"]) if _known(row["low"]) else math.nan for row in line]
            high = [float(row["high"]) if _known(row["high"]) else math.nan for row in line]
            name = start_name(start) + (f", {head}" if len(heads) > 1 else "")
            dash = HEAD_DASHES[heads.index(head) % len(HEAD_DASHES)]
            if len(x) == 1:
                axes.vlines(x, low, high, color=colour, linewidth=1.4)
            else:
                axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(x, [float(row["value"]) for row in line], dash, color=colour, marker=marker, label=name)


def _label_axis(axes: Axes, counts: list[int]) -> None:
    """A log axis whose ticks are the numbers of labels that were tried, thinned where they would touch."""
    axes.set_xscale("log")
    span = math.log(counts[-1] / counts[0]) or 1.0
    ticks: list[int] = []
    for count in counts:
        if not ticks or math.log(count / ticks[-1]) > 0.07 * span:
            ticks.append(count)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(counts[0] / 1.12, counts[-1] * 1.12)
    axes.set_xlabel("labels per class")


def _mark_phases(axes: Axes, epochs: list[float], phases: list[str], *, named: bool) -> None:
    changes = [i for i in range(1, len(phases)) if phases[i] != phases[i - 1]]
    for i in changes:
        axes.axvline((epochs[i - 1] + epochs[i]) / 2, color=_INK, alpha=0.45, linewidth=1, linestyle=(0, (3, 3)))
    for i in [0, *changes] if changes and named else []:
        start = axes.get_xlim()[0] if i == 0 else (epochs[i - 1] + epochs[i]) / 2
        axes.annotate(
            phases[i], (start, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=9, alpha=0.75,
        )  # fmt: skip


def _panels(count: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + 0.5), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, position + 1) for position in range(count)]


def _svg(figure: Figure, name: str, title: str) -> str:
    """The figure's `<svg>` element alone: no date, ids that start with `name`, its style confined to itself."""
    file = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    for text_artist in figure.findobj(Text):
        # A lone surrogate is in no font and no file.
        text_artist.set_text(text_artist.get_text().encode("utf-8", "replace").decode("utf-8"))
    with warnings.catch_warnings():
        # The page's fonts draw the text; matplotlib's are only measured, and may lack a script.
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from font|Matplotlib currently does not support", UserWarning
        )
        figure.savefig(file, format="svg", transparent=True, metadata=undated)
    text = file.getvalue()
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>\*", f'<style>[data-figure="{name}"] *', body)
    # Only inside tags: a label's own text may look like an attribute.
    body = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag.group(), name), body)
    opening, rest = body.split(">", maxsplit=1)
    box = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', opening)
    assert box is not None, opening
    # 4/3: points to CSS pixels, so that text is as large as the style says; on a narrow page the figure scrolls.
    width = float(box.group(1)) * 4 / 3
    return (
        f'<svg data-figure="{name}" role="img" aria-label="{title}" {box.group()} '
        f'style="width: 100%; min-width: {0.7 * width:.0f}px; max-width: {width:.0f}px" '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{rest.strip()}'
    )


def _page_tag(tag: str, name: str) -> str:
    """One tag as the page needs it: its ids are the figure's own, its ink and fonts are the page's."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", tag)
    tag = re.sub("#0072b2|#009e73", lambda colour: f"var(--{PAGE_COLOURS[colour.group()]}, {colour.group()})", tag)
    return tag.replace(_INK, "currentColor")
