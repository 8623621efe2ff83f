"""The list of objects that were left out, and why."""

import os
from pathlib import Path

import pandas as pd

COLUMNS = ("object_id", "reason", "detail")


def write_quarantine(frame: pd.DataFrame, path: Path) -> None:
    """Write object_id, reason and detail as CSV, complete or not at all: under another name first, then renamed.

    An empty frame gives a file with its header line. Raises ValueError where one of the three columns is missing.
    """
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise ValueError(f"quarantine: column {missing[0]!r} is missing; it needs {', '.join(COLUMNS)}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        frame.to_csv(partial, columns=list(COLUMNS), index=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_quarantine(path: Path) -> pd.DataFrame:
    """The three columns as text, exactly as they were written: ids keep leading zeros, "NA" stays a name."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def summary(frame: pd.DataFrame) -> dict[str, int]:
    """How many objects each reason holds back, the most frequent first, then by name; {} where the frame is empty."""
    counts = frame["reason"].value_counts()
    return {str(reason): int(n) for reason, n in sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))}
