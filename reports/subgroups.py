"""Scores by sex, age, view, site, brightness: the clearest gap, then every metric; heads of one site at another."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from reports.metric_rows import LARGE, metric_name
from reports.number_words import begun, number_words, p_words

ALPHA = 0.05
NAMES = {"mag_r": "brightness (mag_r)"}


def subgroups_section(entries: Sequence[Mapping[str, Any]]) -> str:
    """The section, one part a label, each beginning with its finding; nothing where no attribute has two levels.

    `entries` are those of subgroups.json: label, levels, gaps and transfer.
    """
    asked = [entry for entry in entries if entry["gaps"] or entry["transfer"]]
    if not asked:
        return ""
    parts = "".join(_label(entry) for entry in asked)
    return (
        '<section id="subgroups" aria-labelledby="subgroups-heading">\n<h2 id="subgroups-heading">Subgroups</h2>'
        f'{parts}<p class="soft how">How to read: exploratory, on the test half. A gap is between the two levels of an '
        "attribute that differ most clearly, and is called more than chance where its p, adjusted for all levels, "
        "attributes and labels that were asked about, is below .05; of runs without any gap at most one in twenty "
        "would name one. A gap has many causes: sicker patients, other devices, fewer labels, fainter images. That "
        "none is named does not make the scores equal.</p>\n</section>"
    )


def gap_sentence(entry: Mapping[str, Any]) -> tuple[str, str]:
    """What the gaps of one label come to, and the state of that: "worse", "better", or "unknown", also where none was
    named though gaps of more than LARGE would not be noticed."""
    tested = [gap for gap in entry["gaps"] if gap["p_holm"] is not None]
    if not tested:
        return "Whether scores differ between subgroups is not estimable: too few test groups.", "unknown"
    clear = sorted((gap for gap in tested if gap["p_holm"] < ALPHA), key=lambda gap: float(gap["p_holm"]))
    first = clear[0] if clear else max(tested, key=lambda gap: float(gap["difference"]))
    asked = f"{len(tested)} attribute{'' if len(tested) == 1 else 's'} asked about"
    shown = f"{begun(_pair(first))}; a difference of {number_words({**first, 'value': first['difference']})}"
    if not clear:
        blind = any(not gap["metric"].endswith("auroc") or gap["noticed"] > LARGE for gap in tested)
        return (
            f"No gap beyond chance was noticed, {asked}. The largest difference: {_pair(first)} (p = "
            f"{first['p_holm']:.2f})."
        ), "unknown" if blind else "better"
    others = f" So do the levels of {', '.join(_name(gap['attribute']) for gap in clear[1:])}." if clear[1:] else ""
    return (
        f"Scores differ by {_name(first['attribute'])} more than chance explains ({asked}): {shown}, p "
        f"{p_words(first['p_holm'])}.{others}"
    ), "worse"


def unnoticed_sentence(entry: Mapping[str, Any]) -> str:
    """Which gaps would not be noticed; empty where nothing could be asked."""
    tested = [gap for gap in entry["gaps"] if gap["p_holm"] is not None]
    noticed = ", ".join(f"{_name(gap['attribute'])} {gap['noticed']:.2f}" for gap in tested)
    return f"Gaps below these would not be noticed: {noticed}." if tested else ""


def transfer_sentence(transfer: Mapping[str, Any]) -> tuple[str, str]:
    """What a head that learnt at one level loses at another, at worst, and the state of that."""
    name = _name(transfer["attribute"])
    across = [cell for cell in transfer["cells"] if cell.get("loss", {}).get("p_holm") is not None]
    if not across:
        return f"Whether a head carries over from one {name} to another is not estimable: too few groups.", "unknown"
    clear = [cell for cell in across if cell["loss"]["p_holm"] < ALPHA and cell["loss"]["value"] > 0]
    gained = [cell for cell in across if cell["loss"]["p_holm"] < ALPHA and cell["loss"]["value"] < 0]
    worst = max(clear or across, key=lambda cell: float(cell["loss"]["value"]))
    own = next(c for c in transfer["cells"] if c["trained"] == c["tested"] == worst["tested"])
    metric = metric_name(transfer["metric"])
    beside = (
        f"{metric} {worst['value']:.3f} beside {own['value']:.3f} of one that learnt there from as many labels "
        f"({transfer['labels']:,})"
    )
    if clear:
        more = f" {len(clear)} of {len(across)} such losses are beyond chance." if len(across) > 1 else ""
        return (
            f"A head that learnt at {escape(str(worst['trained']))} loses {number_words(worst['loss'])} at "
            f"{escape(str(worst['tested']))}: {beside}.{more}"
        ), "worse"
    better = (
        f" {len(gained)} of {len(across)} heads do better elsewhere than those that learnt there." if gained else ""
    )
    most = max(float(cell["loss"]["high"]) for cell in across)
    blind = not transfer["metric"].endswith("auroc") or most > LARGE
    return (
        f"No loss beyond chance was noticed where a head is tested at another {name} than it learnt at. The largest: "
        f"{number_words(worst['loss'])} from {escape(str(worst['trained']))} to {escape(str(worst['tested']))}, "
        f"{beside}. A loss of {most:.2f} is not ruled out.{better}"
    ), "unknown" if blind else "better"


def _label(entry: Mapping[str, Any]) -> str:
    parts = ""
    if entry["gaps"]:
        said, state = gap_sentence(entry)
        parts += _verdict(said, state, unnoticed_sentence(entry)) + _gaps(entry["gaps"]) + _levels(entry)
    if entry["transfer"]:
        said, state = transfer_sentence(entry["transfer"])
        parts += _verdict(said, state) + _matrix(entry["transfer"])
    return f'<div class="label-column"><h3>{escape(str(entry["label"]))}</h3>{parts}</div>'


def _verdict(said: str, state: str, more: str = "") -> str:
    return f'<div class="verdict {state}"><p><strong>{said}</strong> {more}</p></div>'


def _gaps(gaps: Sequence[Mapping[str, Any]]) -> str:
    heads = ("Attribute", "Clearest difference between", "Difference", "p, adjusted", "Noticed from")
    rows = ""
    for gap in gaps:
        rows += f'<tr><th scope="row">{begun(_name(gap["attribute"]))}</th>'
        if gap["p_holm"] is None:
            rows += (
                "<td>not estimable: fewer than two levels with enough test groups</td><td></td><td></td><td></td></tr>"
            )
            continue
        flag = ' <span class="flag">beyond chance</span>' if gap["p_holm"] < ALPHA else ""
        rows += (
            f'<td>{_pair(gap)}{flag}</td><td class="number">{number_words({**gap, "value": gap["difference"]})}</td>'
            f'<td class="number">{p_words(gap["p_holm"]).removeprefix("= ")}</td>'
            f'<td class="number">{gap["noticed"]:.3f}</td></tr>'
        )
    return _table(heads, rows, first_number=2)


def _levels(entry: Mapping[str, Any]) -> str:
    """Every metric of every level, a row a level."""
    metrics = list(dict.fromkeys(row["metric"] for level in entry["levels"] for row in level["metrics"]))
    rows = ""
    for level in entry["levels"]:
        own = {row["metric"]: row for row in level["metrics"]}
        rows += (
            f'<tr><th scope="row">{begun(_name(level["attribute"]))}: {escape(str(level["level"]))}</th>'
            f'<td class="number">{_count(level["objects"])}</td><td class="number">{_count(level["groups"])}</td>'
            + "".join(f'<td class="number">{_value(own.get(metric), level)}</td>' for metric in metrics)
            + "</tr>"
        )
    heads = ("Level", "Objects", "Groups", *(escape(metric_name(metric)) for metric in metrics))
    return (
        "<details><summary>Every metric in every level</summary><p>Exploratory: of the head that predicts, which "
        "learnt from all labels, with 95&nbsp;% intervals that no one corrected for their number. AUPRC, Brier score "
        "and predictive values hang on how common the answer is in a level, so that they differ without any gap.</p>"
        f"{_table(heads, rows, first_number=1)}</details>"
    )


def _matrix(transfer: Mapping[str, Any]) -> str:
    if not transfer["cells"]:
        return ""
    levels = [level["level"] for level in transfer["levels"]]
    cells = {(cell["trained"], cell["tested"]): cell for cell in transfer["cells"]}
    rows = ""
    for trained in levels:
        rows += f'<tr><th scope="row">learnt at {escape(str(trained))}</th>'
        for tested in levels:
            cell = cells[trained, tested]
            loss = f"<br>loss {number_words(cell['loss'])}" if "loss" in cell else ""
            rows += f'<td class="number">{number_words(cell)}{loss}</td>'
        rows += "</tr>"
    heads = ["", *(f"tested at {escape(str(e['level']))}, {_count(e['groups'])} groups" for e in transfer["levels"])]
    drops = [cell for cell in transfer["cells"] if "drop" in cell]
    words = "; ".join(
        f"{escape(str(c['trained']))} to {escape(str(c['tested']))} {number_words(c['drop'])}" for c in drops
    )
    return (
        "<details open><summary>Learnt at one, tested at another</summary><p>"
        f"{begun(escape(metric_name(transfer['metric'])))} on the test half, the mean of {transfer['draws']} heads "
        f"that learnt from {transfer['labels']:,} labels each, of each answer as many everywhere. A loss is beside "
        "heads that learnt where they are tested, on the same objects; below 0 they do better. Beside their own test "
        f"half, which may be the easier one, heads lose: {words}.</p>{_table(heads, rows, first_number=1)}</details>"
    )


def _table(heads: Sequence[str], rows: str, first_number: int) -> str:
    head = "".join(
        f'<th scope="col"{_NUMBER if place >= first_number else ""}>{name}</th>' for place, name in enumerate(heads)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


_NUMBER = ' class="number"'


def _pair(gap: Mapping[str, Any]) -> str:
    """AUROC .81 in F (n) beside .70 in M (n)."""
    first, second = (
        f"{value:.3f} in {_level(gap['attribute'], level)} ({_count(groups)} groups)"
        for value, level, groups in zip(gap["values"], gap["levels"], gap["groups"], strict=True)
    )
    return f"{escape(metric_name(gap['metric']))} {first} beside {second}"


def _level(attribute: str, level: str) -> str:
    return escape(str(level)) if str(level).startswith(attribute) else f"{_name(attribute)} {escape(str(level))}"


def _value(row: Mapping[str, Any] | None, level: Mapping[str, Any]) -> str:
    if row is None or row["value"] is None:
        return "not estimable"
    some = row.get("answers")
    of = f" ({some} of {level['of_answers']} answers)" if some is not None and some < level["of_answers"] else ""
    return number_words(row) + of


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _name(attribute: str) -> str:
    return escape(NAMES.get(str(attribute), str(attribute)))
