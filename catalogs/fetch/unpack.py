"""Archives from the network to files: only where they belong, no more than they should hold, each whole or absent."""

import gzip
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from catalogs.fetch.download import FetchError, Watch

# Images and HDF5 shrink little; an archive that grows more than this was made to fill the disk.
MAX_GROWTH = 100
_CHUNK = 1 << 20


def unpack_gzip(archive: Path, target: Path) -> None:
    """Writes what a gzip file holds to `target`; FetchError where it is damaged or grows beyond `MAX_GROWTH`."""
    try:
        with gzip.open(archive) as source:
            _write(source.read, target, MAX_GROWTH * archive.stat().st_size, archive.name)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(archive, error) from None


def unpack_zip(archive: Path, folder: Path, suffixes: Sequence[str], watch: Watch, limit: int | None = None) -> int:
    """Unpacks the files that end in `suffixes` below `folder`, and gives how many it wrote; those there already stay.

    At most `limit` more of them, evenly spread over the archive. Raises FetchError before anything is written where a
    name leads out of `folder`, an entry is a link or is encrypted, or the sizes sum up to more than `MAX_GROWTH` times
    the archive's or than the disk has room for; and later where an entry is damaged or longer than declared.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            _refuse(archive, opened.infolist())
            wanted = [
                entry
                for entry in opened.infolist()
                if entry.filename.lower().endswith(tuple(suffixes)) and not _is_there(folder / entry.filename, entry)
            ]
            if limit is not None and limit < len(wanted):
                wanted = [wanted[i] for i in np.linspace(0, len(wanted) - 1, limit).astype(int)]
            _demand_room(folder if folder.is_dir() else archive.parent, wanted)
            with watch.counter(f"unpacking {archive.name}", len(wanted)) as counter:
                for entry in wanted:
                    target = folder / entry.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(entry) as source:
                        _write(source.read, target, entry.file_size, archive.name)
                    counter.advance()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise _damaged(archive, error) from None
    return len(wanted)


def _refuse(archive: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
            raise FetchError(f"{archive.name}: refused, the entry {name!r} leads out of the folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise FetchError(f"{archive.name}: refused, the entry {name!r} is a link")
        if entry.flag_bits & 1:
            raise FetchError(f"{archive.name}: refused, the entry {name!r} is encrypted")
    whole = sum(entry.file_size for entry in entries)
    if whole > MAX_GROWTH * archive.stat().st_size:
        raise FetchError(
            f"{archive.name}: refused, {archive.stat().st_size:,} bytes claim to hold {whole:,}: a decompression bomb"
        )


def _is_there(target: Path, entry: zipfile.ZipInfo) -> bool:
    return target.is_file() and target.stat().st_size == entry.file_size


def _demand_room(folder: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    needed, free = sum(entry.file_size for entry in entries), shutil.disk_usage(folder).free
    if needed > free:
        raise FetchError(f"{folder} has {free:,} bytes free and {needed:,} are needed; free some space")


def _write(read: Callable[[int], bytes], target: Path, most: int, name: str) -> None:
    partial = target.with_name(f".{target.name}.part")
    written = 0
    try:
        with partial.open("wb") as file:
            while chunk := read(_CHUNK):
                written += len(chunk)
                if written > most:
                    raise FetchError(f"{name}: refused, it holds more than {most:,} bytes: a decompression bomb")
                file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _damaged(archive: Path, error: Exception) -> FetchError:
    if isinstance(error, FetchError):
        return error
    return FetchError(f"{archive.name} is damaged ({error}); delete it and run the same command again")
