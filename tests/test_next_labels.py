"""What to label next: better than random labels, each group in its turn, and right in the corner cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from domainssl.evaluation.next_labels import choose_next, draw_next, preselected, uncertainty
from domainssl.heads.head import TrainingHalf
from domainssl.heads.linear import fit_linear

SHARES = np.array([0.4, 0.25, 0.2, 0.11, 0.03, 0.01])


def galaxies(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Six classes, two of them rare."""
    means = rng.normal(size=(6, 24))
    means *= 3.5 / np.linalg.norm(means, axis=1, keepdims=True)
    y = rng.choice(6, size=n, p=SHARES)
    return (means[y] + rng.normal(size=(n, 24)) + 1).astype(np.float32), y


def test_labels_chosen_so_are_worth_more_than_random_ones():
    """Macro AUROC after 40 more labels, and how many of them are of the rare classes."""
    auroc, rare = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, y = galaxies(rng, 3000)
        pool, test = np.arange(1500), np.arange(1500, 3000)
        half, some = TrainingHalf(x[pool], pool.astype(str)), rng.permutation(pool)[:30]

        def predictions(rows: np.ndarray, at: np.ndarray, half=half, x=x, y=y) -> np.ndarray:
            fitted = fit_linear(half, rows, y[rows, None].astype(float), 6, np.random.default_rng(0))
            return fitted.predict(x[at])

        rest = np.setdiff1d(pool, some)
        unsure = uncertainty("classes", predictions(some, rest))
        chosen = choose_next(x, some, rest, unsure, 40, rng).rows
        assert len(set(chosen)) == 40
        assert set(chosen) <= set(rest)
        both = chosen, rng.permutation(rest)[:40]
        scores = [predictions(np.concatenate([some, more]), test) for more in both]
        auroc.append([np.mean([roc_auc_score(y[test] == c, p[:, c]) for c in range(6)]) for p in scores])
        rare.append([np.isin(y[more], [4, 5]).sum() for more in both])
    by_choice, by_chance = np.mean(auroc, axis=0)
    assert by_choice > by_chance + 0.02
    assert np.sum(rare, axis=0)[0] > np.sum(rare, axis=0)[1]


def blobs(sizes: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tight groups in different directions, so many objects each, in a random order; and whose each is."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return np.eye(len(sizes))[group] + 0.01 * rng.normal(size=(len(group), len(sizes))), group


@pytest.mark.parametrize("seed", range(5))
def test_groups_without_a_label_come_first_the_largest_first_and_of_each_the_least_sure(seed):
    x, group = blobs([40, 5, 30, 20, 10], seed)
    labelled = np.flatnonzero(group == 0)[:1]
    candidates = np.setdiff1d(np.arange(len(x)), labelled)
    unsure = np.random.default_rng(seed).random(len(candidates))
    chosen = choose_next(x, labelled, candidates, unsure, 4, np.random.default_rng(seed))
    assert group[chosen.rows].tolist() == [2, 3, 4, 1]
    assert chosen.alike.tolist() == [30, 20, 10, 5]
    assert chosen.labelled.tolist() == [0] * 4
    for row in chosen.rows:
        assert unsure[candidates == row] == unsure[group[candidates] == group[row]].max()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert chosen.distance == pytest.approx(1 - unit[chosen.rows] @ unit[labelled[0]], abs=1e-5)


def test_where_all_are_alike_the_least_sure_comes_first():
    x = np.ones((6, 3))
    unsure = np.array([0.1, 0.9, 0.3, 0.5])
    chosen = choose_next(x, np.array([0, 1]), np.arange(2, 6), unsure, 9, np.random.default_rng(0))
    assert chosen.rows.tolist() == [3, 5, 4, 2]
    assert chosen.alike.tolist() == [4] * 4
    assert chosen.labelled.tolist() == [2] * 4


def test_of_equally_sure_ones_the_most_typical_comes_first():
    angle = np.deg2rad([-4.0, -2.0, 0.5, 2.0, 4.0])
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    chosen = choose_next(x, np.empty(0, np.int64), np.arange(5), np.zeros(5), 1, np.random.default_rng(0))
    assert chosen.rows.tolist() == [2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(1, 40), st.floats(0.01, 100))
def test_lengths_do_not_matter_and_nothing_is_chosen_twice(seed, n, count, factor):
    rng = np.random.default_rng(seed)
    x, unsure = rng.normal(size=(n + 3, 4)), rng.random(n)
    one = choose_next(x, np.arange(3), np.arange(3, n + 3), unsure, count, np.random.default_rng(seed))
    again = choose_next(x, np.arange(3), np.arange(3, n + 3), unsure**2, count, np.random.default_rng(seed))
    assert one.rows.tolist() == again.rows.tolist()
    scaled = choose_next(x * factor, np.arange(3), np.arange(3, n + 3), unsure, n + 1, np.random.default_rng(seed))
    assert sorted(scaled.rows) == list(range(3, n + 3))
    assert len(set(one.rows)) == len(one.rows) == min(n, count)
    assert (one.alike >= 1).all()


def test_unreadable_candidates_are_left_out_and_no_label_is_no_error():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 4))
    x[4] = np.nan
    chosen = choose_next(x, np.empty(0, np.int64), np.arange(10), np.linspace(0, 1, 10), 20, rng)
    assert sorted(chosen.rows) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert (chosen.distance == 2).all()
    assert len(choose_next(x, np.array([4]), np.array([4]), np.zeros(1), 3, rng).rows) == 0
    with pytest.raises(ValueError, match="count: 0 objects"):
        choose_next(x, np.arange(2), np.arange(2, 10), np.zeros(8), 0, rng)


