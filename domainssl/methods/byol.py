"""BYOL (Grill et al. 2020, arXiv:2006.07733): an online network predicts what a slowly following teacher sees.

No image repels another. What keeps all of them from becoming one point is that the predictor stands on one side only
and that no gradient reaches the targets.

Axes: b image, c band, h w pixel rows and columns, p projection.
"""

import copy
import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Method, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch


@final
class BYOL(Method):
    """Encoder, projector and predictor, and a teacher that averages encoder and projector; the encoder is kept.

    The teacher is float32 in storage and in arithmetic, whatever the online network computes in: in bfloat16 its small
    steps would round to none. Its float buffers are averaged like its parameters.

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
        self.projector = _perceptron(encoder.width, width, dim)
        self.predictor = _perceptron(dim, width, dim)
        self.teacher_encoder = copy.deepcopy(encoder).float().requires_grad_(False)
        self.teacher_projector = copy.deepcopy(self.projector).float().requires_grad_(False)
        for _, teacher in self._followed():
            for module in teacher.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = 0.0  # a forward pass leaves the running statistics to after_step

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
        for online, teacher in self._followed():
            for leader, follower in zip(online.modules(), teacher.modules(), strict=True):
                follower.training = leader.training
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            projections: Tensor = self.teacher_projector(self.teacher_encoder.pooled(images.float()))
            return projections

    def players(self) -> dict[str, list[ParamGroup]]:
        head = [*self.projector.parameters(), *self.predictor.parameters()]
        return {"model": [ParamGroup("encoder", list(self.encoder.parameters())), ParamGroup("head", head)]}

    def after_step(self, step: Step, progress: float) -> None:
        """Move the teacher towards the online network; the momentum rises to 1 with `progress`."""
        weight = 1 - momentum_at(self.momentum, progress)
        with torch.no_grad():
            for online, teacher in self._followed():
                for kind in (nn.Module.parameters, nn.Module.buffers):
                    for leader, follower in zip(kind(online), kind(teacher), strict=True):
                        if follower.is_floating_point():
                            follower.lerp_(leader.float(), weight)
                        else:
                            follower.copy_(leader)  # the number of batches seen

    def exported(self) -> TimmEncoder:
        return self.encoder

    def _followed(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (self.encoder, self.teacher_encoder), (self.projector, self.teacher_projector)


def distance(prediction: Float[Tensor, "b p"], target: Float[Tensor, "b p"]) -> Float[Tensor, ""]:
    """2 - 2 cos, the mean squared distance of the L2-normalised rows, 0 to 4, always in float32 (eq. 2 of the paper).

    SimSiam's negative cosine similarity s gives 2 + 2 s. A row of zeros counts as at a right angle to all: 2. NaN
    without rows.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        return 2 - 2 * functional.cosine_similarity(prediction.float(), target.float(), dim=1).mean()


def momentum_at(base: float, progress: float) -> float:
    """The share of itself that the teacher keeps at a step: from `base` to exactly 1, half a cosine (sec. 3.2)."""
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, outputs, bias=False),
    )
