"""What the page says of few labels: how many labels, what continued pretraining is worth beside ImageNet, how sure.

Every text from outside is escaped here. What is not estimable is said to be so, never shown as 0 or NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from reports.figures import label_efficiency
from reports.metric_rows import (
    EQUAL_LABELS,
    Column,
    Row,
    class_metric_name,
    columns_of,
    compared_setting,
    drawn_as,
    is_number,
    metric_name,
    setting,
    size_order,
    sizes_in,
    start_name,
    starts_in,
    verdict,
)

KIND_NAMES = {
    "classes": "one of several classes",
    "yes_no": "yes or no",
    "multilabel": "several findings, each present or absent",
    "ordered": "ordered levels",
    "real": "a real value",
    "votes": "shares of votes",
}
# Shown apart from other metrics: they depend on a threshold.
OPERATING = {
    "sensitivity": "the share of objects with the finding that are called positive",
    "specificity": "the share of objects without it that are called negative",
    "ppv": "of the objects called positive, the share that have it; at the recipe's prevalence",
    "npv": "of the objects called negative, the share that do not have it; at the recipe's prevalence",
}
_VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "higher": "higher than",
    "lower": "lower than",
    "unclear": "not told apart from",
}
_AT_A_GLANCE = {"unclear": "no clear difference", "unknown": "not known"}
_NONE = '<span class="soft">–</span>'

# A table's line: its name as HTML, and what stands at each column.
Line = tuple[str, Mapping[Any, str]]


def few_labels(rows: Sequence[Row]) -> str:
    """The section: one part per label column, each with its sentence, figure and tables, details collapsed."""
    if not rows:
        return '<p class="soft">No labels were given, so no head was trained and nothing was measured.</p>'
    columns = columns_of(rows)
    size = next((row["labels_per_class"] for row in rows if row.get("primary")), None)
    parts = [_at_a_glance(columns, size)] if len(columns) > 1 else []
    parts.append(_how_to_read(rows))
    parts += [_column(column, size, f"few-labels-{i}") for i, column in enumerate(columns)]
    return "\n".join(parts)


def headline_sentence(column: Column, size: int | None) -> str:
    """The primary endpoint in one plain sentence, as HTML; of another column, its difference with `size` labels."""
    row = column.headline(size)
    if row is None:
        return _without_comparison(column)
    digits, better = column.digits(str(row["metric"])), row.get("better") or "higher"
    name = escape(metric_name(str(row["metric"])))
    start, other = escape(start_name(str(row["start"]))), escape(start_name(str(row["difference_to"])))
    where = f"With {_labels_phrase(column, row)}"
    if not is_number(row["value"]):
        return f"{where}, the difference in {name} between {start} and {other} alone is {_not_estimable(row)}."
    direction = "" if better == "neither" else f"; {better} is better"
    words = {
        "better": f"{start} is better than {other} alone",
        "worse": f"{start} is worse than {other} alone",
        "higher": f"{start} gives a higher value than {other} alone",
        "lower": f"{start} gives a lower value than {other} alone",
        "unclear": f"no clear difference between {start} and {other} alone",
        "unknown": f"{start} and {other} alone differ by an amount whose certainty is not known",
    }[verdict(row)]
    at = {r["start"]: r for r in column.values(drawn_as(row)) if r["labels_per_class"] == row["labels_per_class"]}
    one, two = at.get(row["start"]), at.get(row["difference_to"])
    sides = ""
    if one and two and row["metric"] == column.metric and is_number(one["value"]) and is_number(two["value"]):
        sides = f", {_number(one['value'], digits)} against {_number(two['value'], digits)}"
    difference = _number(row["value"], digits, signed=True)
    return f"{where}, {words}: {name}{sides}, difference {difference} ({_sureness(row, digits)}{direction})."


def equal_sentence(row: Row, unit: str = "labels per class") -> str:
    """How many labels ImageNet needs for what continued pretraining has, in words."""
    size, other = row["labels_per_class"], escape(start_name(str(row.get("difference_to") or "imagenet")))
    who = f"{escape(start_name(str(row['start']))).capitalize()} with {_size(size)} {_unit(unit, size)}"
    if not is_number(row["value"]):
        return f"{who}: how many {other} needs for as much is {_not_estimable(row)}."
    interval = (
        f"95&nbsp;% interval {_bound(row, 'low')} to {_bound(row, 'high')}" if _has_interval(row) else _no_interval(row)
    )
    return f"{who} equals {other} with {_bound(row, 'value')} ({interval})."


def _how_to_read(rows: Sequence[Row]) -> str:
    named = any(row.get("primary") for row in rows)
    if any(is_number(row.get("p")) or is_number(row.get("p_holm")) for row in rows):
        family = (
            f"P-values of the {'other ' if named else ''}confirmatory differences are corrected by Holm's method; a "
            "difference with a p-value counts as clear where its interval excludes zero and p is below 0.05; every "
            "difference without one is exploratory."
        )
    else:
        family = "All differences are exploratory: none has a p-value."
    primary = "One difference is the primary endpoint of the run. " if named else ""
    return (
        '<p class="soft how">How to read: a draw is one random choice of labels from the training half, the same for '
        "every start; a value is the mean over draws, measured on the same test objects. Its 95&nbsp;% interval covers "
        "the choice of labels and of test groups (patients, tiles), which are the unit of analysis. Differences are "
        f"paired, so they may be clear where two bands overlap. {primary}{family}</p>"
    )


def _at_a_glance(columns: Sequence[Column], size: int | None) -> str:
    body = ""
    for i, column in enumerate(columns):
        row = column.headline(size)
        link = f'<th scope="row"><a href="#few-labels-{i}">{escape(column.label)}</a></th>'
        if row is None:
            body += f"<tr>{link}<td>{escape(metric_name(column.metric))}</td>{f'<td>{_NONE}</td>' * 6}</tr>"
            continue
        digits = column.digits(str(row["metric"]))
        at = {r["start"]: r for r in column.values() if r["labels_per_class"] == row["labels_per_class"]}
        equal = next((r for r in column.equal_labels() if r["labels_per_class"] == row["labels_per_class"]), None)
        said = "not estimable" if not is_number(row["value"]) else _AT_A_GLANCE.get(verdict(row), verdict(row))
        primary = ' <span class="interval">primary</span>' if row.get("primary") else ""
        cells = (
            escape(metric_name(str(row["metric"]))) + primary,
            _size(row["labels_per_class"]), _cell(at.get("imagenet"), digits), _cell(at.get("continued"), digits),
            _cell(row, digits, signed=True), escape(said), _equal_cell(equal),
        )  # fmt: skip
        body += f"<tr>{link}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    heads = ("label", "metric", "labels", "ImageNet", "continued", "difference", "continued is", "ImageNet needs")
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        '<div class="scroll"><table class="metrics"><caption>All labels at a glance</caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _column(column: Column, size: int | None, name: str) -> str:
    kind = KIND_NAMES.get(column.kind, column.kind)
    soft = f' <span class="soft">{escape(kind)}</span>' if kind else ""
    row = column.headline(size)
    state = "unclear" if row is None else verdict(row)
    title = "Primary endpoint" if row is not None and row.get("primary") else "Continued pretraining beside ImageNet"
    equal = column.equal_labels()
    lead = [r for r in equal if row is not None and r["labels_per_class"] == row["labels_per_class"]] or equal[:1]
    sentence = "".join(f"<p>{equal_sentence(r, column.unit())}</p>" for r in lead)
    figure = label_efficiency(column, name=f"{name}-curves")
    return "\n".join(
        part
        for part in (
            f'<div class="label-column" id="{name}">',
            f"<h3>{escape(column.label)}{soft}</h3>",
            f'<div class="verdict {state}"><p><strong>{title}.</strong> {_capital(headline_sentence(column, size))}</p>'
            f"{sentence}</div>",
            f'<div class="figure">{figure}</div>' if figure else "",
            _main_table(column, "balanced"),
            _in_words(column),
            _equal_table(column, equal) if len(equal) > 1 else "",
            _details(_secondary_title(column), _secondary(column)),
            _details("Heads and features compared", _heads_and_features(column, size)),
            _details("Natural draws: labels as common as in the catalog", _main_table(column, "natural")),
            "</div>",
        )
        if part
    )


def _main_table(column: Column, draw: str) -> str:
    """Numbers of labels down, starts across, and the paired differences beside them."""
    values, differences = column.values(draw), column.differences(draw)
    if not values and not differences:
        return ""
    digits = column.digits()
    starts, pairs = starts_in(values), _pairs(differences)
    top = [escape(start_name(start)) + _own_setting(column, values, start) for start in starts]
    top += [f"{escape(start_name(a))} − {escape(start_name(b))}" for a, b in pairs]
    lines = []
    for size in sizes_in([*values, *differences]):
        here = [row for row in [*values, *differences] if row["labels_per_class"] == size]
        cells = {("", row["start"]): _cell(row, digits) for row in here if not row.get("difference_to")}
        cells |= {
            (row["start"], row["difference_to"]): _cell(row, digits, signed=True)
            for row in here
            if row.get("difference_to")
        }
        total = next((int(row["n_labels"]) for row in here if row.get("n_labels")), None)
        shown = "" if total is None or total == size else f' <span class="interval">{total:,} in all</span>'
        lines.append((_size(size) + shown, cells))
    keys = [("", start) for start in starts] + list(pairs)
    corner = column.unit()
    bold = " Bold: the interval excludes zero." if pairs else ""
    better = column.better()
    towards = "" if better == "neither" else f", {better} is better"
    about = f"{column.head} head on {column.features} features{towards}{_groups_phrase(values)}.{bold}"
    caption = _caption(f"{column.label}: {metric_name(column.metric)}", about)
    notes = _notes([*values, *differences])
    return _table(caption, corner, top, keys, [("", lines)]) + notes


def _in_words(column: Column) -> str:
    """What the intervals of each pair of starts say, with which numbers of labels."""
    differences = column.differences()
    said = []
    for start, other in _pairs(differences):
        rows = sorted(
            (r for r in differences if (r["start"], r["difference_to"]) == (start, other)),
            key=lambda row: size_order(row["labels_per_class"]),
        )
        parts = []
        for state, words in _VERDICTS.items():
            sizes = sizes_in(row for row in rows if verdict(row) == state)
            if sizes:
                parts.append(
                    f"{words} {escape(start_name(other))} with {_listed(sizes)} {_unit(column.unit(), sizes[-1])}"
                )
        open_ = [row for row in rows if verdict(row) == "unknown"]
        for words, sizes in (
            ("not estimable", sizes_in(row for row in open_ if not is_number(row["value"]))),
            ("without an interval", sizes_in(row for row in open_ if is_number(row["value"]))),
        ):
            if sizes:
                parts.append(
                    f"{words} against {escape(start_name(other))} with {_listed(sizes)} "
                    f"{_unit(column.unit(), sizes[-1])}"
                )
        said.append(f"<li>{_capital(escape(start_name(start)))}: {'; '.join(parts)}.</li>")
    return f'<ul class="findings">{"".join(said)}</ul>' if said else ""


def _equal_table(column: Column, rows: Sequence[Row]) -> str:
    lines: list[Line] = []
    for row in rows:
        size = row["labels_per_class"]
        times = ""
        if is_number(row["value"]) and size and "value" not in (*_ends(row, "beyond"), *_ends(row, "below")):
            times = f"{float(row['value']) / size:.1f} times"
        interval = f"{_bound(row, 'low')} to {_bound(row, 'high')}" if _has_interval(row) else _no_interval(row)
        known = is_number(row["value"])
        cells = {"value": _bound(row, "value") if known else "not estimable", "interval": interval if known else _NONE}
        lines.append((_size(size), cells | {"times": times or _NONE}))
    caption = _caption(
        f"{column.label}: labels that ImageNet needs for the same {metric_name(column.metric)}",
        "> and &lt; mark what lies beyond the numbers of labels that were tried".replace("&lt;", "<"),
    )
    heads = [f"ImageNet needs {escape(column.unit())}", "95&nbsp;% interval", "ratio"]
    keys = ["value", "interval", "times"]
    return _table(caption, f"continued has {column.unit()}", heads, keys, [("", lines)]) + _notes(rows)


def _secondary_title(column: Column) -> str:
    by_class = ", and each class" if any(row.get("class") is not None for row in column.rows) else ""
    operating = any(_operating(str(row["metric"])) for row in column.rows)
    return "Other metrics" + (", sensitivity and specificity" if operating else "") + by_class


def _secondary(column: Column) -> str:
    """All metrics of the leading head and features, then what depends on a threshold, then each class."""
    own = [row for row in column.rows if row["metric"] != EQUAL_LABELS and drawn_as(row) == "balanced"]
    macro = [row for row in own if row.get("class") is None]
    names = [name for name in dict.fromkeys(str(row["metric"]) for row in macro) if name != column.metric]
    plain = [name for name in names if _operating(name) is None]
    operating = [name for name in names if _operating(name)]
    classes = [row for row in own if row.get("class") is not None]
    parts = []
    setting_words = f"{column.head} head on {column.features} features"
    if plain:
        parts.append(_metrics_table(column, plain, _caption("Other metrics", setting_words)))
    meant = [name for name in dict.fromkeys(str(row["metric"]) for row in own) if _operating(name)]
    if meant:
        parts.append(
            "<h4>When positive is called</h4><p>The threshold was chosen on the labels that the head was trained on, "
            'never on test objects.</p><dl class="terms">'
            + "".join(
                f"<dt>{escape(_capital(metric_name(name)))}</dt><dd>{OPERATING[_operating(name) or '']}</dd>"
                for name in meant
            )
            + "</dl>"
        )
    if operating:
        parts.append(_metrics_table(column, operating, _caption("At the chosen threshold", setting_words)))
    parts += [_class_table(column, name, classes) for name in dict.fromkeys(str(row["metric"]) for row in classes)]
    return "".join(parts)


def _metrics_table(column: Column, metrics: Sequence[str], caption: str) -> str:
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
                f"{escape(_capital(metric_name(metric)))}{towards}",
                _start_lines(values, differences, column.digits(metric)),
            )
        )
        shown += [*values, *differences]
    return _sized_table(column, caption, groups, shown) + _notes(shown)


def _class_table(column: Column, metric: str, rows: Sequence[Row]) -> str:
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
        about = _groups_phrase(values).removeprefix(", ")
        groups.append(
            (
                escape(answer) + (f' <span class="soft">{about}</span>' if about else ""),
                _start_lines(values, differences, column.digits(metric)),
            )
        )
    better = column.better(metric)
    towards = "" if better == "neither" else f"{better} is better"
    name = class_metric_name(metric, column.kind)
    title = f"{_capital(name)} of each class"
    table = _sized_table(column, _caption(f"{column.label}: {name} of each class", towards), groups, mine)
    return _details(title, table + _notes(mine))


def _heads_and_features(column: Column, size: int | None) -> str:
    """Heads down, features across, for continued and ImageNet, with the difference to ImageNet's leading head."""
    mine = [
        row for row in column.rows
        if row["metric"] == column.metric and row.get("class") is None and drawn_as(row) == "balanced"
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
                    against = _cell(delta, digits, signed=True) if delta else "reference" if is_reference else ""
                    cells[row["start"], setting(row)[1]] = _cell(row, digits) + (
                        f'<span class="delta">{against}</span>' if against else ""
                    )
            lines.append((escape(head.replace("_", " ")), cells))
        with_labels = f"{_size(count)} {_unit(column.unit(), count)}"
        about = f"in the second line of a cell: difference to ImageNet with the {lead[0]} head on {lead[1]} features"
        caption = _caption(f"{metric_name(column.metric)} with {with_labels}", about)
        table = _table(caption, "head", top, keys, [("", lines)])
        parts.append(table if count == first else _details(f"With {with_labels}", table))
    return "<p>These differences are exploratory.</p>" + "".join(parts) + _notes(values)


def _start_lines(values: Sequence[Row], differences: Sequence[Row], digits: int) -> list[Line]:
    same = bool(values) and str(values[0]["metric"]).endswith("_no_skill")
    lines: list[Line] = [
        (
            "every start" if same else escape(start_name(start)),
            {r["labels_per_class"]: _cell(r, digits) for r in values if r["start"] == start},
        )
        for start in starts_in(values)
    ]
    if differences:
        cells = {row["labels_per_class"]: _cell(row, digits, signed=True) for row in differences}
        lines.append((f"{escape(start_name('continued'))} − {escape(start_name('imagenet'))}", cells))
    return lines


def _sized_table(column: Column, caption: str, groups: Sequence[tuple[str, list[Line]]], rows: Sequence[Row]) -> str:
    sizes = sizes_in(rows)
    return _table(caption, column.unit(), [_size(size) for size in sizes], sizes, groups)


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
                f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cells.get(key, _NONE)}</td>" for key in keys)}</tr>'
            )
        bodies += f"<tbody>{body}</tbody>"
    header = "".join(f'<th scope="col">{text}</th>' for text in top)
    return (
        f'<div class="scroll"><table class="metrics">{caption}<thead><tr><th scope="col">{escape(corner)}</th>{header}'
        f"</tr></thead>{bodies}</table></div>"
    )


