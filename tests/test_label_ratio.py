"""Equal numbers of labels read off two curves: golden values, properties, scikit-learn as oracle, text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression

from domainssl.evaluation.label_ratio import (
    EqualLabels,
    as_text,
    equal_labels,
    equal_labels_with_intervals,
    increasing,
)

SIZES = (5, 10, 20, 25, 50, 100)
CURVES = arrays(np.float64, (2, 6), elements=st.floats(0, 1, width=32))
INF = float("inf")


@settings(deadline=None, max_examples=50)
@given(CURVES)
def test_isotonic_regression_equals_scikit_learn(curves):
    fit = IsotonicRegression().fit_transform
    for got, curve in zip(increasing(curves), curves, strict=True):
        np.testing.assert_allclose(got, fit(np.log(SIZES), curve), atol=1e-12)
        assert (np.diff(got) >= 0).all()


def oracle(reference, other, m, sign):
    """The same number by bisection on scikit-learn's fit, one m at a time."""
    x = np.log(SIZES)
    curve = IsotonicRegression(out_of_bounds="clip").fit(x, sign * reference)
    wanted = IsotonicRegression().fit(x, sign * other).predict([np.log(m)])[0]
    if curve.predict([x[-1]])[0] < wanted - 1e-9:
        return INF
    if curve.predict([x[0]])[0] > wanted + 1e-9:
        return -INF
    low, high = x[0], x[-1]
    if curve.predict([low])[0] >= wanted - 1e-9:
        return float(SIZES[0])
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if curve.predict([middle])[0] >= wanted - 1e-9 else (middle, high)
    return np.exp(high)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_equals_bisection_on_scikit_learns_fit(better):
    rng = np.random.default_rng(4)
    sign = 1 if better == "higher" else -1
    for _ in range(12):
        # Steps of 0.01 make ties and flat stretches; between them curves are too steep for the oracle's 1e-9 to matter.
        reference, other = sign * (np.linspace(0.6, 0.8, 6) + rng.integers(-10, 11, (2, 6)) / 100)
        got = equal_labels(reference, other, SIZES, better)
        np.testing.assert_allclose(got, [oracle(reference, other, m, sign) for m in SIZES], rtol=1e-5)


def test_golden_values():
    reference = np.array([0.60, 0.65, 0.70, 0.72, 0.75, 0.80])
    other = np.array([0.55, 0.60, 0.70, 0.735, 0.79, 0.85])
    got = equal_labels(reference, other, SIZES, "higher")
    # 0.735 lies halfway in log(labels) from 25 to 50; 0.79 four fifths of the way from 50 to 100.
    np.testing.assert_allclose(got, [-INF, 5, 20, np.sqrt(25 * 50), 50 * 2**0.8, INF], rtol=1e-9)
    np.testing.assert_array_equal(equal_labels(1 - reference, 1 - other, SIZES, "lower")[[0, 5]], [-INF, INF])
    np.testing.assert_allclose(equal_labels(-reference, -other, SIZES, "lower"), got)


def test_a_dip_is_averaged_away():
    reference = np.array([0.5, 0.7, 0.6, 0.8, 0.9, 1.0])  # isotonic: 0.5 0.65 0.65 0.8 0.9 1
    other = np.array([0.5, 0.65, 0.65, 0.65, 0.8, 1.0])
    np.testing.assert_allclose(equal_labels(reference, other, SIZES, "higher"), [5, 10, 10, 10, 25, 100])


def test_where_the_reference_is_flat_the_smallest_number_counts():
    flat = np.full(6, 0.1)  # the mean of three times 0.1 is not 0.1 in floating point
    np.testing.assert_array_equal(equal_labels(flat, flat, SIZES, "higher"), np.full(6, 5.0))
    plateau = np.array([0.5, 0.6, 0.7, 0.7, 0.7, 0.8])
    np.testing.assert_allclose(equal_labels(plateau, plateau, SIZES, "higher"), [5, 10, 20, 20, 20, 100])


STEEP = arrays(np.float64, 6, elements=st.floats(0.01, 1)).map(np.cumsum)


