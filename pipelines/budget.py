"""A training's budget in seconds: how many images that is here, timed once a run, so that resuming changes nothing."""

import copy
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from domainssl.methods.method import Method
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.pretraining import pretrain
from domainssl.store import Store
from domainssl.views.operation import Policy
from pipelines.steps import Context

STEPS = 6  # of which the first is not counted


def within_seconds(
    context: Context,
    what: str,
    method: Method,
    store: Store,
    rows: Int64[np.ndarray, " n"],
    policy: Policy,
    options: PretrainOptions,
    precision: Precision,
    classes: Int64[np.ndarray, " n"] | None,
) -> PretrainOptions:
    """The options with the budget in images, where they give one in seconds; `method` stays as it is."""
    if options.seconds is None:
        return options
    told = context.run.read_manifest().get("budget", {})
    encoder = method.encoder
    subject = f"{options.method} {encoder.name} {len(encoder.input.bands)}x{encoder.input.size} by {options.batch_size}"
    timed = {"of": f"{subject} {context.device}", "seconds": options.seconds}
    if what not in told or {**told[what], **timed} != told[what]:
        assert options.batch_size is not None
        batch = min(options.batch_size, len(rows))
        short = dataclasses.replace(
            options, seconds=None, images=STEPS * batch, projector_epochs=0, checkpoint_minutes=60.0, encoder_rate=1e-6
        )
        times: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            pretrain(
                copy.deepcopy(method),
                store,
                rows,
                policy,
                short,
                seed=context.recipe.seed,
                precision=precision,
                checkpoint=Path(folder) / "timing.safetensors",
                key="timing",
                device=context.device,
                classes=classes,
                on_step=lambda step, total, loss: times.append(time.perf_counter()),
            )
        each = statistics.median(np.diff(times)) / batch
        told = {**told, what: {**timed, "images": max(2, round(options.seconds / each))}}
        context.run.update(budget=told)
    return dataclasses.replace(options, seconds=None, images=told[what]["images"])
