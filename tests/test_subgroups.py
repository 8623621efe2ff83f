"""Scores by subgroup: every metric is scikit-learn's on the level's rows, planted gaps are found, others seldom."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, mean_absolute_error, roc_auc_score

from domainssl.evaluation.audit import Attribute, of_words
from domainssl.evaluation.question import Question
from domainssl.evaluation.subgroups import Answered, subgroups, unit_levels

WORDS = np.array(["young", "middle", "old"])


def cohort(
    seed: int, *, gap: float = 0.0, patients: int = 300, attributes: int = 1, classes: int = 2, rare: float = 0.4
) -> tuple[list[Attribute], Answered]:
    """Two images a patient, half of the patients in the test half; the first level's scores are worse by `gap`."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 2)
    found = [
        of_words(f"attribute {k}", WORDS[np.repeat(rng.integers(3, size=patients), 2)].tolist())
        for k in range(attributes)
    ]
    drawn = rng.random(patients) < rare if classes == 2 else rng.integers(classes, size=patients)
    y = np.repeat(drawn, 2).astype(np.float64)
    scores = rng.normal(size=(2 * patients, classes)) + np.repeat(0.7 * rng.normal(size=(patients, classes)), 2, axis=0)
    scores[np.arange(len(y)), y.astype(int)] += 1.4 - gap * (found[0].level == 0)
    told = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    train = groups % 2 == 0
    kind = "yes_no" if classes == 2 else "classes"
    names = ("no", "yes") if classes == 2 else tuple("abcdef"[:classes])
    question = Question("sick", kind, y[:, None], names, train, ~train, groups, np.arange(len(y)))
    return found, Answered(question, told, np.array([0.5]) if classes == 2 else None)


def entry(seed: int, resamples: int = 300, **planted: Any) -> dict[str, Any]:
    found, label = cohort(seed, **planted)
    (one,) = subgroups(found, [label], seed, resamples)
    return one


def named(one: dict[str, Any], seed: int = 0) -> int:
    return sum(gap["p_holm"] is not None and gap["p_holm"] < 0.05 for gap in one["gaps"])


def test_every_metric_in_every_level_is_that_of_its_rows() -> None:
    (attribute,), label = cohort(0)
    (one,) = subgroups([attribute], [label], 0, 300)
    assert [level["level"] for level in one["levels"]] == sorted(WORDS)
    for level in one["levels"]:
        rows = label.question.test & (attribute.level == attribute.names.index(level["level"]))
        truth, told = label.question.y[rows, 0], label.scores[rows, 1]
        expected = {
            "auroc": roc_auc_score(truth, told),
            "auprc": average_precision_score(truth, told),
            "auprc_no_skill": truth.mean(),
            "brier": brier_score_loss(truth, told),
            "sensitivity": (told[truth == 1] >= 0.5).mean(),
            "specificity": (told[truth == 0] < 0.5).mean(),
        }
        own = {row["metric"]: row for row in level["metrics"]}
        assert set(own) == {*expected, "balanced_accuracy"}  # no prevalence was given
        for name, value in expected.items():
            assert own[name]["value"] == pytest.approx(value), name
            assert own[name]["low"] <= own[name]["value"] <= own[name]["high"]
        assert level["objects"] == rows.sum()
        assert level["groups"] == len(np.unique(label.question.groups[rows]))


def test_a_planted_gap_is_found_with_its_levels_and_its_size() -> None:
    found = [entry(seed, gap=1.4, patients=600) for seed in range(4)]
    assert sum(map(named, found)) >= 3
    for one in found:
        (gap,) = one["gaps"]
        own = {level["level"]: level["metrics"][0]["value"] for level in one["levels"]}
        assert gap["levels"][1] == "middle"  # the first in the order of words, whose scores were spoilt
        assert gap["values"] == pytest.approx([own[name] for name in gap["levels"]])
        assert gap["difference"] == pytest.approx(gap["values"][0] - gap["values"][1])
        assert gap["low"] < gap["difference"] < gap["high"]
        assert (gap["p_holm"] < 0.05) == (gap["difference"] > gap["noticed"])


@pytest.mark.parametrize("classes", [2, 3])
def test_without_a_gap_few_runs_name_one(classes: int) -> None:
    assert sum(named(entry(seed, 200, attributes=3, classes=classes)) > 0 for seed in range(4)) <= 1


@pytest.mark.slow
def test_runs_without_a_gap_name_one_no_more_often_than_stated() -> None:
    """Five attributes of nothing in each of 60 runs: 3 are expected at most, 8 or more in 1 of 100 tests."""
    assert sum(named(entry(seed, 300, attributes=5)) > 0 for seed in range(60)) <= 7


def test_gaps_of_all_labels_and_attributes_are_adjusted_together() -> None:
    found, label = cohort(1, gap=1.0, attributes=3)
    alone = subgroups(found[:1], [label], 0, 300)
    both = subgroups(found, [label, label], 0, 300)
    p = [gap["p"] for one in both for gap in one["gaps"]]
    assert len(p) == 6
    assert both[0]["gaps"][0]["p_holm"] == pytest.approx(min(1.0, 6 * alone[0]["gaps"][0]["p_holm"]))
    assert both[0]["gaps"][0]["noticed"] > alone[0]["gaps"][0]["noticed"]


