"""Files and members of zip archives, opened alike. Nothing is unpacked to disk: that would be a copy of patient data.

A member is written "archive.zip/inner/name.dcm". Below a regular file there can be no other, so such a path is never
that of a file on disk; it joins, splits and sorts like any path, and ids made of it are those of the unpacked folder.
"""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO, final

from catalogs.checks import refuse_file
from catalogs.errors import CatalogError
from catalogs.reading import Refusal

# No radiograph has more: 43 x 43 cm at 0.07 mm are 38 million. With as many, a reading process takes 0.7 GB of memory.
MAX_PIXELS = 40_000_000
# No image within MAX_PIXELS, of 16 bits and with its header, has a larger file.
MAX_BYTES = 2 * MAX_PIXELS + 2**26
# Of the list of members: half a million as they usually are; of the shortest, still under 1 GB in memory.
MAX_DIRECTORY = 2**26
_PIECE = 2**16
_ZIP_START = b"PK\3\4"  # a local file header, APPNOTE 4.3.7
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # APPNOTE 4.4.4: bits 0, 6 (strong), 13 (of the list of members)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # PS3.12 annex V; the others inflate without bounds
_UNREADABLE = "the file is damaged, or not one whole zip archive"


@final
class DamagedMemberError(OSError):
    """Raised while a member is read that turns out damaged; the refusal says so, and quotes nothing."""

    def __init__(self, detail: str) -> None:
        self.refusal = Refusal("undecodable", detail)
        super().__init__(detail)


def is_medium(path: Path) -> bool:
    """Whether a file of this name stands for many: a zip archive, or a DICOMDIR; in any case of letters."""
    return is_archive(path) or path.name.upper() == "DICOMDIR"


def is_archive(path: Path) -> bool:
    """Whether a file of this name is a zip archive, by its suffix in any case of letters."""
    return path.suffix.lower() == ".zip"


def list_members(archive: Path) -> list[str]:
    """The files in an archive by their names in it, sorted, without directories, hidden files and __MACOSX.

    Of two members of one name the later counts, as for all who unpack. Members with unsafe names (absolute, or with
    "..") are called by their number; opening them is refused. Raises CatalogError where the archive cannot be read.
    """
    found = _archive(archive)
    if isinstance(found, Refusal):
        raise CatalogError(
            "{archive}: {detail}; export it again, or unpack it and name the folder",
            {"archive": archive},
            detail=found.detail,
        )
    return sorted(found.members)


def open_source(path: str | Path) -> BinaryIO | Refusal:
    """A file, or a member of an archive, opened for reading and seeking, or why it cannot be.

    Refusals in the order asked: missing, empty, encrypted, unsafe_name, undecodable (a damaged archive, or a
    compression other than deflate), too_large (more than `MAX_BYTES`, as declared), archive (zip, nested or in a
    folder). A member is inflated as far as it is read, never beyond its declared size; DamagedMemberError is raised
    there where it is damaged or shorter. Raises OSError for a file that may not be read.
    """
    path = Path(path)
    size = source_size(path)
    if isinstance(size, Refusal):
        return size
    if size > MAX_BYTES:
        return Refusal("too_large", f"the file has {size:,} bytes, more than {MAX_BYTES:,}")
    file = path.open("rb") if _split(path) is None else _open_member(path)
    if isinstance(file, Refusal):
        return file
    try:
        start = file.read(132)
        file.seek(0)
    except DamagedMemberError as error:
        file.close()
        return error.refusal
    if start.startswith(_ZIP_START) and start[128:] != b"DICM":
        file.close()
        return Refusal("archive", "the file is a zip archive itself; give it as images of a catalog of its own")
    return file


def source_size(path: str | Path) -> int | Refusal:
    """Bytes of a file, or of a member as the archive declares them; a refusal where there is none to be read."""
    path = Path(path)
    if _split(path) is None:
        return refuse_file(path) or path.stat().st_size
    found = _find(path)
    if isinstance(found, Refusal):
        return found
    return found[1].file_size or Refusal("empty", "the file has 0 bytes")


