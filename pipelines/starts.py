"""The encoders that a run compares: a random one, ImageNet's, and what the recipe starts pretraining from."""

import numpy as np
import torch
from jaxtyping import Float32, Int64

from domainssl.encoders import TimmEncoder, create_encoder, load_encoder
from domainssl.precision import Precision, choose, time_training_step
from domainssl.store import Store
from pipelines.objects import Objects
from pipelines.steps import Context

SAMPLED = 256  # images whose range sets the normalisation of linear bands


WEIGHTS = {"random": "none", "imagenet": "imagenet"}


def compared_encoder(context: Context, objects: Objects, start: str) -> TimmEncoder:
    """The encoder of one of the recipe's `classify.starts`; "continued" is the run's own."""
    if start == "continued":
        return load_encoder(context.run.encoder)
    if start == "scratch":
        return load_encoder(context.run.scratch)
    if start in WEIGHTS:
        return start_encoder(context, objects, WEIGHTS[start])
    entry = context.recipe.start[start]
    return start_encoder(context, objects, str(entry.file), entry.encoder)


def start_encoder(context: Context, objects: Objects, weights: str, name: str | None = None) -> TimmEncoder:
    """An untrained-here encoder for this run's images; `weights` as in the recipe, `name` another network than its.

    Same seed, same encoder.
    """
    recipe, store = context.recipe, objects.store
    rows = objects.pretraining_rows()
    if len(rows) == 0:
        raise ValueError('no object to learn from: name "pretrain" in the use of a catalog with objects in training')
    chosen = np.sort(np.random.default_rng(recipe.seed).permutation(rows)[:SAMPLED])
    sky = _sky(store, rows) if store.radiometry == "linear" else None
    return create_encoder(
        name or recipe.encoder.name,
        weights,
        bands=store.bands,
        size=recipe.encoder.size,
        sample=store.batch(chosen).images,
        sky_sigma=sky,
        preparation=store.preparation,
        seed=recipe.seed,
        stretch=recipe.encoder.stretch,
    )


def _sky(store: Store, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, " c"]:
    """The median sky sigma of each band over the rows that have it."""
    sigma = store.nuisance["sky_sigma"][rows]
    absent = [band for band, values in zip(store.bands, sigma.T, strict=True) if np.isnan(values).all()]
    if absent:
        raise ValueError(f"no object to learn from has band {', '.join(absent)}; take it out of the catalogs' bands")
    return np.asarray(np.nanmedian(sigma, axis=0), np.float32)


def timed_precision(context: Context, encoder: TimmEncoder) -> Precision:
    """How this encoder is computed in: as the recipe says, or timed once a run; kept in the manifest for resuming."""
    manifest = context.run.read_manifest()
    subject = f"{encoder.name} {len(encoder.input.bands)}x{encoder.input.size} {context.device}"
    first = manifest.get("precision", {})
    known = first if first.get("of") == subject else manifest.get("precision of other starts", {}).get(subject, {})
    named = context.recipe.encoder.precision
    if not known or named not in ("timed", known["dtype"]):
        chosen, seconds = _chosen(context, encoder)
        known = {
            "of": subject,
            "dtype": chosen.dtype,
            "channels_last": chosen.channels_last,
            "threads": torch.get_num_threads(),
            "seconds": {f"{p.dtype}{' channels_last' if p.channels_last else ''}": s for p, s in seconds.items()},
        }
        if first:  # a start of another architecture
            context.run.update(**{"precision of other starts": {subject: known}})
        else:
            context.run.update(precision=known)
    return Precision(known["dtype"], known["channels_last"])


def _chosen(context: Context, encoder: TimmEncoder) -> tuple[Precision, dict[Precision, float]]:
    named = context.recipe.encoder.precision
    if named != "timed":
        return Precision(named), {}
    if context.device == "cpu":
        seconds = time_training_step(encoder)
    else:
        encoder.to(context.device)
        seconds = time_training_step(encoder, batch=128)
    return choose(seconds), seconds
