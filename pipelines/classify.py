"""Few-label heads: what each start is worth at each number of labels, then predictions and lists by the run's own."""

import zlib
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64

from domainssl.embedding import read_parts
from domainssl.evaluation.certainty import Certainty, fit_certainty
from domainssl.evaluation.certainty_files import save_certainty
from domainssl.evaluation.certainty_judged import judged
from domainssl.evaluation.contenders import Cell, FrozenFeatures, training_half
from domainssl.evaluation.label_efficiency import Entry, label_efficiency
from domainssl.evaluation.question import Question
from domainssl.evaluation.rows import MetricRow, mark_primary
from domainssl.evaluation.task import TASKS
from domainssl.heads.files import save_head
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.options import ON_REQUEST, Kind
from pipelines.asked_columns import check_columns
from pipelines.atomic import write_json
from pipelines.attributes import attributes
from pipelines.audit import audited, audited_places
from pipelines.baselines import baselines
from pipelines.consistency import consistency_entries
from pipelines.embed import compared_starts
from pipelines.fine_tuning import FineTuning
from pipelines.label_lists import write_next_labels, write_suspects
from pipelines.metadata import metadata_features
from pipelines.objects import Objects
from pipelines.predicted_label import PredictedLabel
from pipelines.predictions import predicted, write_predictions
from pipelines.recipe import Recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import Context, StepResult
from pipelines.subgroups import subgrouped
from pipelines.targets import Targets
from pipelines.votes import vote_facts, with_asked

Features = dict[tuple[str, str], Float32[np.ndarray, "_ _"]]


def run(context: Context) -> StepResult:
    """Write metrics.json, certainty.json, audit.json, baselines.json, subgroups.json, heads/, predictions (Parquet,
    CSV), suspects.csv and next_labels.csv; all empty where no labels were given.

    Raises ValueError where a label cannot be asked, see `domainssl.evaluation.question`.
    """
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    ids, embedded, model = read_parts(folder.embeddings)
    predictions = pd.DataFrame({"object_id": ids})
    folder.heads.mkdir(parents=True, exist_ok=True)
    rows = objects.evaluated_rows()
    check_columns(recipe, objects.frame)
    features = _features(context, objects, embedded, rows)
    metrics: list[MetricRow] = []
    trust: list[dict[str, Any]] = []
    labels: dict[str, PredictedLabel] = {}
    for label in recipe.labels:
        targets = objects.targets(label)
        question = _question(context, objects, label, targets, rows)
        metrics += _measured(context, objects, question, features, rows)
        known = np.flatnonzero(objects.train & ~np.isnan(targets.y).all(axis=1))
        learnt = np.union1d(known, rows[objects.train[rows]])
        half = TrainingHalf(embedded[learnt], objects.frame["group"].to_numpy(str)[learnt])
        name = heads_of(recipe, targets.kind)[0]
        fit = TASKS[targets.kind].heads[name]
        places = np.searchsorted(learnt, known)
        taught = (half, places, targets.y[known], len(targets.outputs))
        head = fit(*taught, np.random.default_rng([recipe.seed, 81]))
        certainty = fit_certainty(targets.kind, fit, *taught, np.random.default_rng([recipe.seed, 82]))
        _save(folder, label, targets, head, certainty, features_id=model, name=name)
        predictions = predictions.assign(**predicted(label, targets.kind, targets.outputs, head, certainty, embedded))
        scores = certainty.calibrated(head.predict(embedded[rows]))
        labels[label] = PredictedLabel(targets, question, fit, head, certainty, scores)
        facts = _judged(objects, targets, head, certainty, embedded, recipe.seed)
        groups = objects.frame["group"].to_numpy(str)
        facts |= vote_facts(targets, head, embedded, objects.train, groups, recipe.seed)
        trust.append({"label": label, "kind": targets.kind, **facts})
    if recipe.labels:
        task = TASKS[recipe.labels[next(iter(recipe.labels))].kind]
        mark_primary(metrics, next(iter(recipe.labels)), next(iter(task.metrics)), primary_size(recipe))
    write_json(folder.metrics, metrics)
    write_json(folder.certainty, trust)
    places = audited_places([one.question for one in labels.values()], len(rows), recipe.seed)
    some, parts = rows[places], {label: one.part(places) for label, one in labels.items()}
    asked = {label: part for label, part in parts.items() if part is not None}
    told = attributes(objects, some, recipe.domain, set(recipe.label_columns) | set(recipe.labels))
    write_json(folder.audit, audited(objects, some, told, embedded[some], asked, recipe.seed))
    write_json(folder.baselines, baselines(context, objects, some, embedded[some], told, asked))
    write_json(folder.subgroups, subgrouped(recipe, objects, rows, embedded[rows], labels))
    write_predictions(with_asked(predictions, recipe.labels), folder)
    listed = {
        "label_errors": write_suspects(context, objects, embedded, labels),
        "to_label": write_next_labels(context, objects, embedded, labels),
    }
    outputs = (folder.metrics, folder.certainty, folder.audit, folder.heads, folder.predictions, folder.predictions_csv)
    listings = (folder.baselines, folder.subgroups, folder.suspects, folder.next_labels)
    return StepResult((*outputs, *listings), {"rows": len(metrics), **listed})


def heads_of(recipe: Recipe, kind: Kind) -> tuple[str, ...]:
    """The heads that the recipe wants of those a kind of label has; where it wants none of them, the kind's first.

    Where it names no heads, all but those on request.
    """
    every = tuple(TASKS[kind].heads)
    wanted = tuple(name for name in recipe.classify.heads if name in every) or every[:1]
    return wanted if recipe.classify.heads else tuple(name for name in every if name not in ON_REQUEST)


