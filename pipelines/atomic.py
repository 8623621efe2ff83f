"""Files that are whole or absent: written under another name in the same folder, synced, then renamed."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".tmp-"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a name to write to; when the block ends, what was written there takes the place of `path`.

    The name has the suffix of `path` (some writers append one otherwise) and a leading dot, so that no `glob("part-*")`
    finds it. Whatever stops the process, `path` has its old or its new content. If the block raises, the old content
    stays and the temporary file is removed. FileNotFoundError if the block wrote nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` in UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: object) -> None:
    """Writes `content` as indented JSON; numpy scalars become numbers, paths strings.

    Raises ValueError for NaN and infinities, which JSON does not have, and TypeError for what JSON cannot hold.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def remove_stale(folder: Path) -> int:
    """Removes the temporary files that killed processes left in `folder` and below, and gives their number.

    Only for the holder of the folder's lock: a file being written looks the same.
    """
    stale = [path for path in folder.rglob(f"{PREFIX}*") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in JSON: {value!r}")