@final
class _Archive:
    """An open archive and its members that are files, each with what is known against it."""

    def __init__(self, path: Path) -> None:
        self.zip = zipfile.ZipFile(_Bounded(path))
        self.members: dict[str, zipfile.ZipInfo | Refusal] = dict(_members(self.zip.infolist()))


class _Bounded(io.FileIO):
    """A file of which no piece larger than a list of members may be is read: zipfile reads that in one."""

    def read(self, size: int | None = -1, /) -> Any:
        if size is not None and size > MAX_DIRECTORY:
            raise MemoryError
        return super().read(-1 if size is None else size)

    def __del__(self) -> None:
        self.close()  # when the last that reads from it is gone; zipfile closes only what it opened itself


@final
class _Inflated(io.RawIOBase):
    """A member's bytes, inflated as far as asked for and kept: readers of DICOM step back now and then."""

    name, mode = "", "rb"  # which pydicom asks of any file

    def __init__(self, stream: io.BufferedIOBase, size: int) -> None:
        self._stream, self._size = stream, size
        self._kept, self._position = bytearray(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = max(0, (0, self._position, self._size)[whence] + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._position + len(buffer), self._size)
        while len(self._kept) < end:
            self._kept += self._inflate()
        piece = self._kept[self._position : end]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _inflate(self) -> bytes:
        try:
            piece = self._stream.read(_PIECE)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError):  # their texts hold the member's name
            raise DamagedMemberError("the file is damaged within its zip archive") from None
        if not piece:
            raise DamagedMemberError("the file is shorter than its zip archive declares")
        return piece


def _members(infos: list[zipfile.ZipInfo]) -> Iterator[tuple[str, zipfile.ZipInfo | Refusal]]:
    for number, info in enumerate(infos, 1):
        written = PureWindowsPath(info.filename)  # both kinds of slash, and drives
        name = posixpath.normpath(info.filename)
        if written.anchor or ".." in written.parts:
            yield f"(unsafe name {number})", Refusal("unsafe_name", "the file's name leads out of its zip archive")
        elif info.is_dir() or any(part.startswith((".", "__MACOSX")) for part in name.split("/")):
            continue
        elif info.flag_bits & _ENCRYPTED:
            yield name, Refusal("encrypted", "the file is encrypted; export it without a password")
        elif info.compress_type not in _METHODS:
            yield name, Refusal("undecodable", f"compression {info.compress_type} of zip archives is not read")
        else:
            yield name, info


def _split(path: Path) -> tuple[Path, str] | None:
    """The archive and the name in it, None for a path that leads through no archive."""
    for parent in path.parents:
        if is_archive(parent) and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def _find(path: Path) -> tuple[zipfile.ZipFile, zipfile.ZipInfo] | Refusal:
    split = _split(path)
    assert split is not None
    archive = _archive(split[0])
    if isinstance(archive, Refusal):
        return archive
    info = archive.members.get(split[1])
    if info is None:
        return Refusal("missing", "there is no such file in the zip archive")
    return info if isinstance(info, Refusal) else (archive.zip, info)


def _open_member(path: Path) -> BinaryIO | Refusal:
    found = _find(path)
    if isinstance(found, Refusal):
        return found
    archive, info = found
    try:
        stream = archive.open(info)
    except Exception:  # noqa: BLE001 - a local header unlike the list of members: of many types, quoting names
        return Refusal("undecodable", "the file is damaged within its zip archive")
    assert isinstance(stream, zipfile.ZipExtFile)
    return io.BufferedReader(_Inflated(stream, info.file_size), _PIECE)


def _archive(path: Path) -> _Archive | Refusal:
    try:
        status = path.stat()
    except OSError:
        return Refusal("missing", "there is no such zip archive")
    return _opened(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _opened(path: Path, mtime: int, size: int) -> _Archive | Refusal:
    """The last archive of this process, kept open: its list of members is read once and not once a member."""
    try:
        return _Archive(path)
    except MemoryError:
        return Refusal("too_large", f"the zip archive's list of members has more than {MAX_DIRECTORY:,} bytes")
    except Exception:  # noqa: BLE001 - damaged archives raise errors of many types, whose texts quote names
        return Refusal("undecodable", _UNREADABLE)
