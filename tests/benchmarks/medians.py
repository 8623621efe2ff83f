"""How the benchmarks take time."""

import statistics
import time
from collections.abc import Callable


def medians(*candidates: Callable[[], object], runs: int = 5) -> list[float]:
    """Median seconds of each, taken in turns so that other load on the machine meets all alike."""
    seconds: list[list[float]] = [[] for _ in candidates]
    for run in range(runs + 1):
        for times, candidate in zip(seconds, candidates, strict=True):
            start = time.perf_counter()
            candidate()
            if run:  # the first is warm-up
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]
