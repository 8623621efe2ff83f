"""Do no harm: pretraining can make an encoder worse, so the start and checkpoints are tried and the best is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Int64

from domainssl.embedding import embed
from domainssl.encoders import TimmEncoder
from domainssl.evaluation.probe import Probe
from domainssl.harm import START, Candidate, choose, paired_gain
from domainssl.label_free import label_free_scores
from domainssl.views.operation import Policy
from pipelines.objects import Objects
from pipelines.starts import timed_precision
from pipelines.steps import Context

PROBED = 1_500  # labelled objects of the training half that a probe looks at, at most
SEEN = 512  # images that the label-free score looks at, at most
DEFAULT_LABELS = 20  # a class, where the recipe names no primary endpoint


@final
@dataclass(frozen=True)
class Chosen:
    """What is exported, its name among the candidates, and what the page says of the choice."""

    encoder: TimmEncoder
    name: str
    facts: dict[str, Any]


def choose_encoder(
    context: Context,
    objects: Objects,
    candidates: Mapping[str, Callable[[], TimmEncoder]],
    last: TimmEncoder,
    guard: Literal["labels", "label_free", "off"],
    policy: Policy,
) -> Chosen:
    """The best of the candidates, the first of which is the start; `last` where the guard is off.

    On labels: by the first head, learnt from part of the labelled objects of the training half and scored on the other
    groups of it. Where these are too few for that, and where the recipe wants it, label-free. The test half is not
    looked at.
    """
    if guard == "off":
        why = "The last epoch was exported without asking whether it is better than the start (pretrain.guard = 'off')."
        facts = {"chosen": "last epoch", "why": why, "candidates": [], "measured_by": "nothing"}
        return Chosen(last, "last epoch", facts)
    probes, rows = _probes(context, objects) if guard == "labels" else ([], np.empty(0, np.int64))
    tried: list[Candidate] = []
    units = np.ones(len(probes))
    for name, load in context.progress.track(list(candidates.items()), "pretrain: which checkpoint"):
        encoder = load()
        if probes:
            precision = timed_precision(context, encoder)
            x = embed(encoder, objects.store, rows, precision=precision, device=context.device)
            by_label = [probe.scores(x[places]) for probe, places in probes]
            if not tried and len(probes) > 1:  # different metrics have no common unit but their spread
                units = np.array([max(float(scores.std()), 1e-3) for scores in by_label])
            scores = np.concatenate([scores / unit for scores, unit in zip(by_label, units, strict=True)])
        else:
            scores = label_free_scores(encoder, objects.store, _seen(context, objects), policy, context.recipe.seed)
        tried.append(Candidate(name, scores))
    best = choose(tried)
    return Chosen(candidates[best.name](), best.name, _facts(tried, best, len(rows) if probes else 0, len(probes)))


def _probes(
    context: Context, objects: Objects
) -> tuple[list[tuple[Probe, Int64[np.ndarray, " m"]]], Int64[np.ndarray, " n"]]:
    """A probe for each label whose labels are enough for one, with its rows' places among the rows to embed."""
    recipe = context.recipe
    rng = np.random.default_rng([recipe.seed, 78])
    found, chosen = [], np.zeros(len(objects.train), dtype=bool)
    for label in recipe.labels:
        wanted = objects.targets(label)
        labelled = np.flatnonzero(objects.train & ~np.isnan(wanted.y).all(axis=1))
        rows = np.sort(rng.permutation(labelled)[:PROBED])
        groups = objects.frame["group"].to_numpy(str)[rows]
        per_class = recipe.classify.primary_labels or DEFAULT_LABELS
        probe = Probe(wanted.kind, wanted.y[rows], len(wanted.outputs), groups, per_class, recipe.seed)
        if len(rows) and len(probe.scores(rng.standard_normal((len(rows), 2)).astype(np.float32))):
            found.append((probe, rows))
            chosen[rows] = True
    embedded = np.flatnonzero(chosen)
    return [(probe, np.searchsorted(embedded, rows)) for probe, rows in found], embedded


def _seen(context: Context, objects: Objects) -> Int64[np.ndarray, " n"]:
    rng = np.random.default_rng([context.recipe.seed, 79])
    rows = objects.pretraining_rows()
    rows = rows[objects.train[rows]] if context.recipe.labels else rows  # transductive: the choice is not
    return np.sort(rng.permutation(rows)[:SEEN])


def _facts(tried: list[Candidate], best: Candidate, labelled: int, labels: int) -> dict[str, Any]:
    """What the page shows: the candidates' scores with twice the standard error of their gain over the start."""
    start, last = tried[0], tried[-1]
    gain, error = paired_gain(last, start)
    by = (
        f"the first head on {labelled:,} labelled objects of the training half, by folds of groups"
        if labelled
        else "a label-free score on images of the training half"
    )
    if labels > 1:
        by += f", mean of {labels} labels in units of their spread over folds"
    shown = f"{gain:+.3f} after the last epoch, standard error {error:.3f}, measured by {by}"
    if best.name == START:
        why = f"Pretraining did not help: the encoder it started from was kept as it was ({shown})."
    else:
        better = f"{paired_gain(best, start)[0]:+.3f} beside its start"
        why = f"The encoder after {best.name} was exported ({better}; {shown})."
    rows = []
    for candidate in tried:
        difference, spread = paired_gain(candidate, start)
        low, high = difference - 2 * spread, difference + 2 * spread
        rows.append({"name": candidate.name, "score": candidate.score, "gain": difference, "low": low, "high": high})
    return {"chosen": best.name, "why": why, "candidates": rows, "measured_by": by, "labelled": labelled}
