"""Columns that a recipe asks scores to be split by, checked before any image is read; imports no torch."""

import pandas as pd

from pipelines.privacy import PublicError
from pipelines.recipe import Recipe
from pipelines.recipe_messages import did_you_mean


def check_columns(recipe: Recipe, frame: pd.DataFrame) -> None:
    """Raises PublicError for a column of `classify.subgroups` or `classify.transfer` that the catalog does not have."""
    for key, name in [*(("subgroups", name) for name in recipe.classify.subgroups), *_transfer_column(recipe)]:
        if name not in frame:
            hint = did_you_mean(name, map(str, frame.columns))
            raise PublicError(
                f"classify.{key}: no column {name!r} in the catalog{hint or '; name one that it has'} "
                "(private domains keep few columns)"
            )


def _transfer_column(recipe: Recipe) -> list[tuple[str, str]]:
    """The column of transfer where the recipe names another one than usual."""
    name = recipe.classify.transfer
    return [("transfer", name)] if name not in ("", type(recipe.classify)().transfer) else []
