"""A score of an encoder without labels: how well it tells images apart when they are seen in another way."""

import numpy as np
import torch
from jaxtyping import Float64, Int64

from domainssl.encoders import TimmEncoder
from domainssl.pretraining import step_generator
from domainssl.store import Store
from domainssl.views.operation import Policy, apply_policy

BATCH, STREAM = 128, 20


def label_free_scores(
    encoder: TimmEncoder, store: Store, rows: Int64[np.ndarray, " n"], policy: Policy, seed: int
) -> Float64[np.ndarray, " n"]:
    """For each image 1 where, of all first views, its own is nearest to its second view (cosine, centred), else 0.

    The same views for every encoder of one seed. Raises ValueError for fewer than 2 images.
    """
    if len(rows) < 2:
        raise ValueError(f"label-free: {len(rows)} image(s) cannot be told apart; give 2 or more")
    encoder.cpu().eval()
    sides: list[list[torch.Tensor]] = [[], []]
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            generator = step_generator(seed, STREAM, start)
            batch = store.batch(rows[start : start + BATCH])
            for side in sides:
                side.append(encoder.pooled(apply_policy(policy, batch, generator).images).float())
    first, second = (torch.cat(side) for side in sides)
    middle = first.mean(0)
    first, second = (torch.nn.functional.normalize(x - middle, dim=1) for x in (first, second))
    nearest = (second @ first.T).argmax(1).numpy()
    return np.asarray(nearest == np.arange(len(rows)), dtype=np.float64)
