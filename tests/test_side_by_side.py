"""Predictions side by side: the field's own numbers, paired intervals, as many false differences as stated."""

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from domainssl.evaluation.question import Question
from domainssl.evaluation.side_by_side import side_by_side

COUNT = 300


def asked(seed: int, kind: str = "yes_no", count: int = COUNT) -> tuple[Question, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count // 2), 2)
    y = rng.integers(2, size=count).astype(float) if kind == "yes_no" else rng.normal(size=count)
    outputs = ("no", "yes") if kind == "yes_no" else ("value",)
    train = groups % 2 == 0
    return Question("q", kind, y[:, None], outputs, train, ~train, groups, np.arange(count)), rng.normal(size=count)  # type: ignore[arg-type]


def two(score: np.ndarray) -> np.ndarray:
    yes = 1 / (1 + np.exp(-score))
    return np.column_stack([1 - yes, yes])


def test_values_are_those_of_scikit_learn_and_differences_are_theirs() -> None:
    question, noise = asked(0)
    y = question.y[question.scored, 0]
    said = {name: two(shift * y + noise[question.scored]) for name, shift in (("a", 2.0), ("b", 0.5))}
    found = side_by_side(question, said, [("a", "b")], 0)
    for name in said:
        own = found["values"][name]
        assert own["value"] == pytest.approx(roc_auc_score(y, said[name][:, 1]))
        assert own["low"] < own["value"] < own["high"]
    (difference,) = found["differences"]
    assert difference["value"] == pytest.approx(found["values"]["a"]["value"] - found["values"]["b"]["value"])
    assert 0 < difference["low"] < difference["high"]
    assert (found["metric"], found["better"], found["groups"]) == ("auroc", "higher", 75)


def test_real_labels_have_their_own_metric() -> None:
    question, noise = asked(1, "real")
    y = question.y[question.scored]
    found = side_by_side(question, {"a": y + 0.3 * noise[question.scored, None]}, [], 0)
    assert found["metric"] == "r2"
    assert found["values"]["a"]["value"] == pytest.approx(r2_score(y, y + 0.3 * noise[question.scored, None]))


def test_few_groups_are_not_estimable() -> None:
    question, noise = asked(2, count=24)
    found = side_by_side(question, {"a": two(noise[question.scored])}, [("a", "a")], 0)
    assert found["values"]["a"] == {"value": None, "low": None, "high": None}
    assert found["differences"][0]["value"] is None


def test_two_alike_differ_as_seldom_as_stated() -> None:
    """Equally good but different predictions: of 50 runs 2 or 3 say that they differ, in either direction."""
    wrong = 0
    for seed in range(50):
        question, noise = asked(seed, count=160)
        y = question.y[question.scored, 0]
        other = np.random.default_rng(1000 + seed).normal(size=len(y))
        found = side_by_side(question, {"a": two(y + noise[question.scored]), "b": two(y + other)}, [("a", "b")], seed)
        (difference,) = found["differences"]
        wrong += difference["low"] > 0 or difference["high"] < 0
    assert wrong <= 7
