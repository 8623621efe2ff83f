"""Continued self-supervised pretraining: the recipe's start, trained on the training half, saved as an encoder."""

import json
from typing import Any

import torch

from domainssl.encoders import save_encoder, weights_hash
from domainssl.methods.registry import METHODS
from domainssl.pretraining import pretrain
from pipelines.atomic import atomic_write, write_text
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.starts import start_encoder, timed_precision
from pipelines.steps import Context, StepResult


def run(context: Context) -> StepResult:
    """Train and write encoder.safetensors, pretraining.jsonl and checkpoints; goes on from a checkpoint."""
    recipe, folder = context.recipe, context.run
    objects = Objects(context)
    store, rows = objects.store, objects.pretraining_rows()
    encoder = start_encoder(context, objects, recipe.encoder.weights)
    start_hash = weights_hash(encoder)
    precision = timed_precision(context, encoder)
    with torch.random.fork_rng(devices=[]):  # the projection head is initialised from the global generator
        torch.manual_seed(recipe.seed)
        method = METHODS[recipe.pretrain.method](encoder, recipe.pretrain)
    views = DOMAINS[recipe.domain].views
    policy = views(store.radiometry, store.bands, recipe.encoder.size, sided=recipe.sided)

    def write_records(records: list[dict[str, Any]]) -> None:
        write_text(folder.pretraining, "".join(json.dumps(record) + "\n" for record in records))
        if records[-1]["warning"]:
            context.progress.note(f"pretrain: epoch {records[-1]['epoch']}: {records[-1]['warning']}")

    with context.progress.counter("pretrain") as counter:
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
            recipe.pretrain,
            seed=recipe.seed,
            precision=precision,
            checkpoint=folder.checkpoints / "last.safetensors",
            key=str(folder.record("pretrain")["key"]),
            device=context.device,
            on_step=show,
            on_epoch=write_records,
        )
    write_records(records)
    provenance = {
        "start_weights": start_hash,
        "start": recipe.encoder.weights if recipe.encoder.weights in ("imagenet", "none") else "file",
        "method": recipe.pretrain.method,
        "images": len(rows),
        "seed": recipe.seed,
        "preparation": store.preparation,
        "versions": folder.read_manifest().get("versions", {}),
    }
    with atomic_write(folder.encoder) as part:
        save_encoder(method.exported().cpu(), part, provenance)
    facts = {
        "start_weights": start_hash,
        "images": len(rows),
        "epochs": len(records),
        "final": records[-1] if records else {},
    }
    return StepResult((folder.encoder, folder.pretraining), facts)
