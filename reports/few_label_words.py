"""Few labels in words: the sentences of the page, its numbers and what stands where there is none."""

from collections.abc import Iterable, Sequence
from html import escape, unescape

from reports.metric_rows import (
    Column,
    Row,
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
from reports.number_words import begun, decimal, joined

_VERDICTS = {
    "better": "better than",
    "worse": "worse than",
    "higher": "higher than",
    "lower": "lower than",
    "unclear": "not told apart from",
}


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
    if row["value"] == row.get("low") == row.get("high") == 0:
        return f"{where}, {start} and {other} alone have the same {name} in every draw: nothing differs."
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
        sides = f", {decimal(one['value'], digits)} against {decimal(two['value'], digits)}"
    difference = decimal(row["value"], digits, signed=True)
    return f"{where}, {words}: {name}{sides}, difference {difference} ({_sureness(row, digits)}{direction})."


def headline_text(column: Column, size: int | None) -> str:
    """The same sentence as plain text."""
    return unescape(headline_sentence(column, size))


def equal_sentence(row: Row, unit: str = "labels per class") -> str:
    """How many labels ImageNet needs for what continued pretraining has, in words."""
    size, other = row["labels_per_class"], escape(start_name(str(row.get("difference_to") or "imagenet")))
    who = f"{escape(start_name(str(row['start']))).capitalize()} with {size_text(size)} {unit_text(unit, size)}"
    if not is_number(row["value"]):
        return f"{who}: how many {other} needs for as much is {_not_estimable(row)}."
    interval = (
        f"95&nbsp;% interval {bound_text(row, 'low')} to {bound_text(row, 'high')}"
        if has_interval(row)
        else no_interval(row)
    )
    return f"{who} equals {other} with {bound_text(row, 'value')} ({interval})."


def differences_in_words(column: Column) -> list[str]:
    """What the intervals of each pair of starts say, with which numbers of labels: plain sentences."""
    differences = column.differences()
    said = []
    for start, other in compared_pairs(differences):
        rows = sorted(
            (r for r in differences if (r["start"], r["difference_to"]) == (start, other)),
            key=lambda row: size_order(row["labels_per_class"]),
        )
        states = [(words, [row for row in rows if verdict(row) == state]) for state, words in _VERDICTS.items()]
        open_ = [row for row in rows if verdict(row) == "unknown"]
        states += [
            ("not estimable against", [row for row in open_ if not is_number(row["value"])]),
            ("without an interval against", [row for row in open_ if is_number(row["value"])]),
        ]
        parts = []
        for words, found in states:
            if sizes := sizes_in(found):
                unit = unit_text(column.unit(), sizes[-1])
                parts.append(f"{words} {start_name(other)} with {joined([size_text(size) for size in sizes])} {unit}")
        said.append(f"{begun(start_name(start))}: {'; '.join(parts)}.")
    return said


def _without_comparison(column: Column) -> str:
    """What to say where continued pretraining and ImageNet are not both measured."""
    values = column.values()
    starts = starts_in(values)
    if not values:
        return "No value was measured."
    names = joined([escape(start_name(start)) for start in starts])
    if "continued" in starts and "imagenet" in starts:
        return "Continued pretraining and ImageNet were both measured, but no paired difference between them."
    absent = "ImageNet alone was not" if "continued" in starts else "Continued pretraining was not"
    known = [row for row in values if is_number(row["value"])]
    if len(starts) > 1 or not known:
        return f"{absent} measured, so there is no difference to show; measured: {names}."
    ends = sorted(known, key=lambda row: size_order(row["labels_per_class"]))
    digits, name = column.digits(), escape(metric_name(column.metric))
    said = [f"{decimal(row['value'], digits)} with {_labels_phrase(column, row)}" for row in (ends[0], ends[-1])]
    return (
        f"{absent} measured, so there is no difference to show. {begun(names)}: {name} "
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
    return f"{size_text(size)} {unit_text(column.unit(), size)}{inside}"


def _sureness(row: Row, digits: int) -> str:
    said = [_interval_words(row, digits)]
    if is_number(row.get("p")):
        said.append(p_text("p", float(row["p"])))
    if is_number(row.get("p_holm")):
        said.append(p_text("after Holm's correction p", float(row["p_holm"])))
    return ", ".join(said)


def _interval_words(row: Row, digits: int) -> str:
    if not has_interval(row):
        return no_interval(row)
    low, high = (decimal(row[bound], digits, signed=True) for bound in ("low", "high"))
    return f"95&nbsp;% interval {low} to {high}"


def p_text(name: str, p: float) -> str:
    return (
        f"{name}&nbsp;&lt;&nbsp;0.001"
        if p < 0.001
        else f"{name}&nbsp;=&nbsp;{p:.3f}"
        if p < 0.0995
        else f"{name}&nbsp;=&nbsp;{p:.2f}"
    )


def bound_text(row: Row, name: str) -> str:
    """A number of labels, or that it lies beyond those that were tried."""
    mark = (
        "&gt;&nbsp;"
        if name in outside_ends(row, "beyond")
        else "&lt;&nbsp;"
        if name in outside_ends(row, "below")
        else ""
    )
    return f"{mark}{float(row[name]):,.0f}"


def outside_ends(row: Row, name: str) -> Sequence[str]:
    return row.get(name) or ()


def has_interval(row: Row) -> bool:
    return is_number(row.get("low")) and is_number(row.get("high"))


def no_interval(row: Row) -> str:
    return "no interval (fewer than 20 draws)"


def own_setting(column: Column, values: Sequence[Row], start: str) -> str:
    """Head and features of a start that has not the leading ones."""
    own = next(setting(row) for row in values if row["start"] == start)
    if own == (column.head, column.features):
        return ""
    return f' <span class="interval">{escape(own[0])} head, {escape(own[1])}</span>'


def compared_pairs(differences: Iterable[Row]) -> list[tuple[str, str]]:
    """To ImageNet where there are such, else every pair; continued first."""
    pairs = list(dict.fromkeys((str(row["start"]), str(row["difference_to"])) for row in differences))
    chosen = [pair for pair in pairs if pair[1] == "imagenet"] or pairs
    return sorted(chosen, key=lambda pair: pair[0] != "continued")


def groups_phrase(rows: Iterable[Row]) -> str:
    groups = sorted({int(row["n_groups"]) for row in rows if is_number(row.get("n_groups"))})
    if not groups:
        return ""
    count = f"{groups[0]:,}" if len(groups) == 1 else f"{groups[0]:,} to {groups[-1]:,}"
    return f", {count} test {'group' if groups[-1] == 1 else 'groups'}"


def size_text(size: int | None) -> str:
    return "all" if size is None else f"{int(size):,}"


def unit_text(unit: str, size: int | None) -> str:
    return unit.replace("labels", "label", 1) if size == 1 else unit
