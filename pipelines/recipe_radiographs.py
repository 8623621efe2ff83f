"""What a recipe may say of radiographs, and of nothing else."""

from collections.abc import Mapping
from typing import Any

from pipelines.recipe_messages import did_you_mean

VIEWS = ("PA", "AP", "LL", "RL", "LATERAL", "OTHER", "UNKNOWN")


def radiograph_problems(recipe: Mapping[str, Any]) -> list[str]:
    """What is wrong with the keys that are for radiographs, in a recipe of theirs or of another domain."""
    problems = []
    elsewhere = recipe["domain"] != "chest_xrays"
    for number, entry in enumerate(recipe["catalog"]):
        key, views = f"catalog.{number}", entry["views"] or []
        if elsewhere:
            problems += [
                f"{key}.{name}: is for chest_xrays; leave it out"
                for name in ("views", "layout")
                if entry[name] is not None
            ]
            continue
        for view in (view for view in views if view not in VIEWS):
            hint = did_you_mean(view.upper(), VIEWS) or f"; there are {', '.join(VIEWS)}"
            problems.append(f"{key}.views: {view!r} is not known{hint}")
        if entry["layout"] is not None and entry["table"] is not None:
            problems.append(f"{key}.layout: the collection's own tables are read; leave out table, or layout")
    for name, entry in recipe["labels"].items():
        findings = entry["kind"] == "yes_no" or (entry["kind"] == "multilabel" and entry["columns"])
        if not findings and (entry["uncertain"] is not None or entry["blank"] != "unknown"):
            key = "uncertain" if entry["uncertain"] is not None else "blank"
            problems.append(f"labels.{name}.{key}: is for yes_no, and multilabel with columns; leave it out")
    if elsewhere and recipe["store"]["window"] != "auto":
        problems.append("store.window: is for chest_xrays; leave it out")
    if elsewhere and recipe["store"]["marks"] != "hide":
        problems.append("store.marks: is for chest_xrays; leave it out")
    return problems
