"""How well heads do with few labels: starts, features and heads under one protocol, with paired differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from domainssl.evaluation.contenders import Cell, Contender
from domainssl.evaluation.draws import Draw
from domainssl.evaluation.measuring import Measuring
from domainssl.evaluation.metric import Metric
from domainssl.evaluation.question import Question
from domainssl.evaluation.rows import MetricRow, confirm, rows_of


@final
@dataclass(frozen=True)
class Entry:
    """Who takes part: a cell of the table and its contender; `draws`: fewer than the others have, where it is dear."""

    cell: Cell
    contender: Contender
    draws: int | None = None


def label_efficiency(
    question: Question,
    entries: Sequence[Entry],
    metrics: Mapping[str, Metric],
    reference: Cell,
    *,
    labels_per_class: Sequence[int],
    draws: int,
    draw: Draw,
    resamples: int,
    seed: int,
    confirmatory: bool = True,
    on_entry: Callable[[], None] = lambda: None,
) -> list[MetricRow]:
    """Score every entry on the test half at every number of labels; the first metric is the primary one.

    Each head learns from `draws` random sets of labels that are nested over the numbers and the same for every entry.
    A value is the mean over draws of the metric on the scored units. Its 95 % interval is a percentile bootstrap that
    draws test groups and draws of labels with replacement, jointly; all entries share the resamples, so differences are
    paired. If `confirmatory`, the differences of continued pretraining to the `reference`, one of the entries, carry
    p-values.
    The test half is scored and nothing else: thresholds and strengths are chosen within the drawn labels.
    """
    measuring = Measuring(
        question, metrics, labels_per_class=labels_per_class, draws=draws, draw=draw, resamples=resamples, seed=seed
    )
    curves = {}
    for entry in entries:
        curves[entry.cell] = measuring.curves(entry.contender, entry.draws)
        on_entry()
    rows = rows_of(measuring, curves, reference)
    if confirmatory:
        confirm(rows, measuring, curves, reference)
    return rows
