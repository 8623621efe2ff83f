"""Rows of metrics.json as a page may hold them that is handed out: nothing counts, names or dates few people."""

from collections.abc import Sequence
from typing import Any

from reports.metric_rows import START_NAMES, Row, is_number
from reports.suppression import FEWEST, tells_age, top_coded

NOT_ESTIMABLE = f"not estimable: fewer than {FEWEST} test groups with, or without, the answer"


def shared_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows without what tells of few people.

    No value where fewer than 10 test groups bear it, and then no class by name; numbers of test groups rounded down to
    tens; no numbers of labels in all, from which a rare class's could be had; of notes only that a value is not
    estimable. Ages above 89 become "90+", and classes that become one another are left out. Starts that the user named
    are numbered.
    """
    starts = shared_starts([str(row["start"]) for row in rows])
    kept = []
    for row in rows:
        known = is_number(row["value"]) and int(row["n_groups"]) >= FEWEST
        if row.get("class") is not None and not known:
            continue
        shared = {name: value for name, value in row.items() if name not in ("note", "n_labels")}
        label = str(row["label"])
        shared |= {"label": top_coded(label), "start": starts[str(row["start"])]}
        if row.get("difference_to"):
            shared["difference_to"] = starts.get(str(row["difference_to"]), str(row["difference_to"]))
        if row.get("class") is not None:
            shared["class"] = top_coded(str(row["class"]), is_age=tells_age(label))
        if row.get("n_labels") == row["labels_per_class"]:  # a setting, which counts nobody
            shared["n_labels"] = row["n_labels"]
        shared["n_groups"] = int(row["n_groups"]) // FEWEST * FEWEST or None
        if not known:
            shared |= {"value": None, "low": None, "high": None, "note": NOT_ESTIMABLE}
        kept.append(shared)
    merged = _merged(rows)
    return [row for row in kept if (row["label"], row.get("class")) not in merged]


def shared_starts(starts: Sequence[str]) -> dict[str, str]:
    """What each start is called: by its own name, or "other encoder 1" where the user named it."""
    others = sorted({start for start in starts if start not in START_NAMES})
    return {
        **dict(zip(START_NAMES, START_NAMES, strict=True)),
        **{start: f"other encoder {number}" for number, start in enumerate(others, start=1)},
    }


def _merged(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Classes that several classes of a label have become: their values cannot be joined to one."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row.get("class") is not None:
            label, name = str(row["label"]), str(row["class"])
            found.setdefault((top_coded(label), top_coded(name, is_age=tells_age(label))), set()).add(name)
    return {key for key, names in found.items() if len(names) > 1}
