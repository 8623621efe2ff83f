"""Figures as SVG text to put inside a page: few-label curves and training curves.

Text and lines take the colour of the surrounding text (`currentColor`), so a figure reads in light, dark and print.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from reports.metric_rows import Column, metric_name, start_name, starts_in

# Okabe & Ito's colours, told apart with every common colour blindness; marker and dash repeat the distinction in print.
STARTS: dict[str, tuple[str, str, Any]] = {
    "random": ("#E69F00", "s", ":"),
    "scratch": ("#D55E00", "v", "-."),
    "imagenet": ("#0072B2", "o", "--"),
    "continued": ("#009E73", "D", "-"),
    "metadata": ("#CC79A7", "^", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
}
OTHER_STARTS: tuple[tuple[str, str, Any], ...] = (
    ("#56B4E9", "P", (0, (8, 2))),
    ("#7F7F7F", "X", (0, (3, 1))),
    ("#B8860B", "*", (0, (1, 1))),
)
# Too dark for a dark page, which sets these CSS variables to lighter ones.
PAGE_COLOURS = {"#0072b2": "blue", "#009e73": "green"}

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
# What stands in every record of training; all else is a method's own measure, in a panel by its first word.
_OF_EVERY_METHOD = frozenset(
    ("epoch", "phase", "images", "loss", "probe", "rankme", "rankme_centred", "spread", "alignment", "uniformity",
     "projection_spread", "images_per_second", "warning")
)  # fmt: skip
MEASURES = {
    "accuracy": "Accuracy of the pretext task",
    "information": "Information between views (nats)",
    "verification": "Pairs told apart (share)",
    "error": "Error of reconstruction",
}
_SERIES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


def label_efficiency(column: Column, name: str = "label-efficiency", *, alone: bool = False) -> str:
    """The leading metric of one label column against labels, and what continued pretraining is worth beside ImageNet.

    Left: a line with its 95 % band per start, what guessing gives dashed. Right, where there are paired differences to
    ImageNet: that of continued pretraining (without it, of every start), and zero. Values that are unknown (None, NaN)
    and those for all labels (`labels_per_class` None) are not drawn; a start at one number of labels is a point with an
    error bar. `name` begins the figure's ids; `alone` gives a file of its own in black ink rather than a part of a
    page. Nothing to draw gives an empty string.
    """
    values = [row for row in column.values() if _drawable(row)]
    if not values:
        return ""
    differences = [row for row in column.differences() if row["difference_to"] == "imagenet" and _drawable(row)]
    # Random weights lie so far below that beside them the difference in question would be a flat line.
    differences = [row for row in differences if row["start"] == "continued"] or differences
    metric, better = metric_name(column.metric), column.better()
    towards = "" if better == "neither" else f" ({better} is better)"
    title = f"{column.label}: {metric} against the number of labels"
    starts = starts_in(values + differences)
    looks = dict(zip(starts, _looks(starts), strict=True))
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "label-efficiency"}):
        figure, grid = _panels(2 if differences else 1, size=(4.6, 3.5))
        if alone:
            figure.suptitle(column.label, x=0.008, ha="left", fontsize=12, fontweight="bold")
        _draw_starts(grid[0], values, looks)
        grid[0].set_title("What each start reaches", loc="left")
        grid[0].set_ylabel(f"{metric}{towards}")
        chance = column.no_skill()
        if chance is not None:
            grid[0].axhline(chance, color=_INK, alpha=0.6, linewidth=1, linestyle=(0, (4, 3)), label="no skill")
        if differences:
            _draw_starts(grid[1], differences, looks)
            grid[1].axhline(0, color=_INK, alpha=0.6, linewidth=1)
            grid[1].set_title("Paired difference to ImageNet", loc="left")
            grid[1].set_ylabel(f"difference{towards}")
            grid[1].margins(y=0.15)
        counts = sorted({int(row["labels_per_class"]) for row in values + differences})
        totals = {int(r["labels_per_class"]): int(r["n_labels"]) for r in values + differences if r.get("n_labels")}
        for axes in grid:
            _label_axis(axes, counts, column.unit(), {} if column.unit() == "labels" else totals)
        handles: dict[str, Any] = {}
        for axes in grid:
            for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(text, handle)
        figure.legend(
            list(handles.values()), list(handles), loc="outside lower left", ncols=5 if differences else 2,
            handlelength=2.8, columnspacing=1.2,
        )  # fmt: skip
        return _svg(figure, name, title, _described(column, values), alone=alone)


def training_curves(records: Sequence[Mapping[str, Any]]) -> str:
    """The loss, the measures of collapse and those of the method (the accuracy of its task), against the epoch.

    `records` hold one mapping per epoch: epoch, phase, loss, probe, rankme, rankme_centred, spread, alignment,
    uniformity, and numbers of the method's own; a value that is missing, None or NaN leaves a gap (the probe, measured
    now and then, is joined over it), a measure without any value leaves out its panel, and epochs that do not increase
    (counted anew in each phase) are counted through. A vertical line marks a change of phase.
    No record, or none with a value, gives an empty string.
    """
    panels: list[tuple[str, tuple[tuple[str, str], ...]]] = [
        ("Loss", (("loss", "loss"),)),
        ("Probe of the guard (higher: better)", (("probe", "probe"),)),
        ("RankMe (effective rank)", (("rankme", "raw"), ("rankme_centred", "centred"))),
        ("Spread (towards 0: collapse)", (("spread", "spread"),)),
        ("Alignment (lower: views agree)", (("alignment", "alignment"),)),
        ("Uniformity (lower: more even)", (("uniformity", "uniformity"),)),
    ]
    panels[1:1] = _own_measures(records)
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
            for (key, name), (colour, dash) in zip(series, _SERIES, strict=False):
                values = [float(r[key]) if _known(r.get(key)) else math.nan for r in records]
                at = [i for i, value in enumerate(values) if key != "probe" or math.isfinite(value)]
                axes.plot(
                    [epochs[i] for i in at], [values[i] for i in at], dash, color=colour, marker="o", markersize=3.5,
                    label=name,
                )  # fmt: skip
            if len(series) > 1:
                axes.legend()
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.margins(y=0.12)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            _mark_phases(axes, epochs, phases, named=axes is grid[0])
        return _svg(figure, "training", "Loss and measures of collapse during pretraining")


def reliability_curve(before: Mapping[str, Any], after: Mapping[str, Any], name: str, title: str) -> str:
    """How often what was said came true, bin by bin, of the head's own scores and of the calibrated ones.

    Both hold `said`, `seen` and `counts` by bin. The bars are about the 95 % range of a binomial share of so many rows;
    the diagonal is what probabilities would show.
    """
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, (axes,) = _panels(1, columns=1)
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.5, linewidth=1, linestyle=(0, (4, 3)))
        looks = (("the head's own", before, STARTS["imagenet"]), ("calibrated", after, STARTS["continued"]))
        for label, curve, (colour, marker, dash) in looks if before["said"] != after["said"] else looks[:1]:
            seen, counts = np.array(curve["seen"]), np.array(curve["counts"])
            error = 1.96 * np.sqrt((seen * (1 - seen) + 1 / counts) / counts)
            axes.errorbar(
                curve["said"], seen, error, color=colour, marker=marker, linestyle=dash, elinewidth=1, label=label
            )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("score")
        axes.set_ylabel("how often it was right")
        axes.legend(loc="upper left")
        return _svg(figure, name, title)


def arrows_on_a_plane(arrows: Float[np.ndarray, "n 4"], name: str, title: str) -> str:
    """Arrows from (x, y) to (x', y') as an SVG; those that are not finite are left out."""
    known = arrows[np.isfinite(arrows).all(axis=1)]
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure, (axes,) = _panels(1, columns=1)
        x, y, ends_x, ends_y = known.T
        axes.quiver(x, y, ends_x - x, ends_y - y, angles="xy", scale_units="xy", scale=1, color=_INK, width=0.004)
        axes.set_xlabel("first code")
        axes.set_ylabel("second code")
        axes.margins(0.08)
        return _svg(figure, name, title)


def _own_measures(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """A panel for each first word of the method's own numbers, with a series for each of its keys, four at most."""
    keys = dict.fromkeys(key for record in records for key in record if key not in _OF_EVERY_METHOD)
    words: dict[str, list[str]] = {}
    for key in keys:
        words.setdefault(key.partition("_")[0], []).append(key)
    return [
        (
            MEASURES.get(word, (word if len(own) > 1 else own[0]).replace("_", " ").capitalize()),
            tuple((key, key.partition("_")[2].replace("_", " ") or "all") for key in own[: len(_SERIES)]),
        )
        for word, own in words.items()
    ]


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(float(value))