def _details(summary: str, inside: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>" if inside else ""


def _caption(title: str, soft: str) -> str:
    about = f' <span class="soft">{escape(soft)}</span>' if soft else ""
    return f"<caption>{escape(_capital(title) if ':' not in title else title)}{about}</caption>"


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


def _without_comparison(column: Column) -> str:
    """What to say where continued pretraining and ImageNet are not both measured."""
    values = column.values()
    starts = starts_in(values)
    if not values:
        return "No value was measured."
    names = _joined([escape(start_name(start)) for start in starts])
    if "continued" in starts and "imagenet" in starts:
        return "Continued pretraining and ImageNet were both measured, but no paired difference between them."
    absent = "ImageNet alone was not" if "continued" in starts else "Continued pretraining was not"
    known = [row for row in values if is_number(row["value"])]
    if len(starts) > 1 or not known:
        return f"{absent} measured, so there is no difference to show; measured: {names}."
    ends = sorted(known, key=lambda row: size_order(row["labels_per_class"]))
    digits, name = column.digits(), escape(metric_name(column.metric))
    said = [f"{_number(row['value'], digits)} with {_labels_phrase(column, row)}" for row in (ends[0], ends[-1])]
    return (
        f"{absent} measured, so there is no difference to show. {_capital(names)}: {name} "
        + " and ".join(dict.fromkeys(said))
        + "."
    )


def _not_estimable(row: Row) -> str:
    note = str(row.get("note") or "").removeprefix("not estimable: ")
    return f"not estimable ({escape(note)})" if note else "not estimable"


def _labels_phrase(column: Column, row: Row) -> str:
    """20 labels per class (140 in all)."""
    size, total = row["labels_per_class"], row.get("n_labels")
    inside = f" ({int(total):,} in all)" if total and total != size and column.unit() != "labels" else ""
    return f"{_size(size)} {_unit(column.unit(), size)}{inside}"


def _sureness(row: Row, digits: int) -> str:
    said = [_interval_words(row, digits)]
    if is_number(row.get("p")):
        said.append(_p("p", float(row["p"])))
    if is_number(row.get("p_holm")):
        said.append(_p("after Holm's correction p", float(row["p_holm"])))
    return ", ".join(said)


def _interval_words(row: Row, digits: int) -> str:
    if not _has_interval(row):
        return _no_interval(row)
    low, high = (_number(row[bound], digits, signed=True) for bound in ("low", "high"))
    return f"95&nbsp;% interval {low} to {high}"


def _p(name: str, p: float) -> str:
    return (
        f"{name}&nbsp;&lt;&nbsp;0.001"
        if p < 0.001
        else f"{name}&nbsp;=&nbsp;{p:.3f}"
        if p < 0.0995
        else f"{name}&nbsp;=&nbsp;{p:.2f}"
    )


def _cell(row: Row | None, digits: int, *, signed: bool = False) -> str:
    """A value with its interval below; bold where a difference's interval excludes zero; p-values where it has them."""
    if row is None:
        return _NONE
    if not is_number(row["value"]):
        return '<span class="soft">not estimable</span>'
    value = _number(row["value"], digits, signed=signed)
    if not _has_interval(row):
        return f'{value} <span class="interval wrap">{_no_interval(row)}</span>'
    low, high = (_number(row[bound], digits, signed=signed) for bound in ("low", "high"))
    if signed and (row["low"] > 0 or row["high"] < 0):
        value = f"<b>{value}</b>"
    name = "p_holm" if is_number(row.get("p_holm")) else "p"
    p = _p("p (Holm)" if name == "p_holm" else "p", float(row[name])) if is_number(row.get(name)) else ""
    below = f'<span class="interval">{p}</span>' if p else ""
    return f'{value} <span class="interval">[{low}, {high}]</span>{below}'


def _equal_cell(row: Row | None) -> str:
    if row is None:
        return _NONE
    if not is_number(row["value"]):
        return '<span class="soft">not estimable</span>'
    interval = f"[{_bound(row, 'low')}, {_bound(row, 'high')}]" if _has_interval(row) else _no_interval(row)
    return f'{_bound(row, "value")} <span class="interval">{interval}</span>'


def _bound(row: Row, name: str) -> str:
    """A number of labels, or that it lies beyond those that were tried."""
    mark = "&gt;&nbsp;" if name in _ends(row, "beyond") else "&lt;&nbsp;" if name in _ends(row, "below") else ""
    return f"{mark}{float(row[name]):,.0f}"


def _ends(row: Row, name: str) -> Sequence[str]:
    return row.get(name) or ()


def _has_interval(row: Row) -> bool:
    return is_number(row.get("low")) and is_number(row.get("high"))


def _no_interval(row: Row) -> str:
    return "no interval (fewer than 20 draws)"


def _own_setting(column: Column, values: Sequence[Row], start: str) -> str:
    """Head and features of a start that has not the leading ones."""
    own = next(setting(row) for row in values if row["start"] == start)
    if own == (column.head, column.features):
        return ""
    return f' <span class="interval">{escape(own[0])} head, {escape(own[1])}</span>'


def _pairs(differences: Iterable[Row]) -> list[tuple[str, str]]:
    """To ImageNet where there are such, else every pair; continued first."""
    pairs = list(dict.fromkeys((str(row["start"]), str(row["difference_to"])) for row in differences))
    chosen = [pair for pair in pairs if pair[1] == "imagenet"] or pairs
    return sorted(chosen, key=lambda pair: pair[0] != "continued")


def _groups_phrase(rows: Iterable[Row]) -> str:
    groups = sorted({int(row["n_groups"]) for row in rows if is_number(row.get("n_groups"))})
    if not groups:
        return ""
    count = f"{groups[0]:,}" if len(groups) == 1 else f"{groups[0]:,} to {groups[-1]:,}"
    return f", {count} test {'group' if groups[-1] == 1 else 'groups'}"


def _operating(metric: str) -> str | None:
    """The term that a metric's name holds: macro_sensitivity is sensitivity."""
    words = metric.split("_")
    return next((term for term in OPERATING if term in words), None)


def _number(value: Any, digits: int, *, signed: bool = False) -> str:
    return f"{float(value):{'+' if signed else ''},.{digits}f}".replace("-", "−")


def _size(size: int | None) -> str:
    return "all" if size is None else f"{int(size):,}"


def _unit(unit: str, size: int | None) -> str:
    return unit.replace("labels", "label", 1) if size == 1 else unit


def _listed(sizes: Sequence[int | None]) -> str:
    return _joined([_size(size) for size in sizes])


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
