"""Consistency training as a contender of the few-label table: views of the training half's images, embedded once."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32, Int64

from domainssl.changed_views import embed_views
from domainssl.embedding import read_parts
from domainssl.encoders import TimmEncoder
from domainssl.evaluation.contenders import Cell, FrozenFeatures
from domainssl.evaluation.label_efficiency import Entry
from domainssl.evaluation.question import Question
from domainssl.features import Symmetry
from domainssl.heads.head import TrainingHalf
from domainssl.heads.semi_supervised import fit_consistency
from domainssl.options import CONSISTENCY_KINDS
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.starts import timed_precision
from pipelines.steps import Context

VIEWS = "views"  # the folder of a start that holds their features


def views_of(
    context: Context, objects: Objects, encoder: TimmEncoder, symmetry: Symmetry
) -> Callable[[Int64[np.ndarray, " n"], Callable[[int], None]], Float32[np.ndarray, "n _"]]:
    """What embeds rows' views, side by side in one vector a row: the weak one, then the strong ones."""
    recipe, store = context.recipe, objects.store
    policy = DOMAINS[recipe.domain].views(
        store.radiometry, store.bands, recipe.encoder.size, sided=recipe.sided, survey=recipe.survey
    )
    precision = timed_precision(context, encoder)

    def embedded(rows: Int64[np.ndarray, " n"], on_batch: Callable[[int], None]) -> Float32[np.ndarray, "n _"]:
        views = embed_views(
            encoder, store, rows, policy, recipe.classify.consistency,
            symmetry=symmetry, seed=recipe.seed, precision=precision, device=context.device, on_batch=on_batch,
        )  # fmt: skip
        return views.reshape(len(rows), -1)

    return embedded


def consistency_entries(
    context: Context,
    objects: Objects,
    question: Question,
    rows: Int64[np.ndarray, " n"],
    features: Mapping[str, Float32[np.ndarray, "n d"]],
) -> list[Entry]:
    """One entry a start; none where the recipe asks for none, or for kinds of labels that have no such head.

    `features` are the last ones of the question's rows, `rows` of the store, by start.
    """
    if not context.recipe.classify.consistency or question.kind not in CONSISTENCY_KINDS:
        return []
    train, _ = question.halves()
    wanted = objects.frame["object_id"].iloc[rows[train]].tolist()
    entries = []
    for start, x in features.items():
        ids, flat, _ = read_parts(context.run.starts / start / VIEWS)
        place = {object_id: row for row, object_id in enumerate(ids)}
        views = flat[[place[object_id] for object_id in wanted]].reshape(len(train), -1, x.shape[1])
        half = TrainingHalf(x[train], question.groups[train], views)
        entries.append(
            Entry(Cell(start, "last", "consistency"), FrozenFeatures(question, x, fit_consistency, half=half))
        )
    return entries