def _drawable(row: Mapping[str, Any]) -> bool:
    return _known(row["value"]) and bool(row["labels_per_class"])


def _looks(starts: Sequence[str]) -> list[tuple[str, str, Any]]:
    others = [start for start in starts if start not in STARTS]
    return [STARTS.get(s) or OTHER_STARTS[others.index(s) % len(OTHER_STARTS)] for s in starts]


def _draw_starts(axes: Axes, rows: Sequence[Mapping[str, Any]], looks: Mapping[str, tuple[str, str, Any]]) -> None:
    for start in starts_in(rows):
        colour, marker, dash = looks[start]
        line = sorted((row for row in rows if row["start"] == start), key=lambda row: int(row["labels_per_class"]))
        x = [int(row["labels_per_class"]) for row in line]
        low = [float(row["low"]) if _known(row.get("low")) else math.nan for row in line]
        high = [float(row["high"]) if _known(row.get("high")) else math.nan for row in line]
        if len(x) == 1:
            axes.vlines(x, low, high, color=colour, linewidth=1.4)
        else:
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        y = [float(row["value"]) for row in line]
        axes.plot(x, y, linestyle=dash, color=colour, marker=marker, label=start_name(start))


def _described(column: Column, values: Sequence[Mapping[str, Any]]) -> str:
    """The curve in words, for those who do not see it: each start's first and last value."""
    digits = column.digits()
    parts = []
    for start in starts_in(values):
        line = sorted((row for row in values if row["start"] == start), key=lambda row: int(row["labels_per_class"]))
        ends = [f"{row['value']:.{digits}f} with {row['labels_per_class']}" for row in (line[0], line[-1])]
        parts.append(f"{start_name(start)}: " + " to ".join(dict.fromkeys(ends)) + f" {column.unit()}")
    return "; ".join(parts) + "."


