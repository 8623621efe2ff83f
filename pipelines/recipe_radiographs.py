"""What a recipe may say of radiographs, and of nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.recipe_messages import did_you_mean


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
        problems += _views(f"{key}.views", views)
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


def _views(key: str, views: Sequence[str]) -> list[str]:
    if not views:
        return []
    from catalogs.reading import VIEWS  # here: few recipes need wait for pandas

    unknown = [view for view in views if view not in VIEWS]
    return [
        f"{key}: {view!r} is not known{did_you_mean(view.upper(), VIEWS) or '; there are ' + ', '.join(VIEWS)}"
        for view in unknown
    ]
