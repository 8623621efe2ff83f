"""How far a step is, on stderr: bars on a terminal, a line now and then in a log, nothing when quiet."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar, final, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Counter(Protocol):
    """One task being counted."""

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""

    def show(self, text: str) -> None:
        """A short text beside the count, such as the loss; the latest one stands."""


@runtime_checkable
class Progress(Protocol):
    """What a step says while it works."""

    def note(self, text: str) -> None:
        """One line."""

    def counter(self, what: str, total: int | None = None) -> AbstractContextManager[Counter]:
        """Counts up to `total`; None where it is not known."""

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """The same items, counted as they are taken; `total` where `items` has no length."""


@final
class Quiet:
    """Says nothing."""

    def note(self, text: str) -> None:
        pass

    @contextmanager
    def counter(self, what: str, total: int | None = None) -> Iterator[Counter]:
        yield _Silence()

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        yield from items


@final
class Lines:
    """Bars (tqdm) where stderr is a terminal, else a line every `every` seconds."""

    def __init__(self, every: float = 30.0) -> None:
        self._every = every
        self._bars = sys.stderr.isatty()

    def note(self, text: str) -> None:
        if self._bars:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
        else:
            _line(text)

    @contextmanager
    def counter(self, what: str, total: int | None = None) -> Iterator[Counter]:
        if not self._bars:
            yield _LogCounter(what, total, self._every)
            return
        from tqdm import tqdm

        with tqdm(desc=what, total=total, file=sys.stderr, leave=False, dynamic_ncols=True) as bar:
            yield _BarCounter(bar)

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        if total is None and hasattr(items, "__len__"):
            total = len(items)  # type: ignore[arg-type]
        with self.counter(what, total) as counter:
            for item in items:
                yield item
                counter.advance()


@final
class _Silence:
    def advance(self, count: int = 1) -> None:
        pass

    def show(self, text: str) -> None:
        pass


@final
class _BarCounter:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, count: int = 1) -> None:
        self._bar.update(count)

    def show(self, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)


@final
class _LogCounter:
    def __init__(self, what: str, total: int | None, every: float) -> None:
        self._what, self._total, self._every = what, total, every
        self._done, self._text, self._said = 0, "", time.monotonic()

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._said >= self._every:
            of = "" if self._total is None else f" of {self._total:,}"
            beside = f", {self._text}" if self._text else ""
            _line(f"{self._what}: {self._done:,}{of}{beside}")
            self._said = time.monotonic()

    def show(self, text: str) -> None:
        self._text = text


def _line(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
