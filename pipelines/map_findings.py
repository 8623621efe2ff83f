"""What map and ranking say of the labels: whether neighbours share them, and which are common among the strangest."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64
from scipy.stats import hypergeom

from domainssl.evaluation.multiplicity import holm
from domainssl.evaluation.neighbour_agreement import Agreement, neighbour_agreement
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from reports.number_words import p_words, percent

LEVEL = 0.05  # of naming an answer, of any label, where the ranking asks for none


def map_sentences(recipe: Recipe, objects: Objects, vectors: Float32[np.ndarray, "n d"]) -> list[str]:
    """One a label of classes: how often an object's nearest neighbour has its answer, on the test half.

    `vectors` are the embeddings in the order of the store; p-values are corrected by Holm over the labels.
    """
    found: list[tuple[str, int, Agreement | None]] = []
    for number, (label, names, answers) in enumerate(_asked(recipe, objects)):
        rows = np.flatnonzero(~objects.train & (answers >= 0))
        groups = objects.frame["group"].to_numpy(str)
        rng = np.random.default_rng([recipe.seed, 93, number])
        found.append((label, len(names), neighbour_agreement(vectors, rows, answers, groups, rng)))
    adjusted = iter(holm([agreement.p for *_, agreement in found if agreement is not None]))
    said = []
    for label, count, agreement in found:
        if agreement is None:
            said.append(
                f"{label}: whether neighbours in the embedding share it is not estimable: too few labelled test "
                "groups, or a single answer."
            )
            continue
        p = next(adjusted)
        clear = "more often than chance explains" if p < LEVEL else "no more often than chance explains"
        between = f"{100 * agreement.low:.0f} to {100 * agreement.high:.0f}"
        said.append(
            f"{label}: neighbours in the embedding (not on the map) share it {clear}: of {agreement.groups:,} test "
            f"groups, the nearest other has the same of {count} answers for {percent(agreement.rate, 0)} ({between}), "
            f"by chance for {percent(agreement.chance, 0)} (p {p_words(p)})."
        )
    return said


def top_sentences(recipe: Recipe, objects: Objects, ranked: pd.DataFrame) -> list[str]:
    """Which answers are more common among the first `report.top` of a ranking than chance explains, or that none is.

    One object a group, the strangest; those without the label do not count. The p-values are hypergeometric, corrected
    by Holm over all answers of all labels of classes; nothing without such labels.
    """
    top, asked = recipe.report.top, list(_asked(recipe, objects))
    if not top or not asked:
        return []
    group = objects.frame.set_index("object_id")["group"]
    strangest = ranked.assign(group=group.reindex(ranked["object_id"]).to_numpy()).drop_duplicates("group")
    place = pd.Series(np.arange(len(objects.frame)), index=objects.frame["object_id"])
    rows = place.loc[strangest["object_id"]].to_numpy(np.int64)
    found: list[tuple[str, str, int, int, float, float]] = []
    for label, names, answers in asked:
        head, among = answers[rows[:top]], answers[rows]
        head, among = head[head >= 0], among[among >= 0]
        if not len(head) or len(head) == len(among):
            continue
        for answer, name in enumerate(names):
            count, total = int((head == answer).sum()), int((among == answer).sum())
            p = float(hypergeom.sf(count - 1, len(among), total, len(head)))
            found.append((label, name, count, len(head), len(head) * total / len(among), p))
    if not found:
        return ["Which answers are common among the strangest is not estimable: too few ranked objects have a label."]
    adjusted = holm([p for *_, p in found])
    clear = [(*facts[:-1], p) for facts, p in zip(found, adjusted, strict=True) if p < LEVEL]
    if not clear:
        return [f"No answer of any label is more common among the {top:,} strangest than chance explains."]
    return [
        f"{label}: of the {known:,} with this label among the {top:,} strangest, {count:,} are {name}, where "
        f"{expected:.1f} would be expected (one a group, p {p_words(p)} after Holm's correction)."
        for label, name, count, known, expected, p in sorted(clear, key=lambda facts: facts[-1])
    ]


def _asked(recipe: Recipe, objects: Objects) -> Iterator[tuple[str, tuple[str, ...], Int64[np.ndarray, " n"]]]:
    """Every label with one of several classes: its name, its answers, and each object's, -1 where unknown."""
    for label, entry in recipe.labels.items():
        if entry.kind in ("classes", "yes_no", "ordered"):
            targets = objects.targets(label)
            yield label, targets.outputs, np.where(np.isnan(targets.y[:, 0]), -1, targets.y[:, 0]).astype(np.int64)
