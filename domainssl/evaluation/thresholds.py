"""Where a score becomes a yes: chosen within the drawn labels, never on the test half."""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.evaluation.question import Question
from domainssl.evaluation.units import make_units
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import Fit, TrainingHalf


def thresholds(
    question: Question,
    fit: Fit,
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    places: Int64[np.ndarray, " m"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, " a"]:
    """For yes/no and findings, the score at which the drawn no rows keep the question's specificity.

    Every drawn row is scored by a head that was fitted to the other folds; `rows` index the question, `places` the
    training half. Images are joined to units as on the test half. NaN for an answer without drawn no rows, and where
    the draw is too small for folds.
    """
    y = question.y[rows]
    outputs = len(question.outputs)
    any_yes = (np.nansum(y, axis=1) > 0).astype(np.int64)
    fold_of_row = grouped_folds(any_yes, question.groups[rows], rng)
    if fold_of_row is None:
        return np.full(len(question.answers), np.nan)
    held_out = np.empty((len(rows), outputs))
    for fold in range(int(fold_of_row.max()) + 1):
        inside, outside = np.flatnonzero(fold_of_row == fold), np.flatnonzero(fold_of_row != fold)
        head = fit(half, places[outside], y[outside], outputs, rng)
        held_out[inside] = head.predict(half.x[places[inside]])
    units = make_units(question.kind, y, question.units[rows], question.groups[rows])
    joined = units.join(held_out, question.aggregate)
    scores = joined[:, 1:] if question.kind == "yes_no" else joined
    found = np.full(scores.shape[1], np.nan)
    for answer in range(scores.shape[1]):
        no = np.sort(scores[units.truth[:, answer] == 0, answer])
        if len(no):
            # The lowest score above as many of them as the specificity asks for.
            kept = int(np.ceil(question.specificity * len(no) - 1e-9))
            found[answer] = np.nextafter(no[kept - 1], np.inf)
    return found
