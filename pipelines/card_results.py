"""Sections of the model card on what was measured: scores, trust, shortcuts, labels that may be wrong, the ranking."""

from collections.abc import Mapping
from typing import Any

from domainssl.options import HEADS
from pipelines.card_facts import CardFacts, several
from pipelines.findings import retrieval_sentence, trouble_sentence
from pipelines.label_sections import suspect_sentences
from pipelines.usual_columns import OTHER
from reports.audit import attribute_name, finding, suspects
from reports.few_label_words import has_interval, headline_text, size_text
from reports.metric_rows import EQUAL_LABELS, Column, Row, is_number, metric_name, size_order, sizes_in, verdict
from reports.model_card import CardSection, State, Table
from reports.number_words import decimal, number_words
from reports.suppression import FEWEST, SMALL
from reports.trust import error_sentence, far_sentence, sets_sentence, verdict_sentence
from reports.vote_trust import STATES as VOTE_STATES
from reports.vote_trust import held_sentence
from reports.vote_trust import verdict_sentence as votes_verdict

MOST = 60  # lines of a table


def score(facts: CardFacts) -> CardSection | None:
    """The primary endpoint, and scores with few labels beside those of ImageNet alone."""
    columns = facts.columns
    if not columns:
        return None
    primary = next((row for row in facts.metrics if row.get("primary")), None)
    size = None if primary is None else primary["labels_per_class"]
    sentences = [
        f"{column.label}: {headline_text(column, size)}{_own_value(facts, column, size)}" for column in columns
    ]
    if primary is not None:
        sentences[0] += " This one difference was named before looking; all others are adjusted by Holm or exploratory."
    lines = [line for column in columns for line in _score_lines(facts, column, size)]
    head = ("Label", "Metric", "Labels per class", "ImageNet alone", "This encoder", "Difference", "Test groups")
    heads = ", ".join(dict.fromkeys(f"{column.head} on {column.features} features" for column in columns))
    further = "its own results are not shared" if facts.shared else "its own results stand in the next two sections"
    said = [
        *sentences[1:],
        f"The table's heads ({heads}) learnt from as many labels as it says, drawn from the training half. The head "
        f"that predicts learnt from all of them; {further}.",
        "Brackets are 95 % intervals over draws of labels and test groups. Another training from another seed was not "
        "tried, so they do not cover that.",
    ]
    others = [line for column in columns for line in _other_lines(facts, column, size)]
    if len(others) > MOST:
        said.append(f"Of {len(others):,} other scores, the first {MOST} are listed; metrics.csv has all.")
    tables = (
        Table("Scores on the test half", head, tuple(lines)),
        Table("Other scores of this encoder", ("Label", "Metric", "Labels per class", "Score"), tuple(others[:MOST])),
    )
    better: dict[str, State] = {"better": "better", "worse": "worse"}
    state = "unknown" if primary is None else better.get(verdict(primary), "unknown")
    return CardSection("Score", sentences[0], tuple(said), tables, state)


def trust(facts: CardFacts) -> CardSection | None:
    """Whether scores are probabilities, and what sets of answers hold; on the run's own card alone."""
    if facts.shared or not facts.trust:
        return None
    asked = [(_of(entry, question), question) for entry in facts.trust for question in entry["questions"]]
    sound = [question for _, question in asked if question["after"]["called"] == "probability"]
    said = [
        f"Of the head that predicts ({_heads(facts)}), which learnt from all labels of the training half; measured on "
        "the test half, one object a group.",
        f"It holds for {facts.image} like these, with each answer as common as here.",
    ]
    told = f"Scores may be read as probabilities for {len(sound)} of {several(len(asked), 'question', 'questions')}."
    voted = [(entry["label"], votes) for entry in facts.trust if (votes := entry.get("votes")) is not None]
    if not asked and voted:
        told = f"{voted[0][0]}: {votes_verdict(voted[0][1])}"
    elif not asked:
        told = (
            f"Not estimable: of {several(len(facts.trust), 'label', 'labels')}, none has class scores on the test half."
        )
    for name, question in asked:
        words = f"{verdict_sentence(question)} {error_sentence(question)}"
        if len(asked) == 1:
            told = words
        said.append(f"{name}: {'' if len(asked) == 1 else words + ' '}{sets_sentence(question)}")
    for name, votes in voted:
        before = "" if told.startswith(f"{name}: ") else f"{votes_verdict(votes)} "
        said.append(f"{name}: {before}{held_sentence(votes)}")
    said += [f"{entry['label']}: {far_sentence(entry['far'])}" for entry in facts.trust]
    verdicts = {"better" if question in sound else "worse" for _, question in asked}
    verdicts |= {VOTE_STATES[votes["called"]] for _, votes in voted}
    state: State = "worse" if "worse" in verdicts else "unknown" if not verdicts or "unknown" in verdicts else "better"
    return CardSection("How far to trust a prediction", told, tuple(said), (), state)


