"""Few-label heads: what each start is worth at each number of labels, then predictions and lists by the run's own."""

import zlib

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64

from domainssl.embedding import read_parts
from domainssl.evaluation.contenders import Cell, FrozenFeatures, training_half
from domainssl.evaluation.label_efficiency import Entry, label_efficiency
from domainssl.evaluation.metric import Prediction
from domainssl.evaluation.question import Question
from domainssl.evaluation.rows import MetricRow, mark_primary
from domainssl.evaluation.task import TASKS
from domainssl.evaluation.value_metrics import median_level
from domainssl.heads.files import save_head
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.options import Kind
from pipelines.atomic import atomic_write, write_json
from pipelines.embed import compared_starts
from pipelines.fine_tuning import FineTuning
from pipelines.label_lists import write_next_labels, write_suspects
from pipelines.metadata import metadata_features
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from pipelines.steps import Context, StepResult
from pipelines.targets import Targets

Features = dict[tuple[str, str], Float32[np.ndarray, "_ _"]]


def run(context: Context) -> StepResult:
    """Write metrics.json, heads/LABEL.safetensors, predictions.parquet, suspects.csv and next_labels.csv; all empty
    where no labels were given.

    Raises ValueError where a label cannot be asked, see `domainssl.evaluation.question`.
    """
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    ids, embedded, model = read_parts(folder.embeddings)
    predictions = pd.DataFrame({"object_id": ids})
    folder.heads.mkdir(parents=True, exist_ok=True)
    rows = objects.evaluated_rows()
    features = _features(context, objects, embedded, rows)
    metrics: list[MetricRow] = []
    fitted: dict[str, tuple[Targets, FittedHead]] = {}
    for label in recipe.labels:
        targets = objects.targets(label)
        metrics += _measured(context, objects, label, targets, features, rows)
        known = np.flatnonzero(objects.train & ~np.isnan(targets.y).all(axis=1))
        learnt = np.union1d(known, rows[objects.train[rows]])
        half = TrainingHalf(embedded[learnt], objects.frame["group"].to_numpy(str)[learnt])
        name = heads_of(recipe, targets.kind)[0]
        fit = TASKS[targets.kind].heads[name]
        places = np.searchsorted(learnt, known)
        head = fit(half, places, targets.y[known], len(targets.outputs), np.random.default_rng([recipe.seed, 81]))
        path = folder.heads / f"{safe_name(label)}.safetensors"
        fitted[label] = (targets, head)
        save_head(head, path, features_id=model, outputs=targets.outputs, kind=targets.kind, name=name)
        predictions = predictions.assign(**predicted(label, targets.kind, targets.outputs, head, embedded))
    if recipe.labels:
        task = TASKS[recipe.labels[next(iter(recipe.labels))].kind]
        mark_primary(metrics, next(iter(recipe.labels)), next(iter(task.metrics)), primary_size(recipe))
    write_json(folder.metrics, metrics)
    with atomic_write(folder.predictions) as part:
        predictions.to_parquet(part, index=False)
    listed = {
        "label_errors": write_suspects(context, objects, embedded, {label: pair[0] for label, pair in fitted.items()}),
        "to_label": write_next_labels(context, objects, embedded, fitted),
    }
    outputs = (folder.metrics, folder.heads, folder.predictions, folder.suspects, folder.next_labels)
    return StepResult(outputs, {"rows": len(metrics), **listed})


def heads_of(recipe: Recipe, kind: Kind) -> tuple[str, ...]:
    """The heads that the recipe wants of those a kind of label has; where it wants none of them, the kind's first."""
    every = tuple(TASKS[kind].heads)
    wanted = tuple(name for name in recipe.classify.heads if name in every) or every[:1]
    return wanted if recipe.classify.heads else every


def primary_size(recipe: Recipe) -> int:
    """The number of labels a class of the primary endpoint."""
    measured = recipe.classify.labels_per_class
    return recipe.classify.primary_labels or max((n for n in measured if n <= 20), default=measured[0])


def predicted(
    label: str, kind: str, outputs: tuple[str, ...], head: FittedHead, features: Float[np.ndarray, "n d"]
) -> dict[str, np.ndarray]:
    """Columns of predictions.parquet: under the label's name what is predicted, and a score an output, LABEL:OUTPUT.

    Predicted is the likeliest class, the level in the middle of the predicted distribution, the findings above one
    half, the answer with most votes, or the value.
    """
    scores = head.predict(features)
    if kind == "real":
        return {label: scores[:, 0].astype(np.float32)}
    names: np.ndarray = np.array(outputs, dtype=object)
    columns = {f"{label}:{name}": scores[:, k].astype(np.float32) for k, name in enumerate(outputs)}
    if kind == "multilabel":
        found = np.array([";".join(names[row >= 0.5]) for row in scores], dtype=object)
    elif kind == "ordered":
        found = names[median_level(Prediction(scores))]
    else:
        found = names[scores.argmax(axis=1)]
    return {label: found, **columns}


def safe_name(label: str) -> str:
    """A label's name as a file name: letters, digits, dash and underscore stay; a checksum tells of others."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
    return plain if plain == label else f"{plain}-{zlib.crc32(label.encode()):08x}"


def _measured(
    context: Context,
    objects: Objects,
    label: str,
    targets: Targets,
    features: Features,
    rows: np.ndarray,
) -> list[MetricRow]:
    recipe = context.recipe
    classify, entry = recipe.classify, recipe.labels[label]
    frame = objects.frame.iloc[rows]
    y, train = targets.y[rows], objects.train[rows]
    units = {"image": frame["object_id"], "patient": frame["group"]}
    if classify.unit == "study":
        named = frame["group"] + "\0" + frame["study"].astype(str)  # numbers of studies may repeat between patients
        units["study"] = named.where(frame["study"].notna(), frame["object_id"])
    question = Question(
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
    task, heads = TASKS[targets.kind], heads_of(recipe, targets.kind)
    cells = [Cell(start, kind, head) for start, kind in features for head in heads]
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
                with_thresholds=cell in main and targets.kind in ("yes_no", "multilabel"),
            ),
        )
        for cell in (*main, *kept)
    ]
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
    with context.progress.counter(f"classify {label}", len(entries) * len(classify.draw)) as counter:
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
