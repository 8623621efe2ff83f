"""How far to trust one prediction: whether scores are probabilities, what sets hold, what is far from all labels."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from reports.figures import reliability_curve
from reports.number_words import p_words, percent
from reports.vote_trust import votes_part

HOW = {
    "unfitted": "they are the head's own, since too few labels could be left out of a head to fit a map",
    "none": "they are the head's own, since no map from scores to probabilities predicted clearly better",
    "temperature": "the head's own were divided by one temperature",
    "isotonic": "the head's own were mapped by an isotonic regression a class",
}


def trust_section(entries: Sequence[Mapping[str, Any]]) -> str:
    """The section, one part a label: each begins with its finding; nothing where no label was measured.

    `entries` are those of certainty.json: label, kind, questions (of, how, before, after, sets), far, and votes where
    a label has predicted vote distributions.
    """
    if not entries:
        return ""
    parts = "".join(_label(entry, f"trust-{place}") for place, entry in enumerate(entries))
    return (
        '<section id="trust" aria-labelledby="trust-heading">\n'
        '<h2 id="trust-heading">How far to trust a prediction</h2>'
        f'{parts}<p class="soft how">'
        "How to read: of the head that predicts every object, which learnt from all labels of the "
        "training half. What is said of scores and sets was learnt on labelled groups (patients, tiles) of that half "
        "and measured on the test half, one object a group. It holds for objects like these, with each answer as "
        "common as among these labels.</p>\n</section>"
    )


def _label(entry: Mapping[str, Any], name: str) -> str:
    said = "".join(_question(entry, asked, f"{name}-{place}") for place, asked in enumerate(entry["questions"]))
    if "votes" in entry:
        said = votes_part(entry["votes"])
    if not said:
        why = "no labelled test object" if entry["kind"] not in ("real", "votes") else "its head gives no class scores"
        said = f'<p class="soft">Nothing is said of scores: {why}.</p>'
    return f'<div class="label-column"><h3>{escape(str(entry["label"]))}</h3>{said}{_far(entry["far"])}</div>'


def _question(entry: Mapping[str, Any], asked: Mapping[str, Any], name: str) -> str:
    after = asked["after"]
    heading = f"<h4>{escape(str(asked['of']))}</h4>" if asked["of"] else ""
    sound = after["called"] == "probability"
    figure = reliability_curve(asked["before"], after, name, "Scores against how often they were right")
    return (
        f'{heading}<div class="verdict {"better" if sound else "worse"}"><p><strong>{verdict_sentence(asked)}</strong> '
        f"{error_sentence(asked)}</p><p>{escape(sets_sentence(asked))}</p></div>"
        f'<div class="figure">{figure}</div>{_by_class(asked)}'
    )


def verdict_sentence(asked: Mapping[str, Any]) -> str:
    """Whether a question's scores are probabilities, as plain text; `asked` is one of an entry's questions."""
    after = asked["after"]
    which = "Scores" if asked["two"] else "Scores of the likeliest answer"
    if after["called"] == "probability" and after["error"] <= after["noticed"]:
        return f"{which} may be read as probabilities: no error beyond chance was noticed."
    if after["called"] == "probability":
        return f"{which} may be read as probabilities that are off by about {100 * after['error']:.0f} points."
    if after["groups"] < after["needed"]:
        return f"{which} are not called probabilities: {after['groups']:,} test groups are too few to tell."
    return f"{which} are no probabilities."


def error_sentence(asked: Mapping[str, Any]) -> str:
    """How far its scores were off, as plain text."""
    before, after = asked["before"], asked["after"]
    by_chance = f"{after['expected']:.3f} would be chance, p {p_words(after['p'])}"
    same = asked["how"] in ("none", "unfitted")
    changed = "" if same else f"; before, it was {before['error']:.3f}"
    brier = f"Brier score {after['brier']:.3f}" + ("" if same else f" (before {before['brier']:.3f})")
    return (
        f"In {after['groups']:,} test groups they were off by {after['error']:.3f} on average ({by_chance}{changed}): "
        f"{HOW[asked['how']]}. Less than {after['noticed']:.3f} would not be noticed. {brier}."
    )


def sets_sentence(asked: Mapping[str, Any]) -> str:
    """How often its sets of answers held the truth, as plain text, or why there are none."""
    sets = asked.get("sets")
    if sets is None:
        return "No sets: of fewer than 9 groups, or of some answer of none, a head could leave the labels out."
    low, high = sets["range"]
    return (
        f"Sets of answers that promise to hold the truth in {percent(sets['promised'])} of objects held it in "
        f"{_share(sets)} of {sets['groups']:,} test groups. By the luck of the {sets['rows']:,} groups they were "
        f"calibrated on, between {percent(low, 0)} and {percent(high, 0)} had to be expected. They have "
        f"{sets['size']:.2f} answers on average; {percent(sets['one'], 0)} have one."
    )


def _by_class(asked: Mapping[str, Any]) -> str:
    sets = asked.get("sets")
    if sets is None or len(sets["class"]) < 2:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{escape(_share(covered))}</td>'
        f'<td class="number">{covered["groups"]:,}</td></tr>'
        for name, covered in sets["class"].items()
    )
    return (
        "<details><summary>Sets by answer</summary><p>The promise is one over all objects; a rare answer may be held "
        'less often.</p><div class="scroll"><table><thead><tr><th scope="col">Truth</th><th scope="col" class="number">'
        'Held (95&nbsp;% interval)</th><th scope="col" class="number">Test groups</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _far(far: Mapping[str, Any] | None) -> str:
    return f"<p>{escape(far_sentence(far))}</p>"


def far_sentence(far: Mapping[str, Any] | None) -> str:
    """How many test groups are far from all labels and how often the head was right there, as plain text."""
    if far is None:
        return "Which objects are far from all labelled ones cannot be told: fewer than 100 labelled groups."
    right = far.get("right") or {}
    told = ""
    if len(right) == 2:
        told = (
            f" The likeliest answer was right for {_share(right['far'])} of these and for {_share(right['near'])} of "
            "the others."
        )
    return (
        f"{_share(far)} of the labelled test groups are far from every labelled object of the training half, where "
        f"{percent(far['promised'], 0)} would be expected of objects of the same kinds.{told}"
    )


def _share(facts: Mapping[str, Any]) -> str:
    return f"{100 * facts['value']:.1f} % ({100 * facts['low']:.1f} to {100 * facts['high']:.1f})"
