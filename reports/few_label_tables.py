"""Tables of the few-label section, as HTML; every text from outside is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from reports.few_label_words import (
    bound_text,
    compared_pairs,
    groups_phrase,
    has_interval,
    no_interval,
    outside_ends,
    own_setting,
    p_text,
    size_text,
    unit_text,
)
from reports.metric_rows import (
    Column,
    Row,
    class_metric_name,
    compared_setting,
    drawn_as,
    is_number,
    metric_name,
    setting,
    size_order,
    sizes_in,
    start_name,
    starts_in,
)
from reports.number_words import begun, decimal

OPERATING = {
    "sensitivity": "the share of objects with the finding that are called positive",
    "specificity": "the share of objects without it that are called negative",
    "ppv": "of the objects called positive, the share that have it; at the recipe's prevalence",
    "npv": "of the objects called negative, the share that do not have it; at the recipe's prevalence",
}
NOTHING = '<span class="soft">–</span>'
Line = tuple[str, Mapping[Any, str]]


def main_table(column: Column, draw: str) -> str:
    """Numbers of labels down, starts across, and the paired differences beside them."""
    values, differences = column.values(draw), column.differences(draw)
    if not values and not differences:
        return ""
    digits = column.digits()
    starts, pairs = starts_in(values), compared_pairs(differences)
    top = [escape(start_name(start)) + own_setting(column, values, start) for start in starts]
    top += [f"{escape(start_name(a))} − {escape(start_name(b))}" for a, b in pairs]
    lines = []
    for size in sizes_in([*values, *differences]):
        here = [row for row in [*values, *differences] if row["labels_per_class"] == size]
        cells = {("", row["start"]): cell_html(row, digits) for row in here if not row.get("difference_to")}
        cells |= {
            (row["start"], row["difference_to"]): cell_html(row, digits, signed=True)
            for row in here
            if row.get("difference_to")
        }
        total = next((int(row["n_labels"]) for row in here if row.get("n_labels")), None)
        shown = "" if total is None or total == size else f' <span class="interval">{total:,} in all</span>'
        lines.append((size_text(size) + shown, cells))
    keys = [("", start) for start in starts] + list(pairs)
    corner = column.unit()
    bold = " Bold: the interval excludes zero." if pairs else ""
    better = column.better()
    towards = "" if better == "neither" else f", {better} is better"
    about = f"{column.head} head on {column.features} features{towards}{groups_phrase(values)}.{bold}"
    caption = caption_html(f"{column.label}: {metric_name(column.metric)}", about)
    notes = _notes([*values, *differences])
    return _table(caption, corner, top, keys, [("", lines)]) + notes


def equal_table(column: Column, rows: Sequence[Row]) -> str:
    lines: list[Line] = []
    for row in rows:
        size = row["labels_per_class"]
        times = ""
        if (
            is_number(row["value"])
            and size
            and "value" not in (*outside_ends(row, "beyond"), *outside_ends(row, "below"))
        ):
            times = f"{float(row['value']) / size:.1f} times"
        interval = f"{bound_text(row, 'low')} to {bound_text(row, 'high')}" if has_interval(row) else no_interval(row)
        known = is_number(row["value"])
        cells = {
            "value": bound_text(row, "value") if known else "not estimable",
            "interval": interval if known else NOTHING,
        }
        lines.append((size_text(size), cells | {"times": times or NOTHING}))
    caption = caption_html(
        f"{column.label}: labels that ImageNet needs for the same {metric_name(column.metric)}",
        "> and &lt; mark what lies beyond the numbers of labels that were tried".replace("&lt;", "<"),
    )
    heads = [f"ImageNet needs {escape(column.unit())}", "95&nbsp;% interval", "ratio"]
    keys = ["value", "interval", "times"]
    return _table(caption, f"continued has {column.unit()}", heads, keys, [("", lines)]) + _notes(rows)


def metrics_table(column: Column, metrics: Sequence[str], caption: str) -> str:
    """A group of lines per metric: each start, then continued minus ImageNet."""
    groups, shown = [], []
    for metric in metrics:
        values, differences = column.values(metric=metric), column.to_imagenet(metric=metric)
        if metric.endswith("_no_skill"):  # of the labels alone, so the same for every start
            values = [row for row in values if row["start"] == values[0]["start"]]
        better = column.better(metric)
        towards = "" if better == "neither" else f' <span class="soft">{better} is better</span>'
        groups.append(
            (
                f"{escape(begun(metric_name(metric)))}{towards}",
                _start_lines(values, differences, column.digits(metric)),
            )
        )
        shown += [*values, *differences]
    return _sized_table(column, caption, groups, shown) + _notes(shown)


def class_table(column: Column, metric: str, rows: Sequence[Row]) -> str:
    """A group of lines per class, collapsed: one metric alone fills a screen."""
    mine = [
        row for row in rows
        if row["metric"] == metric and compared_setting(row) == setting(row) == (column.head, column.features)
    ]  # fmt: skip
    if not mine:
        return ""
    groups = []
    for answer in dict.fromkeys(str(row["class"]) for row in mine):
        own = [row for row in mine if str(row["class"]) == answer]
        differences = [r for r in own if (r["start"], r.get("difference_to")) == ("continued", "imagenet")]
        values = [row for row in own if not row.get("difference_to")]
        about = groups_phrase(values).removeprefix(", ")
        groups.append(
            (
                escape(answer) + (f' <span class="soft">{about}</span>' if about else ""),
                _start_lines(values, differences, column.digits(metric)),
            )
        )
    better = column.better(metric)
    towards = "" if better == "neither" else f"{better} is better"
    name = class_metric_name(metric, column.kind)
    title = f"{begun(name)} of each class"
    table = _sized_table(column, caption_html(f"{column.label}: {name} of each class", towards), groups, mine)
    return details(title, table + _notes(mine))


def heads_and_features(column: Column, size: int | None) -> str:
    """Heads down, features across, for continued and ImageNet, with the difference to ImageNet's leading head."""
    mine = [
        row for row in column.rows
        if row["metric"] == column.metric and row.get("class") is None and drawn_as(row) == column.draw
        and row["start"] in ("continued", "imagenet")
    ]  # fmt: skip
    lead = (column.head, column.features)
    values = [row for row in mine if not row.get("difference_to")]
    if len({setting(row) for row in values}) < 2:
        return ""
    deltas = {
        (row["labels_per_class"], row["start"], setting(row)): row for row in mine
        if row.get("difference_to") == "imagenet" and compared_setting(row) == lead
    }  # fmt: skip
    heads, features = (list(dict.fromkeys(setting(row)[part] for row in values)) for part in (0, 1))
    starts, digits, sizes = starts_in(values), column.digits(), sizes_in(values)
    headline = column.headline(size)
    first = headline["labels_per_class"] if headline and headline["labels_per_class"] in sizes else sizes[0]
    keys = [(start, feature) for start in starts for feature in features]
    top = [f'{escape(start_name(start))} <span class="interval">{escape(feature)}</span>' for start, feature in keys]
    parts = []
    for count in sorted(sizes, key=lambda one: (one != first, size_order(one))):
        lines: list[Line] = []
        for head in heads:
            cells = {}
            for row in values:
                if row["labels_per_class"] == count and setting(row)[0] == head:
                    delta = deltas.get((count, row["start"], setting(row)))
                    is_reference = (row["start"], setting(row)) == ("imagenet", lead)
                    against = cell_html(delta, digits, signed=True) if delta else "reference" if is_reference else ""
                    cells[row["start"], setting(row)[1]] = cell_html(row, digits) + (
                        f'<span class="delta">{against}</span>' if against else ""
                    )
            lines.append((escape(head.replace("_", " ")), cells))
        with_labels = f"{size_text(count)} {unit_text(column.unit(), count)}"
        about = f"in the second line of a cell: difference to ImageNet with the {lead[0]} head on {lead[1]} features"
        caption = caption_html(f"{metric_name(column.metric)} with {with_labels}", about)
        table = _table(caption, "head", top, keys, [("", lines)])
        parts.append(table if count == first else details(f"With {with_labels}", table))
    return "<p>These differences are exploratory.</p>" + "".join(parts) + _notes(values)


