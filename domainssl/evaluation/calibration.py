"""Scores made to mean what they say: a map from a head's scores to probabilities, chosen on rows it did not learn from.

Temperature scaling (Guo et al. 2017, On calibration of modern neural networks) and isotonic regression, one class
against the rest and normalised (Zadrozny and Elkan 2002), beside leaving the scores as they are.
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from domainssl.heads.folds import grouped_folds

How = Literal["unfitted", "none", "temperature", "isotonic"]
LEAST = 1e-4  # a probability below is never claimed: some hundred labels do not prove a class impossible
GRID = np.linspace(0, 1, 201)
_INVERSE = (0.02, 50.0)  # within which an inverse temperature is looked for


@final
@dataclass(frozen=True)
class Calibration:
    """Scores to the power of `inverse`, normalised, then looked up in `table` at GRID, a row a class, and normalised.

    `inverse` 1 and a table that is GRID itself leave scores as they are; so one record of arrays holds every kind.
    """

    inverse: Float64[np.ndarray, ""]
    table: Float64[np.ndarray, "k g"]

    def apply(self, scores: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities of rows of scores that add up to 1; they do so again. NaN stays NaN."""
        if self.inverse == 1 and (self.table == GRID).all():
            return scores
        with np.errstate(divide="ignore"):
            logits = np.log(scores) * self.inverse
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        sharpened = odds / odds.sum(axis=1, keepdims=True)
        if (self.table == GRID).all():
            return np.asarray(sharpened)
        looked_up = np.column_stack(
            [np.interp(column, GRID, row) for column, row in zip(sharpened.T, self.table, strict=True)]
        )
        looked_up[scores == 0] = 0  # a class that had no label stays impossible
        return np.asarray(looked_up / looked_up.sum(axis=1, keepdims=True))


def unchanged(classes: int) -> Calibration:
    """Leaves scores as they are."""
    return Calibration(np.array(1.0), np.tile(GRID, (classes, 1)))


def fit_temperature(scores: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"]) -> Calibration:
    """The temperature of least log loss; `truth` are class indices, `scores` hold no NaN."""

    def loss(log_inverse: float) -> float:
        sharpened = Calibration(np.array(np.exp(log_inverse)), np.tile(GRID, (scores.shape[1], 1)))
        return float(log_loss(sharpened.apply(scores), truth).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_INVERSE)), method="bounded", options={"xatol": 1e-4})
    return Calibration(np.array(float(np.exp(found.x))), np.tile(GRID, (scores.shape[1], 1)))


def fit_isotonic(scores: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"]) -> Calibration:
    """Isotonic regression of each class against the rest, at GRID; in the table never below LEAST."""
    rows = []
    for k in range(scores.shape[1]):
        model = IsotonicRegression(y_min=LEAST, y_max=1 - LEAST, out_of_bounds="clip")
        rows.append(model.fit(scores[:, k], (truth == k).astype(np.float64)).predict(GRID))
    return Calibration(np.array(1.0), np.array(rows))


def log_loss(probabilities: Float64[np.ndarray, "n k"], truth: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Minus the logarithm of each row's probability of the truth, which counts as LEAST at least."""
    given = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0]
    return np.asarray(-np.log(np.maximum(given, LEAST)))


FITS = {"temperature": fit_temperature, "isotonic": fit_isotonic}


def fit_calibration(
    scores: Float64[np.ndarray, "n k"],
    truth: Int64[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " n"],
    rng: np.random.Generator,
) -> tuple[Calibration, How]:
    """The calibration that predicts best of none, temperature and isotonic, and its name.

    `scores` are of rows that their head did not learn from. Each is fitted to four fifths of the groups and judged by
    its log loss on the rest; of those within one standard error of the best, the first in this order is taken, since
    each has more freedom than the one before. "unfitted" where a class has a single row, so that there are no folds.
    Raises ValueError for NaN scores and for no rows.
    """
    if not len(scores) or np.isnan(scores).any():
        raise ValueError(f"scores: {len(scores)} rows, {int(np.isnan(scores).any(axis=1).sum())} with NaN; leave out")
    folds = grouped_folds(truth, groups, rng) if len(np.unique(truth)) > 1 else None
    if folds is None:
        return unchanged(scores.shape[1]), "unfitted"
    losses: dict[How, Float64[np.ndarray, " n"]] = {"none": log_loss(scores, truth)}
    for name, fit in FITS.items():
        losses[name] = np.empty(len(scores))  # type: ignore[index]
        for fold in np.unique(folds):
            inside, outside = folds == fold, folds != fold
            losses[name][inside] = log_loss(fit(scores[outside], truth[outside]).apply(scores[inside]), truth[inside])  # type: ignore[index]
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    chosen = next(name for name, loss in losses.items() if _about_as_good(loss - best, groups))
    return (unchanged(scores.shape[1]) if chosen == "none" else FITS[chosen](scores, truth)), chosen


def _about_as_good(excess: Float64[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]) -> bool:
    """Whether the mean over groups is within one standard error of 0, or below."""
    _, member = np.unique(groups, return_inverse=True)
    by_group = np.bincount(member, weights=excess) / np.bincount(member)
    error = by_group.std(ddof=1) / np.sqrt(len(by_group)) if len(by_group) > 1 else 0.0
    return bool(by_group.mean() <= error + 1e-12)
