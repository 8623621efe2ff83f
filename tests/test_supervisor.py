"""The supervisor: whatever a file does to its reader, the others are read."""

import multiprocessing
from pathlib import Path

import pytest
from readers_in_trouble import Words, dies_before_reading, read, writes_slowly

from catalogs.supervisor import Limits, WorkerError, supervised

LIMITS = Limits(seconds=2.0, memory=2 * 2**30)


def test_every_kind_of_trouble_costs_one_row() -> None:
    jobs = [
        Words(("a", "exit", "b", "stall", "c")),
        Words(("segfault", "d", "bloat", "spin")),
        Words(("e",)),
        Words(()),
    ]
    results = {job.rows: result for job, result in supervised(jobs, read, 2, LIMITS)}
    assert results[jobs[0].rows] == ["A", "crashed", "B", "timeout", "C"]
    assert results[jobs[1].rows] == ["crashed", "D", "too_large", "timeout"]
    assert results[("e",)] == ["E"]
    assert results[()] == []
    assert not multiprocessing.active_children()


def test_a_process_killed_from_outside_is_tried_again(tmp_path: Path) -> None:
    ((_, result),) = supervised([Words(("a", f"once:{tmp_path / 'marker'}", "b"))], read, 1, LIMITS)
    assert result == ["A", f"ONCE:{tmp_path / 'marker'}".upper(), "B"]


def test_reading_processes_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ((_, result),) = supervised([Words(("talk", "segfault"))], read, 1, LIMITS)
    assert result == ["TALK", "crashed"]
    assert capfd.readouterr() == ("", "")


def test_a_fault_of_our_own_is_told_with_its_place() -> None:
    with pytest.raises(WorkerError, match=r"KeyError in readers_in_trouble.py:\d+: 'a secret'"):
        list(supervised([Words(("a", "bug"))], read, 1, LIMITS))
    assert not multiprocessing.active_children()


def test_what_is_not_reading_may_take_its_time_and_is_no_row_s_fault() -> None:
    ((_, result),) = supervised([Words(("a", "b"))], writes_slowly, 1, Limits(seconds=0.5))
    assert result == 2
    with pytest.raises(WorkerError, match="code 5 while they read no file"):
        list(supervised([Words(("a", "exit"))], writes_slowly, 1, LIMITS))


def test_processes_that_never_read_end_the_run() -> None:
    with pytest.raises(WorkerError, match="code 4 while they read no file"):
        list(supervised([Words(("a",))], dies_before_reading, 1, LIMITS))


def test_leaving_early_ends_the_processes() -> None:
    jobs = [Words(("a",)), Words(("stall",))]
    for _, result in supervised(jobs, read, 2, Limits(seconds=60.0)):
        assert result == ["A"]
        break
    assert not multiprocessing.active_children()


def test_no_jobs_no_processes() -> None:
    assert list(supervised([], read, 4)) == []
