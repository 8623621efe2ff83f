"""Few-label heads: what each start is worth at each number of labels, and predictions by the run's own encoder."""

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from domainssl.embedding import read_parts
from domainssl.evaluation.label_efficiency import MetricRow, label_efficiency
from domainssl.heads.linear import LinearHead, fit_linear, standardisation
from pipelines.atomic import atomic_write, write_json
from pipelines.objects import Objects
from pipelines.steps import Context, StepResult


def run(context: Context) -> StepResult:
    """Write metrics.json, heads/LABEL.safetensors and predictions.parquet; all empty where no labels were given.

    Raises ValueError where a label column has fewer than two classes in either half.
    """
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    metrics: list[MetricRow] = []
    ids, embedded, model = read_parts(folder.embeddings)
    predictions = pd.DataFrame({"object_id": ids})
    folder.heads.mkdir(parents=True, exist_ok=True)
    rows = objects.labelled_rows(tuple(recipe.labels))
    train = objects.train[rows]
    for label in context.progress.track(tuple(recipe.labels), "classify"):
        labels, classes = class_indices(objects, label)
        try:
            metrics += label_efficiency(
                _features(context, objects, embedded, rows),
                labels[rows],
                classes,
                train,
                ~train,
                objects.frame["group"].to_numpy(str)[rows],
                label=label,
                labels_per_class=recipe.classify.labels_per_class,
                draws=recipe.classify.draws,
                resamples=recipe.classify.resamples,
                seed=recipe.seed,
            )
        except ValueError as error:
            raise ValueError(f"labels.{label}: {error}") from error
        known = np.flatnonzero(objects.train & (labels >= 0))
        mean, scale = standardisation(embedded[objects.train])
        head = fit_linear(embedded[known], labels[known], len(classes), mean=mean, scale=scale, classes=classes)
        head.save(folder.heads / f"{safe_name(label)}.safetensors", features_id=model)
        predictions = predictions.assign(**predicted(label, head, embedded))
    write_json(folder.metrics, metrics)
    with atomic_write(folder.predictions) as part:
        predictions.to_parquet(part, index=False)
    return StepResult((folder.metrics, folder.heads, folder.predictions), {"rows": len(metrics)})


def predicted(label: str, head: LinearHead, features: Float32[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
    """Columns of predictions.parquet: the likeliest class under the label's name, and a score a class, LABEL:CLASS."""
    scores = head.probabilities(features)
    likeliest: np.ndarray = np.array(head.classes, dtype=object)[scores.argmax(axis=1)]
    columns = {f"{label}:{name}": scores[:, number].astype(np.float32) for number, name in enumerate(head.classes)}
    return {label: likeliest, **columns}


def class_indices(objects: Objects, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each object's class as an index (-1 unknown, or not in a catalog to classify) and the classes' names, sorted."""
    values = objects.frame[label].where(objects.used_for("classify"))
    classes = tuple(sorted(values.dropna().astype(str).unique()))
    codes = pd.Categorical(values, categories=list(classes)).codes.astype(np.int64)
    return codes, classes


def safe_name(label: str) -> str:
    """A label's name as a file name: letters, digits, dash and underscore stay."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in label)


def _features(
    context: Context, objects: Objects, embedded: Float32[np.ndarray, "n d"], rows: Int64[np.ndarray, " m"]
) -> dict[str, Float32[np.ndarray, "m d"]]:
    """Features of the labelled rows by each start, in the order in which they are compared."""
    wanted = objects.frame["object_id"].iloc[rows].tolist()
    found: dict[str, Float32[np.ndarray, "m d"]] = {}
    for start in context.recipe.classify.starts:
        if start == "continued":
            if context.recipe.pretrain.epochs > 0:
                found[start] = embedded[rows]
            continue
        ids, features, _ = read_parts(context.run.starts / start)
        place = {object_id: row for row, object_id in enumerate(ids)}
        found[start] = features[[place[object_id] for object_id in wanted]]
    return found
