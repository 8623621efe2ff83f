"""Whether a run was applied to other objects than it learnt from, in sentences that claim no more than is known."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.number_words import p_words, percent

ALPHA = 0.05
ASSUMED = "if objects of one answer look alike in both"


def shift_sentences(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence on each label's class shares, of several findings on those that changed, and one on what is far.

    `entries` are those of shift.json. Nothing for labels without classes; the sentence on what is far, which hardly
    hangs on the label, is said once, of the label of which most is far.
    """
    said = []
    for entry in entries:
        answers = entry["answers"]
        told = [answer for answer in answers if answer["p"] is not None]
        if not answers:
            continue
        if not told:
            said.append(_untold(entry))
        elif answers[0]["of"] is None:
            said.append(_shares(entry, told[0]))
        else:
            changed = [answer for answer in told if answer["p_holm"] < ALPHA]
            said += [_shares(entry, answer) for answer in changed]
            if not changed:
                said.append(
                    f"{entry['label']}: of {len(told)} findings whose scores are probabilities, none is more or less "
                    f"common among these {entry['objects']:,} new objects than among the labelled test objects beyond "
                    f"chance, {ASSUMED}."
                )
    far = [entry for entry in entries if entry["far"] is not None]
    if far:
        said.append(_far(max(far, key=lambda entry: float(entry["far"]["value"]))["far"]))
    return said


def _shares(entry: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Of two answers the second is named, of more the one that changed most clearly."""
    place = 1 if len(answer["names"]) == 2 else max(0, answer["clearest"])
    name = answer["names"][place]
    changed = answer["p_holm"] < ALPHA
    more = "more than chance explains" if changed else "no more than chance explains"
    return (
        f"{entry['label']}: among these {entry['objects']:,} new objects the scores suggest "
        f"{percent(answer['now'][place])} {name} ({percent(answer['low'][place])} to "
        f"{percent(answer['high'][place])}), among the labelled test objects {percent(answer['test'][place])}, "
        f"{ASSUMED}: a difference {more} (p {p_words(answer['p_holm'])}). Of the labels that the run learnt from, "
        f"{percent(answer['trained'][place])} are {name}."
    )


def _untold(entry: Mapping[str, Any]) -> str:
    if all(answer["called"] != "probability" for answer in entry["answers"]):
        why = "the run does not call its scores probabilities"
    else:
        why = f"{entry['needed']} groups are needed, of the new objects and of the labelled test half"
    return f"{entry['label']}: how common its answers are among the new objects is not estimable: {why}."


def _far(far: Mapping[str, Any]) -> str:
    before = far["test"]
    more = far["p_holm"] < ALPHA and far["value"] > before["value"]
    verdict = (
        "more than chance explains, so that scores mean less here than on the test half"
        if more
        else "no more than chance explains"
    )
    return (
        f"{percent(far['value'])} ({percent(far['low'])} to {percent(far['high'])}) of {far['groups']:,} new groups "
        f"are far from every labelled object, where {percent(far['promised'])} would be expected and "
        f"{percent(before['value'])} of the labelled test groups were: {verdict} (p {p_words(far['p_holm'])})."
    )
