"""Several predictions of one label side by side: each one's score, and paired differences, on the same test rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from domainssl.evaluation.intervals import GroupResamples, percentile_interval
from domainssl.evaluation.question import Question
from domainssl.evaluation.task import TASKS

RESAMPLES = 2000
_AT_ONCE = 250


def side_by_side(
    question: Question,
    predictions: Mapping[str, Float64[np.ndarray, "s k"]],
    pairs: Sequence[tuple[str, str]],
    seed: int,
) -> dict[str, Any]:
    """The kind's leading metric of each prediction of the scored rows, and of each pair's first minus its second.

    Ready for JSON: metric, better ("higher" or "lower"), groups, values (by name) and differences (of, to), each with
    value, low and high: 95 % intervals of a bootstrap over groups that all predictions share, not corrected for their
    number. Values are None where too few test groups have an answer.
    """
    name, metric = next(iter(TASKS[question.kind].metrics.items()))
    found: dict[str, Any] = {"metric": name, "better": metric.better, "groups": question.n_groups}
    if question.not_estimable(metric) is not None:
        nothing = {"value": None, "low": None, "high": None}
        values = {key: dict(nothing) for key in predictions}
        return {**found, "values": values, "differences": [{"of": a, "to": b, **nothing} for a, b in pairs]}
    truth = question.tested.truth
    resamples = GroupResamples(question.tested.groups, RESAMPLES, seed)
    joined = {
        key: question.prediction(question.tested.join(said, question.aggregate), None)
        for key, said in predictions.items()
    }
    blocks: dict[str, list[np.ndarray]] = {key: [] for key in predictions}
    weights = (
        np.ones((len(truth), 1)) if start < 0 else resamples.weights(start, min(start + _AT_ONCE, RESAMPLES))
        for start in (-1, *range(0, RESAMPLES, _AT_ONCE))
    )
    for some in weights:
        for key, prediction in joined.items():
            measured = metric.measure(prediction, truth, some)
            blocks[key].append(measured[question.estimable].mean(axis=0) if metric.of == "classes" else measured[0])
    curves = {key: np.concatenate(parts) for key, parts in blocks.items()}
    fewest = max(2, question.rarer_groups(metric))
    return {
        **found,
        "values": {key: _facts(curve, fewest) for key, curve in curves.items()},
        "differences": [{"of": a, "to": b, **_facts(curves[a] - curves[b], fewest)} for a, b in pairs],
    }


def _facts(curve: Float64[np.ndarray, " r"], fewest: int) -> dict[str, float]:
    low, high = percentile_interval(curve[1:], 0.95, fewest)
    return {"value": float(curve[0]), "low": low, "high": high}
