"""Bootstrap over groups: whole patients, tiles or sky groups are drawn, since rows of one group are no fresh evidence.

Percentile intervals undercover where groups are few: in simulation the nominal 95 % interval of an AUROC held the truth
in 81, 92, 91, 94 and 95 % of the experiments with 10, 20, 30, 100 and 300 groups. Read intervals over fewer than about
100 groups as lower bounds of the uncertainty.
"""

import numpy as np
from jaxtyping import Float, Float32, Shaped


def group_weights(
    groups: Shaped[np.ndarray, " n"], resamples: int, rng: np.random.Generator
) -> Float32[np.ndarray, "r n"]:
    """How often each row occurs in each bootstrap resample, when as many groups as there are get drawn again.

    `groups` are group ids, integers or strings; all rows of a group share its multiplicity. The draw goes by sorted
    group id, so that reordering the rows reorders the columns and changes nothing else. No rows give an (r, 0) array
    (Efron 1979; Field and Welsh 2007 on the cluster bootstrap).
    """
    unique, member = np.unique(groups, return_inverse=True)
    n = len(unique)
    if n == 0:
        return np.zeros((resamples, 0), dtype=np.float32)
    drawn = rng.integers(n, size=(resamples, n))
    drawn += n * np.arange(resamples)[:, None]
    multiplicity = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n)
    return np.take(multiplicity.astype(np.float32), member, axis=1)


def percentile_interval(values: Float[np.ndarray, " r"], level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds the share `level` of bootstrap values.

    NaN values, resamples in which the metric is undefined, are left out; (NaN, NaN) where none remains. The interval
    undercovers with few groups (see the module's docstring). Raises ValueError where level is not within 0..1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: {level} is not between 0 and 1; give 0.95 for a 95 % interval")
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