def test_uncertainty_is_entropy_between_0_and_1():
    even, sure = np.full((1, 4), 0.25), np.array([[1.0, 0, 0, 0]])
    for kind in ("classes", "ordered", "votes"):
        assert uncertainty(kind, np.concatenate([even, sure])).tolist() == pytest.approx([1, 0])
    assert uncertainty("yes_no", np.array([[0.5, 0.5], [0.9, 0.1]])).tolist() == pytest.approx([1, 0.4689956])
    findings = np.array([[0.01, 0.5, 0.9], [0.0, 1.0, 0.1]])
    assert uncertainty("multilabel", findings).tolist() == pytest.approx([1, 0.4689956])
    assert uncertainty("multilabel", np.array([[0.5]])).tolist() == [1]
    assert uncertainty("real", np.array([[17.0], [3.0]])).tolist() == [0, 0]
    assert uncertainty("classes", np.full((1, 3), np.nan)).tolist() == [0]


def test_many_candidates_are_thinned_at_random_and_alike_for_a_seed():
    rows = np.arange(100, 10_100)
    one = preselected(rows, np.random.default_rng(3), most=500)
    assert len(set(one)) == 500
    assert (np.diff(one) > 0).all()
    assert 4000 < one.mean() - 100 < 6000
    np.testing.assert_array_equal(one, preselected(rows, np.random.default_rng(3), most=500))
    np.testing.assert_array_equal(preselected(rows[:20], np.random.default_rng(0)), rows[:20])
    with pytest.raises(ValueError, match="most: 0 candidates"):
        preselected(rows, np.random.default_rng(0), most=0)


def test_drawn_at_random_every_candidate_is_as_likely():
    x = np.random.default_rng(0).normal(size=(40, 5))
    x[39] = np.nan
    labelled, candidates = np.arange(4), np.arange(4, 40)
    counts = np.zeros(40)
    for seed in range(600):
        drawn = draw_next(x, labelled, candidates, 7, np.random.default_rng(seed))
        assert len(set(drawn.rows)) == 7
        counts[drawn.rows] += 1
    assert counts[:4].sum() == counts[39] == 0
    assert np.abs(counts[4:39] - 120).max() < 45  # 600 * 7 / 35, about four standard deviations
    every = draw_next(x, labelled, candidates, 99, np.random.default_rng(0))
    unit = x[:39] / np.linalg.norm(x[:39], axis=1, keepdims=True)
    assert every.distance == pytest.approx(1 - (unit[every.rows] @ unit[:4].T).max(axis=1), abs=1e-6)
    assert (every.alike == 1).all()
    with pytest.raises(ValueError, match="count: 0"):
        draw_next(x, labelled, candidates, 0, np.random.default_rng(0))
