"""What the page says of few labels: how many labels, what continued pretraining is worth beside ImageNet, how sure.

Every text from outside is escaped here. What is not estimable is said to be so, never shown as 0 or NaN.
"""

from collections.abc import Sequence
from html import escape

from reports.few_label_tables import (
    NOTHING,
    OPERATING,
    caption_html,
    cell_html,
    class_table,
    details,
    equal_cell_html,
    equal_table,
    heads_and_features,
    main_table,
    metrics_table,
    operating_meaning,
)
from reports.few_label_words import (
    differences_in_words,
    equal_sentence,
    headline_sentence,
    size_text,
)
from reports.figures import label_efficiency
from reports.metric_rows import (
    EQUAL_LABELS,
    Column,
    Row,
    columns_of,
    drawn_as,
    is_number,
    metric_name,
    verdict,
)
from reports.number_words import begun

KIND_NAMES = {
    "classes": "one of several classes",
    "yes_no": "yes or no",
    "multilabel": "several findings, each present or absent",
    "ordered": "ordered levels",
    "real": "a real value",
    "votes": "shares of votes",
}
_AT_A_GLANCE = {"unclear": "no clear difference", "unknown": "not known"}


def few_labels(rows: Sequence[Row]) -> str:
    """The section: one part per label column, each with its sentence, figure and tables, details collapsed."""
    if not rows:
        return '<p class="soft">No labels were given, so no head was trained and nothing was measured.</p>'
    columns = columns_of(rows)
    size = next((row["labels_per_class"] for row in rows if row.get("primary")), None)
    parts = [_at_a_glance(columns, size)] if len(columns) > 1 else []
    parts += [_column(column, size, f"few-labels-{i}") for i, column in enumerate(columns)]
    return "\n".join([*parts, _how_to_read(rows)])


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
            body += f"<tr>{link}<td>{escape(metric_name(column.metric))}</td>{f'<td>{NOTHING}</td>' * 6}</tr>"
            continue
        digits = column.digits(str(row["metric"]))
        at = {r["start"]: r for r in column.values() if r["labels_per_class"] == row["labels_per_class"]}
        equal = next((r for r in column.equal_labels() if r["labels_per_class"] == row["labels_per_class"]), None)
        said = "not estimable" if not is_number(row["value"]) else _AT_A_GLANCE.get(verdict(row), verdict(row))
        primary = ' <span class="interval">primary</span>' if row.get("primary") else ""
        cells = (
            escape(metric_name(str(row["metric"]))) + primary,
            size_text(row["labels_per_class"]),
            cell_html(at.get("imagenet"), digits),
            cell_html(at.get("continued"), digits),
            cell_html(row, digits, signed=True), escape(said), equal_cell_html(equal),
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
            f'<div class="verdict {state}"><p><strong>{title}.</strong> '
            f"{begun(headline_sentence(column, size))}</p>"
            f"{sentence}</div>",
            f'<div class="figure">{figure}</div>' if figure else "",
            main_table(column, column.draw),
            _listed(differences_in_words(column)),
            equal_table(column, equal) if len(equal) > 1 else "",
            details(_secondary_title(column), _secondary(column)),
            details("Heads and features compared", heads_and_features(column, size)),
            details("Natural draws: labels as common as in the catalog", main_table(column, "natural"))
            if column.draw != "natural"
            else "",
            "</div>",
        )
        if part
    )


def _secondary_title(column: Column) -> str:
    by_class = ", and each class" if any(row.get("class") is not None for row in column.rows) else ""
    operating = any(operating_meaning(str(row["metric"])) for row in column.rows)
    return "Other metrics" + (", sensitivity and specificity" if operating else "") + by_class


def _secondary(column: Column) -> str:
    """All metrics of the leading head and features, then what depends on a threshold, then each class."""
    own = [row for row in column.rows if row["metric"] != EQUAL_LABELS and drawn_as(row) == column.draw]
    macro = [row for row in own if row.get("class") is None]
    names = [name for name in dict.fromkeys(str(row["metric"]) for row in macro) if name != column.metric]
    plain = [name for name in names if operating_meaning(name) is None]
    operating = [name for name in names if operating_meaning(name)]
    classes = [row for row in own if row.get("class") is not None]
    parts = []
    setting_words = f"{column.head} head on {column.features} features"
    if plain:
        parts.append(metrics_table(column, plain, caption_html("Other metrics", setting_words)))
    meant = [name for name in dict.fromkeys(str(row["metric"]) for row in own) if operating_meaning(name)]
    if meant:
        parts.append(
            "<h4>When positive is called</h4><p>The threshold was chosen on the labels that the head was trained on, "
            'never on test objects.</p><dl class="terms">'
            + "".join(
                f"<dt>{escape(begun(metric_name(name)))}</dt><dd>{OPERATING[operating_meaning(name) or '']}</dd>"
                for name in meant
            )
            + "</dl>"
        )
    if operating:
        parts.append(metrics_table(column, operating, caption_html("At the chosen threshold", setting_words)))
    parts += [class_table(column, name, classes) for name in dict.fromkeys(str(row["metric"]) for row in classes)]
    return "".join(parts)


def _listed(said: Sequence[str]) -> str:
    return f'<ul class="findings">{"".join(f"<li>{escape(one)}</li>" for one in said)}</ul>' if said else ""
