"""What the page says of a run in words: sentences that nobody may overlook, and one sentence a finding."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

import pandas as pd

from domainssl.evaluation.intervals import MINIMUM_GROUPS
from domainssl.evaluation.retrieval import Retrieval
from domainssl.methods.orientation_leak import orientation_leak
from domainssl.methods.rotation import UNSEEN
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from reports.audit import attribute_name, bound, suspects
from reports.baselines import MARKS, image_sentence, marks_sentence
from reports.few_label_words import differences_in_words, headline_text
from reports.metric_rows import columns_of
from reports.number_words import percent
from reports.subgroups import gap_sentence, transfer_sentence


def notices(objects: Objects, domain: str, transductive: bool, *, images: bool = True) -> list[str]:
    """Sentences that nobody may overlook, on a page with `images` or without."""
    said = [*DOMAINS[domain].notices, *(DOMAINS[domain].image_notices if images else ())]
    if objects.simulated:
        said.append(f"These {DOMAINS[domain].title.lower()} are simulated; they measure nothing of real ones.")
    if transductive:
        said.append("Transductive: the test half took part in pretraining, so scores on it are optimistic.")
    return said


def training_sentences(training: list[dict[str, Any]], objects: Objects, upright: bool) -> list[str]:
    """Whether pretraining collapsed, and what rotations say where images should have no direction."""
    said = collapse_sentences(training)
    if not upright:
        rows = objects.pretraining_rows()
        said += leak_sentences(training, int((rows % UNSEEN == 0).sum()), len(rows))
    return said


def change_sentences(metrics: list[dict[str, Any]]) -> list[str]:
    """What pretraining changed: of each label the primary endpoint, and what every number of labels says of it.

    A label without it is said to be what its fewest labels, or those of the primary endpoint, say.
    """
    size = next((row["labels_per_class"] for row in metrics if row.get("primary")), None)
    said = []
    for column in columns_of(metrics):
        sentence = f"{column.label}: {headline_text(column, size)}"
        if len(column.to_imagenet()) > 1:
            sentence += f" {differences_in_words(column)[0]}"
        said.append(sentence)
    return said


def caution_sentences(
    audit: Sequence[Mapping[str, Any]], baselines: Sequence[Mapping[str, Any]], subgroups: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What speaks against a label's score, from the entries of the three files; nothing of what speaks for it."""
    said = []
    for entry in baselines:
        told = [image_sentence(entry)]
        if entry["cues"] is not None and MARKS in entry["cues"]["values"]:
            told.append(marks_sentence(entry["cues"]))
        said += [f"{entry['label']}: {unescape(sentence)}" for sentence, state in told if state == "worse"]
    for label in dict.fromkeys(label for entry in audit for label in entry["labels"]):
        if marked := [attribute_name(entry) for entry in suspects(label, audit)]:
            could = "attribute could" if len(marked) == 1 else "attributes could"
            said.append(f"{label}: {len(marked)} {could} serve as a shortcut: {', '.join(marked)}.")
        if tied := [attribute_name(entry) for entry in bound(label, audit)]:
            said.append(f"{label}: {', '.join(tied)} tells the label, though the embedding was not seen to tell that.")
    for entry in subgroups:
        told = [gap_sentence(entry)] if entry["gaps"] else []
        told += [transfer_sentence(entry["transfer"])] if entry["transfer"] else []
        said += [f"{entry['label']}: {unescape(sentence)}" for sentence, state in told if state == "worse"]
    return said


def collapse_sentences(training: list[dict[str, Any]]) -> list[str]:
    """The last warning of pretraining, or that none was given; nothing where nothing was trained."""
    warnings = [record for record in training if record.get("warning")]
    if warnings:
        return [f"Pretraining, epoch {warnings[-1]['epoch']}: {warnings[-1]['warning']}."]
    return [
        f"No collapse was seen in {len(training)} epochs: the features' effective rank is "
        f"{last['rankme']:.0f} (RankMe), {last['rankme_centred']:.0f} after centring."
        for last in training[-1:]
    ]


def leak_sentences(training: list[dict[str, Any]], unseen: int, images: int) -> list[str]:
    """What rotations say where images should have no direction; nothing of other methods.

    `unseen` of the `images` are not learnt from; the last epoch may have been a part of one, which asked of fewer.
    """
    before = 0
    leak = None
    for record in training:
        asked = round(unseen * min(1.0, (record["images"] - before) / max(1, images)))
        before = record["images"]
        if "accuracy_unseen" in record:
            leak = orientation_leak(record["accuracy_unseen"], asked)
    return [leak] if leak else []


def retrieval_sentence(found: Retrieval | None, *, counted: bool = True) -> str:
    """Whether embeddings tell patients apart; `counted` says of how many images and how often, which is a count."""
    personal = "embeddings are to be treated as personal data all the same"
    if found is None:
        return (
            f"Whether embeddings re-identify patients is not estimable: fewer than {MINIMUM_GROUPS} patients have two "
            f"images; {personal}."
        )
    clear = found.low > found.chance
    if not counted:
        if clear:
            return "The nearest other image is of the same patient more often than by chance: embeddings re-identify."
        return f"The nearest other image is of the same patient no more often than chance explains; {personal}."
    measured = f"The nearest other image is of the same patient for {percent(found.rate)} of {found.queries:,} images"
    chance = f"(chance {percent(found.chance)})"
    if clear:
        return f"{measured} {chance}: embeddings are personal data and re-identify patients."
    return f"{measured} {chance}, which is not told apart from chance; {personal}."


def trouble_sentence(anomalies: pd.DataFrame, upright: bool) -> str:
    """How many images of the ranking are wrong as images, by kind; without `upright` only two kinds were looked for."""
    kinds = Counter(kind for text in anomalies["trouble"] for kind in text.split(";") if kind)
    if not kinds:
        kinds_asked = "inverted, rotated, cut or empty" if upright else "cut or empty"
        return f"None of {len(anomalies):,} ranked images looks {kinds_asked}."
    count = int((anomalies["trouble"] != "").sum())
    named = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    return f"{count:,} of {len(anomalies):,} ranked images are in input trouble ({named}); they are shown apart."


def rare_sentence(anomalies: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Simulations know what is rare: the kinds without a label, counted in the first tenth of the ranking."""
    truth = frame.set_index("object_id")["truth"].astype(str)
    counts = truth.value_counts()
    rare = set(counts.index[counts < 0.03 * len(truth)])
    first = anomalies["object_id"].head(max(1, len(anomalies) // 10))
    found = int(truth.loc[first].isin(rare).sum())
    total = int(truth.loc[anomalies["object_id"]].isin(rare).sum())
    return f"Of {total} planted rare objects ({', '.join(sorted(rare))}), the first {len(first)} ranks hold {found}."
