"""Supervised learning of a column's classes, by the same views and schedule as the methods without labels.

What self-supervision is compared with; the column must not be a label that is evaluated.

Axes: b image, k class.
"""

from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from domainssl.encoders import TimmEncoder
from domainssl.methods.method import Cohort, Method, ParamGroup, Step
from domainssl.options import PretrainOptions
from domainssl.store import Batch
from domainssl.views.operation import Policy


@final
class Supervised(Method):
    """Encoder and a linear layer that begins at 0, one output a class; the encoder is kept."""

    class_of: Tensor  # by row of the store, -1 where it is unknown

    def __init__(self, encoder: TimmEncoder, options: PretrainOptions) -> None:
        super().__init__()
        self.encoder = encoder
        self.column = options.supervised.column
        self.classifier = nn.Linear(encoder.width, 1)  # until the classes are known
        self.register_buffer("class_of", torch.empty(0, dtype=torch.int64), persistent=False)

    def policies(self, policy: Policy) -> tuple[Policy, ...]:
        return (policy,)

    def begin(self, cohort: Cohort) -> Cohort:
        """Take the rows whose class is known; ValueError where none is, or all are of one class."""
        classes = np.full(len(cohort.rows), -1, np.int64) if cohort.classes is None else cohort.classes
        known = classes >= 0
        if len(np.unique(classes[known])) < 2:
            raise ValueError(
                f"pretrain.supervised.column: {int(known.sum())} training images have a class of {self.column!r}, and "
                "two classes are needed; name a column that they have"
            )
        rows, classes = cohort.rows[known], classes[known]
        self.class_of = torch.full((int(rows.max()) + 1,), -1)
        self.class_of[torch.from_numpy(rows)] = torch.from_numpy(classes)
        self.classifier = nn.Linear(self.encoder.width, int(classes.max()) + 1)
        for parameter in self.classifier.parameters():
            nn.init.zeros_(parameter)  # so that it hangs on no random state
        return Cohort(rows, classes)

    def forward(self, views: tuple[Batch, ...], generator: torch.Generator) -> Step:
        (view,) = views
        outputs = self.classifier(self.encoder.pooled(view.images).float())
        classes = self.class_of[view.rows]
        with torch.autocast(outputs.device.type, enabled=False):
            loss = functional.cross_entropy(outputs.float(), classes)
        accuracy = (outputs.argmax(dim=1) == classes).float().mean()
        return Step({"model": loss}, measures={"accuracy": float(accuracy)})

    def players(self) -> dict[str, list[ParamGroup]]:
        return self.one_player(self.classifier)
