"""What the reading processes of a benchmark do; they import this, so no more than reading needs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalogs.galaxies.reader import read_galaxies
from catalogs.letterbox import letterbox
from catalogs.reading import Cutout, Refusal, Request


@dataclass(frozen=True)
class Files:
    """A job of `supervised`: what one reading process reads at a time."""

    paths: tuple[str, ...]
    bands: tuple[str, ...]
    size: int

    def without(self, row: int, refusal: Refusal) -> "Files":
        raise AssertionError(f"row {row}: {refusal}")


def read_and_resize(job: Files, started: Callable[[int | None], None]) -> list[np.ndarray]:
    rows = pd.DataFrame({"object_id": list(job.paths), "paths": [(path,) for path in job.paths]})
    answers = read_galaxies(rows, Request(job.bands, wcs=False))
    stamps = []
    for row in range(len(rows)):
        started(row)
        cutout = next(answers)
        assert isinstance(cutout, Cutout), cutout
        stamps.append(letterbox(cutout, job.size, None).pixels)
    started(None)
    return stamps
