"""The model card's section on labels: kinds, origin, what uncertain cells count as, how often each answer was given."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool

from pipelines.card_facts import CardFacts, several
from pipelines.targets import Targets
from reports.few_labels import KIND_NAMES
from reports.model_card import CardSection, Table
from reports.suppression import FEWEST, NOT_SMALL, SMALL, suppressed, tells_age, top_coded

COUNTED = ("classes", "yes_no", "ordered", "multilabel")  # kinds whose answers can be
MOST = 200  # lines of the table of answers
Line = tuple[str, ...]
Chosen = Mapping[str, Bool[np.ndarray, " n"]]


def labels(facts: CardFacts) -> CardSection:
    """The section; an unstated origin is its finding."""
    recipe, count = facts.recipe, several(len(facts.recipe.labels), "label", "labels")
    if not recipe.labels:
        return CardSection("Labels", "No label was given (0 labels), so no head was trained and no score was measured.")
    untold = [label for label in recipe.labels if not origin_stated(facts, label)]
    if untold:
        finding = f"Of {count}, {len(untold)} without a stated origin: who gave them, and from what, is not known here."
    else:
        finding = f"Of {count}, all have a stated origin."
    few = f"An answer of fewer than {FEWEST} {facts.image} or {facts.group} in one of the halves has no line here."
    said = [few] if facts.shared else list(facts.labels_said)
    kinds: list[Line] = []
    answers: list[Line] = []
    for label, entry in recipe.labels.items():
        found = facts.objects.targets(label)
        known = pd.Series(~np.isnan(found.y).all(axis=1))
        halves = [facts.counted(known & (facts.objects.frame["half"] == half)) for half in ("train", "test")]
        halves = [] if facts.shared else halves  # from which an answer of few could be had
        kinds.append((_shown(facts, label), KIND_NAMES[entry.kind], "no" if label in untold else "yes", *halves))
        if entry.kind in COUNTED:
            answers += _answers(facts, label, found)
    if len(answers) > MOST:
        said.append(f"Of {len(answers):,} answers, the first {MOST} are counted here.")
    words = [f"{half} half: {what}" for half in ("Training", "Test") for what in (facts.image, facts.group)]
    halved = () if facts.shared else ("Training half", "Test half")
    tables = (
        Table("Labels", ("Label", "Kind", "Origin stated", *halved), tuple(kinds)),
        Table("How often each answer was given", ("Label", "Answer", *words), tuple(answers[:MOST])),
    )
    return CardSection("Labels", finding, tuple(said), tables, "worse" if untold else "unknown")


def origin_stated(facts: CardFacts, label: str) -> bool:
    """Whether the recipe or a public collection says how a label came about."""
    told = any(entry.layout is not None for entry in facts.recipe.catalog)
    return told or bool(facts.recipe.labels[label].provenance)


def _answers(facts: CardFacts, label: str, found: Targets) -> list[Line]:
    """How often each answer was given in both halves, by objects and by groups.

    Where small counts are hidden, they are so half by half, each finding of several against its absence; shared, an
    answer of few has no line, and ages that become one another have none.
    """
    frame = facts.objects.frame
    cells: dict[str, Line] = dict.fromkeys(found.outputs, ())
    for half in ("train", "test"):
        rows = (frame["half"] == half).to_numpy(bool)
        y, groups = found.y[rows], frame.loc[rows, "group"]
        if found.kind == "multilabel":
            for place, name in enumerate(found.outputs):
                chosen = {name: y[:, place] == 1, "": y[:, place] == 0}
                cells[name] += _counts(facts, groups, chosen)[name]
        else:
            chosen = {name: y[:, 0] == place for place, name in enumerate(found.outputs)}
            for name, shown in _counts(facts, groups, chosen).items():
                cells[name] += shown
    if not facts.shared:
        return [(label, name, *shown) for name, shown in cells.items()]
    coded = {name: top_coded(name, is_age=tells_age(label)) for name in cells}
    often = Counter(coded.values())
    return [
        (_shown(facts, label), coded[name], *shown)
        for name, shown in cells.items()
        if often[coded[name]] == 1 and SMALL not in shown and "0" not in shown
    ]


def _counts(facts: CardFacts, groups: "pd.Series[str]", chosen: Chosen) -> dict[str, Line]:
    """The numbers of objects and of groups of each answer, as far as they may be said."""
    given = {name: groups[rows] for name, rows in chosen.items() if rows.any()}
    counts = {name: len(own) for name, own in given.items()}
    people = {name: int(own.nunique()) for name, own in given.items()}
    everyone = pd.concat(list(given.values())) if given else groups.iloc[:0]
    hidden = suppressed(counts, people, int(everyone.nunique()))
    if facts.shared and hidden.total in (SMALL, NOT_SMALL):
        return dict.fromkeys(chosen, (SMALL, SMALL))
    shown: dict[str, Line] = {}
    for name in chosen:
        cell = hidden.cells.get(name, "0") if facts.strict else f"{counts.get(name, 0):,}"
        shown[name] = (cell, cell if cell in (SMALL, NOT_SMALL) else f"{people.get(name, 0):,}")
    return shown


def _shown(facts: CardFacts, label: str) -> str:
    return top_coded(label) if facts.shared else label
