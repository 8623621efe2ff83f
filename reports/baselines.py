"""What a score may owe to: heads without the image, without texture or shape, without marks, beside the run's own."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from reports.audit import NAMES
from reports.metric_rows import LARGE, metric_name
from reports.number_words import begun, joined, number_words

_SHOWN = {
    "head": "the head, from the image's embedding",
    "told": "what table, file and header tell, no image",
    "told and measured": "the same and plain numbers of the image (brightness, sharpness, frame …)",
    "whole": "whole images",
    "colours": "colours or grey levels alone, wherever they stand",
    "without texture": "without texture (8 × 8 fields, smooth between)",
    "without shape": "without shape (4 × 4 pieces in another order)",
    "marks hidden": "burned-in marks hidden",
}
_AGAIN = " learnt"
MARKS = "marks hidden"
_NAMED = 8  # attributes in a sentence


def baselines_section(entries: Sequence[Mapping[str, Any]]) -> str:
    """The section, one part a label, each beginning with its findings; nothing where nothing was asked.

    `entries` are those of baselines.json: label, attributes, marks, without_image and cues.
    """
    if not entries:
        return ""
    parts = "".join(_label(entry) for entry in entries)
    return (
        '<section id="baselines" aria-labelledby="baselines-heading">\n<h2 id="baselines-heading">What the score may '
        f'owe to</h2>{parts}<p class="soft how">'
        "How to read: all heads are of the kind that predicts, learn from labels of the "
        "training half and are scored on the same test objects; differences are paired, intervals of 95&nbsp;% and not "
        "corrected for their number. What a baseline reaches, a head may owe to it or not: an attribute can come with "
        "what is looked for (the view with the severity), so leaving it out or matching on it neither removes all "
        "confounding nor proves that the rest is the disease or the type. Changed images are unlike those that the "
        "head learnt from, so part of what it loses on them is their strangeness; heads that learnt from such images "
        "show what is left to be seen there (Geirhos et al. 2019).</p>\n</section>"
    )


def _label(entry: Mapping[str, Any]) -> str:
    cues = entry["cues"]
    said = _verdict(*image_sentence(entry))
    marks = entry["marks"]
    if marks["images"] and not marks["kept"]:
        said += (
            f"<p>Burned-in marks were found in {marks['images']:,} images and are hidden in all. What a head would owe "
            "to them is measured in a run that keeps them, on the same test images with them and without: "
            "<code>domainssl run RECIPE --out OTHER --set store.marks=keep</code></p>"
        )
    tables = _table("Without the image", entry["without_image"], ["head", "told", "told and measured"], {})
    if cues is not None:
        said += _verdict(*_colour_sentence(cues)) + _verdict(*_cue_sentence(cues))
        said += _verdict(*marks_sentence(cues)) if MARKS in cues["values"] else ""
        plain = [name for name in cues["values"] if not name.endswith(_AGAIN)]
        plain += ["colours"] if f"colours{_AGAIN}" in cues["values"] else []
        again = {name: f"{name}{_AGAIN}" for name in plain}
        counts = cues["images"]
        title = f"Changed images ({counts['train']:,} to learn from, {counts['test']:,} test)"
        tables += _table(title, cues, plain, again)
    return f'<div class="label-column"><h3>{escape(str(entry["label"]))}</h3>{said}{tables}</div>'


def image_sentence(entry: Mapping[str, Any]) -> tuple[str, str]:
    """What needs no image, beside the head; the state is "worse" where that is clearly ahead."""
    found = entry["without_image"]
    values = found["values"]
    if "told" not in values:
        return "No column of the catalog and nothing of its files tells two objects apart.", "unknown"
    if values["told"]["value"] is None:
        return "What table and files alone tell of this label is not estimable: too few test groups.", "unknown"
    names = [escape(NAMES.get(name, name)) for name in entry["attributes"]["told"]]
    listed = joined([*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if len(names) > _NAMED else [])])
    reach = "reaches" if len(names) == 1 else "reach"
    numbers = (
        f"{begun(listed)} alone {reach} {_metric(found)} {number_words(values['told'])} in {found['groups']:,} test "
        f"groups, where the head reaches {number_words(values['head'])}."
    )
    ahead, behind = _signs(found, _difference(found, "head", "told"))
    if ahead:
        return f"The head sees more than table and files tell. {numbers}", "better"
    if behind:
        return f"A score higher than the head's needs no image. {numbers}", "worse"
    return f"The head is not clearly ahead of what needs no image. {numbers}", "unclear"


def _colour_sentence(cues: Mapping[str, Any]) -> tuple[str, str]:
    """Whether more than colours is needed, by heads that learnt from the same images."""
    values, difference = cues["values"], _difference(cues, f"whole{_AGAIN}", f"colours{_AGAIN}")
    if difference["value"] is None:
        return "What colours alone tell of this label is not estimable: too few test groups.", "unknown"
    numbers = (
        f"from {cues['images']['train']:,} training images, colours or grey levels alone reach {_metric(cues)} "
        f"{number_words(values[f'colours{_AGAIN}'])}, the embedding {number_words(values[f'whole{_AGAIN}'])} "
        f"(difference {number_words(difference)})."
    )
    ahead, behind = _signs(cues, difference)
    if ahead:
        return f"The embedding tells more than colours do, wherever they stand: {numbers}", "better"
    if behind:
        return f"Colours tell more than the embedding: {numbers}", "worse"
    return f"The embedding is not clearly ahead of colours that stand anywhere: {numbers}", "unclear"


def _cue_sentence(cues: Mapping[str, Any]) -> tuple[str, str]:
    """By which cue the head goes: it says of itself only what the paired difference allows."""
    values = cues["values"]
    if values["whole"]["value"] is None:
        return "Whether the head goes by texture or by shape is not estimable: too few test groups.", "unknown"
    difference = _difference(cues, "without texture", "without shape")
    shape, texture = _signs(cues, difference)
    if shape:
        said = "The head goes by shape more than by texture"
    elif texture:
        said = "The head goes by texture more than by shape"
    else:
        said = "Whether the head goes more by texture or by shape is not clear"
    parts = [f"{number_words(values[name])} {words}" for name, words in _WORDS.items()]
    kept = "".join(_kept(cues, name) for name in _WORDS)
    return (
        f"{said}: its {_metric(cues)} is {number_words(values['whole'])} on whole images, {' and '.join(parts)}.{kept}",
        "",
    )


_WORDS = {
    "without texture": "without texture (shape is left)",
    "without shape": "without shape (texture is left)",
}


def _kept(cues: Mapping[str, Any], name: str) -> str:
    """How much of what it scores above chance the head keeps, for areas under the curve."""
    whole, part = (cues["values"][one]["value"] for one in ("whole", name))
    if not str(cues["metric"]).endswith("auroc") or whole <= 0.6:
        return ""
    share = min(1.0, max(0.0, (part - 0.5) / (whole - 0.5)))
    return f" {name.capitalize()} it keeps {100 * share:.0f}&nbsp;% of what it scores above chance."


def marks_sentence(cues: Mapping[str, Any]) -> tuple[str, str]:
    values, difference = cues["values"], _difference(cues, "whole", "marks hidden")
    if difference["value"] is None:
        return "What the head owes to burned-in marks is not estimable: too few test groups.", "unknown"
    shown, hidden, again = (number_words(values[name]) for name in ("whole", MARKS, f"{MARKS}{_AGAIN}"))
    numbers = (
        f"{_metric(cues)} {shown} with the marks shown, {hidden} with them hidden in the same test images (difference "
        f"{number_words(difference)}); a head that learnt without them reaches {again}."
    )
    ahead, behind = _signs(cues, difference)
    if ahead:
        return f"The head's score owes something to burned-in marks: {numbers}", "worse"
    if behind:
        return f"Hiding the burned-in marks raises the head's score: {numbers}", "worse"
    said = f"No part of the head's score was seen to hang on burned-in marks: {numbers}"
    told = str(cues["metric"]).endswith("auroc") and difference["high"] < LARGE
    return said, "better" if told else "unknown"


def _verdict(said: str, state: str) -> str:
    return f'<div class="verdict {state}"><p><strong>{said}</strong></p></div>'


def _difference(found: Mapping[str, Any], of: str, to: str) -> Mapping[str, Any]:
    own: Mapping[str, Any] = next(one for one in found["differences"] if (one["of"], one["to"]) == (of, to))
    return own


def _signs(found: Mapping[str, Any], difference: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the first is clearly better than the second, and whether clearly worse."""
    if difference["value"] is None:
        return False, False
    above, below = difference["low"] > 0, difference["high"] < 0
    return (below, above) if found["better"] == "lower" else (above, below)


def _table(title: str, found: Mapping[str, Any], names: Sequence[str], again: Mapping[str, str]) -> str:
    values = found["values"]
    first = "The head as it is" if again else begun(_metric(found))
    heads = ["What is seen", first, *(["A head that learnt from such images"] if again else [])]
    rows = ""
    for name in names:
        if name not in values and again.get(name) not in values:
            continue
        cells = [values.get(name), *([values.get(again[name])] if again else [])]
        rows += f'<tr><th scope="row">{_SHOWN[name]}</th>'
        rows += "".join(f'<td class="number">{number_words(cell)}</td>' for cell in cells) + "</tr>"
    head = "".join(f'<th scope="col"{"" if place == 0 else _NUMBER}>{text}</th>' for place, text in enumerate(heads))
    caption = f"{title}: {_metric(found)}, {found['groups']:,} test groups"
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


_NUMBER = ' class="number"'


def _metric(found: Mapping[str, Any]) -> str:
    return escape(metric_name(str(found["metric"])))
