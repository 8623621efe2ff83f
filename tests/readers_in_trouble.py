"""Work for test_supervisor.py, in a file of its own since reading processes import it: no torch, no pytest."""

import ctypes
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from catalogs.reading import Refusal


@dataclass(frozen=True)
class Words:
    """Rows that say what happens to their reader."""

    rows: tuple[str, ...]
    answered: Mapping[int, Refusal] = field(default_factory=dict)

    def without(self, row: int, refusal: Refusal) -> Self:
        return replace(self, answered={**self.answered, row: refusal})


def read(job: Words, started: Callable[[int], None]) -> list[str]:
    """Each row in capitals, or the reason why it was not read."""
    return [
        job.answered[place].reason if place in job.answered else _read(word, place, started)
        for place, word in enumerate(job.rows)
    ]


def _read(word: str, place: int, started: Callable[[int], None]) -> str:
    started(place)
    if word == "exit":
        os._exit(3)
    if word == "segfault":
        ctypes.string_at(0)
    if word == "stall":
        time.sleep(1000)
    if word == "spin":
        sum(range(10**12))
    if word == "bloat":
        return str(np.ones(2**40, np.uint8).sum())
    if word.startswith("once:"):
        marker = Path(word.removeprefix("once:"))
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
    if word == "talk":
        sys.stdout.write("said aloud\n")
        sys.stdout.flush()
        os.write(2, b"and written\n")
    if word == "bug":
        raise KeyError("a secret")
    return word.upper()


def dies_before_reading(job: Words, started: Callable[[int], None]) -> None:
    os._exit(4)


def writes_slowly(job: Words, started: Callable[[int | None], None]) -> int:
    """Reads at once, then takes a second for what is no row's doing; dies in it where the last row says so."""
    for place in range(len(job.rows)):
        started(place)
    started(None)
    time.sleep(1.0)
    if job.rows[-1] == "exit":
        os._exit(5)
    return len(job.rows)
