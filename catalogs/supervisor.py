"""Reading processes under supervision: a file that kills, stalls or bloats its reader costs one row, never the run.

The standard pool breaks as a whole when one process dies. Here each process is watched by itself, tells which row it
reads, kills itself where a row takes too long, and is replaced; the job goes on without the row.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar, final, runtime_checkable

from threadpoolctl import threadpool_limits

from catalogs.reading import Refusal

_ROW, _DONE, _FAILED = "row", "done", "failed"
_STRIKES = 2  # an out-of-memory killer may have hit a bystander: such a row is tried once more


@dataclass(frozen=True)
class Limits:
    """What reading one row may take: wall seconds, and bytes of data memory of the whole process."""

    seconds: float = 120.0
    memory: int = 6 * 2**30


@runtime_checkable
class Job(Protocol):
    """Rows to be read by one process; travels to it, so it holds nothing but plain data and module-level functions."""

    def without(self, row: int, refusal: Refusal) -> Any:
        """The same job with one of its rows answered by `refusal`, unread."""
        ...


J = TypeVar("J", bound=Job)
R = TypeVar("R")
Started = Callable[[int | None], None]
Work = Callable[[Any, Started], Any]


class WorkerError(RuntimeError):
    """A fault of our own in a reading process: `where` is its type and place, the message also what it said."""

    def __init__(self, where: str, text: str) -> None:
        self.where = where
        super().__init__(f"{where}: {text}" if text else where)


@final
class _Worker:
    """One process, the job it has, and the row it is at."""

    def __init__(self, work: Work, limits: Limits) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, work, limits), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Any = None
        self.number, self.row = -1, -1

    def give(self, number: int, job: Any) -> None:
        self.number, self.job, self.row = number, job, -1
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile: seen as a death at the next wait
            self.pipe.send(job)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def supervised(
    jobs: Sequence[J],
    work: Callable[[J, Started], R],
    workers: int,
    limits: Limits | None = None,
) -> Iterator[tuple[J, R]]:
    """Each job with the result of `work(job, started)`, as they are done, by up to `workers` processes.

    `work` is a function at module level that calls `started(row)` before it reads that row, and `started(None)` when it
    goes on without reading, such as to write. A row during which the
    process dies, takes longer or needs more memory than `limits` is refused ("crashed", "timeout", "too_large") by
    `job.without(row, refusal)`, and the job is done again. The processes write nothing to the terminal, since decoding
    libraries quote what they read. Raises WorkerError where `work` raises, or processes die outside of any row.
    """
    waiting = deque(enumerate(jobs))
    strikes: Counter[tuple[int, int]] = Counter()
    crew: list[_Worker] = []
    within = limits or Limits()
    try:
        crew.extend(_Worker(work, within) for _ in range(min(workers, len(jobs))))
        for worker in crew:
            worker.give(*waiting.popleft())
        while crew:
            ready = set(wait([worker.pipe for worker in crew]))
            for worker in [one for one in crew if one.pipe in ready]:
                try:
                    kind, told = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    job = _after_death(worker, strikes, within)
                    crew[crew.index(worker)] = successor = _Worker(work, within)
                    successor.give(worker.number, job)
                    continue
                if kind == _ROW:
                    worker.row = told
                elif kind == _FAILED:
                    where, text, too_much = told
                    if not (too_much and worker.row >= 0):
                        raise WorkerError(where, text)
                    worker.give(worker.number, worker.job.without(worker.row, _too_large(within)))
                else:
                    yield worker.job, told
                    if waiting:
                        worker.give(*waiting.popleft())
                    else:
                        worker.end()
                        crew.remove(worker)
    finally:
        for worker in crew:
            worker.end()


def _after_death(worker: _Worker, strikes: Counter[tuple[int, int]], limits: Limits) -> Any:
    """What is left to do of a dead worker's job: without the row that it was at, unless another may have killed it."""
    worker.end()
    code = worker.process.exitcode
    place = (worker.number, worker.row)
    strikes[place] += 1
    if worker.row < 0:
        if strikes[place] > _STRIKES:
            raise WorkerError(f"reading processes end with code {code} while they read no file", "")
        return worker.job
    if code == -signal.SIGKILL and strikes[place] < _STRIKES:
        return worker.job
    if code == -signal.SIGALRM:
        return worker.job.without(worker.row, Refusal("timeout", f"reading took more than {limits.seconds:g} seconds"))
    return worker.job.without(worker.row, Refusal("crashed", "the file ended the process that read it"))


def _too_large(limits: Limits) -> Refusal:
    return Refusal("too_large", f"reading needs more than {limits.memory / 2**30:g} GB of memory")


def _serve(pipe: Connection, work: Work, limits: Limits) -> None:
    """The life of a reading process: jobs in, rows and results out, until the pipe closes."""
    _confine(limits)
    threadpool_limits(1)  # the other processors have reading processes of their own

    def started(row: int | None) -> None:
        # The timer's default action ends the process, also within C code.
        signal.setitimer(signal.ITIMER_REAL, 0 if row is None else limits.seconds)
        pipe.send((_ROW, -1 if row is None else row))

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (_DONE, work(job, started))
        except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119
            answer = (_FAILED, (where, str(error), isinstance(error, MemoryError)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send(answer)
        except BrokenPipeError:  # the parent is gone
            return


def _confine(limits: Limits) -> None:
    """No core dumps (they hold what was read), no terminal, a ceiling of memory; the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = limits.memory if hard == resource.RLIM_INFINITY else min(limits.memory, hard)
    with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
