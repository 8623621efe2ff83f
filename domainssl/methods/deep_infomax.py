"""Deep InfoMax (Hjelm et al. 2019, arXiv:1808.06670): what an image is as a whole tells its parts from those of others.

Both objectives have the Jensen-Shannon form, which the paper found to depend least on the number of negatives. The
local one scores each place of the last feature map against the pooled features, the global one the whole map.
Negatives are the other images. The paper's third term, an adversary that fits the features to a prior, is left out.

Axes: b image, c band, h w pixel rows and columns, y x place of the feature map, n place in reading order, d feature,
p code.
"""

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.methods.places import valid_places
from domainssl.options import PretrainOptions
from domainssl.processes import gathered
from domainssl.store import Batch
from domainssl.views.operation import Policy


@final
class DeepInfoMax(Method):
    """Encoder and a head each for pooled features, places and whole map, whose scalar products are the scores."""

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        width, dim = options.projector_width, options.projection_dim
        self.weights = options.deep_infomax
        self.encoder = encoder
        size = encoder.input.size
        with torch.inference_mode():
            channels, rows, columns = encoder.grid(torch.zeros(1, len(encoder.input.bands), size, size)).shape[1:]
        self.pooled_head = perceptron(encoder.width, width, dim)
        self.place_head = perceptron(channels, width, dim)
        self.map_head = perceptron(dim * rows * columns, width, dim)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        maps = self.encoder.grid(view.images)
        pooled = self.pooled_head(self.encoder.network.forward_head(maps).float())
        rows = maps.float().flatten(2).transpose(1, 2)  # b n d
        places = self.place_head(rows.flatten(0, 1)).view(*rows.shape[:2], -1)  # b n p
        whole = self.map_head(places.flatten(1))
        counted = gathered(valid_places(view.valid, *maps.shape[-2:]))
        pooled, places, whole = gathered(pooled), gathered(places), gathered(whole)
        local_loss = jensen_shannon(places, pooled, counted)
        global_loss = jensen_shannon(whole[:, None], pooled, counted.any(dim=1, keepdim=True))
        return Step(
            {"model": self.weights.local_weight * local_loss + self.weights.global_weight * global_loss},
            monitor=pooled.detach().float(),
            measures={"local_loss": local_loss.item(), "global_loss": global_loss.item()},
        )

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.pooled_head, self.place_head, self.map_head)


def jensen_shannon(
    places: Float[Tensor, "b n p"], pooled: Float[Tensor, "b p"], counted: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """E softplus(-T) over places and their own image, plus E softplus(T) over places and the others (eq. 4).

    T are scalar products over sqrt(p), in float32; 2 log 2 where they tell nothing. Places that are not counted are
    left out; 0 where none is. Raises ValueError for fewer than 2 images.
    """
    count = len(pooled)
    if count < 2:
        raise ValueError(f"deep_infomax needs at least 2 images a batch for negatives, got {count}")
    with torch.autocast(pooled.device.type, enabled=False):
        scores = torch.einsum("bnp,ap->abn", places.float(), pooled.float()) / math.sqrt(pooled.shape[1])
        itself = torch.eye(count, device=pooled.device)[:, :, None]
        same, other = itself * counted, (1 - itself) * counted  # a b n
        attract = (functional.softplus(-scores) * same).sum() / same.sum().clamp_min(1)
        repel = (functional.softplus(scores) * other).sum() / other.sum().clamp_min(1)
        return attract + repel
