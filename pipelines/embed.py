"""Embeddings of every object by the run's encoder, and of the labelled ones by the starts it is compared to."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from domainssl.embedding import embed, write_part
from domainssl.encoders import TimmEncoder, load_encoder, weights_hash
from pipelines.atomic import remove_stale
from pipelines.objects import Objects
from pipelines.starts import start_encoder, timed_precision
from pipelines.steps import Context, StepResult

WEIGHTS = {"random": "none", "imagenet": "imagenet"}


def run(context: Context) -> StepResult:
    """Write embeddings/part-*.parquet, one a shard, and starts/NAME/part-*.parquet; parts already there are kept."""
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    trained = recipe.pretrain.epochs > 0
    encoder = load_encoder(folder.encoder) if trained else start_encoder(context, objects, recipe.encoder.weights)
    result = embed_all(context, objects, encoder)
    outputs = list(result.outputs)
    labelled = objects.labelled_rows(tuple(recipe.labels))
    if len(labelled):
        for start in recipe.classify.starts:
            if start in WEIGHTS:
                compared = start_encoder(context, objects, WEIGHTS[start])
                _embed(context, objects, compared, labelled, folder.starts / start, f"embed from {start}")
        outputs.append(folder.starts)
    return StepResult(tuple(outputs), result.facts)


def embed_all(context: Context, objects: Objects, encoder: TimmEncoder) -> StepResult:
    """Write embeddings/part-*.parquet for every stored object.

    Raises ValueError where the store has other bands or another preparation than the encoder was trained on.
    """
    encoder.input.check(objects.store.bands, objects.store.preparation)
    _embed(context, objects, encoder, np.arange(len(objects.store)), context.run.embeddings, "embed")
    facts = {"objects": len(objects.store), "width": encoder.width, "weights": weights_hash(encoder)}
    return StepResult((context.run.embeddings,), facts)


def _embed(
    context: Context, objects: Objects, encoder: TimmEncoder, rows: Int64[np.ndarray, " n"], folder: Path, what: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    precision = timed_precision(context, encoder)
    model = weights_hash(encoder)
    frame = objects.frame
    with context.progress.counter(what, len(rows)) as counter:
        for number, shard in enumerate(objects.store.shard_rows()):
            chosen = np.intersect1d(shard, rows)
            path = folder / f"part-{number:05d}.parquet"
            if path.is_file() or len(chosen) == 0:
                counter.advance(len(chosen))
                continue
            features = embed(
                encoder, objects.store, chosen, precision=precision, device=context.device, on_batch=counter.advance
            )
            ids = frame["object_id"].iloc[chosen].tolist()
            ra, dec = frame["ra"].to_numpy(float)[chosen], frame["dec"].to_numpy(float)[chosen]
            write_part(path, ids, ra, dec, features, model)
