"""Public collections into a folder: files, labels.csv, recipe.toml and SOURCE.md, ready for `domainssl run`."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import final
from urllib.parse import urlsplit

import pandas as pd

from catalogs.fetch import legacy_cutouts
from catalogs.fetch.collections import COLLECTIONS, LEGACY_CUTOUTS, Collection, RemoteFile
from catalogs.fetch.download import Client, FetchError, Patience, fetch_file
from catalogs.fetch.legacy_cutouts import CutoutRequest
from catalogs.fetch.recipes import recipe_text
from catalogs.fetch.unpack import unpack_gzip, unpack_zip
from catalogs.fetch.zenodo import API, published_hashes
from catalogs.quarantine import summary, write_quarantine
from pipelines.atomic import atomic_write, write_text
from pipelines.progress import Progress
from pipelines.recipe_messages import did_you_mean

IMAGES = (".png", ".jpg", ".jpeg")


class FetchUseError(ValueError):
    """A call that asks for what does not exist: the name of a collection, an option that it does not take."""


@final
@dataclass(frozen=True)
class Positions:
    """The table of positions and what is asked for at each of them."""

    table: Path
    request: CutoutRequest


@final
@dataclass(frozen=True)
class Plan:
    """What would be fetched: names of files and their sizes in bytes (None unknown), and what is there already."""

    name: str
    missing: Mapping[str, int | None]
    there: tuple[str, ...]
    free: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "collection": self.name,
            "missing": dict(self.missing),
            "there": list(self.there),
            "free_bytes": self.free,
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.name}: {len(self.missing)} to fetch, {len(self.there)} there"]
        lines += [f"  fetch  {name}  {_shown(size)}" for name, size in self.missing.items()]
        lines += [f"  there  {name}" for name in self.there]
        known = sum(size or 0 for size in self.missing.values())
        more = " and what is unknown" if None in self.missing.values() else ""
        return "\n".join([*lines, f"about {_shown(known)}{more}; free on the disk: {_shown(self.free)}"])


def collection_names() -> tuple[str, ...]:
    """All that can be fetched."""
    return (*COLLECTIONS, LEGACY_CUTOUTS)


def describe_collections() -> dict[str, str]:
    """Each name with what it holds and how large it is."""
    listed = {}
    for collection in COLLECTIONS.values():
        sizes = [file.size for file in collection.files]
        size = f" ({_shown(sum(size or 0 for size in sizes))})" if None not in sizes else ""
        listed[collection.name] = f"{collection.holds}{size}"
    listed[LEGACY_CUTOUTS] = "FITS cutouts of the DESI Legacy Imaging Surveys at the ra and dec of --positions"
    return listed


def known_name(name: str) -> str:
    """The collection's own name for one in any case, with hyphens or underscores. Raises FetchUseError for another."""
    found = name.lower().replace("-", "_")
    if found not in collection_names():
        hint = did_you_mean(found, collection_names())
        raise FetchUseError(f"unknown collection {name!r}{hint} (there are {', '.join(collection_names())})")
    return found


def positions_from(
    name: str,
    table: Path | None,
    layer: str | None = None,
    size: int | None = None,
    pixscale: float | None = None,
    bands: str | None = None,
) -> Positions | None:
    """What the options of the command mean for this collection; None of them given: its default.

    Raises FetchUseError for an unknown name, for options that the collection does not take, and for values out of
    range.
    """
    name = known_name(name)
    given = {"layer": layer, "size": size, "pixscale": pixscale, "bands": bands}
    given = {key: value for key, value in given.items() if value is not None}
    if name != LEGACY_CUTOUTS and given:
        raise FetchUseError(f"--{next(iter(given))} is for {LEGACY_CUTOUTS}; {name} comes as it is")
    if table is None:
        _checked(name, None, None)
        return None
    try:
        return Positions(table, replace(CutoutRequest(), **given))  # type: ignore[arg-type]
    except ValueError as error:
        raise FetchUseError(str(error)) from None


