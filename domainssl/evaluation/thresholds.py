"""Where a score becomes a yes: chosen within the drawn labels, never on the test half."""

import numpy as np
from jaxtyping import Float64, Int64

from domainssl.evaluation.constant_answers import constant_answer
from domainssl.evaluation.question import Question
from domainssl.evaluation.units import make_units
from domainssl.heads.folds import grouped_folds
from domainssl.heads.head import Fit, TrainingHalf


def thresholds(
    question: Question,
    fit: Fit,
    half: TrainingHalf,
    rows: Int64[np.ndarray, " m"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, " a"]:
    """For yes/no and findings, the score at which the drawn no rows keep the question's specificity.

    `rows` index the question. A unit (image, study, patient) with a drawn row is scored by heads that were fitted to
    the other folds, all its images of the training half together, as on the test half; its label is that of its drawn
    rows. NaN for an answer without drawn no rows, and where the draw is too small for folds
    or leaves a fold nothing to learn from.
    """
    y, outputs = question.y[rows], len(question.outputs)
    nothing = np.full(len(question.answers), np.nan)
    any_yes = (np.nansum(y, axis=1) > 0).astype(np.int64)
    fold_of_row = grouped_folds(any_yes, question.groups[rows], rng) if len(np.unique(any_yes)) > 1 else None
    if fold_of_row is None:
        return nothing
    train, _ = question.halves()
    place = np.full(len(question.y), -1, np.int64)
    place[train] = np.arange(len(train))
    known = np.full_like(question.y, np.nan)
    known[rows] = y
    scores, truth = [], []
    for fold in range(int(fold_of_row.max()) + 1):
        inside, outside = rows[fold_of_row == fold], rows[fold_of_row != fold]
        images = train[np.isin(question.units[train], question.units[inside])]
        images = images[~np.isin(images, outside)]
        if constant_answer(question.kind, question.y[outside], outputs) is not None:
            return nothing
        head = fit(half, place[outside], question.y[outside], outputs, rng)
        units = make_units(question.kind, known[images], question.units[images], question.groups[images])
        joined = units.join(head.predict(half.x[place[images]]), question.aggregate)
        scores.append(joined[:, 1:] if question.kind == "yes_no" else joined)
        truth.append(units.truth)
    return at_specificity(np.concatenate(scores), np.concatenate(truth), question.specificity)


def at_specificity(
    scores: Float64[np.ndarray, "u a"], truth: Float64[np.ndarray, "u a"], specificity: float
) -> Float64[np.ndarray, " a"]:
    """Of each answer the lowest score above as many no units as the specificity asks for; NaN where there are none."""
    found = np.full(scores.shape[1], np.nan)
    for answer in range(scores.shape[1]):
        no = np.sort(scores[truth[:, answer] == 0, answer])
        if len(no):
            kept = int(np.ceil(specificity * len(no) - 1e-9))
            found[answer] = np.nextafter(no[kept - 1], np.inf)
    return found
