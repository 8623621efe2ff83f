"""Features of changed views of images: one weakly changed, the others by the policy that pretraining learns from."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int64

from domainssl.embedding import BATCH
from domainssl.encoders import TimmEncoder
from domainssl.features import SYMMETRIES, Symmetry
from domainssl.precision import Precision
from domainssl.pretraining import step_generator, to_device
from domainssl.store import Batch, Store
from domainssl.views.affine_crop import whole_frame
from domainssl.views.operation import Operation, Policy, apply_policy

STREAM = 13  # of random numbers, apart from those of pretraining and fine-tuning


def embed_views(
    encoder: TimmEncoder,
    store: Store,
    rows: Int64[np.ndarray, " n"],
    policy: Policy,
    strong: int,
    *,
    symmetry: Symmetry,
    seed: int,
    precision: Precision,
    device: str = "cpu",
    on_batch: Callable[[int], None] = lambda count: None,
) -> Float32[np.ndarray, "n v d"]:
    """Pooled features of 1 + `strong` views of each row; the encoder is left in evaluation mode.

    The first is weak: the whole frame under one of the domain's symmetries, drawn for each image (FixMatch's weak views
    are mirrored and shifted, Sohn et al. 2020, section 2.3; where there is no symmetry it is the frame itself). The
    others are views of `policy`. Draws go by the seed, the view and the first row of a batch: same rows, same views.
    """
    encoder.input.check(store.bands, store.preparation)
    encoder.to(device).eval()
    precision.arrange(encoder)
    frame = whole_frame(encoder.input.size)
    policies: tuple[Policy, ...] = ((frame, _symmetric(symmetry)), *[policy] * strong)
    found = np.empty((len(rows), len(policies), encoder.width), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            batch = store.batch(chosen)
            for number, each in enumerate(policies):
                generator = step_generator(seed, STREAM + number, int(chosen[0]))
                view = to_device(apply_policy(each, batch, generator), device)
                with precision.autocast(device):
                    found[start : start + len(chosen), number] = encoder.pooled(view.images).float().cpu().numpy()
            on_batch(len(chosen))
    return found


def _symmetric(symmetry: Symmetry) -> Operation:
    """One of the transformations of a symmetry, drawn for each image."""

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        transformations = SYMMETRIES[symmetry]
        drawn = torch.randint(len(transformations), (len(batch.images),), generator=generator)
        images, valid = batch.images.clone(), batch.valid.clone()
        for number, transformation in enumerate(transformations):
            where = drawn == number
            images[where] = transformation(batch.images[where])
            valid[where] = transformation(batch.valid[where].float()) > 0.5
        return dataclasses.replace(batch, images=images, valid=valid)

    return change