def plan(name: str, out: Path, positions: Positions | None = None, limit: int | None = None) -> Plan:
    """What `fetch` would do; asks no server. Raises as `fetch` does for wrong use and a wrong table."""
    name = _checked(name, positions, None)
    free = shutil.disk_usage(next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())).free
    if positions is not None:
        rows = legacy_cutouts.read_positions(positions.table).iloc[:limit]
        missing = legacy_cutouts.missing_cutouts(rows, positions.request, out / "images")
        wanted = {f"{missing:,} cutouts": missing * positions.request.bytes} if missing else {}
        there = (f"{len(rows) - missing:,} cutouts",) if missing < len(rows) else ()
        return Plan(name, wanted, there, free)
    files = COLLECTIONS[name].files
    done = tuple(file.name for file in files if _is_there(file, out))
    return Plan(name, {file.name: file.size for file in files if file.name not in done}, done, free)


def fetch(
    name: str,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    mirror: str | None = None,
    positions: Positions | None = None,
    patience: Patience | None = None,
) -> Path:
    """Fetches a collection into the folder `out` and gives the path of its recipe.

    `limit`: a table of so many objects, evenly spread; files come whole all the same, but no more image archives than
    hold so many, and for the cutouts the first `limit` positions. `mirror` takes the place of all that stands before
    the files' names. What is there, whole and of the right hash, is not fetched again; an interrupted file is gone on
    with. labels.csv is written anew; a recipe.toml that is there stays.

    Raises FetchUseError for a name or options that do not exist, FetchError (an OSError; the message says what to do)
    where something cannot be fetched, CatalogError for a table of positions that cannot be used.
    """
    name = _checked(name, positions, mirror)
    out.mkdir(parents=True, exist_ok=True)
    with Client(progress, patience) as client:
        if positions is not None:
            return _fetch_cutouts(out, client, progress, limit, mirror, positions)
        return _fetch_collection(COLLECTIONS[name], out, client, progress, limit, mirror)


def _checked(name: str, positions: Positions | None, mirror: str | None) -> str:
    name = known_name(name)
    if (name == LEGACY_CUTOUTS) != (positions is not None):
        raise FetchUseError(
            f"{LEGACY_CUTOUTS} needs a table with ra and dec: give --positions table.csv"
            if positions is None
            else f"--positions is for {LEGACY_CUTOUTS}; {name} comes as it is"
        )
    if mirror is not None and (urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).hostname):
        raise FetchUseError(f"mirror {mirror!r} is no address; give one that begins with https:// or http://")
    return name


def _fetch_collection(
    collection: Collection, out: Path, client: Client, progress: Progress, limit: int | None, mirror: str | None
) -> Path:
    if mirror is not None:
        moved = [replace(file, url=f"{mirror.rstrip('/')}/{file.name}") for file in collection.files]
        collection = replace(collection, files=tuple(moved), zenodo=None)
    hashes = {file.name: file.hash for file in collection.files}
    if collection.zenodo is not None and not all(_is_there(file, out) for file in collection.files):
        hashes |= published_hashes(client, collection.zenodo, out, API)
    sources = []
    for file in collection.files:
        if file.unpack == "zip" and limit is not None and _count_images(out / "images") >= limit:
            progress.note(f"{file.name}: not needed for {limit:,} objects")
            continue
        found = _unpacked_hash(file, out)
        if found is None:
            found = fetch_file(client, file.url, out / file.name, hashes.get(file.name))
            _unpack(file, out, found, progress, limit)
        published = "as published" if found == hashes.get(file.name) else "none published; that of what came"
        sources.append(f"- {file.url}\n  {found} ({published})")
    table = collection.table(out, limit)
    recipe = recipe_text(
        collection.title,
        collection.name,
        table,
        collection.images,
        collection.bands,
        collection.labels,
        collection.store,
        collection.encoder,
    )
    return _write(
        out, progress, table, recipe, collection.title, collection.homepage, collection.licence, collection.citation,
        sources,
    )  # fmt: skip


