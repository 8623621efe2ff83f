"""DICOMDIR: the files of an export on CD, as its own list names them (PS3.3 annex F, PS3.10 section 8).

Not by pydicom's FileSet: it leaves out files that are absent, and follows offsets that exports often have wrong.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import final

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from catalogs.chest_xrays.archives import MAX_BYTES
from catalogs.chest_xrays.headers import error_kind, silence
from catalogs.errors import CatalogError

_UNDEFINED = 0xFFFFFFFF  # a length, PS3.5 7.1.1
_REMEDY = "name its folder in place of it, which is then searched for files"


def dicomdir_files(path: Path) -> list[Path]:
    """The files of a DICOMDIR's IMAGE records in use, in their order and each once, below the DICOMDIR's folder.

    Names are those on disk, whose case of letters may differ from the records'; a file that is absent keeps the
    record's, so that reading it says so. Raises CatalogError for what is no DICOMDIR or a damaged one, for one without
    images, and where a record leads out of the folder, by its name or by a link (CVE-2026-32711).
    """
    with silence():
        try:
            records = _records(path)
            ids = [_file_id(record) for record in records]
        except CatalogError:
            raise
        except Exception as error:  # noqa: BLE001 - damage shows in many types, and their texts quote what is read
            raise _error(path, f"cannot be read ({error_kind(error)})") from None
    names = FolderNames(path.parent)
    files = list(dict.fromkeys(names.find(parts) for parts in ids if parts))
    root = path.parent.resolve()
    if any(not _safe(parts) for parts in ids) or not all(file.resolve().is_relative_to(root) for file in files):
        raise _error(path, "names files outside of its folder")
    if not files:
        raise _error(path, "names no images")
    return files


@final
class FolderNames:
    """Names below a folder in any case of letters; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, parts: Sequence[str]) -> Path:
        """The path of these components as it is on disk, exactly so if it can be; as given where there is none."""
        found = self._root
        for place, part in enumerate(parts):
            names = self._names(found)
            name = names.get(part) or names.get(part.casefold())
            if name is None:
                return found.joinpath(*parts[place:])
            found /= name
        return found

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            listed = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names alone
            self._listed[folder] = {name.casefold(): name for name in listed} | {name: name for name in listed}
        return self._listed[folder]


def _records(path: Path) -> list[Dataset]:
    """The IMAGE records that are in use, of a DICOMDIR of any encoding but the deflated, which none has."""
    if path.stat().st_size > MAX_BYTES:
        raise _error(path, f"has more than {MAX_BYTES:,} bytes")
    meta = read_file_meta_info(path)
    if meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
        raise _error(path, "is none: its file meta information says so")
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise _error(path, "is deflated")
    dataset = dcmread(path)
    stored = dataset.get_item("DirectoryRecordSequence")
    if isinstance(stored, RawDataElement) and len(stored.value or b"") < stored.length != _UNDEFINED:
        raise _error(path, "is truncated")  # pydicom gives the records that are left
    records = dataset.get("DirectoryRecordSequence") or []
    return [
        record
        for record in records
        if record.get("DirectoryRecordType") == "IMAGE" and record.get("RecordInUseFlag") != 0  # PS3.3 F.3.2.2
    ]


def _file_id(record: Dataset) -> tuple[str, ...]:
    """The components of Referenced File ID (0004,1500); () where the record names no file."""
    value = record.get("ReferencedFileID")
    if not value:
        return ()
    return tuple(map(str, value)) if isinstance(value, MultiValue) else (str(value),)


def _safe(parts: tuple[str, ...]) -> bool:
    return all(part not in ("", ".", "..") and not set(part) & set("/\\:\0") for part in parts)


def _error(path: Path, what: str) -> CatalogError:
    return CatalogError("the DICOMDIR {path} {what}; " + _REMEDY, {"path": path}, what=what)
