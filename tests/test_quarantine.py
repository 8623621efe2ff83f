"""The quarantine file: complete, exact, and counted."""

from pathlib import Path

import pandas as pd
import pytest

from catalogs.quarantine import COLUMNS, read_quarantine, summary, write_quarantine


def left_out() -> pd.DataFrame:
    rows = [("007", "missing", "a, b"), ("NA", "bands", 'says "2"'), ("x\ny", "missing", "")]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.csv"
    write_quarantine(left_out().assign(extra=1), path)
    pd.testing.assert_frame_equal(read_quarantine(path), left_out(), check_dtype=False)
    assert [file.name for file in tmp_path.iterdir()] == ["quarantine.csv"]


def test_an_empty_one_has_its_header(tmp_path: Path) -> None:
    write_quarantine(left_out().iloc[:0], tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text() == "object_id,reason,detail\n"
    assert summary(read_quarantine(tmp_path / "q.csv")) == {}


def test_a_failure_keeps_the_earlier_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    write_quarantine(left_out(), path)

    class Unwritable:
        def __str__(self) -> str:
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk is full"):
        write_quarantine(pd.DataFrame({"object_id": ["a"], "reason": ["b"], "detail": [Unwritable()]}), path)
    assert [file.name for file in tmp_path.iterdir()] == ["q.csv"]
    assert len(read_quarantine(path)) == 3


def test_counts_are_sorted() -> None:
    assert list(summary(left_out()).items()) == [("missing", 2), ("bands", 1)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'reason' is missing"):
        write_quarantine(left_out().drop(columns="reason"), tmp_path / "q.csv")