def _fetch_cutouts(
    out: Path, client: Client, progress: Progress, limit: int | None, mirror: str | None, positions: Positions
) -> Path:
    request = positions.request
    rows = legacy_cutouts.read_positions(positions.table).iloc[:limit]
    viewer = (mirror or legacy_cutouts.VIEWER).rstrip("/")
    table, refused = legacy_cutouts.fetch_cutouts(rows, request, out / "images", client, viewer)
    write_quarantine(refused, out / "quarantine.csv")
    if len(refused):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in summary(refused).items())
        progress.note(f"{len(refused):,} of {len(rows):,} left out ({reasons}): {out / 'quarantine.csv'}")
    if table.empty:
        raise FetchError(f"none of the {len(rows):,} cutouts could be fetched; {out / 'quarantine.csv'} says why")
    store = max(32, min(request.size, 128))
    title = f"Legacy Survey cutouts, {request.layer}"
    encoder = 96 if store == 128 else max(32, store // 32 * 32)
    recipe = recipe_text(title, "legacy_cutouts", table, "images", list(request.bands), {}, store, encoder)
    sources = [f"- {request.url(0.0, 0.0, viewer)} and so on for each ra and dec of labels.csv"]
    homepage, licence, citation = legacy_cutouts.HOMEPAGE, legacy_cutouts.LICENCE, legacy_cutouts.CITATION
    return _write(out, progress, table, recipe, title, homepage, licence, citation, sources)


def _write(
    out: Path,
    progress: Progress,
    table: pd.DataFrame,
    recipe: str,
    title: str,
    homepage: str,
    licence: str,
    citation: Sequence[str],
    sources: Sequence[str],
) -> Path:
    with atomic_write(out / "labels.csv") as temporary:
        table.to_csv(temporary, index=False)
    path = out / "recipe.toml"
    if path.is_file() and path.read_text(encoding="utf-8") != recipe:
        progress.note(f"{path} was there and stays as it is; delete it for the one of this fetch")
    else:
        write_text(path, recipe)
    terms = [f"Source: {homepage}", f"Licence: {licence}", *(f"Cite: {text}" for text in citation)]
    when = f"Fetched by domainssl on {datetime.now(UTC):%Y-%m-%d}, {len(table):,} objects in labels.csv, from"
    write_text(out / "SOURCE.md", "\n\n".join([f"# {title}", *terms, when, "\n".join(sources)]) + "\n")
    for line in (f"{title}: {len(table):,} objects", *terms, f"next: domainssl run {path} --out RUN"):
        progress.note(line)
    return path


def _unpack(file: RemoteFile, out: Path, found: str, progress: Progress, limit: int | None) -> None:
    """Unpacks and, once all of it is there, puts a note in the archive's place, which needs its room no more."""
    if file.unpack is None:
        return
    archive = out / file.name
    if file.unpack == "gzip":
        unpack_gzip(archive, _target(file, out))
    else:
        images = out / "images"
        wanted = None if limit is None else limit - _count_images(images)
        unpack_zip(archive, images, IMAGES, progress, wanted)
        if limit is not None:
            return
    write_text(_note(file, out), f"{found}\n")
    archive.unlink()


def _is_there(file: RemoteFile, out: Path) -> bool:
    return (out / file.name).is_file() or _unpacked_hash(file, out) is not None


def _unpacked_hash(file: RemoteFile, out: Path) -> str | None:
    """The hash of the archive whose content is there; None where it is not."""
    if file.unpack is None or not _note(file, out).is_file() or not _target(file, out).exists():
        return None
    return _note(file, out).read_text().strip()


def _note(file: RemoteFile, out: Path) -> Path:
    return out / f"{file.name}.unpacked"


def _target(file: RemoteFile, out: Path) -> Path:
    return out / (file.name.removesuffix(".gz") if file.unpack == "gzip" else "images")


def _count_images(folder: Path) -> int:
    return sum(path.suffix in IMAGES for path in folder.rglob("*")) if folder.is_dir() else 0


def _shown(size: int | None) -> str:
    if size is None:
        return "size unknown"
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
