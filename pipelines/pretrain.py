"""Continued self-supervised pretraining: the recipe's start, trained on the training half, the best of it exported."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from domainssl.encoders import TimmEncoder, load_encoder, save_encoder, weights_hash
from domainssl.harm import START, checkpoint_epochs
from domainssl.methods.registry import METHODS
from domainssl.options import PretrainOptions
from domainssl.pretraining import pretrain
from domainssl.schedule import scheduled
from domainssl.views.ablation import without
from pipelines.atomic import atomic_write, write_text
from pipelines.budget import within_seconds
from pipelines.domains import DOMAINS
from pipelines.guard import Chosen, choose_encoder
from pipelines.objects import Objects
from pipelines.panels import make_panels, save_panels
from pipelines.recipe import used_options
from pipelines.run_folder import step_key
from pipelines.starts import start_encoder, timed_precision
from pipelines.steps import Context, StepResult
from pipelines.supervision import supervised_classes

LAST, BELONGS = "last.safetensors", "training.txt"


def run(context: Context) -> StepResult:
    """Train, choose between the start and the checkpoints, and write encoder.safetensors and pretraining.jsonl.

    Goes on from a checkpoint. Where "scratch" is among the starts, the same is done from random weights, into
    scratch.safetensors.
    """
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    images = len(objects.pretraining_rows())
    options = scheduled(recipe.pretrain, images, encoder=recipe.encoder.name, trained=recipe.encoder.weights != "none")
    chosen, records, start_hash = _trained(context, objects, options, recipe.encoder.weights, folder.checkpoints)
    write_text(folder.pretraining, "".join(json.dumps(record) + "\n" for record in records))
    provenance = {
        "start_weights": start_hash,
        "start": recipe.encoder.weights if recipe.encoder.weights in ("imagenet", "none") else "file",
        "method": options.method,
        "chosen": chosen.name,
        "images": images,
        "seed": recipe.seed,
        "preparation": objects.store.preparation,
        "versions": folder.read_manifest().get("versions", {}),
    }
    with atomic_write(folder.encoder) as part:
        save_encoder(chosen.encoder, part, provenance)
    outputs, content = [folder.encoder, folder.pretraining], weights_hash(chosen.encoder)
    outputs += [folder.panels] if folder.panels.is_file() else []
    if "scratch" in recipe.classify.starts:
        same = scheduled(recipe.pretrain, images, encoder=recipe.encoder.name, trained=False)
        scratch, _, random_hash = _trained(context, objects, same, "none", folder.checkpoints / "scratch")
        told = {**provenance, "start_weights": random_hash, "start": "none", "chosen": scratch.name}
        with atomic_write(folder.scratch) as part:
            save_encoder(scratch.encoder, part, told)
        outputs.append(folder.scratch)
        content += weights_hash(scratch.encoder)
    facts = {
        "start_weights": start_hash,
        "images": images,
        "epochs": len(records),
        "options": dataclasses.asdict(options),
        "final": records[-1] if records else {},
        "guard": chosen.facts,
    }
    return StepResult(tuple(outputs), facts, content)


def _trained(
    context: Context, objects: Objects, options: PretrainOptions, weights: str, checkpoints: Path
) -> tuple[Chosen, list[dict[str, Any]], str]:
    """The best encoder of one training from these weights, the training's records, and the start's hash."""
    recipe, store, rows = context.recipe, objects.store, objects.pretraining_rows()
    own = checkpoints == context.run.checkpoints
    classes = supervised_classes(recipe, objects, rows)
    encoder = start_encoder(context, objects, weights)
    start_hash = weights_hash(encoder)
    precision = timed_precision(context, encoder)
    with torch.random.fork_rng(devices=[]):  # the projection head is initialised from the global generator
        torch.manual_seed(recipe.seed)
        method = METHODS[options.method].load()(encoder, options)
    views = DOMAINS[recipe.domain].views
    policy = views(store.radiometry, store.bands, recipe.encoder.size, sided=recipe.sided, survey=recipe.survey)
    policy = without(policy, recipe.pretrain.without)
    options = within_seconds(context, checkpoints.name, method, store, rows, policy, options, precision, classes)
    key = _training_key(context, options, start_hash, classes)
    assert options.epochs is not None
    assert options.projector_epochs is not None
    limited = options.images is not None
    epochs = () if options.guard == "off" or limited else checkpoint_epochs(options.epochs)
    files = {options.projector_epochs + epoch: checkpoints / f"epoch-{epoch:03d}.safetensors" for epoch in epochs}
    _clear_others(checkpoints, [key, *(path.name for path in files.values())])

    def on_epoch(records: list[dict[str, Any]]) -> None:
        record = records[-1]
        if record["epoch"] in files:
            with atomic_write(files[record["epoch"]]) as part:
                save_encoder(method.exported(), part, {"epoch": record["epoch"], "key": key})
        if own:
            write_text(context.run.pretraining, "".join(json.dumps(record) + "\n" for record in records))
        if record["warning"]:
            context.progress.note(f"pretrain: epoch {record['epoch']}: {record['warning']}")

    what = "pretrain" if own else "pretrain from random weights"
    with context.progress.counter(what) as counter:
        state = {"step": 0}

        def show(step: int, total: int, loss: float) -> None:
            counter.advance(step - state["step"])
            state["step"] = step
            counter.show(f"of {total} steps, loss {loss:.3f}")

        records = pretrain(
            method,
            store,
            rows,
            policy,
            options,
            seed=recipe.seed,
            precision=precision,
            checkpoint=checkpoints / LAST,
            key=key,
            device=context.device,
            classes=classes,
            on_step=show,
            on_epoch=on_epoch,
        )
    if own:
        save_panels(make_panels(method, store, rows, policy, recipe.seed), context.run.panels)
    last = method.exported().cpu()
    start = start_encoder(context, objects, weights)
    candidates: dict[str, Callable[[], TimmEncoder]] = {START: lambda: start}
    for epoch, path in zip(epochs, files.values(), strict=True):
        candidates[f"epoch {epoch}"] = _loader(path)
    if limited:
        candidates["the last step"] = lambda: last
    return choose_encoder(context, objects, candidates, last, options.guard, policy), records, start_hash


def _clear_others(checkpoints: Path, belongs: list[str]) -> None:
    """Remove the checkpoints of another training, or of one that kept other candidates."""
    note = checkpoints / BELONGS
    if not note.is_file() or note.read_text().split() != belongs:
        for path in checkpoints.glob("*.safetensors"):
            path.unlink()
        write_text(note, " ".join(belongs))


def _loader(path: Path) -> Callable[[], TimmEncoder]:
    return lambda: load_encoder(path)


def _training_key(
    context: Context, options: PretrainOptions, start: str, classes: Int64[np.ndarray, " n"] | None
) -> str:
    """What decides the training's outcome; labels do not, so that other labels train nothing again."""
    decides = dataclasses.asdict(options)
    for name in ("guard", "checkpoint_minutes"):
        decides.pop(name)
    decides = used_options(decides)
    learnt = "" if classes is None else hashlib.sha256(classes.tobytes()).hexdigest()
    recipe, prepared = context.recipe, context.run.record("prepare")
    part = {
        "domain": recipe.domain,
        "sided": recipe.sided,
        "survey": recipe.survey,
        "size": recipe.encoder.size,
        "options": decides,
        "classes": learnt,
        "transductive": recipe.classify.transductive,
        "labelled": bool(recipe.labels),
        "seed": recipe.seed,
    }
    return step_key(part, [str(prepared.get("content") or prepared["made"]), start], {})
