"""What a score may owe to: heads that see no image, colours alone, or images without texture, shape or marks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from domainssl.cues import CUES, Change, ChangedImages
from domainssl.embedding import embed
from domainssl.encoders import load_encoder
from domainssl.evaluation.audit import OF_EACH, Attribute
from domainssl.evaluation.colour_features import colour_features
from domainssl.evaluation.constant_answers import constant_answer
from domainssl.evaluation.question import Question
from domainssl.evaluation.side_by_side import side_by_side
from domainssl.heads.head import TrainingHalf
from pipelines.attributes import Attributes
from pipelines.audit import by_turns
from pipelines.embed import symmetry
from pipelines.marks_hidden import marks_hidden
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel
from pipelines.starts import start_encoder, timed_precision
from pipelines.steps import Context

HEAD, WHOLE, COLOURS = "head", "whole", "colours"
TOLD, MEASURED = "told", "told and measured"
MARKS = "marks hidden"
AGAIN = " learnt"  # a head that learnt from images so changed


def baselines(
    context: Context,
    objects: Objects,
    rows: Int64[np.ndarray, " n"],
    embedded: Float32[np.ndarray, "n d"],
    attributes: Attributes,
    labels: Mapping[str, PredictedLabel],
) -> list[dict[str, Any]]:
    """The entries of baselines.json, one a label: `without_image`, `cues` (None where nobody asked or too little is
    labelled), the `attributes` that were used, and in how many images of the store `marks` were found. `rows` are the
    evaluated ones, of which all else is.

    All heads are of the kind that predicts and learn from the training half; the test half is scored and nothing else.
    """
    shown = {TOLD: attributes.told, MEASURED: (*attributes.told, *attributes.measured)}
    tables = {name: _one_hot([*some, *attributes.fine]) for name, some in shown.items()}
    marked = sum(isinstance(data, bytes) and len(data) > 0 for data in objects.store.facts.get("marks", ()))
    chosen = _chosen({label: one.question for label, one in labels.items()}, context)
    seen = _changed(context, objects, rows[chosen]) if len(chosen) else {}
    found = []
    for number, (label, one) in enumerate(labels.items()):
        seed = [context.recipe.seed, 85, number]
        entry: dict[str, Any] = {
            "label": label,
            "attributes": {name: [each.name for each in some if len(each.names) > 1] for name, some in shown.items()},
            "marks": {"kept": context.recipe.store.marks == "keep", "images": marked},
            "without_image": _without_image(one, embedded, tables, seed),
            "cues": _cues(one, embedded, chosen, seen, seed) if len(chosen) else None,
        }
        found.append(entry)
    return found


def _one_hot(attributes: Sequence[Attribute]) -> Float32[np.ndarray, "n _"] | None:
    """A column a level, unknown ones included; None where nothing tells two rows apart."""
    parts = [np.eye(len(one.names) + 1, dtype=np.float32)[one.level] for one in attributes]  # unknown is the last
    columns = np.concatenate(parts, axis=1) if parts else np.empty((0, 0), np.float32)
    moving = np.ptp(columns, axis=0) > 0 if len(columns) else np.empty(0, bool)
    return columns[:, moving] if moving.any() else None


def _without_image(
    one: PredictedLabel,
    embedded: Float32[np.ndarray, "n d"],
    tables: Mapping[str, Float32[np.ndarray, "n _"] | None],
    seed: Sequence[int],
) -> dict[str, Any]:
    question = one.question
    said = {HEAD: one.head.predict(embedded[question.scored])}
    said |= {name: _learnt(one, question, x, seed) for name, x in tables.items() if x is not None}
    return side_by_side(question, said, [(HEAD, name) for name in said if name != HEAD], seed[0])


def _learnt(
    one: PredictedLabel, question: Question, x: Float32[np.ndarray, "n d"], seed: Sequence[int]
) -> Float64[np.ndarray, "s k"]:
    """What a head on `x` says of the scored rows, learnt from the question's training half."""
    rows = np.flatnonzero(question.train & question.known)
    y = question.y[rows]
    constant = constant_answer(question.kind, y, len(question.outputs))
    if constant is not None:
        return np.tile(constant, (int(question.scored.sum()), 1))
    half = TrainingHalf(x[rows], question.groups[rows])
    fitted = one.fit(half, np.arange(len(rows)), y, len(question.outputs), np.random.default_rng(list(seed)))
    return fitted.predict(x[question.scored])


def _chosen(questions: Mapping[str, Question], context: Context) -> Int64[np.ndarray, " m"]:
    """Labelled rows that are looked at again, half of them of each half; some of every class to learn from first."""
    rng, most = np.random.default_rng([context.recipe.seed, 87]), context.recipe.classify.cues // 2
    each: list[np.ndarray] = []
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for question in questions.values():
        known = rng.permutation(np.flatnonzero(question.train & question.known))
        if question.by_class:
            classes = question.y[known, 0]
            each += [known[classes == one][:OF_EACH] for one in np.unique(classes)]
        train.append(known)
        test.append(rng.permutation(np.flatnonzero(question.scored)))
    parts = [_first([*by_turns(each), *by_turns(train)], most), _first(by_turns(test), most)]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def _first(rows: Sequence[int], most: int) -> np.ndarray:
    """The first different ones."""
    return np.array(list(dict.fromkeys(rows))[:most], np.int64)


def _changed(
    context: Context, objects: Objects, rows: Int64[np.ndarray, " m"]
) -> dict[str, Float32[np.ndarray, "m _"]]:
    """Features of these rows of the store by what was taken from their images, and their colours."""
    recipe, store = context.recipe, objects.store
    changes: dict[str, Change] = dict(CUES)
    if recipe.store.marks == "keep" and (hidden := marks_hidden(store)) is not None:
        changes[MARKS] = hidden
    encoder = (
        load_encoder(context.run.encoder)
        if recipe.pretrains
        else start_encoder(context, objects, recipe.encoder.weights)
    )
    precision = timed_precision(context, encoder)
    found = {COLOURS: colour_features(store, rows)}
    with context.progress.counter("classify: images changed", len(changes) * len(rows)) as counter:
        for name, change in changes.items():
            found[name] = embed(
                encoder,
                ChangedImages(store, change),
                rows,
                precision=precision,
                device=context.device,
                on_batch=counter.advance,
                symmetry=symmetry(recipe),
            )
    return found


def _cues(
    one: PredictedLabel,
    embedded: Float32[np.ndarray, "n d"],
    chosen: Int64[np.ndarray, " m"],
    seen: Mapping[str, Float32[np.ndarray, "m _"]],
    seed: Sequence[int],
) -> dict[str, Any] | None:
    question = one.question.part(chosen)
    if question is None:
        return None
    whole = embedded[chosen]
    said = {WHOLE: one.head.predict(whole[question.scored])}
    said |= {name: one.head.predict(x[question.scored]) for name, x in seen.items() if name != COLOURS}
    said |= {name + AGAIN: _learnt(one, question, x, seed) for name, x in {WHOLE: whole, **seen}.items()}
    first, second = CUES
    pairs = [(first, second), *((WHOLE, name) for name in said if not name.endswith(AGAIN) and name != WHOLE)]
    pairs += [(WHOLE + AGAIN, name + AGAIN) for name in seen]
    images = {"train": int((question.train & question.known).sum()), "test": int(question.scored.sum())}
    return {"images": images, **side_by_side(question, said, pairs, seed[0])}
