"""The lists of labels on the page: their findings in words, and the first rows of their files with pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

from domainssl.evaluation.label_errors import ENOUGH
from domainssl.evaluation.next_labels import FEWEST
from pipelines.run_folder import RunFolder
from reports.label_lists import MOST, LabelList
from reports.number_words import percent

Pictures = Callable[[Int64[np.ndarray, " n"]], UInt8[np.ndarray, "n s s 3"]]
NAMED = 6  # labels named in a sentence
_CHECK = (
    "A suspect is a reason to look, not a verdict: objects between two classes stand here too. Labels of the test half "
    "that are corrected only where the head disagrees flatter its score; look at some others of it as well."
)
_DRAWN = f"; drawn at random, since choosing was not seen to help with fewer than {FEWEST} a class on average"
_NEXT = (
    "Those not drawn at random were chosen one by one: of the group of like objects with the fewest labels and "
    "choices, of equal ones the largest, the object that the head is least sure of. Skip those that have no answer."
)


def suspect_sentences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was found of wrong labels: where there are signs of them and how good such a list is, and where there are
    none. `records` are those of `write_suspects`; nothing for none."""
    said = []
    signs = [record for record in records if record["sign"]]
    if signs:
        named = [
            f"{record['suspects']:,} of {record['label']} (at most {percent(record['wrong'])} of its labels, overlap "
            "included)"
            for record in signs
        ]
        said.append(
            "There are more firm contradictions of a head that has not seen the labels than classes that overlap "
            "explain: some labels are wrong, or the embedding misleads the head. Listed, with many that may be overlap "
            f"alone: {_listed(named)}."
        )
        said += [_weak_sentence(record) for record in signs[:NAMED] if record["right"] < ENOUGH]
        said += [_planted_sentence(record) for record in signs[:NAMED] if record["precision"] is not None]
    calm = [record for record in records if not record["sign"] and record["p_holm"] is not None]
    if calm:
        named = [f"{record['label']} (p = {record['p_holm']:.2f})" for record in calm]
        said.append(f"No sign of wrong labels beyond what classes that overlap explain: {_listed(named)}.")
    return said


def next_labels_sentence(records: Sequence[Mapping[str, Any]]) -> str | None:
    """How many objects are proposed, from how many; None where none is. `records` are those of `write_next_labels`."""
    named = [
        f"{record['chosen']:,} of {record['candidates']:,} without a label of {record['label']} "
        f"({record['labelled']:,} have one{_DRAWN if record['drawn'] else ''})"
        for record in records
        if record["chosen"]
    ]
    if not named:
        return None
    troubled = max(record["troubled"] for record in records)
    left_out = f" Left out: {_count(troubled, 'image', 'images')} in input trouble." if troubled else ""
    return f"To label next in the training half: {_listed(named)}.{left_out}"


def label_lists(folder: RunFolder, object_ids: Sequence[str], pictures: Pictures) -> list[LabelList]:
    """The lists for the page, without rows where there are none, and none of runs without such files.

    `object_ids` are those of the store's rows, `pictures` gives pictures of rows.
    """
    record = folder.record("classify")
    place = {name: row for row, name in enumerate(object_ids)}
    checked = (suspect_sentences(record.get("label_errors", [])) or [""])[0]
    wanted = (
        ("suspects", "Labels to check", checked, _CHECK, folder.suspects, _suspect_notes),
        ("next-labels", "What to label next", next_labels_sentence(record.get("to_label", [])), _NEXT,
         folder.next_labels, _next_notes),
    )  # fmt: skip
    found = []
    for anchor, heading, finding, advice, path, notes in wanted:
        first = _first(path)
        rows = np.array([place[name] for name in first["object_id"]], np.int64)
        items = [
            {"rank": row["rank"], "object_id": row["object_id"], "score": row.get("score"), "notes": notes(row)}
            for row in first.to_dict("records")
        ]
        found.append(LabelList(anchor, heading, finding or "", advice, path.name, items, pictures(rows)))
    return found


def _first(path: Path) -> pd.DataFrame:
    """The first rows of a list, the labels by turns; no rows where there is no file."""
    if not path.is_file():
        return pd.DataFrame({"object_id": []})
    texts = ("object_id", "label", "given", "suggested", "why")
    rows = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
    return rows.sort_values("rank", kind="stable").head(MOST)


def _suspect_notes(row: Mapping[Any, Any]) -> list[str]:
    half = "training half" if row["half"] == "train" else "test half"
    return [str(row["label"]), f"given {row['given']}", f"suggested {row['suggested']}", half]


def _next_notes(row: Mapping[Any, Any]) -> list[str]:
    return [str(row["label"]), *str(row["why"]).split("; ")]


def _weak_sentence(record: Mapping[str, Any]) -> str:
    return (
        f"{record['label']}: the head predicts {percent(record['right'])} of the labels that it has not seen; with "
        f"less than {percent(ENOUGH)}, more than half of such a list was overlap in simulations."
    )


def _planted_sentence(record: Mapping[str, Any]) -> str:
    return (
        f"{record['label']}: with {_count(record['planted'], 'label', 'labels')} made wrong on purpose, "
        f"{percent(record['precision'])} of the first places of such a list were those and "
        f"{percent(record['before'])} had been suspects before."
    )


def _listed(named: Sequence[str]) -> str:
    some = ", ".join(named[:NAMED])
    return f"{some} and {len(named) - NAMED} more" if len(named) > NAMED else some


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
