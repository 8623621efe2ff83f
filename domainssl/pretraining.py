"""The pretraining loop, read from top to bottom.

Every random draw belongs to (seed, epoch) or (seed, step), and a checkpoint holds the rest of the state: a training
that was stopped and run again gives the weights of one that was never stopped.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from domainssl.checkpoints import Progress, load_checkpoint, save_checkpoint
from domainssl.collapse import alignment, diagnose, rankme, spread, uniformity
from domainssl.methods.method import Cohort, Method
from domainssl.options import PretrainOptions
from domainssl.precision import Precision
from domainssl.processes import average_gradients, batch_norms, mean, rank, world
from domainssl.schedule import scheduled
from domainssl.store import Batch, Store
from domainssl.views.operation import Policy, apply_policy

MONITORED = 256  # images whose representation is looked at after each epoch
ORDER, VIEWS, MONITOR = 0, 1, 2  # streams of random numbers
UNDECAYED = ("cls_token", "pos_embed", "reg_token", "mask_token")


def pretrain(
    method: Method,
    store: Store,
    rows: Int64[np.ndarray, " n"],
    policy: Policy,
    options: PretrainOptions,
    *,
    seed: int,
    precision: Precision,
    checkpoint: Path,
    key: str,
    device: str = "cpu",
    classes: Int64[np.ndarray, " n"] | None = None,
    on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
    on_epoch: Callable[[list[dict[str, Any]]], None] = lambda records: None,
) -> list[dict[str, Any]]:
    """Train `method` on the images of `rows`, in place, and return one record an epoch; resumes from `checkpoint`.

    First `projector_epochs` with the encoder frozen, then `epochs` with all of it. A record has epoch, phase, images
    (seen so far), loss, rankme, rankme_centred, spread, alignment, uniformity, projection_spread (of what the last loss
    compared), images_per_second and warning (None when healthy), and the means of what the method measures. The last
    may be of a part of an epoch, where `images` is the budget.
    `classes` are those of the rows, for a method that learns them. Under torchrun each process takes its part of every
    batch, and the first of them writes.
    Raises ValueError for fewer than 2 images, for a batch that the processes cannot share evenly, and when the loss is
    no longer finite.
    """
    rows = method.begin(Cohort(rows, classes)).rows
    options = scheduled(options, len(rows), encoder=method.exported().name)
    assert options.batch_size is not None
    batch_size = min(options.batch_size, len(rows))
    if batch_size % world():
        raise ValueError(f"a batch of {batch_size} images for {world()} processes; give a multiple as batch_size")
    share = slice(rank() * batch_size // world(), (rank() + 1) * batch_size // world())
    steps_an_epoch = len(rows) // batch_size
    head_steps, total = planned_steps(options, steps_an_epoch, batch_size)

    method.to(device)
    precision.arrange(method)
    optimisers = {player: make_optimiser(method, player, options) for player in method.players()}
    policies = method.policies(policy)
    progress = load_checkpoint(checkpoint, key, method, optimisers) or Progress(0, [], [])
    step, losses, records, measured = progress.step, progress.epoch_losses, progress.records, progress.epoch_measures
    saved_at = started = time.monotonic()
    started_step = step

    while step < total:
        epoch, place = divmod(step, steps_an_epoch)
        encoder_trains = step >= head_steps
        set_modes(method, encoder_trains, bool(options.frozen_batchnorm))
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(rows))
        chosen = rows[order[place * batch_size : (place + 1) * batch_size][share]]

        generator = step_generator(seed, VIEWS, step * world() + rank())
        batch = store.batch(chosen)
        views = tuple(to_device(apply_policy(part, batch, generator), device) for part in policies)
        with precision.autocast(device):
            result = method(views, generator)
        for player, optimiser in optimisers.items():
            loss = result.losses[player]
            if not math.isfinite(float(mean(loss))):
                rates = "encoder_rate or pretrain.projector_rate" if encoder_trains else "projector_rate"
                raise ValueError(f"the loss became {loss.item()} at step {step}; lower pretrain.{rates}")
            for group in optimiser.param_groups:
                group["lr"] = rate(group["part"], step, steps_an_epoch, head_steps, total, options)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            average_gradients(p for group in optimiser.param_groups for p in group["params"])
            optimiser.step()
        step += 1
        method.after_step(result, step / total)
        losses.append(sum(float(mean(loss)) for loss in result.losses.values()))
        for name, value in result.measures.items():
            measured.setdefault(name, []).append(value)
        on_step(step, total, losses[-1])

        if step % steps_an_epoch == 0 or step == total:
            record: dict[str, Any] = {"epoch": epoch + 1, "phase": "encoder" if encoder_trains else "projector"}
            record["images"] = step * batch_size
            record["loss"] = float(np.mean(losses))
            record |= {name: float(np.mean(values)) for name, values in measured.items()}
            record |= monitor(method, store, rows, policy, seed, device)
            if result.monitor is not None:
                record["projection_spread"] = spread(result.monitor)
            # Few images span few directions, however healthy the encoder.
            record["warning"] = diagnose({**record, "width": min(method.encoder.width, len(rows), MONITORED)})
            record["images_per_second"] = (step - started_step) * batch_size / (time.monotonic() - started)
            records.append(record)
            losses, measured = [], {}
            on_epoch(records)
        if rank() == 0 and (step == total or time.monotonic() - saved_at > 60 * options.checkpoint_minutes):
            save_checkpoint(checkpoint, key, method, optimisers, Progress(step, losses, records, measured))
            saved_at = time.monotonic()
    method.encoder.requires_grad_(True).eval()
    return records


def planned_steps(options: PretrainOptions, steps_an_epoch: int, batch_size: int) -> tuple[int, int]:
    """Steps with the encoder frozen, and all steps, of options that `scheduled` has filled in."""
    assert options.projector_epochs is not None
    assert options.epochs is not None
    if options.images is None:
        return options.projector_epochs * steps_an_epoch, (options.projector_epochs + options.epochs) * steps_an_epoch
    total = max(1, options.images // batch_size)
    return total * options.projector_epochs // max(1, options.projector_epochs + options.epochs), total


def make_optimiser(method: Method, player: str, options: PretrainOptions) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; weight decay skips biases, norms and learnt tokens and positions."""
    exempt = {id(p) for name, p in method.named_parameters() if p.ndim < 2 or name.rpartition(".")[2] in UNDECAYED}
    groups = []
    for group in method.players()[player]:
        for decays in (True, False):
            parameters = [p for p in group.parameters if (id(p) not in exempt) == decays]
            decay = options.weight_decay if decays else 0.0
            groups.append({"params": parameters, "part": group.part, "weight_decay": decay})
    if options.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=(options.momentum, 0.95))
    return torch.optim.SGD(groups, lr=0.0, momentum=options.momentum)