def _label_axis(
    axes: Axes, counts: list[int], unit: str = "labels per class", totals: Mapping[int, int] | None = None
) -> None:
    """A log axis whose ticks are the numbers of labels that were tried, thinned where they would touch.

    Above it the total number of labels at each tick, where given.
    """
    axes.set_xscale("log")
    span = math.log(counts[-1] / counts[0]) or 1.0
    ticks: list[int] = []
    for count in counts:
        if not ticks or math.log(count / ticks[-1]) > 0.07 * span:
            ticks.append(count)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(counts[0] / 1.12, counts[-1] * 1.12)
    axes.set_xlabel(unit)
    if totals:
        above = axes.secondary_xaxis("top")
        above.set_xticks([], minor=True)
        above.set_xticks(ticks, [f"{totals[tick]:,}" if tick in totals else "" for tick in ticks])
        above.tick_params(labelsize=9, length=0, pad=2)
        above.spines["top"].set_visible(False)
        above.set_xlabel("labels in all", fontsize=9, loc="right", labelpad=2)


def _mark_phases(axes: Axes, epochs: list[float], phases: list[str], *, named: bool) -> None:
    changes = [i for i in range(1, len(phases)) if phases[i] != phases[i - 1]]
    for i in changes:
        axes.axvline((epochs[i - 1] + epochs[i]) / 2, color=_INK, alpha=0.45, linewidth=1, linestyle=(0, (3, 3)))
    for line, i in enumerate([0, *changes] if changes and named else []):  # one below the other: phases can be short
        start = axes.get_xlim()[0] if i == 0 else (epochs[i - 1] + epochs[i]) / 2
        axes.annotate(
            phases[i], (start, 1), (3, -3 - 11 * line), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="top", fontsize=9, alpha=0.75,
        )  # fmt: skip


def _panels(count: int, columns: int = 2, size: tuple[float, float] = _PANEL) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.5), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, position + 1) for position in range(count)]


def _svg(figure: Figure, name: str, title: str, description: str = "", *, alone: bool = False) -> str:
    """The figure's `<svg>` element alone: no date, ids that start with `name`, its style confined to itself."""
    file = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    for text_artist in figure.findobj(Text):
        # A lone surrogate is in no font and no file.
        text_artist.set_text(_writable(text_artist.get_text()))
    with warnings.catch_warnings():
        # The page's fonts draw the text; matplotlib's are only measured, and may lack a script.
        warnings.filterwarnings(
            "ignore", "Glyph .* missing from font|Matplotlib currently does not support", UserWarning
        )
        figure.savefig(file, format="svg", transparent=not alone, metadata=undated)
    text = file.getvalue()
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>\*", f'<style>[data-figure="{name}"] *', body)
    # Only inside tags: a label's own text may look like an attribute.
    body = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag.group(), name, alone=alone), body)
    opening, rest = body.split(">", maxsplit=1)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    assert box is not None, opening
    # 4/3: points to CSS pixels, so that text is as large as the style says; on a narrow page the figure scrolls.
    width = float(box.group(1)) * 4 / 3
    size = (
        f'width="{box.group(1)}pt" height="{box.group(2)}pt"'
        if alone
        else f'style="width: 100%; min-width: {0.7 * width:.0f}px; max-width: {width:.0f}px"'
    )
    words = {"title": title, "desc": description}
    named = "".join(
        f'<{tag} id="{name}-{tag}">{escape(_writable(said))}</{tag}>' for tag, said in words.items() if said
    )
    refers = " ".join(f"{name}-{tag}" for tag, said in words.items() if said)
    return (
        f'<svg data-figure="{name}" role="img" aria-labelledby="{refers}" {box.group()} {size} '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{named}{rest.strip()}'
    )


def _writable(text: str) -> str:
    """The text without lone surrogates and the control characters that XML forbids."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "?", text.encode("utf-8", "replace").decode("utf-8"))


def _page_tag(tag: str, name: str, *, alone: bool) -> str:
    """One tag as the page needs it: its ids are the figure's own, its ink and fonts are the page's."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    if alone:
        tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 Helvetica, Arial, sans-serif", tag)
        return tag.replace(_INK, "#000000")
    tag = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", tag)
    tag = re.sub("#0072b2|#009e73", lambda colour: f"var(--{PAGE_COLOURS[colour.group()]}, {colour.group()})", tag)
    return tag.replace(_INK, "currentColor")
