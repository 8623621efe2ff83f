"""Heads of one site at another: scores are scikit-learn's, a planted loss is found, one population has none."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from domainssl.evaluation.audit import of_words
from domainssl.evaluation.question import Question
from domainssl.evaluation.transfer import DRAWS, transfer
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.linear import LinearHead, fit_linear_at
from domainssl.heads.ordinal import fit_ordinal
from domainssl.heads.ridge import fit_ridge

SITES = np.array(list("ABCDEFGH"))


def quick(half: TrainingHalf, rows: Any, y: Any, outputs: int, rng: np.random.Generator) -> FittedHead:
    return fit_linear_at(half, rows, y, outputs, 0.01)


def cohort(
    seed: int, *, turn: float = 0.0, patients: int = 160, sites: int = 2, sick: tuple[float, ...] = (0.4,) * 8
) -> tuple[Any, np.ndarray, Question]:
    """So many patients a site and half, two images each; beyond site A a disease shows itself `turn` radians away."""
    rng = np.random.default_rng(seed)
    count = 2 * patients * sites
    site = np.repeat(rng.permutation(np.arange(count) % sites), 2)
    groups = np.repeat(np.arange(count), 2)
    train = groups % 2 == 0
    y = np.repeat(rng.random(count) < np.array(sick)[site[::2]], 2).astype(np.float64)
    x = rng.normal(size=(len(y), 12)) + 0.7 * np.repeat(rng.normal(size=(count, 12)), 2, axis=0)
    angle = turn * (site > 0)
    x[:, 0] += 1.4 * y * np.cos(angle)
    x[:, 1] += 1.4 * y * np.sin(angle)
    question = Question("sick", "yes_no", y[:, None], ("no", "yes"), train, ~train, groups, np.arange(len(y)))
    return of_words("site", SITES[site].tolist()), x, question


def facts(seed: int, resamples: int = 400, **planted: Any) -> dict[str, Any]:
    attribute, x, question = cohort(seed, **planted)
    found = transfer(attribute, question, x, quick, seed, resamples)
    assert found is not None
    return found


def losses(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell["loss"] for cell in found["cells"] if "loss" in cell]


def test_a_planted_loss_is_found_in_both_directions() -> None:
    found = [facts(seed, turn=1.4) for seed in range(3)]
    assert sum(loss["p_holm"] < 0.05 for one in found for loss in losses(one)) >= 5
    for one in found:
        cells = {(cell["trained"], cell["tested"]): cell for cell in one["cells"]}
        assert len(cells) == 4
        for a, b in (("A", "B"), ("B", "A")):
            loss, drop = cells[a, b]["loss"], cells[a, b]["drop"]
            assert loss["value"] == pytest.approx(cells[b, b]["value"] - cells[a, b]["value"])
            assert drop["value"] == pytest.approx(cells[a, a]["value"] - cells[a, b]["value"])
            assert 0.1 < loss["value"] < 0.4
            assert loss["low"] < loss["value"] < loss["high"]


def test_sites_of_one_population_seldom_lose() -> None:
    assert sum(any(loss["p_holm"] < 0.05 for loss in losses(facts(seed))) for seed in range(6)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("planted", [{}, {"sick": (0.2, 0.6)}, {"patients": 60}])
def test_sites_of_one_population_lose_no_more_often_than_stated(planted: dict[str, Any]) -> None:
    """Of 20 runs 1 is expected at most; 5 or more in 3 of 1000 tests."""
    runs = [facts(seed, 200, **planted) for seed in range(20)]
    assert sum(any(loss["p_holm"] < 0.05 for loss in losses(one)) for one in runs) <= 4
    covered = np.mean([loss["low"] <= 0 <= loss["high"] for one in runs for loss in losses(one)])
    assert covered >= 0.9


def test_a_head_sees_its_own_level_and_as_many_labels_of_each_class_as_all_others() -> None:
    attribute, x, question = cohort(0, sick=(0.25, 0.6), patients=60)
    x[:, 5] = attribute.level
    seen: list[tuple[float, int, int]] = []

    def spy(half: TrainingHalf, rows: Any, y: Any, outputs: int, rng: np.random.Generator) -> FittedHead:
        assert len(np.unique(half.x[:, 5])) == 1
        seen.append((float(half.x[0, 5]), int((y[:, 0] == 0).sum()), int((y[:, 0] == 1).sum())))
        return quick(half, rows, y, outputs, rng)

    found = transfer(attribute, question, x, spy, 0, 40)
    assert found is not None
    assert len(seen) == 2 * DRAWS
    first, second = seen[::2], seen[1::2]
    assert {level for level, *_ in first} == {0.0}
    assert {level for level, *_ in second} == {1.0}
    assert [counts for _, *counts in first] == [counts for _, *counts in second]
    assert min(yes for *_, yes in seen) >= 15
    assert found["labels"] == int(np.median([no + yes for _, no, yes in first]))


def test_scores_are_those_of_scikit_learn_and_a_head_that_learns_nothing_loses_nothing() -> None:
    attribute, x, question = cohort(3)
    weight = np.zeros((2, 12))
    weight[1, 0] = 1.0
    fixed = LinearHead(weight, np.zeros(2), np.zeros(12), np.ones(12))
    found = transfer(attribute, question, x, lambda *_: fixed, 0, 100)
    assert found is not None
    for cell in found["cells"]:
        rows = question.test & (SITES[attribute.level] == cell["tested"])
        assert cell["value"] == pytest.approx(roc_auc_score(question.y[rows, 0], x[rows, 0]))
        assert cell["low"] < cell["value"] < cell["high"]
    assert all(loss["value"] == loss["low"] == loss["high"] == 0 for loss in losses(found))
    assert all(loss["p_holm"] == 1 for loss in losses(found))


@pytest.mark.parametrize(
    ("kind", "fit", "metric"), [("real", fit_ridge, "r2"), ("ordered", fit_ordinal, "ordinal_error")]
)
def test_of_a_score_less_and_of_an_error_more_is_a_loss(kind: Any, fit: Any, metric: str) -> None:
    attribute, x, q = cohort(0, patients=60)
    value = np.where(attribute.level == 0, 1.0, -1.0) * x[:, 0] + 0.1 * x[:, 2]
    y, names = (value, ("z",)) if kind == "real" else (np.digitize(value, [-0.7, 0.7]).astype(float), tuple("abc"))
    question = Question("z", kind, y[:, None], names, q.train, q.test, q.groups, q.units, outlier=0.5)
    found = transfer(attribute, question, x, fit, 0, 100)
    assert found is not None
    assert found["metric"] == metric
    assert all(loss["value"] > 0.5 for loss in losses(found))


def test_levels_that_cannot_be_compared_are_left_out() -> None:
    attribute, x, question = cohort(0, sites=3, sick=(0.4, 0.4, 0.02))
    found = transfer(attribute, question, x, quick, 0, 40)
    assert found is not None
    assert [level["level"] for level in found["levels"]] == ["A", "B"]
    alone = of_words("site", ["A"] * len(x))
    assert transfer(alone, question, x, quick, 0, 40) is None
    apart = of_words("site", np.where(question.train, "A", "B").tolist())
    assert transfer(apart, question, x, quick, 0, 40) is None


def test_of_many_levels_six_are_compared() -> None:
    attribute, x, question = cohort(0, sites=8, patients=40)
    found = transfer(attribute, question, x, quick, 0, 40)
    assert found is not None
    assert len(found["levels"]) == 6
    assert len(found["cells"]) == 36
