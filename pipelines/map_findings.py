"""What map and ranking say of the labels: whether neighbours share them, and which are common among the strangest."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64
from scipy.stats import hypergeom

from domainssl.evaluation.multiplicity import holm
from domainssl.evaluation.retrieval import same_answer_retrieval
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from reports.number_words import p_words, percent

LEVEL = 0.05  # of naming an answer, of any label, where the ranking asks for none


def map_sentences(recipe: Recipe, objects: Objects, vectors: Float32[np.ndarray, "n d"]) -> list[str]:
    """One a label of classes: how often an object's nearest neighbour has its answer, on the test half.

    `vectors` are the embeddings in the order of the store.
    """
    said = []
    for label, names, answers in _asked(recipe, objects):
        rows = np.flatnonzero(~objects.train & (answers >= 0))
        groups = objects.frame["group"].to_numpy(str)[rows]
        found = same_answer_retrieval(vectors[rows], answers[rows], groups, seed=recipe.seed)
        if found is None:
            said.append(f"{label}: too few labelled test groups to say whether neighbours share it.")
            continue
        between = f"{100 * found.low:.0f} to {100 * found.high:.0f}"
        clear = "more often than" if found.low > found.chance else "no more often than is explained by"
        said.append(
            f"{label}: neighbours share it {clear} chance: of {found.groups:,} test groups, the nearest other has the "
            f"same of {len(names)} answers for {percent(found.rate, 0)} ({between}), "
            f"by chance for {percent(found.chance, 0)}."
        )
    return said


def top_sentences(recipe: Recipe, objects: Objects, ranked: pd.DataFrame) -> list[str]:
    """Which answers are more common among the first `report.top` of a ranking than chance explains, or that none is.

    One object a group, the strangest. The p-values are hypergeometric, corrected by Holm over all answers of all labels
    of classes; nothing without such labels.
    """
    group = objects.frame.set_index("object_id")["group"]
    first_of_group = ranked.assign(group=group.reindex(ranked["object_id"]).to_numpy()).drop_duplicates("group")
    place = pd.Series(np.arange(len(objects.frame)), index=objects.frame["object_id"])
    rows = place.loc[first_of_group["object_id"]].to_numpy(np.int64)
    top = recipe.report.top
    found: list[tuple[str, str, int, float, float]] = []
    for label, names, answers in _asked(recipe, objects):
        known = rows[answers[rows] >= 0]
        among, head = answers[known], answers[known[:top]]
        for answer, name in enumerate(names):
            count, total = int((head == answer).sum()), int((among == answer).sum())
            expected = len(head) * total / max(1, len(known))
            found.append((label, name, count, expected, float(hypergeom.sf(count - 1, len(known), total, len(head)))))
    if not found or not top:
        return []
    adjusted = holm([p for *_, p in found])
    clear = [(*facts[:4], p) for facts, p in zip(found, adjusted, strict=True) if p < LEVEL]
    if not clear:
        return [f"No answer of any label is more common among the {top:,} strangest than chance explains."]
    return [
        f"{label}: of the {top:,} strangest, {count:,} are {name}, where {expected:.1f} would be expected "
        f"(one a group, p {p_words(p)} after Holm's correction)."
        for label, name, count, expected, p in sorted(clear, key=lambda facts: facts[4])
    ]


def _asked(recipe: Recipe, objects: Objects) -> Iterator[tuple[str, tuple[str, ...], Int64[np.ndarray, " n"]]]:
    """Every label with one of several classes: its name, its answers, and each object's, -1 where unknown."""
    for label, entry in recipe.labels.items():
        if entry.kind in ("classes", "yes_no", "ordered"):
            targets = objects.targets(label)
            yield label, targets.outputs, np.where(np.isnan(targets.y[:, 0]), -1, targets.y[:, 0]).astype(np.int64)
