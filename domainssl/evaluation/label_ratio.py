"""How many labels one start needs to do as well as another does with m: read off two curves of a metric over labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Float64

from domainssl.evaluation.intervals import percentile_levels

_EQUAL = 1e-12  # relative; averages of equal values differ by their rounding


@final
@dataclass(frozen=True)
class EqualLabels:
    """The number of labels at which the reference does as well as the other curve does with `labels`.

    `low` and `high` bound its 95 % interval. +inf: not with the largest number that was tried; -inf: with fewer than
    the smallest; NaN: not estimable.
    """

    labels: int
    value: float
    low: float
    high: float


def increasing(values: Float[np.ndarray, "*r s"]) -> Float64[np.ndarray, "*r s"]:
    """The non-decreasing curve nearest to `values` in least squares, along the last axis: isotonic regression.

    At i, the greatest over a <= i of the least over b >= i of the mean of values[a..b] (Barlow et al. 1972), which
    pool-adjacent-violators computes one by one and this computes for all resamples at once; meant for tens of points.
    A curve with NaN gives NaN throughout.
    """
    s = values.shape[-1]
    values = values.astype(np.float64)  # float32 would round by more than `_EQUAL`
    means = np.full((s, s, *values.shape[:-1]), np.inf)  # a b r
    for a in range(s):
        for b in range(a, s):
            means[a, b] = values[..., a : b + 1].mean(axis=-1)
    means[:, :, np.isnan(values).any(axis=-1)] = np.nan
    return np.stack([means[: i + 1, i:].min(axis=1).max(axis=0) for i in range(s)], axis=-1)


def equal_labels(
    reference: Float[np.ndarray, "*r s"],
    other: Float[np.ndarray, "*r s"],
    sizes: Sequence[int],
    better: Literal["higher", "lower"],
) -> Float64[np.ndarray, "*r s"]:
    """For each number of labels m in `sizes`: with how many the reference does as well as the other curve with m.

    `reference` and `other` hold a metric at each of `sizes`, any number of resamples on leading axes. Both are made
    monotone by isotonic regression, and the reference is interpolated linearly in log(labels). Where it is flat the
    smallest number counts. +inf where it never does as well within `sizes`, -inf where it already does better with the
    smallest; NaN where either curve holds NaN. Raises ValueError where `sizes` do not rise from 1 or more, or are not
    as many as the values.
    """
    log_sizes = _log(sizes, reference.shape[-1])
    sign = 1.0 if better == "higher" else -1.0
    known, wanted = increasing(sign * reference), increasing(sign * other)
    size = np.fmax(np.abs(known).max(axis=-1, initial=0), np.abs(wanted).max(axis=-1, initial=0))
    rounding = _EQUAL * size[..., None]

    short = known[..., None, :] < (wanted - rounding)[..., None]  # r, m of the other, size of the reference
    reached = short.sum(axis=-1)  # index of the first size that does as well; s where none does
    right = np.minimum(reached, len(log_sizes) - 1)
    left = np.maximum(right - 1, 0)
    from_value, to_value = np.take_along_axis(known, left, axis=-1), np.take_along_axis(known, right, axis=-1)
    rise = to_value - from_value
    share = np.ones_like(rise)
    np.divide(wanted - from_value, rise, out=share, where=rise > 0)
    interpolated = log_sizes[left] + np.clip(share, 0, 1) * (log_sizes[right] - log_sizes[left])

    # Exact at the sizes themselves: exp(log(m)) is m but for its rounding.
    exact = np.asarray(sizes, dtype=np.float64)[right]
    labels: Float64[np.ndarray, "*r s"] = np.where(share >= 1, exact, np.exp(interpolated))
    labels[reached == len(log_sizes)] = np.inf
    labels[known[..., :1] > wanted + rounding] = -np.inf
    labels[np.isnan(known[..., :1] + wanted)] = np.nan
    return labels


def equal_labels_with_intervals(
    reference: Float[np.ndarray, " s"],
    other: Float[np.ndarray, " s"],
    reference_resampled: Float[np.ndarray, "r s"],
    other_resampled: Float[np.ndarray, "r s"],
    sizes: Sequence[int],
    better: Literal["higher", "lower"],
    *,
    level: float = 0.95,
    n_groups: int | None = None,
) -> tuple[EqualLabels, ...]:
    """`equal_labels` of two curves with percentile intervals over their joint resamples, one for each of `sizes`.

    +inf and -inf take their places among the ordered values, so that an interval may end beyond what was tried. Its
    ends are values that occurred, the next outward. Resamples with NaN are left out; NaN where none remains.
    `level` and `n_groups` are those of `percentile_interval`.
    """
    values = equal_labels(reference, other, sizes, better)
    resampled = equal_labels(reference_resampled, other_resampled, sizes, better)
    levels = percentile_levels(level, n_groups)
    return tuple(
        EqualLabels(int(m), float(value), *_ordered_interval(around, levels))
        for m, value, around in zip(sizes, values, resampled.T, strict=True)
    )


def as_text(equal: EqualLabels, largest: int, smallest: int) -> str:
    """ "71 (52 to 104)", "> 100 (61 to > 100)", "< 5 (< 5 to 7)", "not estimable"; the extremes of the sizes tried."""
    if np.isnan(equal.value):
        return "not estimable"
    value, low, high = (_number(n, largest, smallest) for n in (equal.value, equal.low, equal.high))
    if np.isnan(equal.low):
        return f"{value} (no interval)"
    return f"{value} ({low} to {high})"


def _number(labels: float, largest: int, smallest: int) -> str:
    if np.isinf(labels):
        return f"> {largest}" if labels > 0 else f"< {smallest}"
    return "" if np.isnan(labels) else f"{labels:.0f}"


def _ordered_interval(values: Float64[np.ndarray, " r"], levels: tuple[float, float]) -> tuple[float, float]:
    ordered = np.sort(values[~np.isnan(values)])
    if ordered.size == 0:
        return float("nan"), float("nan")
    last = ordered.size - 1
    return float(ordered[int(np.floor(levels[0] * last))]), float(ordered[int(np.ceil(levels[1] * last))])


def _log(sizes: Sequence[int], points: int) -> Float64[np.ndarray, " s"]:
    if len(sizes) != points or points == 0:
        raise ValueError(f"sizes: {len(sizes)} numbers of labels for curves of {points} points; give one a point")
    given = np.asarray(sizes, dtype=np.float64)
    if given[0] < 1 or (np.diff(given) <= 0).any():
        raise ValueError(f"sizes: {list(sizes)} do not rise from 1 or more; sort them and leave out what is twice")
    return np.log(given)
