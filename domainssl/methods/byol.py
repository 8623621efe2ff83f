"""BYOL (Grill et al. 2020, arXiv:2006.07733): an online network predicts what a slowly following teacher sees.

No image repels another. What keeps all of them from becoming one point is that the predictor stands on one side only
and that no gradient reaches the targets.

Axes: b image, c band, h w pixel rows and columns, p projection.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.methods.perceptron import perceptron
from domainssl.methods.teacher import follow, momentum_at, teacher_of, teaching
from domainssl.options import PretrainOptions
from domainssl.store import Batch


@final
class BYOL(Method):
    """Encoder, projector and predictor, and a teacher that averages encoder and projector; the encoder is kept.

    Each batch norm of the teacher runs in the mode of its online counterpart. Where the online one uses running
    statistics (a frozen encoder, `frozen_batchnorm`), the teacher uses their average; where it uses those of the batch
    (the projector), the teacher uses those of its own activations on the batch, as in the paper. Averages throughout
    (Cai et al. 2021, arXiv:2101.08482) suit long trainings: a new projector's start at mean 0 and variance 1, and the
    few hundred steps here would leave them there, with one offset common to all targets.
    """

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        width, dim = options.projector_width, options.projection_dim
        self.momentum = options.teacher_momentum
        self.encoder = encoder
        self.projector = perceptron(encoder.width, width, dim)
        self.predictor = perceptron(dim, width, dim)
        self.teacher_encoder = teacher_of(encoder)
        self.teacher_projector = teacher_of(self.projector)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        # One view after the other: batch statistics a view, as in the paper. Both views wait for the one backward pass
        # in any case, so that joining them would not save memory.
        features = [self.encoder.pooled(view.images).float() for view in views]
        projections = [self.projector(rows) for rows in features]
        first, second = (self.predictor(rows) for rows in projections)
        first_target, second_target = (self.targets(view.images) for view in views)
        loss = distance(first, second_target) + distance(second, first_target)
        return Step({"model": loss}, monitor=torch.cat(projections).detach().float())

    def targets(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b p"]:
        """The teacher's projections, in float32 and without gradients."""
        with teaching(self._followed(), images.device.type):
            projections: Tensor = self.teacher_projector(self.teacher_encoder.pooled(images.float()))
            return projections

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.projector, self.predictor)

    def after_step(self, step: Step, progress: float) -> None:
        """Move the teacher towards the online network; the momentum rises to 1 with `progress`."""
        for online, teacher in self._followed():
            follow(online, teacher, momentum_at(self.momentum, progress))

    def _followed(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.encoder, self.teacher_encoder), (self.projector, self.teacher_projector)


def distance(prediction: Float[Tensor, "b p"], target: Float[Tensor, "b p"]) -> Float[Tensor, ""]:
    """2 - 2 cos, the mean squared distance of the L2-normalised rows, 0 to 4, always in float32 (eq. 2 of the paper).

    SimSiam's negative cosine similarity s gives 2 + 2 s. A row of zeros counts as at a right angle to all: 2. NaN
    without rows.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        return 2 - 2 * functional.cosine_similarity(prediction.float(), target.float(), dim=1).mean()
