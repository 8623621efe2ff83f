"""MoCo (He et al. 2019, arXiv:1911.05722; v2: Chen et al. 2020, arXiv:2003.04297): negatives from a queue of keys.

Keys come from a slowly following teacher, so that those of many steps can be compared, and small batches have many
negatives. Version 1 has a linear projection and by convention temperature 0.07, version 2 a perceptron and 0.2.

Axes: b image, c band, h w pixel rows and columns, p projection, q place in the queue.
"""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.info_nce import info_nce
from domainssl.methods.method import Cohort, Method, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.methods.teacher import follow, teacher_of, teaching
from domainssl.options import PretrainOptions
from domainssl.processes import gathered
from domainssl.store import Batch

NO_ROW = -1


@final
class MoCo(Method):
    """Encoder and projection, their teacher, and the queue, which begins with random unit rows; the encoder is kept.

    The teacher's batch norms run in the modes of the online ones, as BYOL's. Version 2's head has one, unlike the
    paper's (see `perceptron`); with the encoder's frozen, as is usual here, there are no others whose statistics could
    tell which key is whose, and images are not shuffled between processes. The teacher's momentum is constant, as in
    the papers.
    """

    queue: Tensor  # q p, rows of unit length
    queue_rows: Tensor  # q, the images that they are of
    place: Tensor  # where the next key goes, which is where the oldest is

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        width, dim = options.projector_width, options.projection_dim
        self.temperature, self.momentum = options.temperature, options.teacher_momentum
        self.encoder = encoder
        self.projector: nn.Module = nn.Linear(encoder.width, dim)
        if options.moco.version == 2:
            self.projector = perceptron(encoder.width, width, dim)
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_projector = teacher_of(self.projector)
        self.register_buffer("queue", functional.normalize(torch.randn(options.moco.queue, dim), dim=1))
        self.register_buffer("queue_rows", torch.full((options.moco.queue,), NO_ROW))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def begin(self, cohort: Cohort) -> Cohort:
        """Shorten the queue to the number of images: a longer one would hold old keys of the same images."""
        length = min(len(self.queue), len(cohort.rows))
        self.queue, self.queue_rows = self.queue[:length].clone(), self.queue_rows[:length].clone()
        return cohort

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        first, second = views
        queries = self.projector(self.encoder.pooled(first.images).float())
        keys = self.keys(second.images)
        own = first.rows[:, None] == self.queue_rows  # keys of the same image of an earlier epoch
        losses, information = queue_loss(queries, keys, self.queue, own, self.temperature)
        return Step(
            {"model": losses.mean()},
            monitor=queries.detach().float(),
            carry={"keys": gathered(keys), "rows": gathered(second.rows)},
            measures={"information": float(information.mean())},
        )

    def keys(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b p"]:
        """The teacher's projections at unit length, in float32 and without gradients."""
        with teaching(self._followed(), images.device.type):
            return functional.normalize(self.teacher_projector(self.teacher_encoder.pooled(images.float())), dim=1)

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector)

    def after_step(self, step: Step, progress: float) -> None:
        """Move the teacher, and put the keys of all processes in place of the oldest ones."""
        for online, teacher in self._followed():
            follow(online, teacher, self.momentum)
        length = len(self.queue)
        keys, rows = (step.carry[name][-length:] for name in ("keys", "rows"))
        places = (self.place + torch.arange(len(keys), device=keys.device)) % length
        self.queue[places], self.queue_rows[places] = keys, rows
        self.place.copy_((self.place + len(keys)) % length)

    def _followed(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.encoder, self.teacher_encoder), (self.projector, self.teacher_projector)


def queue_loss(
    queries: Float[Tensor, "b p"],
    keys: Float[Tensor, "b p"],
    queue: Float[Tensor, "q p"],
    excluded: Bool[Tensor, "b q"],
    temperature: float,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """InfoNCE of each query's cosine with its key, among those with the queue but for `excluded` (b q) ones (eq. 1).

    Keys and queue have rows of unit length. Float32 throughout; 0 for a query whose queue is excluded altogether.
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries = functional.normalize(queries.float(), dim=1)
        positive = (queries * keys).sum(dim=1, keepdim=True)
        negative = (queries @ queue.T).masked_fill(excluded, -torch.inf)
        scores = torch.cat([positive, negative], dim=1) / temperature
        return info_nce(scores, torch.zeros(len(queries), dtype=torch.int64, device=queries.device))
