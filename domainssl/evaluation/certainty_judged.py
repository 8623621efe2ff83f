"""What the test half says of a head's certainty: reliability before and after, coverage of sets, what is far."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from scipy.stats import binomtest

from domainssl.evaluation.certainty import ONE_OF_SEVERAL, Certainty, by_question
from domainssl.evaluation.conformal import COVERAGE, coverage_range
from domainssl.evaluation.novelty import FALSE_ALARMS
from domainssl.evaluation.reliability import MINIMUM, one_a_group, reliability


def judged(
    certainty: Certainty,
    names: Sequence[str],
    raw: Float64[np.ndarray, "n k"],
    x: Float[np.ndarray, "n d"],
    y: Float64[np.ndarray, "n t"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Numbers by question, ready for JSON, from labelled test rows: `raw` are the head's own scores, `x` features.

    Every number is of one random row of each group, so that its interval is the exact binomial one. `names` are the
    outputs. A question that no row answers is left out; "sets" and "far" are where something was promised.
    """
    rows = one_a_group(groups, rng)
    raw, x, y = raw[rows], x[rows], y[rows]
    told = certainty.calibrated(raw)
    single = certainty.kind != "multilabel"
    before, after = by_question(certainty.kind, raw), by_question(certainty.kind, told)
    within = certainty.sets(x, told)
    found: dict[str, Any] = {"questions": [], "far": _far(certainty, x, told, y)}
    for place, asked in enumerate(certainty.questions):
        known = ~np.isnan(y[:, place]) & ~np.isnan(raw).any(axis=1)
        if not known.any():
            continue
        truth = y[known, place].astype(np.int64)
        facts: dict[str, Any] = {"of": None if single else names[place], "two": before[place].shape[1] == 2}
        facts["how"] = asked.how
        of_yes = certainty.kind in ("yes_no", "multilabel")
        facts |= {"before": _reliable(before[place][known], truth, of_yes, rng)}
        facts |= {"after": _reliable(after[place][known], truth, of_yes, rng)}
        inside = within[place]
        if inside is not None:
            answers = names if single else (f"no {names[place]}", names[place])
            facts["sets"] = _coverage(inside[known], truth, answers, asked.rows)
        found["questions"].append(facts)
    return found


def _reliable(
    scores: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"], of_yes: bool, rng: np.random.Generator
) -> dict[str, Any]:
    """Of two classes it is asked how often the second is true, of more the likeliest.

    The Brier score is that of metrics.json: `of_yes` alone, else summed over the classes.
    """
    chosen = np.ones(len(scores), np.int64) if scores.shape[1] == 2 else scores.argmax(axis=1)
    said = scores[np.arange(len(scores)), chosen]
    found = reliability(said, truth == chosen, np.arange(len(truth)), rng)
    curve = {"said": found.said.tolist(), "seen": found.seen.tolist(), "counts": found.counts.tolist()}
    wrong = (scores - np.eye(scores.shape[1])[truth]) ** 2
    brier = float((wrong[:, 1] if of_yes else wrong.sum(axis=1)).mean())
    numbers = {"error": found.error, "expected": found.expected, "noticed": found.noticed, "p": found.p}
    numbers |= {"groups": found.groups, "needed": MINIMUM, "brier": brier}
    return {"called": found.called, **numbers, **curve}


def _coverage(
    inside: Bool[np.ndarray, "n c"], truth: Int64[np.ndarray, " n"], answers: Sequence[str], calibrating: int
) -> dict[str, Any]:
    hit, size = inside[np.arange(len(truth)), truth], inside.sum(axis=1)
    by_class = {answers[c]: _share(hit[truth == c]) for c in np.unique(truth)}
    promise = {"promised": COVERAGE, "range": list(coverage_range(calibrating)), "rows": calibrating}
    return {**promise, **_share(hit), "size": float(size.mean()), "one": float((size == 1).mean()), "class": by_class}


def _far(
    certainty: Certainty, x: Float[np.ndarray, "n d"], told: Float64[np.ndarray, "n k"], y: Float64[np.ndarray, "n t"]
) -> dict[str, Any] | None:
    """How many test rows are far, and how often the likeliest class is the right one among these and the others."""
    if certainty.familiar is None or not len(x):
        return None
    far = certainty.familiar.far(x)
    facts: dict[str, Any] = {"promised": FALSE_ALARMS, **_share(far)}
    if certainty.kind in ONE_OF_SEVERAL:
        right = told.argmax(axis=1) == y[:, 0]
        facts["right"] = {name: _share(right[rows]) for name, rows in (("far", far), ("near", ~far)) if rows.any()}
    return facts


def _share(hit: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """A share of groups, with its exact 95 % interval (Clopper and Pearson 1934)."""
    interval = binomtest(int(hit.sum()), len(hit)).proportion_ci()
    return {"value": float(hit.mean()), "low": float(interval.low), "high": float(interval.high), "groups": len(hit)}
