"""Reliability: calibrated scores are called so at the stated rate, miscalibrated ones are not, one row a group."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from domainssl.evaluation.reliability import MINIMUM, NOTICED, one_a_group, reliability


def test_calibrated_scores_are_found_off_as_often_as_stated() -> None:
    noticed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        said = rng.beta(2, 2, size=300)
        found = reliability(said, rng.random(300) < said, np.arange(300), rng)
        noticed += found.p < NOTICED
    assert 2 <= noticed <= 20  # 10 are expected


@pytest.mark.parametrize("rows", [300, 3000])
def test_planted_overconfidence_is_found(rows: int) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        right = rng.beta(2, 2, size=rows)
        said = right**3 / (right**3 + (1 - right) ** 3)
        found.append(reliability(said, rng.random(rows) < right, np.arange(rows), rng))
    assert all(one.p < NOTICED for one in found)
    assert all(one.called == "score" for one in found)
    assert np.mean([one.error - one.expected for one in found]) > 0.1


def test_a_small_error_that_many_rows_show_is_tolerated() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0.2, 0.8, size=50_000)
    found = reliability(said, rng.random(50_000) < said + 0.02, np.arange(50_000), rng)
    assert found.p < NOTICED
    assert found.called == "probability"
    assert found.error == pytest.approx(0.02, abs=0.01)


def test_repeated_images_of_a_patient_do_not_make_calibrated_scores_look_off() -> None:
    noticed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        said = rng.beta(2, 2, size=150)
        true = rng.random(150) < said
        groups = np.arange(150)
        repeated = np.repeat(groups, 20)
        found = reliability(said[repeated], true[repeated], groups[repeated], rng)
        assert found.groups == 150
        noticed += found.p < NOTICED
    assert noticed <= 9


def test_few_groups_are_never_called_calibrated() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(MINIMUM)
    true = rng.random(MINIMUM) < said
    assert reliability(said, true, np.arange(MINIMUM), rng).called == "probability"
    assert reliability(said[1:], true[1:], np.arange(MINIMUM - 1), rng).called == "score"


def test_the_error_is_that_of_torchmetrics_where_the_bins_are_the_same() -> None:
    """Scores in the middle of ten equal bins: equal numbers and equal widths then part them alike."""
    said = np.tile(np.arange(10) / 10 + 0.05, 50)
    true = np.random.default_rng(0).random(500) < 0.4
    found = reliability(said, true, np.arange(500), np.random.default_rng(0))
    oracle = binary_calibration_error(torch.from_numpy(said), torch.from_numpy(true.astype(int)), n_bins=10, norm="l1")
    assert found.error == pytest.approx(float(oracle), abs=1e-6)
    np.testing.assert_array_equal(found.counts, 50)


def test_one_row_a_group_at_random() -> None:
    groups = np.array(["b", "a", "b", "c", "b"])
    taken = {tuple(one_a_group(groups, np.random.default_rng(seed))) for seed in range(60)}
    assert taken == {(0, 1, 3), (1, 2, 3), (1, 3, 4)}
    with pytest.raises(ValueError, match="0 rows"):
        reliability(np.empty(0), np.empty(0, bool), np.empty(0, int), np.random.default_rng(0))
