"""Fine-tuning: a linear layer on frozen features first, then the encoder with it, stopped within the labelled rows.

Axes: n row, d feature, k raw output, t target.
"""

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Shaped
from safetensors.torch import save_file
from torch import Tensor, nn

from domainssl.embedding import embed
from domainssl.encoder_files import read_file
from domainssl.encoders import TimmEncoder, encoder_from, encoder_metadata
from domainssl.evaluation.losses import Loss
from domainssl.heads.head import TrainingHalf
from domainssl.heads.held_out import classes_of, held_out_rows
from domainssl.options import FineTuneOptions
from domainssl.precision import Precision
from domainssl.pretraining import step_generator, to_device
from domainssl.store import Store
from domainssl.views.affine_crop import whole_frame
from domainssl.views.operation import Policy, apply_policy

FORMAT = "domainssl.fine_tuned.1"
FLOAT32 = Precision("float32", True)
ORDER, VIEWS, HELD_OUT = 10, 11, 12  # streams of random numbers, apart from pretraining's


@final
@dataclass(frozen=True)
class FineTuned:
    """An encoder and a linear layer on its features: weight @ features + bias.

    `history` is the held-out loss before any epoch of the encoder (the linear layer alone) and after each; empty where
    no rows could be held out. `epoch` is the one whose weights these are.
    """

    encoder: TimmEncoder
    weight: Float64[np.ndarray, "k d"]
    bias: Float64[np.ndarray, " k"]
    history: tuple[float, ...]
    epoch: int

    def predict(
        self,
        store: Store,
        rows: Int64[np.ndarray, " n"],
        *,
        precision: Precision = FLOAT32,
        device: str = "cpu",
        on_batch: Callable[[int], None] = lambda count: None,
    ) -> Float64[np.ndarray, "n k"]:
        """Raw outputs for the whole frames of these rows; `domainssl.evaluation.losses.PREDICTIONS` reads them.

        Raises ValueError where the images have other bands or another preparation than the encoder takes.
        """
        self.encoder.input.check(store.bands, store.preparation)
        features = embed(self.encoder, store, rows, precision=precision, device=device, on_batch=on_batch)
        outputs: Float64[np.ndarray, "n k"] = features.astype(np.float64) @ self.weight.T + self.bias
        return outputs

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write encoder, linear layer and provenance into one .safetensors file, under another name first."""
        tensors = {f"encoder.{name}": t.detach().cpu() for name, t in self.encoder.network.state_dict().items()}
        tensors |= {"head.weight": torch.from_numpy(self.weight), "head.bias": torch.from_numpy(self.bias)}
        metadata = {"format": FORMAT, "history": json.dumps(self.history), "epoch": str(self.epoch)}
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, partial, metadata=metadata | encoder_metadata(self.encoder, provenance))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "FineTuned":
        """Read what `save` wrote; ValueError for an absent or damaged file and for one of another kind."""
        metadata, state = read_file(path)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path.name} is no fine-tuned network; give a file that FineTuned.save wrote")
        network = {key.removeprefix("encoder."): t for key, t in state.items() if key.startswith("encoder.")}
        weight, bias = state["head.weight"].numpy(), state["head.bias"].numpy()
        history = tuple(float(loss) for loss in json.loads(metadata["history"]))
        return cls(encoder_from(metadata, network), weight, bias, history, int(metadata["epoch"]))


def fine_tune(
    encoder: TimmEncoder,
    store: Store,
    rows: Int64[np.ndarray, " n"],
    targets: Float64[np.ndarray, "n t"],
    loss: Loss,
    outputs: int,
    *,
    policy: Policy,
    groups: Shaped[np.ndarray, " n"],
    options: FineTuneOptions,
    precision: Precision,
    seed: int,
    device: str = "cpu",
    on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
    start: tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]] | None = None,
) -> FineTuned:
    """Fine-tune a copy of `encoder` on the labelled `rows`; the given one keeps its weights.

    `targets` as `domainssl.heads.head` defines them, NaN unknown; rows without any known target are left out. `loss` is
    one of LOSSES, `outputs` the raw outputs that it takes. First the linear layer is trained to convergence on frozen
    features of whole frames (or taken from `start`, a weight and bias on features); then encoder and layer on views of
    `policy`, resampled to the encoder's size where they have another (empty: whole frames). Batch-norm statistics stay
    and dropout is off, as at inference.
    A share of the rows is held out, whole groups, of every class where the targets are classes (see `held_out_rows`),
    and the epoch with the lowest held-out loss is returned, epoch 0 (the layer alone) among them, without training
    again on all rows. Where none can be held out, a fixed small number of epochs is trained.
    `on_step` gets optimiser steps done, all steps that there may be, and the loss.
    Raises ValueError for no known target, for a single class, for images that the encoder does not take, and when the
    loss is no longer finite.
    """
    encoder.input.check(store.bands, store.preparation)
    known = ~np.isnan(targets).all(axis=1)
    rows, targets, groups = rows[known], targets[known], groups[known]
    if len(rows) == 0:
        raise ValueError("fine-tuning: no row has a known target; label some")
    strata = classes_of(targets, outputs)
    if strata is not None and len(np.unique(strata)) < 2:
        raise ValueError(f"fine-tuning: one class among {len(rows)} rows; label objects of two or more")
    held = held_out_rows(strata, groups, options.held_out, np.random.default_rng([seed, HELD_OUT]))
    tuned, layer, history, epoch = _train(
        copy.deepcopy(encoder).to(device), store, rows, torch.from_numpy(targets).float(), held, loss, outputs,
        policy=policy, groups=groups, options=options, precision=precision, seed=seed, device=device,
        on_step=on_step, start=start,
    )  # fmt: skip
    weight, bias = layer.folded()
    return FineTuned(tuned.requires_grad_(True).cpu().eval(), weight, bias, tuple(history), epoch)


def _train(
    encoder: TimmEncoder,
    store: Store,
    rows: Int64[np.ndarray, " n"],
    targets: Float32[Tensor, "n t"],
    held: Int64[np.ndarray, " h"],
    loss: Loss,
    outputs: int,
    *,
    policy: Policy,
    groups: Shaped[np.ndarray, " n"],
    options: FineTuneOptions,
    precision: Precision,
    seed: int,
    device: str,
    on_step: Callable[[int, int, float], None],
    start: tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]] | None,
) -> tuple[TimmEncoder, "_Layer", list[float], int]:
    """The best encoder and layer, the held-out loss of every epoch, and which epoch was best."""
    fit = np.setdiff1d(np.arange(len(rows)), held)
    frozen = embed(encoder, store, rows, precision=precision, device=device)
    layer = _Layer(TrainingHalf(frozen[fit], groups[fit]), outputs, start).to(device)
    targets = targets.to(device)
    features = torch.from_numpy(frozen).to(device)
    penalty = 1 / (options.head_c * len(fit))  # of half the squared weights, beside a mean loss
    if start is None:
        layer.converge(features[fit], targets[fit], loss, penalty)

    def held_out_loss() -> float:
        with torch.inference_mode():
            now = torch.from_numpy(embed(encoder, store, rows[held], precision=precision, device=device)).to(device)
            return float(loss(layer(now), targets[held]))

    history = [held_out_loss()] if len(held) else []
    best, best_state = 0, _state(encoder, layer)
    epochs = options.epochs if len(held) else options.epochs_without_choice
    steps_an_epoch = math.ceil(len(fit) / options.batch_size)
    total = epochs * steps_an_epoch
    optimiser = torch.optim.AdamW(
        [
            {"params": list(encoder.parameters()), "peak": options.encoder_rate, "weight_decay": options.weight_decay},
            {"params": list(layer.parameters()), "peak": options.head_rate, "weight_decay": 0.0},  # it has its penalty
        ]
    )
    to_size = whole_frame(encoder.input.size)
    for epoch in range(1, epochs + 1):
        encoder.requires_grad_(True).eval()  # batch-norm statistics as at inference
        order = np.random.default_rng([seed, ORDER, epoch]).permutation(fit)
        for place, chosen in enumerate(np.array_split(order, steps_an_epoch)):
            step = (epoch - 1) * steps_an_epoch + place
            generator = step_generator(seed, VIEWS, step)
            view = apply_policy(policy, store.batch(rows[chosen]), generator)
            if view.images.shape[-1] != encoder.input.size or not policy:
                view = to_size(view, generator)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * _schedule(step, steps_an_epoch, total)
            with precision.autocast(device):
                pooled = encoder.pooled(to_device(view, device).images)
            value = loss(layer(pooled.float()), targets[chosen]) + penalty * layer.half_square()
            if not math.isfinite(value.item()):
                raise ValueError(f"the loss became {value.item()} in epoch {epoch}; lower fine_tune.encoder_rate")
            optimiser.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            on_step(step + 1, total, value.item())
        if len(held):
            history.append(held_out_loss())
        if not len(held) or history[-1] < history[best]:
            best, best_state = epoch, _state(encoder, layer)
        elif epoch - best >= options.patience:
            break
    encoder.load_state_dict(best_state[0])
    layer.load_state_dict(best_state[1])
    return encoder, layer, history, best


def _schedule(step: int, steps_an_epoch: int, total: int) -> float:
    """The share of the peak rate: one epoch of linear warm-up, then a cosine that falls to 0 with the last step."""
    warm_up = min(steps_an_epoch, max(1, total // 4))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up + 1) / max(1, total - warm_up)))


def _state(encoder: TimmEncoder, layer: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return tuple({k: v.detach().clone() for k, v in m.state_dict().items()} for m in (encoder, layer))  # type: ignore[return-value]


@final
class _Layer(nn.Module):
    """A linear layer on standardised features; mean and scale are those of the rows it is trained on."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        half: TrainingHalf,
        outputs: int,
        start: tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]] | None,
    ) -> None:
        super().__init__()
        mean, scale = half.standardisation
        weight, bias = np.zeros((outputs, len(mean))), np.zeros(outputs)
        if start is not None:
            if start[0].shape != weight.shape or not all(np.isfinite(part).all() for part in start):
                raise ValueError(
                    f"fine-tuning: the layer to start from has weights {start[0].shape}, or infinite ones; give finite "
                    f"ones of shape {weight.shape}"
                )
            weight, bias = start[0] * scale, start[1] + start[0] @ mean
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.weight = nn.Parameter(torch.from_numpy(weight).float())
        self.bias = nn.Parameter(torch.from_numpy(bias).float())

    def forward(self, features: Float32[Tensor, "n d"]) -> Float32[Tensor, "n k"]:
        return (features - self.mean) / self.scale @ self.weight.T + self.bias

    def half_square(self) -> Float32[Tensor, ""]:
        """Half the sum of squared weights, which the penalty multiplies; biases are free."""
        return 0.5 * (self.weight**2).sum()

    def converge(
        self, features: Float32[Tensor, "n d"], targets: Float32[Tensor, "n t"], loss: Loss, penalty: float
    ) -> None:
        """Train the layer alone to the optimum of mean loss + penalty * half_square, by L-BFGS on all rows."""
        optimiser = torch.optim.LBFGS(
            self.parameters(), max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            optimiser.zero_grad()
            value = loss(self(features), targets) + penalty * self.half_square()
            value.backward()  # type: ignore[no-untyped-call]
            return value.item()

        optimiser.step(closure)  # type: ignore[no-untyped-call]

    def folded(self) -> tuple[Float64[np.ndarray, "k d"], Float64[np.ndarray, " k"]]:
        """Weight and bias on features that are not standardised."""
        numbers = (self.weight, self.bias, self.mean, self.scale)
        weight, bias, mean, scale = (value.detach().cpu().double().numpy() for value in numbers)
        return weight / scale, bias - (weight / scale) @ mean
