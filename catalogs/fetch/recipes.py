"""The recipe that `domainssl run` takes for a fetched collection."""

import json
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from catalogs.fetch.collections import Label

# Keys of a recipe's columns, and the names under which our tables have them.
_COLUMNS = {"id": "object_id", **{name: name for name in ("file", "item", "ra", "dec", "redshift", "split")}}


def recipe_text(
    title: str,
    name: str,
    table: pd.DataFrame,
    images: str,
    bands: Sequence[str],
    labels: Mapping[str, Label],
    store: int,
    encoder: int,
) -> str:
    """TOML for labels.csv in the recipe's folder; labels of which `table` knows no value are left out."""
    columns = ", ".join(f"{key} = {_toml(column)}" for key, column in _COLUMNS.items() if column in table)
    lines = [
        f"# {title}, as fetched; SOURCE.md says from where and whom to cite.",
        "#",
        f"#   domainssl run recipe.toml --out runs/{name}       # --dry-run first: rows, disk, what would be done",
        "#",
        "# `domainssl recipe galaxies` shows all keys and their defaults.",
        "",
        'domain = "galaxies"',
        "",
        "[[catalog]]",
        f"name = {_toml(name)}",
        'table = "labels.csv"',
        f"images = {_toml(images)}",
        f"columns = {{ {columns} }}",
        f"bands = {_toml(list(bands))}",
    ]
    if "red" not in bands and len(bands) > 1:
        lines.append('# missing_band = "mask"          # keep objects that a band does not cover')
    for label, entry in labels.items():
        needed = list(entry.columns or (label,))
        if table[needed].notna().any(axis=None):
            lines += ["", f"[labels.{_key(label)}]", f"kind = {_toml(entry.kind)}"]
            lines += [f"columns = {_toml(needed)}"] if entry.columns else []
    lines += ["", "[store]", f"size = {store}", "", "[encoder]", f"size = {encoder}"]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings and lists of strings are written alike in JSON and TOML
