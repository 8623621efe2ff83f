"""Entries of subgroups.json as a page may hold them that is handed out: no small level, no name of a site, no count."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.suppression import FEWEST, tells_age, top_coded

# Attributes whose levels are words that this program chose or that many tables share; all others are numbered.
PLAIN = ("sex", "age", "view")
WORDS = (
    *("F", "M", "female", "male", "PA", "AP", "LL", "RL", "LATERAL", "UNKNOWN", "OTHER", "other"),
    *("low", "middle", "high", "below 40", "40 to 59", "60 to 74", "75 and above"),
)


def shared_subgroups(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries without what tells of few people.

    Levels of fewer than FEWEST test groups are left out, with all that compares them; numbers of test groups are
    rounded down to tens and numbers of objects left out, since with these a small level could be had from a total.
    Levels are named only by WORDS, others by a number, and so are attributes that the user named. Ages above 89 become
    "90+".
    """
    found = []
    for entry in entries:
        names = _attribute_names(entry)
        levels = _level_names(entry)
        kept = [level for level in entry["levels"] if level["groups"] >= FEWEST]
        few = {(level["attribute"], level["level"]) for level in entry["levels"] if level not in kept}
        shared: dict[str, Any] = {"label": top_coded(str(entry["label"])), "kind": entry["kind"]}
        shared["levels"] = [
            {
                **level,
                "attribute": names[level["attribute"]],
                "level": levels[level["attribute"], level["level"]],
                "objects": None,
                "groups": _tens(level["groups"]),
            }
            for level in kept
        ]
        shared["gaps"] = [
            {
                **gap,
                "attribute": names[gap["attribute"]],
                "levels": [levels[gap["attribute"], level] for level in gap["levels"]],
                "objects": None,
                "groups": [_tens(groups) for groups in gap["groups"]],
            }
            for gap in entry["gaps"]
            if gap["levels"] is not None and not any((gap["attribute"], level) in few for level in gap["levels"])
        ]
        shared["transfer"] = _transfer(entry["transfer"], names)
        found.append(shared)
    return found


def _transfer(transfer: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Nothing where a level is of few groups: the others' figures go by the fewest labels."""
    if transfer is None or any(level["groups"] < FEWEST for level in transfer["levels"]):
        return None
    attribute = names.get(transfer["attribute"], "attribute")
    number = {level["level"]: f"{place}" for place, level in enumerate(transfer["levels"], start=1)}
    named = {level: level if level in WORDS else f"{attribute} {place}" for level, place in number.items()}
    return {
        **transfer,
        "attribute": attribute,
        "labels": _tens(transfer["labels"]),
        "levels": [
            {"level": named[level["level"]], "objects": None, "groups": _tens(level["groups"])}
            for level in transfer["levels"]
        ],
        "cells": [
            {**cell, "trained": named[cell["trained"]], "tested": named[cell["tested"]]} for cell in transfer["cells"]
        ],
    }


def _attribute_names(entry: Mapping[str, Any]) -> dict[str, str]:
    """What each attribute is called: usual ones by their names, others by a number."""
    asked = [*(level["attribute"] for level in entry["levels"]), *(gap["attribute"] for gap in entry["gaps"])]
    asked += [entry["transfer"]["attribute"]] if entry["transfer"] else []
    usual = (*PLAIN, "site", "scanner")
    others = sorted({str(name) for name in asked if name not in usual})
    return {**{name: name for name in usual}, **{name: f"attribute {k}" for k, name in enumerate(others, start=1)}}


def _level_names(entry: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for level in entry["levels"]:
        attribute, name = str(level["attribute"]), str(level["level"])
        place = sum(key[0] == attribute for key in found) + 1
        word = top_coded(name, is_age=tells_age(attribute))
        found[attribute, name] = word if name in WORDS else f"level {place}"
    return found


def _tens(number: int) -> int:
    return int(number) // FEWEST * FEWEST
