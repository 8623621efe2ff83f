"""The model card's section on subgroups: the clearest gap of each label, and heads of one site at another."""

from html import unescape

from pipelines.card_facts import CardFacts
from reports.model_card import CardSection, State
from reports.shared_subgroups import shared_subgroups
from reports.subgroups import gap_sentence, transfer_sentence, unnoticed_sentence


def by_subgroup(facts: CardFacts) -> CardSection | None:
    """The section; where small counts are hidden, sites and levels that are no usual words are numbered."""
    if not facts.recipe.labels:
        return None
    said: list[str] = []
    states: list[str] = []
    for entry in shared_subgroups(facts.subgroups) if facts.strict else facts.subgroups:
        found = [(*gap_sentence(entry), unnoticed_sentence(entry))] if entry["gaps"] else []
        found += [(*transfer_sentence(entry["transfer"]), "")] if entry["transfer"] else []
        for sentence, verdict, more in found:
            said.append(unescape(f"{entry['label']}: {sentence} {more}".strip()))
            states.append(verdict)
    if not said:
        return CardSection("Subgroups", "Not estimable: 0 attributes have two levels of enough test groups.")
    first = next((place for place, state in enumerate(states) if state == "worse"), 0)
    others = [sentence for place, sentence in enumerate(said) if place != first]
    if facts.strict:
        others.append("Numbers of test groups are rounded down to tens in this section.")
    others.append("That no gap is named does not make scores equal; a gap has many causes.")
    state: State = "worse" if "worse" in states else "better" if set(states) == {"better"} else "unknown"
    return CardSection("Subgroups", said[first], tuple(others), (), state)
