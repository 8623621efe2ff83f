"""Lists for people, by the run's own encoder: which labels to check, and what to label next."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64

from domainssl.anomalies.input_trouble import find_trouble
from domainssl.evaluation.label_errors import LabelErrors, find_label_errors
from domainssl.evaluation.multiplicity import holm
from domainssl.evaluation.next_labels import FEWEST, choose_next, draw_next, preselected, uncertainty
from pipelines.atomic import atomic_write
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel
from pipelines.recipe import LabelEntry
from pipelines.steps import Context
from pipelines.targets import Targets

SUSPECTS = ("rank", "object_id", "label", "given", "suggested", "score", "half")
NEXT_LABELS = ("rank", "object_id", "label", "alike", "distance", "uncertainty", "why")
LEVEL = 0.05  # of finding wrong labels in any of a run's labels where there are none
TO_LABEL = 100  # objects a label
DRAWN = "drawn at random"


def write_suspects(
    context: Context, objects: Objects, embedded: Float32[np.ndarray, "n d"], labels: Mapping[str, PredictedLabel]
) -> list[dict[str, Any]]:
    """Write suspects.csv, and give what was found of each label, or of each finding of several (LABEL:FINDING).

    Labels are listed only where they contradict the head more firmly than overlapping classes do, at 5 % over all
    labels of the run together (Holm). Real values and votes have no class to doubt. The records hold label, judged,
    right and wrong (shares), p, p_holm, sign (p_holm is below), suspects, planted, precision and before, None where not
    estimable; see `LabelErrors`.
    """
    ids, groups, halves = (objects.frame[name].to_numpy(str) for name in ("object_id", "group", "half"))
    found: list[tuple[str, LabelErrors, pd.DataFrame]] = []
    for number, (name, outputs, given) in enumerate(_questions({label: one.targets for label, one in labels.items()})):
        known = np.flatnonzero(given >= 0)
        rng = np.random.default_rng([context.recipe.seed, 82, number])
        errors = find_label_errors(
            embedded[known], given[known], len(outputs), groups[known], objects.train[known], rng
        )
        if errors is None:
            continue
        rows, names = known[errors.rows], np.array(outputs, dtype=object)
        columns = {
            "rank": np.arange(1, len(rows) + 1),
            "object_id": ids[rows],
            "label": name,
            "given": names[given[rows]],
            "suggested": names[errors.suggested],
            "score": errors.score.round(4),
            "half": halves[rows],
        }
        found.append((name, errors, pd.DataFrame(columns)))
    adjusted = holm([errors.p for _, errors, _ in found])
    signs = [bool(p <= LEVEL) for p in adjusted]
    frames = [frame for (_, _, frame), sign in zip(found, signs, strict=True) if sign]
    _write(context.run.suspects, frames, SUSPECTS)
    return [
        {
            "label": name,
            "judged": errors.judged,
            "right": errors.right,
            "wrong": _number(errors.wrong),
            "p": _number(errors.p),
            "p_holm": _number(p_holm),
            "sign": sign,
            "suspects": len(frame) if sign else 0,
            "planted": errors.planted,
            "precision": _number(errors.precision),
            "before": _number(errors.before),
        }
        for (name, errors, frame), p_holm, sign in zip(found, adjusted, signs, strict=True)
    ]


def write_next_labels(
    context: Context,
    objects: Objects,
    embedded: Float32[np.ndarray, "n d"],
    labels: Mapping[str, PredictedLabel],
) -> list[dict[str, Any]]:
    """Write next_labels.csv, and give for each label how many labels there are, what was chosen from, how many, and
    whether they were drawn at random, as with few labels they are.

    Candidates are objects of the training half without this label; a label of the test half would be scored, those of
    a catalog that is not to be classified are left alone where they are known, and images in input trouble (empty, cut,
    inverted, rotated) have no answer.
    """
    ids = objects.frame["object_id"].to_numpy(str)
    frames: list[pd.DataFrame] = []
    records = []
    unlabelled, looked_at = {}, {}
    for number, (label, one) in enumerate(labels.items()):
        known = ~np.isnan(one.targets.y).all(axis=1)
        apart = _kept_apart(objects, label, context.recipe.labels[label])
        unlabelled[label] = np.flatnonzero(objects.train & ~known & ~apart)
        looked_at[label] = preselected(unlabelled[label], np.random.default_rng([context.recipe.seed, 83, number]))
    sound = _sound(context, objects, looked_at.values())
    for label, one in labels.items():
        targets, head = one.targets, one.head
        labelled = np.flatnonzero(objects.train & ~np.isnan(targets.y).all(axis=1))
        candidates = looked_at[label][sound[looked_at[label]]]
        predictions = head.predict(embedded[candidates])
        unsure = uncertainty(targets.kind, predictions)
        drawn = targets.kind != "real" and len(labelled) < FEWEST * len(targets.outputs)
        rng = np.random.default_rng([context.recipe.seed, 92, len(frames)])
        if drawn:
            chosen = draw_next(embedded, labelled, candidates, TO_LABEL, rng)
        else:
            chosen = choose_next(embedded, labelled, candidates, unsure, TO_LABEL, rng)
        places = np.searchsorted(candidates, chosen.rows)
        columns = {
            "rank": np.arange(1, len(places) + 1),
            "object_id": ids[chosen.rows],
            "label": label,
            "alike": pd.array([None] * len(places) if drawn else chosen.alike, dtype="Int64"),
            "distance": chosen.distance.round(4),
            "uncertainty": unsure[places].round(4),
            "why": [
                DRAWN if drawn else _why(targets, predictions[place], alike, there)
                for place, alike, there in zip(places, chosen.alike.tolist(), chosen.labelled.tolist(), strict=True)
            ],
        }
        frames.append(pd.DataFrame(columns))
        counts = {"labelled": len(labelled), "candidates": len(unlabelled[label]), "chosen": len(places)}
        records.append({"label": label, **counts, "troubled": len(looked_at[label]) - len(candidates), "drawn": drawn})
    _write(context.run.next_labels, [frame for frame in frames if len(frame)], NEXT_LABELS)
    return records


def _sound(context: Context, objects: Objects, looked_at: Iterable[Int64[np.ndarray, " m"]]) -> Bool[np.ndarray, " n"]:
    """Which objects are in no input trouble; only those of `looked_at` are looked at, each once."""
    rows = np.unique(np.concatenate([np.empty(0, np.int64), *looked_at]))
    troubles = find_trouble(objects.store, rows, DOMAINS[context.recipe.domain].upright)
    sound = np.ones(len(objects.frame), dtype=bool)
    sound[rows] = [not kinds for kinds in troubles]
    return sound


def _questions(targets: Mapping[str, Targets]) -> Iterator[tuple[str, tuple[str, ...], Int64[np.ndarray, " n"]]]:
    """Every single question with classes for answers: its name, the classes, and each object's, -1 where unknown."""
    for label, asked in targets.items():
        given = np.where(np.isnan(asked.y), -1, np.nan_to_num(asked.y)).astype(np.int64)
        if asked.kind == "multilabel":
            for answer, finding in enumerate(asked.outputs):
                yield f"{label}:{finding}", ("no", "yes"), given[:, answer]
        elif asked.kind in ("classes", "yes_no", "ordered"):
            yield label, asked.outputs, given[:, 0]


