"""Rows of files that hold many objects: each run of rows of one file opens it once, whatever goes wrong."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from catalogs.checks import refuse_file, undecodable
from catalogs.reading import Cutout, Refusal, Request

Answer = TypeVar("Answer")
ItemReader = Callable[[str | None], Cutout | Refusal]
Opener = Callable[[Path, Request], AbstractContextManager[ItemReader | Refusal]]


def read_items(rows: pd.DataFrame, request: Request, opener: Opener) -> Iterator[Cutout | Refusal]:
    """One answer a row, in order; each run of rows with the same file opens it once, and closes it after."""
    items = rows["item"] if "item" in rows else [None] * len(rows)
    pairs = ((tuple(paths), _item(item)) for paths, item in zip(rows["paths"], items, strict=True))
    for paths, group in groupby(pairs, key=lambda pair: pair[0]):
        with ExitStack() as opened:
            read: ItemReader | Refusal = _one_file(paths) or _enter(opened, opener, Path(paths[0]), request)
            for _, item in group:
                yield read if isinstance(read, Refusal) else _answer(read, item, Path(paths[0]))
            del read  # it may hold a memory map


def guarded(path: Path, ask: Callable[[], Answer | Refusal]) -> Answer | Refusal:
    """What `ask` gives for a file that is there, or the refusal that its error means."""
    refusal = refuse_file(path)
    if refusal:
        return refusal
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
        return refuse_error(error, path)


def refuse_error(error: Exception, path: Path) -> Refusal:
    """The refusal that an error of NumPy, zipfile, HDF5 or Arrow means."""
    text = str(error).casefold()
    if "crc" in text:
        return Refusal("undecodable", "the file's values do not agree with their checksum")
    if isinstance(error, EOFError | zipfile.BadZipFile) or any(
        word in text for word in ("truncated", "greater than file size", "unexpected end", "eof")
    ):
        return Refusal("truncated", "the file ends before its data do, or its directory is damaged")
    return undecodable(error, path)


def _item(item: Any) -> str | None:
    return None if item is None or item is pd.NA or item != item or item == "" else str(item)


def _one_file(paths: tuple[str, ...]) -> Refusal | None:
    if not paths:
        return Refusal("missing", "the table names no file")
    if len(paths) > 1:
        return Refusal("bands", f"{len(paths)} files; a file of many objects holds all their bands")
    return refuse_file(Path(paths[0]))


def _enter(opened: ExitStack, opener: Opener, path: Path, request: Request) -> ItemReader | Refusal:
    try:
        return opened.enter_context(opener(path, request))
    except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
        return refuse_error(error, path)


def _answer(read: ItemReader, item: str | None, path: Path) -> Cutout | Refusal:
    try:
        return read(item)
    except Exception as error:  # noqa: BLE001 - one bad object must not end a run over a million
        return refuse_error(error, path)