def _start_lines(values: Sequence[Row], differences: Sequence[Row], digits: int) -> list[Line]:
    same = bool(values) and str(values[0]["metric"]).endswith("_no_skill")
    lines: list[Line] = [
        (
            "every start" if same else escape(start_name(start)),
            {r["labels_per_class"]: cell_html(r, digits) for r in values if r["start"] == start},
        )
        for start in starts_in(values)
    ]
    if differences:
        cells = {row["labels_per_class"]: cell_html(row, digits, signed=True) for row in differences}
        lines.append((f"{escape(start_name('continued'))} − {escape(start_name('imagenet'))}", cells))
    return lines


def _sized_table(column: Column, caption: str, groups: Sequence[tuple[str, list[Line]]], rows: Sequence[Row]) -> str:
    sizes = sizes_in(rows)
    return _table(caption, column.unit(), [size_text(size) for size in sizes], sizes, groups)


def _table(
    caption: str, corner: str, top: Sequence[str], keys: Sequence[Any], groups: Sequence[tuple[str, Sequence[Line]]]
) -> str:
    """A table of HTML cells; each group of lines may have a heading of its own."""
    bodies = ""
    for heading, lines in groups:
        body = (
            f'<tr class="group"><th scope="rowgroup" colspan="{len(keys) + 1}">{heading}</th></tr>' if heading else ""
        )
        for name, cells in lines:
            body += (
                f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cells.get(key, NOTHING)}</td>" for key in keys)}</tr>'
            )
        bodies += f"<tbody>{body}</tbody>"
    header = "".join(f'<th scope="col">{text}</th>' for text in top)
    return (
        f'<div class="scroll"><table class="metrics">{caption}<thead><tr><th scope="col">{escape(corner)}</th>{header}'
        f"</tr></thead>{bodies}</table></div>"
    )