def test_few_groups_of_an_answer_are_not_estimable() -> None:
    found, label = cohort(0, rare=0.05)
    (one,) = subgroups(found, [label], 0, 100)
    assert all(row["value"] is None for level in one["levels"] for row in level["metrics"])
    assert all(level["groups"] > 30 for level in one["levels"])
    (gap,) = one["gaps"]
    assert (gap["levels"], gap["p"], gap["p_holm"], gap["noticed"]) == (None, None, None, None)
    constant = of_words("site", ["a"] * len(label.scores))
    assert subgroups([constant], [label], 0, 100) == [{"label": "sick", "kind": "yes_no", "levels": [], "gaps": []}]


def test_levels_are_compared_by_the_answers_that_both_have() -> None:
    """Class c is never at one level: the other's mean is over a and b where the two are compared."""
    (attribute,), label = cohort(0, classes=3, patients=500)
    y = label.question.y.copy()
    y[(attribute.level == 1) & (y[:, 0] == 2)] = 0
    q = label.question
    own = Question("sick", "classes", y, q.outputs, q.train, q.test, q.groups, q.units)
    (one,) = subgroups([attribute], [Answered(own, label.scores)], 0, 100)
    assert [level["metrics"][0]["answers"] for level in one["levels"]] == [3, 2, 3]
    (gap,) = one["gaps"]
    told = {}
    for name in gap["levels"]:
        rows = q.test & (attribute.level == attribute.names.index(name))
        classes = (0, 1) if "old" in gap["levels"] else (0, 1, 2)
        told[name] = np.mean([roc_auc_score(y[rows, 0] == c, label.scores[rows, c]) for c in classes])
    assert "old" in gap["levels"]
    assert gap["values"] == pytest.approx([told[name] for name in gap["levels"]])


def test_a_unit_of_two_levels_is_in_none() -> None:
    groups = np.repeat(np.arange(40), 2)
    train = groups < 20
    y = (groups % 2).astype(np.float64)[:, None]
    question = Question("sick", "yes_no", y, ("no", "yes"), train, ~train, groups, groups)
    words: list[str | None] = ["PA"] * 80
    words[40], words[43] = "AP", None  # of units 20 and 21
    level = unit_levels(of_words("view", words), question)
    assert level.tolist() == [-1, -1, *[1] * 18]


@pytest.mark.parametrize("kind", ["real", "votes", "ordered", "multilabel"])
def test_other_kinds_have_levels_and_gaps(kind: Any) -> None:
    (attribute,), label = cohort(0)
    q, rng = label.question, np.random.default_rng(5)
    value = rng.normal(size=len(q.y))
    said = value + 0.3 * rng.normal(size=len(value)) * (1 + 2 * (attribute.level == 0))
    votes = np.rint(20 / (1 + np.exp(-4 * value)))  # the shares that the scores below give without noise
    targets = {
        "real": (value[:, None], ("z",), said[:, None]),
        "ordered": (np.digitize(value, [-0.5, 0.5])[:, None].astype(float), ("a", "b", "c"), None),
        "votes": (np.column_stack([20 - votes, votes]), ("a", "b"), None),
        "multilabel": ((np.column_stack([value, -value]) > 0.5).astype(float), ("a", "b"), None),
    }
    y, outputs, scores = targets[kind]
    if scores is None:
        raw = np.exp(-((said[:, None] - np.linspace(-1, 1, len(outputs))) ** 2))
        scores = raw if kind == "multilabel" else raw / raw.sum(axis=1, keepdims=True)
    question = Question("z", kind, y, outputs, q.train, q.test, q.groups, q.units, outlier=0.5)
    thresholds = np.array([0.5, 0.5]) if kind == "multilabel" else None
    (one,) = subgroups([attribute], [Answered(question, scores, thresholds)], 0, 300)
    (gap,) = one["gaps"]
    assert "middle" in gap["levels"]
    assert gap["p_holm"] < 0.05
    if kind == "real":
        own = next(level for level in one["levels"] if level["level"] == "middle")
        rows = q.test & (attribute.level == 0)
        assert own["metrics"][1]["value"] == pytest.approx(np.median(np.abs(said - value)[rows]))
        assert mean_absolute_error(value[rows], said[rows]) > 0.3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_ranks_alone_decide_and_levels_may_be_renamed(seed: int, power: float) -> None:
    (attribute,), label = cohort(seed, patients=160)
    first = subgroups([attribute], [label], 1, 40)[0]
    yes = label.scores[:, 1] ** power
    bent = Answered(label.question, np.column_stack([1 - yes, yes]))
    again = subgroups([Attribute("attribute 0", (2 - attribute.level), attribute.names[::-1])], [bent], 1, 40)[0]
    one, other = ({level["level"]: level["metrics"][0] for level in e["levels"]} for e in (first, again))
    assert one == {name: pytest.approx(facts) for name, facts in other.items()}
    assert first["gaps"][0]["p"] == again["gaps"][0]["p"]
