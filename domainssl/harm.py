"""Whether pretraining did harm: the start and checkpoints along the way as candidates, and the choice between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

START = "start"


@final
@dataclass(frozen=True)
class Candidate:
    """An encoder that could be exported: "start" or "epoch 6", and its scores on the same folds as the others'."""

    name: str
    scores: Float64[np.ndarray, " s"]

    @property
    def score(self) -> float:
        """The mean score."""
        return float(self.scores.mean())


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of the highest mean score, the earliest of equals; the first one is the start.

    Raises ValueError for no candidates, or where they have no score.
    """
    if not candidates or any(len(candidate.scores) == 0 for candidate in candidates):
        raise ValueError("no candidate has a score; give the start and at least one checkpoint, with scores")
    return max(candidates, key=lambda candidate: candidate.score)


def paired_gain(candidate: Candidate, start: Candidate) -> tuple[float, float]:
    """How much better a candidate is than the start, and the standard error of that over folds and draws.

    Folds share training rows, so the error is a rough one (Nadeau and Bengio 2003): it is shown, nothing rests on it.
    """
    difference = candidate.scores - start.scores
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    return float(difference.mean()), float(error)


def checkpoint_epochs(epochs: int, wanted: int = 5) -> tuple[int, ...]:
    """Epochs after which a checkpoint becomes a candidate: `wanted` of them, evenly spread, the last one included."""
    return tuple(sorted({round(epochs * part / wanted) for part in range(1, wanted + 1)} - {0}))