def shortcuts(facts: CardFacts) -> CardSection | None:
    """What could serve as a shortcut, and scores level by level; on the run's own card alone."""
    if facts.shared or not facts.recipe.labels:
        return None
    names = list(dict.fromkeys(label for entry in facts.audit for label in entry["labels"]))
    if not names:
        return CardSection(
            "Shortcuts and scores by level", "Not estimable: 0 attributes have two levels of enough groups."
        )
    found = {label: finding(label, facts.audit) for label in names}
    marked = [(label, entry) for label in names for entry in suspects(label, facts.audit)]
    first = next((label for label, (_, state) in found.items() if state == "worse"), names[0])
    said = [f"{label}: {sentence}" for label, (sentence, _) in found.items() if label != first]
    said.append("That an attribute is told proves no shortcut, and matching on it would not remove all confounding.")
    rows = []
    for label, entry in marked:
        numbers = (entry["told"], *(entry["labels"][label].get(key) for key in ("among", "told")))
        rows.append((label, attribute_name(entry), *map(number_words, numbers)))
    head = ("Label", "Attribute", "The embedding tells it", "… among one class", "It alone tells the label")
    levels = _levels(facts)
    if len(levels) > MOST:
        said.append(f"Of {len(levels):,} levels, the first {MOST} are listed; audit.json has all.")
    level_head = ("Label", "Attribute", "Level", "Metric", "Score", "Test groups")
    tables = (
        Table("Marked attributes (AUROC)", head, tuple(rows)),
        Table(
            "Score of the head that predicts, by level; exploratory, uncorrected",
            level_head,
            tuple(levels[:MOST]),
        ),
    )
    told = f"{first}: {found[first][0]}"
    return CardSection("Shortcuts and scores by level", told, tuple(said), tables, found[first][1])


def wrong_labels(facts: CardFacts) -> CardSection | None:
    """What was found of wrong labels; on the run's own card alone."""
    if facts.shared or not facts.recipe.labels:
        return None
    records = facts.record("classify").get("label_errors", [])
    said = suspect_sentences(records)
    if not said:
        said = [
            f"Not estimable for {several(len(facts.recipe.labels), 'label', 'labels')}: no classes, or too few groups."
        ]
    sign = any(record["sign"] for record in records)
    return CardSection("Labels that may be wrong", said[0], tuple(said[1:]), (), "worse" if sign else "unknown")


def ranking(facts: CardFacts) -> CardSection:
    """What the ranking of anomalies is and is not, and in private domains whether embeddings re-identify."""
    detectors = ", ".join(facts.recipe.rank.detectors)
    if facts.shared:
        count = several(len(facts.recipe.rank.detectors), "detector", "detectors")
        told = f"Ranked by {count}: {detectors}."
    else:
        told = f"{trouble_sentence(facts.anomalies, facts.domain.upright)} They were ranked by {detectors}."
    said = ["A high rank is a reason to look, not a finding: the ranking was not scored, and artefacts rank high too."]
    if facts.domain.private:
        said[0] += " An anomaly is not a disease, and no anomaly is not health."
        said.append(retrieval_sentence(facts.retrieval, counted=not facts.shared))
    return CardSection("Anomalies", told, tuple(said))


def own_start(facts: CardFacts) -> str:
    """The start among the rows of metrics.json that is this run's encoder."""
    starts = {str(row["start"]) for row in facts.metrics}
    own = {"imagenet": "imagenet", "none": "random"}.get(facts.recipe.encoder.weights, "")
    if facts.recipe.pretrains:
        return "continued" if "continued" in starts else ""
    return own


