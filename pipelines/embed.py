"""Embeddings of every object by the run's encoder, and of the evaluated ones by every start and kind of features."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from domainssl.embedding import embed, write_part
from domainssl.encoders import TimmEncoder, load_encoder, weights_hash
from domainssl.features import Features, Symmetry
from pipelines.atomic import remove_stale
from pipelines.consistency import VIEWS, views_of
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.recipe import Recipe
from pipelines.starts import compared_encoder, start_encoder, timed_precision
from pipelines.steps import Context, StepResult


def run(context: Context) -> StepResult:
    """Write embeddings/part-*.parquet, one a shard, and starts/NAME/FEATURES/part-*.parquet; parts there are kept."""
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    encoder = (
        load_encoder(folder.encoder) if recipe.pretrains else start_encoder(context, objects, recipe.encoder.weights)
    )
    result = embed_all(context, objects, encoder)
    outputs = list(result.outputs)
    rows = objects.evaluated_rows()
    if len(rows):
        folder.starts.mkdir(exist_ok=True)
        for start in compared_starts(recipe):
            kinds = [kind for kind in recipe.classify.features if (start, kind) != ("continued", "last")]
            consistent = recipe.classify.consistency > 0
            compared = compared_encoder(context, objects, start) if kinds or consistent else None
            for kind in kinds:
                assert compared is not None
                what = f"embed from {start}" + ("" if kind == "last" else f", {kind}")
                _embed(context, objects, compared, rows, folder.starts / start / kind, what, kind)
            if consistent:
                assert compared is not None
                values = views_of(context, objects, compared, symmetry(recipe))
                train = rows[objects.train[rows]]
                path, what = folder.starts / start / VIEWS, f"embed views from {start}"
                _embed(context, objects, compared, train, path, what, values=values)
        outputs.append(folder.starts)
    return StepResult(tuple(outputs), result.facts)


def compared_starts(recipe: Recipe) -> tuple[str, ...]:
    """The starts that this recipe compares: without pretraining there is nothing self-supervised."""
    trained = ("scratch", "continued")
    return tuple(start for start in recipe.classify.starts if recipe.pretrains or start not in trained)


def symmetry(recipe: Recipe) -> Symmetry:
    """The domain's symmetry; none where a label tells left from right."""
    return "none" if recipe.sided else DOMAINS[recipe.domain].symmetry


def embed_all(context: Context, objects: Objects, encoder: TimmEncoder) -> StepResult:
    """Write embeddings/part-*.parquet for every stored object.

    Raises ValueError where the store has other bands or another preparation than the encoder was trained on.
    """
    encoder.input.check(objects.store.bands, objects.store.preparation)
    _embed(context, objects, encoder, np.arange(len(objects.store)), context.run.embeddings, "embed")
    facts = {"objects": len(objects.store), "width": encoder.width, "weights": weights_hash(encoder)}
    return StepResult((context.run.embeddings,), facts)


def _embed(
    context: Context,
    objects: Objects,
    encoder: TimmEncoder,
    rows: Int64[np.ndarray, " n"],
    folder: Path,
    what: str,
    kind: Features = "last",
    *,
    values: Callable[[Int64[np.ndarray, " n"], Callable[[int], None]], Float32[np.ndarray, "n _"]] | None = None,
) -> None:
    """Write the features of rows, shard by shard; `values` in place of those of `kind`."""
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
            if values is not None:
                features = values(chosen, counter.advance)
            else:
                features = embed(
                    encoder,
                    objects.store,
                    chosen,
                    precision=precision,
                    device=context.device,
                    on_batch=counter.advance,
                    features=kind,
                    symmetry=symmetry(context.recipe),
                )
            ids = frame["object_id"].iloc[chosen].tolist()
            ra, dec = frame["ra"].to_numpy(float)[chosen], frame["dec"].to_numpy(float)[chosen]
            write_part(path, ids, ra, dec, features, model)