@settings(deadline=None, max_examples=50)
@given(STEEP)
def test_equal_rising_curves_need_equal_labels(curve):
    np.testing.assert_allclose(equal_labels(curve, curve, SIZES, "higher"), SIZES, rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(STEEP, arrays(np.float64, 6, elements=st.floats(0, 1)))
def test_the_reference_needs_more_labels_to_equal_a_better_curve_and_fewer_to_equal_a_worse(curve, by):
    sizes = np.array(SIZES)
    assert (equal_labels(curve, curve + by, SIZES, "higher") >= sizes * (1 - 1e-9)).all()
    assert (equal_labels(curve, curve - by, SIZES, "higher") <= sizes * (1 + 1e-9)).all()
    assert (equal_labels(curve, curve - by, SIZES, "lower") == -INF).sum() >= (by > 1).sum()


@settings(deadline=None, max_examples=50)
@given(CURVES, st.sampled_from(["higher", "lower"]))
def test_answers_lie_within_the_sizes_and_never_fall(curves, better):
    got = equal_labels(curves[0], curves[1], SIZES, better)
    finite = got[np.isfinite(got)]
    assert ((finite >= 5) & (finite <= 100)).all()
    assert (np.diff(np.clip(got, 1, 1000)) >= -1e-6).all()
    # Powers of two scale without rounding, which could turn a tie.
    np.testing.assert_array_equal(equal_labels(4 * curves[0], 4 * curves[1], SIZES, better), got)


@settings(deadline=None, max_examples=50)
@given(arrays(np.float64, (2, 4, 6), elements=st.floats(0, 1, width=32)))
def test_many_resamples_at_once_are_one_after_another(curves):
    together = equal_labels(curves[0], curves[1], SIZES, "higher")
    for r in range(4):
        np.testing.assert_array_equal(together[r], equal_labels(curves[0, r], curves[1, r], SIZES, "higher"))


def test_nan_in_either_curve_gives_nan_in_its_resample_alone():
    curve = np.linspace(0.5, 0.9, 6)
    reference, other = np.stack([curve] * 3), np.stack([curve] * 3)
    reference[0, 0] = other[1, 5] = np.nan
    got = equal_labels(reference, other, SIZES, "higher")
    assert np.isnan(got[:2]).all()
    np.testing.assert_allclose(got[2], SIZES)


def test_one_size_can_only_say_equal_more_or_fewer():
    assert equal_labels(np.array([0.5]), np.array([0.5]), [10], "higher") == [10]
    assert equal_labels(np.array([0.5]), np.array([0.6]), [10], "higher") == [INF]
    assert equal_labels(np.array([0.5]), np.array([0.4]), [10], "higher") == [-INF]


@pytest.mark.parametrize("sizes", [(5, 10), (5, 10, 10, 25, 50, 100), (0, 10, 20, 25, 50, 100), ()])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes: "):
        equal_labels(np.zeros(6), np.zeros(6), sizes, "higher")


def test_intervals_rank_infinities_among_the_values():
    curve = np.log(np.array(SIZES)) / 10  # k times better at m: worth exp(10 k) times m labels
    gain = np.linspace(-0.02, 0.10, 1001)
    intervals = equal_labels_with_intervals(
        curve, curve + 0.04, np.stack([curve] * 1001), curve + gain[:, None], SIZES, "higher"
    )
    assert [e.labels for e in intervals] == list(SIZES)
    np.testing.assert_allclose([e.value for e in intervals], [*np.array(SIZES[:5]) * np.exp(0.4), INF])
    assert intervals[0].low == -INF
    assert intervals[0].high == pytest.approx(5 * np.exp(0.97), rel=1e-3)
    assert intervals[3].low == pytest.approx(25 * np.exp(-0.17), rel=1e-3)
    assert intervals[4].high == INF
    wider = equal_labels_with_intervals(
        curve, curve + 0.04, np.stack([curve] * 1001), curve + gain[:, None], SIZES, "higher", n_groups=10
    )
    assert wider[3].low < intervals[3].low
    assert wider[3].high > intervals[3].high


def test_intervals_leave_undefined_resamples_out():
    curve = np.linspace(0.5, 0.9, 6)
    undefined = np.full((3, 6), np.nan)
    both = np.vstack([undefined, np.stack([curve] * 5)])
    for e, m in zip(equal_labels_with_intervals(curve, curve, both, both, SIZES, "higher"), SIZES, strict=True):
        assert (e.value, e.low, e.high) == pytest.approx((m, m, m))
    nothing = equal_labels_with_intervals(curve, curve, undefined, undefined, SIZES, "higher")[0]
    assert as_text(nothing, 100, 5) == "5 (no interval)"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (71.2, 52.4, 104.0, "71 (52 to 104)"),
        (INF, 61.0, INF, "> 100 (61 to > 100)"),
        (-INF, -INF, 7.3, "< 5 (< 5 to 7)"),
        (71.0, 52.0, INF, "71 (52 to > 100)"),
        (float("nan"), 1.0, 2.0, "not estimable"),
    ],
)
def test_text(value, low, high, text):
    assert as_text(EqualLabels(50, value, low, high), largest=100, smallest=5) == text
