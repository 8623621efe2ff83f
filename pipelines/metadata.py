"""A baseline without any image: columns of the catalog as features, to see what a score owes to them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

from pipelines.privacy import PublicError

MOST_WORDS = 50  # a column of more different words tells who somebody is, not what was done


def metadata_features(
    frame: pd.DataFrame, train: Bool[np.ndarray, " n"], columns: Sequence[str]
) -> Float32[np.ndarray, "n d"]:
    """One row an object: numbers as they are (the mean of the `train` rows where unknown, and a column that says so),
    each word of the `train` rows a column. Infinity is unknown.

    The columns must be there, see `pipelines.asked_columns`. Raises PublicError for one of too many words.
    """
    parts = []
    for name in columns:
        values = frame[name]
        numbers = pd.to_numeric(values, errors="coerce").replace([np.inf, -np.inf], np.nan)
        if pd.to_numeric(values, errors="coerce").notna().sum() == values.notna().sum():
            known = numbers.notna().to_numpy(bool)
            seen = numbers[train & known]
            filled = numbers.fillna(seen.mean() if len(seen) else 0.0).to_numpy(np.float32)
            parts += [filled, (~known).astype(np.float32)]
            continue
        words = sorted(values[train].dropna().astype(str).unique())
        if len(words) > MOST_WORDS:
            raise PublicError(f"classify.metadata: column {name!r} holds {len(words)} different words; leave it out")
        parts += [(values.astype(str) == word).to_numpy(np.float32) for word in words]
    return np.column_stack(parts).astype(np.float32)
