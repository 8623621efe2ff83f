"""Catalogs without a table: the files of a folder, and ids from their names."""

import os
import re
import string
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from catalogs.galaxies.fits_cubes import FITS_SUFFIXES
from catalogs.pictures import PICTURE_SUFFIXES

READABLE_SUFFIXES = (*PICTURE_SUFFIXES, *FITS_SUFFIXES, ".dcm")


def scan(images: Path, file_pattern: str | None, bands: tuple[str, ...]) -> pd.DataFrame:
    """The files of a folder as a table of id and file; with a pattern such as "{id}_{band}.fits", of its ids.

    Raises ValueError for a pattern that names other fields than id and band, and where no file is found.
    """
    files = sorted(_readable_files(images))
    if file_pattern is None:
        found = {"id": [without_suffix(file) for file in files], "file": files}
    else:
        fields = pattern_fields(file_pattern)
        if "id" not in fields or fields - {"id", "band"}:
            raise ValueError(
                f"file_pattern {file_pattern!r}: without a table it takes {{id}} and {{band}}, the first always"
            )
        pattern = _as_regex(file_pattern, bands)
        ids = {match["id"] for file in files if (match := pattern.fullmatch(file))}
        found = {"id": sorted(ids)}
    if not found["id"]:
        suffixes = ", ".join(sorted({Path(file).suffix for file in files}) or READABLE_SUFFIXES)
        wanted = f"that matches {file_pattern!r}" if files else "that could be read"
        raise ValueError(f"the folder {images} holds no file {wanted} ({suffixes})")
    return pd.DataFrame(found, dtype=object)


def without_suffix(name: str) -> str:
    """The name without .jpg, .fits, .fits.gz...; a name that ends otherwise loses its last suffix."""
    suffix = max((s for s in READABLE_SUFFIXES if name.lower().endswith(s)), key=len, default=Path(name).suffix)
    return name[: len(name) - len(suffix)]


def pattern_fields(pattern: str) -> set[str]:
    """The names in braces of a file pattern. Raises ValueError where it cannot be read or names none."""
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
    except ValueError as error:
        raise ValueError(f"file_pattern {pattern!r}: {error}; write it like '{{id}}_{{band}}.fits'") from None
    if not fields or any(not re.fullmatch(r"\w+", field) for field in fields):
        raise ValueError(f"file_pattern {pattern!r}: names in braces are needed, like '{{id}}_{{band}}.fits'")
    return fields


def _readable_files(folder: Path) -> Iterable[str]:
    """Paths relative to the folder, with "/", of files with readable suffixes; hidden ones are passed over."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(READABLE_SUFFIXES):
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
