"""Few-label heads: what each start is worth at each number of labels, and predictions by the run's own encoder."""


import numpy as np
import pandas as pd
from jaxtyping import Float32

from domainssl.embedding import read_parts
from domainssl.evaluation.label_efficiency import label_efficiency
from domainssl.heads.linear import fit_linear, standardisation
from pipelines.atomic import atomic_write, write_json
from pipelines.objects import Objects
from pipelines.steps import Context, StepResult


def run(context: Context) -> StepResult:
    """Write metrics.json, heads/LABEL.safetensors and predictions.parquet; all empty where no labels were given.

    Raises ValueError where a label column has fewer than two classes in either half.
    """
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    metrics: list[dict[str, object]] = []
    ids, embedded, model = read_parts(folder.embeddings)
    predictions = pd.DataFrame({"object_id": ids})
    folder.heads.mkdir(parents=True, exist_ok=True)
    # Labels that came with new rows of the table are read afresh: the catalog may be older than they are.
    for label in context.progress.track(tuple(recipe.labels), "classify"):
        features = _features(context, objects, embedded)
        labels, classes = class_indices(objects, label)
        try:
            metrics += label_efficiency(
                features,
                labels,
                classes,
                objects.train,
                ~objects.train,
                objects.frame["group"].to_numpy(str),
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
        probabilities = head.probabilities(embedded)
        predictions[label] = np.array(classes)[probabilities.argmax(axis=1)]
        for number, name in enumerate(classes):
            predictions[f"{label}:{name}"] = probabilities[:, number].astype(np.float32)
    write_json(folder.metrics, metrics)
    with atomic_write(folder.predictions) as part:
        predictions.to_parquet(part, index=False)
    return StepResult((folder.metrics, folder.heads, folder.predictions), {"rows": len(metrics)})


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
    context: Context, objects: Objects, embedded: Float32[np.ndarray, "n d"]
) -> dict[str, Float32[np.ndarray, "n d"]]:
    """Features of every compared start in the order of the store; rows that a start did not embed are NaN."""
    place = {object_id: row for row, object_id in enumerate(objects.store.object_ids)}
    found: dict[str, Float32[np.ndarray, "n d"]] = {}
    for start in context.recipe.classify.starts:
        if start == "continued":
            if context.recipe.pretrain.epochs > 0:
                found[start] = embedded
            continue
        ids, features, _ = read_parts(context.run.starts / start)
        full = np.full((len(place), features.shape[1]), np.nan, np.float32)
        full[[place[object_id] for object_id in ids]] = features
        found[start] = full
    return found


