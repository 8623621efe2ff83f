"""Shortcut audit: a planted one is found, none where there is none at the stated rate, levels have their own scores."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from domainssl.evaluation.audit import Attribute, audit, of_numbers, of_words
from domainssl.evaluation.question import Question

COUNT = 600


def cohort(
    seed: int, *, seen: float, follows: float, count: int = COUNT
) -> tuple[np.ndarray, Attribute, Question, np.ndarray]:
    """Features that tell a disease, and a site as far as `seen`; the disease is at one site by `follows` (0: as often).

    Two images a patient.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count // 2), 2)
    site = np.repeat(rng.integers(2, size=count // 2), 2)
    sick = (rng.random(count) < 0.4 + follows * (site - 0.5)).astype(np.float64)
    x = rng.normal(size=(count, 20))
    x[:, 0] += 1.2 * sick
    x[:, 1] += seen * site
    train = groups % 2 == 0
    label = Question("sick", "yes_no", sick[:, None], ("no", "yes"), train, ~train, groups, np.arange(count))
    attribute = of_words("site", np.array(["north", "south"])[site].tolist())
    score = 1 / (1 + np.exp(-x[:, 0]))
    return x, attribute, label, np.column_stack([1 - score, score])


def entry(seed: int, **planted: Any) -> dict[str, Any]:
    x, attribute, label, scores = cohort(seed, **planted)
    (found,) = audit([attribute], x, label.train, label.groups, {"sick": label}, {"sick": scores}, seed)
    return found


def test_a_planted_shortcut_is_found() -> None:
    found = [entry(seed, seen=2.0, follows=0.5) for seed in range(5)]
    assert all(one["labels"]["sick"]["suspicious"] for one in found)
    assert np.mean([one["told"]["value"] for one in found]) > 0.85
    assert np.mean([one["labels"]["sick"]["told"]["value"] for one in found]) == pytest.approx(0.76, abs=0.03)


@pytest.mark.parametrize(("seen", "follows"), [(0.0, 0.5), (2.0, 0.0)])
def test_half_a_shortcut_is_none(seen: float, follows: float) -> None:
    """A site that the embedding tells only since it tells the disease, or that tells nothing of the label."""
    found = [entry(seed, seen=seen, follows=follows) for seed in range(40)]
    assert sum(one["labels"]["sick"]["suspicious"] for one in found) <= 4


def test_attributes_that_are_not_there_are_told_as_seldom_as_stated() -> None:
    """Five attributes of nothing in each of 40 runs: of one in twenty runs any may be said to be told."""
    alarms = 0
    for seed in range(40):
        x, _, label, scores = cohort(seed, seen=0.0, follows=0.0)
        rng = np.random.default_rng(1000 + seed)
        nothing = [of_words(str(k), rng.choice(["a", "b", "c"], size=COUNT).tolist()) for k in range(5)]
        found = audit(nothing, x, label.train, label.groups, {"sick": label}, {"sick": scores}, seed)
        assert len(found) == 5
        alarms += any(one["told"]["low"] > 0.5 for one in found)
    assert alarms <= 6


def test_scores_within_levels_are_those_of_scikit_learn() -> None:
    x, attribute, label, scores = cohort(0, seen=1.0, follows=0.3)
    (found,) = audit([attribute], x, label.train, label.groups, {"sick": label}, {"sick": scores}, 0)
    for level in found["labels"]["sick"]["within"]:
        rows = ~label.train & (attribute.level == attribute.names.index(level["level"]))
        assert level["value"] == pytest.approx(roc_auc_score(label.y[rows, 0], scores[rows, 1]))
        assert level["low"] < level["value"] < level["high"]
        assert level["groups"] == len(np.unique(label.groups[rows]))


def test_a_level_without_one_of_the_answers_is_not_estimable() -> None:
    x, attribute, label, scores = cohort(0, seen=1.0, follows=0.0)
    y = np.where(attribute.level == 1, 0.0, label.y[:, 0])[:, None]
    own = Question("sick", "yes_no", y, ("no", "yes"), label.train, label.test, label.groups, label.units)
    (found,) = audit([attribute], x, own.train, own.groups, {"sick": own}, {"sick": scores}, 0)
    north, south = found["labels"]["sick"]["within"]
    assert north["value"] is not None
    assert south["value"] is None
    assert south["groups"] > 0


def test_few_groups_of_a_level_leave_an_attribute_out() -> None:
    x, _, label, _scores = cohort(0, seen=1.0, follows=0.0)
    rare = of_words("scanner", ["b" if row < 8 else "a" for row in range(COUNT)])
    constant = of_words("site", ["a"] * COUNT)
    unknown = of_words("view", [None] * COUNT)
    assert audit([rare, constant, unknown], x, label.train, label.groups, {}, {}, 0) == []


def test_halves_of_different_sites_are_left_out_and_rare_levels_are_learnt() -> None:
    x, _, label, scores = cohort(0, seen=0.0, follows=0.0)
    half = np.where(label.train, "a", "b")
    words = [f"{one}{number % 3 // 2}" for number, one in enumerate(np.repeat(half[::2], 2))]
    apart = of_words("site", words)
    assert audit([apart], x, label.train, label.groups, {"sick": label}, {"sick": scores}, 0) == []
    rare = of_words("scanner", ["b" if group % 27 < 2 else "a" for group in label.groups])
    for seed in range(5):
        (found,) = audit([rare], x, label.train, label.groups, {"sick": label}, {"sick": scores}, seed)
        assert found["told"]["value"] is not None


def test_numbers_become_thirds_of_the_training_half() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6, np.nan, 100, -100])
    train = np.arange(9) < 6
    found = of_numbers("sharpness", values, train)
    assert found.names == ("low", "middle", "high")
    assert found.level.tolist() == [0, 0, 1, 1, 2, 2, -1, 2, 0]
    equal = of_numbers("rows", np.array([7.0, 7, 7, 9]), np.ones(4, bool))
    assert equal.names == ("low", "high")
    assert equal.level.tolist() == [0, 0, 0, 1]
    bits = of_numbers("bits", np.array([8.0] * 2 + [12.0] * 18), np.ones(20, bool))
    assert bits.names == ("low", "high")
    assert bits.level.tolist() == [0] * 2 + [1] * 18
    assert of_numbers("none", np.full(3, np.nan), np.ones(3, bool)).names == ()
    assert of_words("view", ["PA", "AP", "", None]).level.tolist() == [1, 0, -1, -1]
