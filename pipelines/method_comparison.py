"""Methods under one budget: a variant of the recipe for each, as a sweep has them, and one table of what came out."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domainssl.methods.registry import METHODS, not_applicable
from domainssl.options import HEADS
from pipelines.atomic import write_text
from pipelines.recipe import Recipe, RecipeError, load_recipe
from pipelines.recipe_messages import did_you_mean
from pipelines.run_folder import RunFolder
from pipelines.sweeps import Variant

# Encoders of methods that cannot train the recipe's; both start from random weights.
ENCODERS = {"tokens": "vit_tiny_patch16_224", "dense": "dense_32"}
LIMITS = ("pretrain.epochs", "pretrain.images", "pretrain.seconds")
COLUMNS = (
    *("method", "family", "start", "head", "labels", "metric", "value", "low", "high"),
    *("gain", "gain_low", "gain_high", "rankme", "images", "seconds"),
)


def method_variants(path: Path, overrides: Sequence[str], names: str, budget: str) -> tuple[Variant, ...]:
    """A variant of the recipe for each of `names` (parted by commas, or "all" that apply), all of one budget.

    `budget` is "pretrain.seconds=60" or "pretrain.images=100000". No guard chooses, since what is compared is the end
    of training; heads are the first of each kind of label and k nearest neighbours. `overrides` come after these, the
    method and, where it needs one, its encoder last. The recipe's own epochs or budget count for nothing.
    RecipeError for unknown names, and for methods that do not apply, or train nothing, where they are named.
    """
    base = load_recipe(path, overrides, without=LIMITS)
    if not base.labels:
        raise RecipeError("labels: there are none, so nothing could be measured; add a table [labels.NAME]")
    wanted = list(METHODS) if names == "all" else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS) or "; `domainssl methods` lists them"
            raise RecipeError(f"--methods: {name!r} is not known{hint}")
    heads = list(dict.fromkeys(head for entry in base.labels.values() for head in (HEADS[entry.kind][0], "knn")))
    common = ['pretrain.guard="off"', budget, f"classify.heads={json.dumps(heads)}", *overrides]
    found, refused = [], None
    for name in wanted:
        own = [*common, f'pretrain.method="{name}"', *_encoder(name, base)]
        try:
            recipe = load_recipe(path, own, without=LIMITS)
        except RecipeError as error:
            if names != "all":
                raise
            refused = refused or error
            continue
        if recipe.pretrains:
            found.append(Variant(name, {"pretrain.method": name}, recipe, "base"))
        elif names != "all":
            raise RecipeError(f"--methods: {name!r} trains nothing; name methods that do")
    if not found and refused is not None:
        raise refused
    return tuple(found)


def _encoder(name: str, base: Recipe) -> list[str]:
    """Settings of an encoder that this method can train, where it cannot train the recipe's."""
    for need, encoder in ENCODERS.items():
        if need in METHODS[name].needs and not_applicable(name, base.encoder.name, len(base.bands)):
            return [
                f'encoder.name="{encoder}"',
                'encoder.weights="none"',
                'classify.starts=["random","continued"]',
            ]
    starts = {"imagenet": "imagenet", "none": "random"}
    if base.encoder.weights not in starts:
        return []
    return [f'classify.starts=["{starts[base.encoder.weights]}","continued"]']


def write_comparison(variants: Sequence[Variant], out: Path) -> str:
    """Writes methods.csv and methods.md, the best by the first head first, and returns the latter."""
    rows = [row for variant in variants for row in _rows(variant, RunFolder(out / "variants" / variant.name))]
    leading = {row["method"]: row["worth"] for row in reversed(rows) if row["head"] != "knn"}
    rows.sort(key=lambda row: (-leading.get(row["method"], -math.inf), row["method"], row["head"] == "knn"))
    file = io.StringIO()
    table = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    write_text(out / "methods.csv", file.getvalue())
    lines = [
        "| method | start | head | labels | score | beside its start | RankMe | images | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['method']} | {row['start']} | {row['head']} | {row['labels']} | {_interval(row, '')} | "
        f"{_interval(row, 'gain')} | {row['rankme']:.0f} | {row['images']:,} | {row['seconds']:.0f} |"
        for row in rows
    ]
    text = "\n".join(lines) + "\n"
    write_text(out / "methods.md", text)
    return text


def _rows(variant: Variant, run: RunFolder) -> list[dict[str, Any]]:
    """A line for each label and head: the label's leading metric at the primary number of labels."""
    from pipelines.classify import primary_size  # here: errors in a recipe need not wait for torch

    metrics = json.loads(run.metrics.read_bytes())
    record = run.record("pretrain")
    training = [json.loads(line) for line in run.pretraining.read_text().splitlines()]
    start = {"imagenet": "imagenet", "none": "random"}.get(variant.recipe.encoder.weights, "file")
    continued = [row for row in metrics if row["start"] == "continued" and row.get("features", "last") == "last"]
    plain = [row for row in continued if not row.get("difference_to") and row.get("class") is None]
    plain = [row for row in plain if row["metric"] != "equal_labels"]
    leads = {label: next(row["metric"] for row in plain if row["label"] == label) for label in variant.recipe.labels}
    labels = primary_size(variant.recipe)
    found = []
    for row in plain:
        if (row["metric"], row["labels_per_class"]) != (leads[row["label"]], labels):
            continue
        if row.get("draw", "balanced") != "balanced":
            continue
        gain: dict[str, Any] = next(
            (
                other
                for other in continued
                if other.get("difference_to") == start
                and all(
                    other.get(key) == row.get(key) for key in ("label", "head", "labels_per_class", "metric", "draw")
                )
                and other.get("difference_to_head") == row["head"]
            ),
            {},
        )
        found.append(
            {
                "method": variant.name,
                "family": METHODS[variant.name].family,
                "start": start,
                "head": row["head"],
                "labels": labels,
                "metric": f"{row['label']}: {row['metric']}",
                "worth": _worth(row),
                "value": row["value"],
                "low": row["low"],
                "high": row["high"],
                "gain": gain.get("value"),
                "gain_low": gain.get("low"),
                "gain_high": gain.get("high"),
                "rankme": training[-1]["rankme_centred"] if training else float("nan"),
                "images": training[-1]["images"] if training else 0,
                "seconds": record.get("seconds", float("nan")),
            }
        )
    return found


def _worth(row: dict[str, Any]) -> float:
    """What the lines are ordered by: higher is better; what is not estimable comes last."""
    if row["value"] is None:
        return -math.inf
    return float(-row["value"] if row.get("better") == "lower" else row["value"])


def _interval(row: dict[str, Any], name: str) -> str:
    value = row[name or "value"]
    if value is None:
        return "not estimable"
    low, high = (row[f"{name}_{end}" if name else end] for end in ("low", "high"))
    sign = "+" if name else ""
    told = f"{value:{sign}.3f}"
    return told if low is None or high is None else f"{told} ({low:{sign}.3f} to {high:{sign}.3f})"