def _kept_apart(objects: Objects, label: str, entry: LabelEntry) -> Bool[np.ndarray, " n"]:
    """Objects whose catalog is not to be classified although their label is known."""
    apart = ~objects.used_for("classify")
    if entry.tree is not None:  # its votes stand in many columns
        return np.asarray(apart)
    cells = objects.frame[[name for name in entry.columns or (label,) if name in objects.frame]]
    known = cells.notna() & ~cells.isin(entry.unknown)
    return np.asarray(known.any(axis=1).to_numpy(bool) & apart)


def _why(targets: Targets, prediction: Float64[np.ndarray, " k"], alike: int, labelled: int) -> str:
    """What spoke for an object, in words: how many it stands for, and what the head cannot decide."""
    group = f"one of {alike:,} alike{' without a label' if labelled else ''}" if alike > 1 else "like no other"
    if alike == 1 and labelled:
        group = "alone without a label among its like"
    beside = f", beside {labelled:,} with one" if labelled else ", none labelled" if alike > 1 else ""
    reasons = [f"{group}{beside}"]
    if targets.kind == "multilabel":
        least_sure = int(np.abs(prediction - 0.5).argmin())
        reasons.append(f"undecided about {targets.outputs[least_sure]} ({_short(prediction[least_sure])})")
    elif targets.kind != "real":
        first, second = np.argsort(-prediction, kind="stable")[:2]
        between = [f"{targets.outputs[k]} {_short(prediction[k])}" for k in (first, second)]
        reasons.append(f"between {between[0]} and {between[1]}")
    return "; ".join(reasons)


def _write(path: Path, frames: Sequence[pd.DataFrame], columns: tuple[str, ...]) -> None:
    """The tables one below the other; a header only where there are none."""
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns))
    assert tuple(table.columns) == columns
    with atomic_write(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _short(value: float) -> str:
    """Two decimals without the zero before the point."""
    return f"{value:.2f}".removeprefix("0")