def rate(part: str, step: int, steps_an_epoch: int, head_steps: int, total: int, options: PretrainOptions) -> float:
    """The learning rate of this step: one epoch of linear warm-up, then a cosine that ends at 0 with the last step."""
    start = head_steps if part == "encoder" else 0
    if step < start:
        return 0.0
    peak = options.encoder_rate if part == "encoder" else options.projector_rate
    assert peak is not None  # scheduled
    warm_up = min(steps_an_epoch, max(1, (total - start) // 4))
    done = step - start
    if done < warm_up:
        return peak * (done + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warm_up + 1) / max(1, total - start - warm_up)))


def set_modes(method: Method, encoder_trains: bool, frozen_batchnorm: bool) -> None:
    """Training mode for the heads, and for the encoder what the phase asks: frozen whole, or frozen batch-norm."""
    method.train()
    method.encoder.requires_grad_(encoder_trains)
    if not encoder_trains:
        method.encoder.eval()
    elif frozen_batchnorm:
        for norm in batch_norms(method.encoder):
            norm.eval()


def monitor(
    method: Method, store: Store, rows: Int64[np.ndarray, " n"], policy: Policy, seed: int, device: str
) -> dict[str, float]:
    """Collapse measures of the encoder's features on the same images and views after every epoch."""
    watched = np.random.default_rng([seed, MONITOR]).permutation(rows)[:MONITORED]
    method.encoder.eval()
    features: list[list[torch.Tensor]] = [[], []]
    with torch.inference_mode():
        for number, chunk in enumerate(np.array_split(watched, math.ceil(len(watched) / 128))):
            generator = step_generator(seed, MONITOR, number)
            batch = store.batch(chunk)
            for side in features:
                view = to_device(apply_policy(policy, batch, generator), device)
                side.append(method.encoder.pooled(view.images).float().cpu())
    first, second = torch.cat(features[0]), torch.cat(features[1])
    return {
        "rankme": rankme(first, centred=False),
        "rankme_centred": rankme(first, centred=True),
        "spread": spread(first),
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
    }


def step_generator(seed: int, stream: int, number: int) -> torch.Generator:
    """A generator that depends on nothing but these three numbers."""
    words = np.random.SeedSequence([seed, stream, number]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def to_device(batch: Batch, device: str) -> Batch:
    """The batch with its images on `device`."""
    if device == "cpu":
        return batch
    nuisance = {name: value.to(device) for name, value in batch.nuisance.items()}
    return Batch(batch.images.to(device), batch.valid.to(device), nuisance, batch.rows.to(device))
