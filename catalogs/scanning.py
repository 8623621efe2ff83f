"""Catalogs without a table: the files of a folder, a zip archive or a DICOMDIR, and ids from their names."""

import os
import posixpath
import re
import string
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from catalogs.chest_xrays.archives import is_archive, is_medium, list_members
from catalogs.errors import CatalogError
from catalogs.galaxies.arrays import ARRAY_SUFFIXES
from catalogs.galaxies.fits_files import FITS_SUFFIXES
from catalogs.galaxies.hdf5 import HDF5_SUFFIXES
from catalogs.pictures import PICTURE_SUFFIXES

# Parquet is not scanned for, since most of its files are tables beside images.
READABLE_SUFFIXES = (*PICTURE_SUFFIXES, *FITS_SUFFIXES, *ARRAY_SUFFIXES, *HDF5_SUFFIXES)
# A scan for these takes files of any name, as an archive exports them, but for what is surely something else.
ANY_SUFFIX = ("",)
_OTHER_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".parquet", ".json", ".toml", ".txt", ".md", ".html", ".xml", ".pdf")


def scan(
    images: Path, file_pattern: str | None, bands: tuple[str, ...], suffixes: tuple[str, ...] = READABLE_SUFFIXES
) -> pd.DataFrame:
    """The files of a folder as a table of id and file; with a pattern such as "{id}_{band}.fits", of its ids.

    The id is the path without its suffix; of files of any name (`ANY_SUFFIX`) the whole path, since "1.2.3" has none.
    For these, `images` may also be a zip archive, whose members are named as the unpacked files would be, or a
    DICOMDIR, whose images alone are taken, in its order. A folder or archive that holds a DICOMDIR is searched all the
    same: the list may be incomplete; it is left out itself, being no image.
    Raises CatalogError for a pattern that names other fields than id and band, where no file is found, and for damaged
    archives and DICOMDIRs.
    """
    files = [name for name in names_of_files(images) if readable(name, suffixes)]
    if file_pattern is None:
        found = {"id": files if suffixes == ANY_SUFFIX else [without_suffix(file) for file in files], "file": files}
    else:
        fields = pattern_fields(file_pattern)
        if "id" not in fields or fields - {"id", "band"}:
            raise CatalogError(
                "file_pattern {pattern!r}: without a table it takes {{id}} and {{band}}, the first always",
                {"pattern": file_pattern},
            )
        pattern = _as_regex(file_pattern, bands)
        found = {"id": sorted({match["id"] for file in files if (match := pattern.fullmatch(file))})}
    if not found["id"]:
        known = ", ".join(sorted({Path(file).suffix for file in files}) or suffixes)
        wanted = f"that matches {file_pattern!r}" if files else "that could be read"
        raise CatalogError(
            f"the {'folder' if images.is_dir() else 'export'} {{images}} holds no file {{wanted}} ({{known}})",
            {"images": images, "wanted": wanted, "known": known},
        )
    return pd.DataFrame(found, dtype=object)


def without_suffix(name: str) -> str:
    """The name without .jpg, .fits, .fits.gz...; a name that ends otherwise loses its last suffix."""
    suffix = max((s for s in READABLE_SUFFIXES if name.lower().endswith(s)), key=len, default=Path(name).suffix)
    return name[: len(name) - len(suffix)]


def pattern_fields(pattern: str) -> set[str]:
    """The names in braces of a file pattern. Raises CatalogError where it cannot be read or names none."""
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
    except ValueError as error:
        raise CatalogError(
            "file_pattern {pattern!r}: {error}; write it like '{{id}}_{{band}}.fits'",
            {"pattern": pattern, "error": error},
        ) from None
    if not fields or any(not re.fullmatch(r"\w+", field) for field in fields):
        raise CatalogError(
            "file_pattern {pattern!r}: names in braces are needed, like '{{id}}_{{band}}.fits'", {"pattern": pattern}
        )
    return fields


def readable(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file of this name, which may be a path, is to be read, by its suffix in any case."""
    lower = name.lower()
    if suffixes == ANY_SUFFIX and (lower.endswith(_OTHER_SUFFIXES) or posixpath.basename(lower) == "dicomdir"):
        return False
    return lower.endswith(suffixes)


def is_source(images: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether there is something that can be scanned: a folder, or for files of any name a zip archive or DICOMDIR."""
    return images.is_dir() or (suffixes == ANY_SUFFIX and is_medium(images) and images.is_file())


def root(images: Path) -> Path:
    """What names of files are relative to: a folder or zip archive itself, the folder of a DICOMDIR."""
    return images if images.is_dir() or is_archive(images) else images.parent


def names_of_files(images: Path) -> list[str]:
    """Paths relative to `root`, with "/", of all files but hidden ones, sorted; of a DICOMDIR its images, in order.

    Raises CatalogError for a damaged archive or DICOMDIR.
    """
    if images.is_dir():
        return sorted(_files(images))
    if is_archive(images):
        return list_members(images)
    from catalogs.chest_xrays.dicomdir import dicomdir_files  # here: other domains need no pydicom

    return [file.relative_to(images.parent).as_posix() for file in dicomdir_files(images)]


def _files(folder: Path) -> Iterable[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            if not name.startswith("."):
                yield (Path(where) / name).relative_to(folder).as_posix()


def _as_regex(pattern: str, bands: tuple[str, ...]) -> re.Pattern[str]:
    parts, seen = [], set()
    for literal, field, _, _ in string.Formatter().parse(pattern):
        parts.append(re.escape(literal))
        if field in seen:
            parts.append(f"(?P={field})")
        elif field == "id":
            parts.append(r"(?P<id>.+)")
        elif field == "band":
            parts.append(f"(?P<band>{'|'.join(map(re.escape, bands))})")
        seen.add(field)
    return re.compile("".join(parts))
