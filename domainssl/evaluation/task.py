"""Every kind of label: where heads, loss and metrics meet, and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from domainssl.evaluation.class_metrics import CLASS_METRICS, MULTILABEL_METRICS, YES_NO_METRICS
from domainssl.evaluation.losses import LOSSES, PREDICTIONS, Loss
from domainssl.evaluation.metric import Metric
from domainssl.evaluation.value_metrics import ORDERED_METRICS, REAL_METRICS, VOTE_METRICS
from domainssl.heads.dirichlet import fit_dirichlet
from domainssl.heads.head import Fit
from domainssl.heads.knn import fit_knn, fit_knn_answers, fit_knn_values, fit_knn_votes
from domainssl.heads.lda import fit_lda
from domainssl.heads.linear import fit_linear
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.ordinal import fit_ordinal
from domainssl.heads.propagation import fit_propagation
from domainssl.heads.prototype import fit_prototype
from domainssl.heads.ridge import fit_ridge
from domainssl.heads.semi_supervised import fit_self_training
from domainssl.heads.votes import fit_votes
from domainssl.options import HEADS, Kind


@final
@dataclass(frozen=True)
class Task:
    """One kind of label. The first head predicts where none is asked for, the first metric is the primary one.

    `loss` and `predictions` are those of fine-tuning: from a network's raw outputs to a number to minimise, and to
    predictions as `domainssl.heads.head` defines them.
    """

    heads: Mapping[str, Fit]
    metrics: Mapping[str, Metric]
    loss: Loss
    predictions: Callable[[np.ndarray], np.ndarray]


_CLASS_HEADS: Mapping[str, Fit] = {
    "linear": fit_linear,
    "prototype": fit_prototype,
    "knn": fit_knn,
    "lda": fit_lda,
    "propagation": fit_propagation,
    "self_training": fit_self_training,
}
_FITS: Mapping[Kind, Mapping[str, Fit]] = {
    "classes": _CLASS_HEADS,
    "yes_no": _CLASS_HEADS,
    "multilabel": {"linear": fit_multilabel, "knn": fit_knn_answers},
    "ordered": {"ordinal": fit_ordinal, "knn": fit_knn},
    "real": {"ridge": fit_ridge, "knn": fit_knn_values},
    "votes": {"dirichlet": fit_dirichlet, "linear": fit_votes, "knn": fit_knn_votes},
}
_METRICS: Mapping[Kind, Mapping[str, Metric]] = {
    "classes": CLASS_METRICS,
    "yes_no": YES_NO_METRICS,
    "multilabel": MULTILABEL_METRICS,
    "ordered": ORDERED_METRICS,
    "real": REAL_METRICS,
    "votes": VOTE_METRICS,
}
TASKS: Mapping[Kind, Task] = {
    kind: Task(heads, _METRICS[kind], LOSSES[kind], PREDICTIONS[kind]) for kind, heads in _FITS.items()
}
assert {kind: tuple(task.heads) for kind, task in TASKS.items()} == dict(HEADS)  # recipes are checked by these names