def details(summary: str, inside: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>" if inside else ""


def caption_html(title: str, soft: str) -> str:
    about = f' <span class="soft">{escape(soft)}</span>' if soft else ""
    return f"<caption>{escape(begun(title) if ':' not in title else title)}{about}</caption>"


def _notes(rows: Iterable[Row]) -> str:
    """Why something is not estimable, each note once, with the classes it is of."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.get("note"):
            classes = found.setdefault(str(row["note"]), {})
            if row.get("class") is not None:
                classes[str(row["class"])] = None
    said = [f"{', '.join(classes)}: {note}" if classes else note for note, classes in found.items()]
    return '<ul class="notes">' + "".join(f"<li>{escape(one)}</li>" for one in said) + "</ul>" if said else ""


def cell_html(row: Row | None, digits: int, *, signed: bool = False) -> str:
    """A value with its interval below; bold where a difference's interval excludes zero; p-values where it has them."""
    if row is None:
        return NOTHING
    if not is_number(row["value"]):
        return '<span class="soft">not estimable</span>'
    value = decimal(row["value"], digits, signed=signed)
    if not has_interval(row):
        return f'{value} <span class="interval wrap">{no_interval(row)}</span>'
    low, high = (decimal(row[bound], digits, signed=signed) for bound in ("low", "high"))
    if signed and (row["low"] > 0 or row["high"] < 0):
        value = f"<b>{value}</b>"
    name = "p_holm" if is_number(row.get("p_holm")) else "p"
    p = p_text("p (Holm)" if name == "p_holm" else "p", float(row[name])) if is_number(row.get(name)) else ""
    below = f'<span class="interval">{p}</span>' if p else ""
    return f'{value} <span class="interval">[{low}, {high}]</span>{below}'


def equal_cell_html(row: Row | None) -> str:
    if row is None:
        return NOTHING
    if not is_number(row["value"]):
        return '<span class="soft">not estimable</span>'
    interval = f"[{bound_text(row, 'low')}, {bound_text(row, 'high')}]" if has_interval(row) else no_interval(row)
    return f'{bound_text(row, "value")} <span class="interval">{interval}</span>'


def operating_meaning(metric: str) -> str | None:
    """The term that a metric's name holds: macro_sensitivity is sensitivity."""
    words = metric.split("_")
    return next((term for term in OPERATING if term in words), None)
