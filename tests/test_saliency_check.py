"""The check on randomised weights and the choice of objects: what their numbers are, and what follows from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from domainssl.saliency.check import agreement, rank_correlation, verdict
from domainssl.saliency.choice import chosen, explained_outputs


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_rank_correlation_is_spearmans_over_what_both_show(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(levels, size=(2, 9, 7)) * 1.0
    first[0], second[:, 0] = np.nan, np.nan
    found = rank_correlation(first, second)
    expected = spearmanr(first[1:, 1:].ravel(), second[1:, 1:].ravel()).statistic
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_an_empty_map_has_nothing_in_common_with_others_and_says_nothing_itself() -> None:
    shown = np.random.default_rng(0).normal(size=(5, 5))
    assert rank_correlation(shown, np.zeros((5, 5))) == 0
    assert np.isnan(rank_correlation(np.zeros((5, 5)), shown))
    assert np.isnan(rank_correlation(shown, np.full((5, 5), np.nan)))


def test_agreement_is_the_mean_with_an_interval_over_objects_and_randomisations() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 0.1, size=(400, 5)) + rng.normal(0, 0.2, size=5)
    alone = agreement(draws[:, :1], np.random.default_rng(1))
    found = agreement(draws, np.random.default_rng(1))
    assert found.value == pytest.approx(draws.mean())
    assert found.unsigned == pytest.approx(np.abs(draws).mean())
    assert found.low < found.value < found.high
    assert found.high - found.low > 4 * (alone.high - alone.low)  # randomisations vary more than objects
    assert (found.objects, found.randomisations) == (400, 5)
    draws[3] = np.nan
    draws[5, 2] = np.nan
    holes = agreement(draws, np.random.default_rng(1))
    assert holes.objects == 399
    assert holes.value == pytest.approx(np.nanmean(draws))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        draws = 0.2 + 0.15 * rng.normal(size=(12, 1)) + 0.15 * rng.normal(size=5) + 0.1 * rng.normal(size=(12, 5))
        found = agreement(draws, rng)
        held += found.low < 0.2 < found.high
    assert held >= 88  # of 100, nominal 95 %


@pytest.mark.parametrize(
    ("means", "objects", "said"),
    [
        ((0.0, 0.1), 12, "passed"),
        ((0.0, 0.9), 12, "image"),
        ((0.9, 0.9), 12, "image"),
        ((0.0, 0.5), 12, "open"),
        ((0.0, 0.0), 9, "few"),
        ((-0.9, -0.9), 12, "passed"),
    ],
)
def test_the_verdict_follows_the_intervals(means: tuple[float, float], objects: int, said: str) -> None:
    rng = np.random.default_rng(0)
    assert verdict([agreement(rng.normal(mean, 0.05, size=(objects, 4)), rng) for mean in means]) == said


KINDS = ("classes", "yes_no", "multilabel")


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.integers(1, 20))
def test_one_object_a_group_is_chosen_among_those_asked(seed: int, kind: str, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=(40, 2 if kind == "yes_no" else 3))
    if kind != "multilabel":
        scores /= scores.sum(axis=1, keepdims=True)
    y = rng.integers(2, size=(40, 3 if kind == "multilabel" else 1)) * 1.0
    y[rng.uniform(size=y.shape) < 0.2] = np.nan
    groups = np.array([f"patient {number}" for number in rng.integers(15, size=40)])
    rows = np.flatnonzero(~np.isnan(y).all(axis=1) & (np.arange(40) % 2 == 0))
    found = chosen(kind, scores, y, rows, groups, count, np.random.default_rng(1))  # type: ignore[arg-type]
    assert len(found) == min(count, len(set(groups[rows])))
    assert len({groups[one.row] for one in found}) == len(found)
    assert {one.row for one in found} <= set(rows.tolist())
    for one in found:
        if kind == "yes_no":
            assert one.output == 1
        if kind == "multilabel":
            assert not np.isnan(y[one.row, one.output])
        if one.why != "drawn at random":
            assert one.given
            assert one.right == (one.why == "surest right")
    for why in ("surest right", "surest wrong"):
        sure = [scores[one.row, one.output] for one in found if one.why == why]
        assert sure == sorted(sure, reverse=True)
        assert len(sure) <= count // 3
    again = chosen(kind, scores, y, rows, groups, count, np.random.default_rng(1))  # type: ignore[arg-type]
    assert again == found


def test_the_answer_that_is_explained_goes_by_the_kind_of_label() -> None:
    scores = np.array([[0.7, 0.3], [0.2, 0.8], [0.1, 0.9]])
    y = np.array([[0.0], [0.0], [np.nan]])
    output, given, right = explained_outputs("yes_no", scores, y)
    assert output.tolist() == [1, 1, 1]
    assert given.tolist() == [False, True, False]
    assert right.tolist() == [True, False, False]
    output, given, right = explained_outputs("classes", scores, y)
    assert output.tolist() == [0, 1, 1]
    assert given.tolist() == [True, True, False]
    assert right.tolist() == [True, False, False]
    several = np.array([[np.nan, 1.0], [1.0, 0.0], [np.nan, np.nan]])
    output, given, right = explained_outputs("multilabel", np.array([[0.9, 0.4], [0.6, 0.5], [0.9, 0.9]]), several)
    assert output[:2].tolist() == [1, 0]
    assert given.tolist() == [False, True, False]
    assert right.tolist() == [False, True, False]
