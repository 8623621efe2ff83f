"""Which objects of the test half get a map, by a rule that is written down before any map is seen."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from domainssl.options import Kind

Why = Literal["surest right", "surest wrong", "drawn at random"]


@final
@dataclass(frozen=True)
class Chosen:
    """One object: its row, the answer whose map is shown, whether that is what the head answers, whether the head is
    right about it, and why it was chosen."""

    row: int
    output: int
    given: bool
    right: bool
    why: Why


def explained_outputs(
    kind: Kind, scores: Float[np.ndarray, "n k"], y: Float64[np.ndarray, "n t"]
) -> tuple[Int64[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Of each row: the answer a map is of, whether the head gives it, and whether the head is right about it.

    Of classes it is the likeliest; of yes or no it is yes, since "no" is nowhere; of several findings the likeliest of
    those whose truth is known. Rows without a known answer give False twice.
    """
    rows = np.arange(len(scores))
    if kind == "multilabel":
        known = ~np.isnan(y)
        output = np.where(known, scores, -1.0).argmax(axis=1)
        given = (scores[rows, output] >= 0.5) & known.any(axis=1)
        right = (given == (y[rows, output] == 1)) & known.any(axis=1)
        return output.astype(np.int64), given, right
    likeliest = scores.argmax(axis=1)
    known_rows = ~np.isnan(y[:, 0])
    right = (likeliest == y[:, 0]) & known_rows
    if kind == "yes_no":
        return np.ones(len(scores), np.int64), (likeliest == 1) & known_rows, right
    return likeliest.astype(np.int64), known_rows, right


def chosen(
    kind: Kind,
    scores: Float[np.ndarray, "n k"],
    y: Float64[np.ndarray, "n t"],
    rows: Int64[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " n"],
    count: int,
    rng: np.random.Generator,
) -> list[Chosen]:
    """At most `count` of `rows` (labelled objects of the test half), one a group.

    A third are those where the head gives the answer with the highest scores and is right, a third where it is wrong,
    the others are drawn; what a kind lacks is drawn too. Ties go by `rng`, and so do draws.
    """
    output, given, right = explained_outputs(kind, scores, y)
    order = rng.permutation(rows)
    surest = order[np.argsort(-scores[order, output[order]], kind="stable")]
    found: list[Chosen] = []
    taken: set[object] = set()
    wanted: tuple[tuple[Why, np.ndarray, int], ...] = (
        ("surest right", surest[given[surest] & right[surest]], count // 3),
        ("surest wrong", surest[given[surest] & ~right[surest]], count // 3),
        ("drawn at random", order, count),
    )
    for why, candidates, most in wanted:
        before = len(found)
        for row in candidates.tolist():
            if len(found) - before == most or len(found) == count:
                break
            if groups[row] not in taken:
                taken.add(groups[row])
                found.append(Chosen(row, int(output[row]), bool(given[row]), bool(right[row]), why))
    return found
