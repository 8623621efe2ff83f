"""Intervals beyond what resamples reach: as a normal's where there is one, few false alarms, within bounds."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from domainssl.evaluation.far_interval import far_interval


def test_of_normal_logits_and_many_groups_it_is_the_normal_interval() -> None:
    spread = 0.3 * np.random.default_rng(0).normal(size=200_000)
    low, high = far_interval(float(expit(1.0)), expit(1.0 + spread), 0.998, 100_000)
    half = 0.3 * norm.ppf(0.999)
    assert low == pytest.approx(expit(1 - half), abs=2e-3)
    assert high == pytest.approx(expit(1 + half), abs=2e-3)
    few = far_interval(float(expit(1.0)), expit(1.0 + spread), 0.998, 12)
    assert few[0] < low < high < few[1]


def test_areas_of_one_have_an_interval_below_one_and_nothing_defined_has_none() -> None:
    low, high = far_interval(1.0, np.ones(50), 0.99, 12)
    assert 0.99 < low <= high < 1
    assert np.isnan(far_interval(0.7, np.full(9, np.nan), 0.99, 12)).all()
    with pytest.raises(ValueError, match="n_groups: 1 group has no interval"):
        far_interval(0.7, np.full(9, 0.7), 0.99, 1)


def test_what_tells_nothing_is_called_so() -> None:
    """At a level of 95 percent at most so many of 400 intervals of 15 and 45 groups miss .5."""
    rng, missed = np.random.default_rng(1), 0
    for _ in range(400):
        scores = rng.normal(size=60)
        above = (scores[:15, None] > scores[None, 15:]).astype(float)
        weights = rng.multinomial(60, [1 / 60] * 60, size=200).astype(float)
        first, second = weights[:, :15], weights[:, 15:]
        values = ((first @ above) * second).sum(1) / (first.sum(1) * second.sum(1))
        low, high = far_interval(float(above.mean()), values, 0.95, 15)
        missed += not low <= 0.5 <= high
    assert 4 <= missed <= 26