def _own_value(facts: CardFacts, column: Column, size: int | None) -> str:
    """This encoder's score in words, where the headline tells of no difference."""
    if column.headline(size) is not None:
        return ""
    line = _score_lines(facts, column, size)[-1]
    if line[4] == "–":
        return ""
    return f" This encoder has a {line[1]} of {line[4]} with {line[2]} labels per class."


def _score_lines(facts: CardFacts, column: Column, size: int | None) -> list[tuple[str, ...]]:
    """The fewest, the primary and the most labels, each with both starts and their difference."""
    own, digits, values = own_start(facts), column.digits(), column.values()
    sizes = sizes_in(values)
    wanted = [s for s in sizes if s in (sizes[0], size, sizes[-1])]
    lines: list[tuple[str, ...]] = []
    for labels in sorted(wanted, key=size_order):
        at = {str(row["start"]): row for row in values if row["labels_per_class"] == labels}
        other = None if own == "imagenet" else at.get("imagenet")
        difference = next((row for row in column.to_imagenet() if row["labels_per_class"] == labels), None)
        groups = next((row["n_groups"] for row in (at.get(own), other) if row is not None), None)
        cells = (_value(other, digits), _value(at.get(own), digits), _value(difference, digits, signed=True))
        shown = "–" if groups is None else f"{groups:,}"
        lines.append((column.label, metric_name(column.metric), size_text(labels), *cells, shown))
    return lines


def _other_lines(facts: CardFacts, column: Column, size: int | None) -> list[tuple[str, ...]]:
    """The further metrics at the primary endpoint's number of labels, else at the most that were measured."""
    own, rows = (
        own_start(facts),
        [row for row in column.rows if row.get("class") is None and not row.get("difference_to")],
    )
    sizes = sizes_in(column.values())
    labels = size if size in sizes else sizes[-1]
    names = [
        name for name in dict.fromkeys(str(row["metric"]) for row in rows) if name not in (column.metric, EQUAL_LABELS)
    ]
    lines: list[tuple[str, ...]] = []
    for name in names:
        for row in column.values(metric=name):
            if (row["start"], row["labels_per_class"]) == (own, labels):
                shown = _value(row, column.digits(name))
                lines.append((column.label, metric_name(name), size_text(labels), shown))
    return lines


def _value(row: Row | None, digits: int, *, signed: bool = False) -> str:
    if row is None:
        return "–"
    if not is_number(row["value"]):
        return "not estimable"
    value = decimal(row["value"], digits, signed=signed)
    if not has_interval(row):
        return f"{value} (no interval)"
    low, high = (decimal(row[bound], digits, signed=signed) for bound in ("low", "high"))
    return f"{value} ({low} to {high})"


def _levels(facts: CardFacts) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for entry in facts.audit:
        for label, asked in entry["labels"].items():
            for level in asked["within"]:
                few = facts.strict and level["groups"] < FEWEST
                numbers = (SMALL, SMALL) if few else (number_words(level), f"{level['groups']:,}")
                metric = metric_name(str(level["metric"] or ""))
                lines.append(
                    (label, attribute_name(entry), _level_name(facts, entry, str(level["level"])), metric, *numbers)
                )
    return lines


def _level_name(facts: CardFacts, entry: Mapping[str, Any], level: str) -> str:
    """A pseudonym (of a site, a scanner) is an id all the same, so the card numbers these."""
    if facts.domain.kept.get(str(entry["attribute"])) != "pseudonym" or level == OTHER:
        return level
    return f"number {1 + list(entry['levels']).index(level)}"


def _of(entry: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    return f"{entry['label']}, {question['of']}" if question["of"] else str(entry["label"])


def _heads(facts: CardFacts) -> str:
    """The head that predicts, of each kind of label of the run."""
    wanted, named = facts.recipe.classify.heads, []
    for label, entry in facts.recipe.labels.items():
        every = HEADS[entry.kind]
        named.append(f"{next((head for head in wanted if head in every), every[0])} for {label}")
    return ", ".join(named)