def primary_size(recipe: Recipe) -> int:
    """The number of labels a class of the primary endpoint."""
    measured = recipe.classify.labels_per_class
    return recipe.classify.primary_labels or max((n for n in measured if n <= 20), default=measured[0])


def _save(
    folder: RunFolder,
    label: str,
    targets: Targets,
    head: FittedHead,
    certainty: Certainty,
    *,
    features_id: str,
    name: str,
) -> None:
    path = folder.heads / safe_name(label)
    kind, outputs = targets.kind, targets.outputs
    save_head(
        head, path.with_name(f"{path.name}.safetensors"), features_id=features_id, outputs=outputs, kind=kind, name=name
    )
    save_certainty(certainty, path, features_id=features_id, outputs=outputs, name=name)


def _judged(
    objects: Objects,
    targets: Targets,
    head: FittedHead,
    certainty: Certainty,
    embedded: Float32[np.ndarray, "n d"],
    seed: int,
) -> dict[str, Any]:
    """What the labelled test objects say of the head's certainty; nothing where there are none."""
    asked = np.flatnonzero(~objects.train & ~np.isnan(targets.y).all(axis=1))
    if not len(asked):
        return {"questions": [], "far": None}
    x, groups = embedded[asked], objects.frame["group"].to_numpy(str)[asked]
    rng = np.random.default_rng([seed, 83])
    return judged(certainty, targets.outputs, head.predict(x), x, targets.y[asked], groups, rng)


def safe_name(label: str) -> str:
    """A label's name as a file name: letters, digits, dash and underscore stay; a checksum tells of others."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
    return plain if plain == label else f"{plain}-{zlib.crc32(label.encode()):08x}"


def _question(context: Context, objects: Objects, label: str, targets: Targets, rows: np.ndarray) -> Question:
    classify, entry = context.recipe.classify, context.recipe.labels[label]
    frame = objects.frame.iloc[rows]
    y, train = targets.y[rows], objects.train[rows]
    units = {"image": frame["object_id"], "patient": frame["group"]}
    if classify.unit == "study":
        named = frame["group"] + "\0" + frame["study"].astype(str)  # numbers of studies may repeat between patients
        units["study"] = named.where(frame["study"].notna(), frame["object_id"])
    return Question(
        label,
        targets.kind,
        y,
        targets.outputs,
        train,
        ~train,
        frame["group"].to_numpy(str),
        units[classify.unit].to_numpy(str),
        classify.aggregate,
        classify.specificity,
        entry.prevalence,
        _outlier(y, train, entry.outlier) if targets.kind == "real" else None,
    )


def _measured(
    context: Context, objects: Objects, question: Question, features: Features, rows: np.ndarray
) -> list[MetricRow]:
    recipe, classify, kind = context.recipe, context.recipe.classify, question.kind
    task, heads = TASKS[kind], heads_of(recipe, kind)
    cells = [Cell(start, part, head) for start, part in features for head in heads]
    main = [cell for cell in cells if (cell.features, cell.head) in (("last", heads[0]), ("columns", heads[0]))]
    beside = [cell for cell in cells if cell not in main and cell.features != "columns"]
    kept = [cell for cell in beside if classify.cross or cell.features == "last" or cell.head == heads[0]]
    halves = {key: training_half(question, x) for key, x in features.items()}
    entries = [
        Entry(
            cell,
            FrozenFeatures(
                question,
                features[cell.start, cell.features],
                task.heads[cell.head],
                half=halves[cell.start, cell.features],
                with_thresholds=cell in main and kind in ("yes_no", "multilabel"),
            ),
        )
        for cell in (*main, *kept)
    ]
    last = {start: x for (start, part), x in features.items() if part == "last"}
    entries += consistency_entries(context, objects, question, rows, last)
    if classify.fine_tuning:
        entries += [
            Entry(
                Cell(start, "images", "fine_tuning"),
                FineTuning(context, objects, question, rows, start),
                classify.fine_tuning,
            )
            for start in compared_starts(recipe)
        ]
    starts = [cell.start for cell in main]
    reference = Cell("imagenet" if "imagenet" in starts else starts[0], "last", heads[0])
    found: list[MetricRow] = []
    with context.progress.counter(f"classify {question.label}", len(entries) * len(classify.draw)) as counter:
        for draw in classify.draw:
            found += label_efficiency(
                question,
                entries,
                task.metrics,
                reference,
                labels_per_class=classify.labels_per_class,
                draws=classify.draws,
                draw=draw,
                resamples=classify.resamples,
                seed=recipe.seed,
                confirmatory=draw == classify.draw[0],
                on_entry=lambda: counter.advance(1),
            )
    return found


def _outlier(y: Float64[np.ndarray, "n 1"], train: np.ndarray, given: float | None) -> float:
    """The error beyond which a real value is an outlier: the recipe's, else the training labels' standard deviation."""
    return given if given is not None else float(np.nanstd(y[train, 0]))


def _features(context: Context, objects: Objects, embedded: Float32[np.ndarray, "n d"], rows: np.ndarray) -> Features:
    """Features of the evaluated rows by start and kind, in the order in which they are compared."""
    wanted = objects.frame["object_id"].iloc[rows].tolist()
    found: Features = {}
    if not len(rows):
        return found
    for start in compared_starts(context.recipe):
        for kind in context.recipe.classify.features:
            if (start, kind) == ("continued", "last"):
                found[start, kind] = embedded[rows]
                continue
            ids, features, _ = read_parts(context.run.starts / start / kind)
            place = {object_id: row for row, object_id in enumerate(ids)}
            found[start, kind] = features[[place[object_id] for object_id in wanted]]
    if context.recipe.classify.metadata:
        found["metadata", "columns"] = metadata_features(
            objects.frame.iloc[rows], objects.train[rows], context.recipe.classify.metadata
        )
    return found
