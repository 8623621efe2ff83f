"""Classes for pretraining on labels: the values of a column of the catalog that is not evaluated."""

import numpy as np
import pandas as pd
from jaxtyping import Int64

from domainssl.methods.registry import METHODS
from pipelines.objects import Objects
from pipelines.recipe import Recipe

MOST_CLASSES, BINS = 50, 10


def supervised_classes(
    recipe: Recipe, objects: Objects, rows: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"] | None:
    """The class of each row, -1 where its cell is empty; None where the method learns no labels.

    Numbers of more than 50 values, or with decimals, are cut into 10 bins of as many objects each. Raises ValueError
    where the column is not there, holds votes of a question that is evaluated, or has fewer than two values or more
    than 50 words.
    """
    if "labels" not in METHODS[recipe.pretrain.method].needs:
        return None
    key, column = f"pretrain.{recipe.pretrain.method}.column", recipe.pretrain.supervised.column
    plain = column.replace("-", "_")
    if asked := [label for label, entry in recipe.labels.items() if entry.tree and label.replace("-", "_") in plain]:
        raise ValueError(f"{key}: {column!r} holds answers to {asked[0]!r}, which is evaluated; name another column")
    if column not in objects.frame:
        there = ", ".join(map(str, objects.frame.columns))
        raise ValueError(f"{key}: the catalog has no column {column!r}; there are {there}")
    values = objects.frame[column].iloc[rows].reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(values) and (values.nunique() > MOST_CLASSES or (values.dropna() % 1 != 0).any()):
        values = pd.qcut(values, BINS, duplicates="drop")
    codes, distinct = pd.factorize(values, sort=True)
    if not 2 <= len(distinct) <= MOST_CLASSES:
        raise ValueError(f"{key}: {column!r} has {len(distinct)} values; give a column of 2 to {MOST_CLASSES} classes")
    return np.asarray(codes, np.int64)
