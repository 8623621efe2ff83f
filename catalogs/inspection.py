"""What the readers make of a folder of files, and what they refuse: to be looked at before a recipe is written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from catalogs.errors import CatalogError, MissingFileError
from catalogs.galaxies.containers import items
from catalogs.galaxies.fits_files import FITS_SUFFIXES, ImageHDU, band_count, band_names, image_hdus
from catalogs.galaxies.reader import read_galaxies
from catalogs.items import is_container
from catalogs.pictures import PICTURE_SUFFIXES, picture_layout
from catalogs.reading import Reader, Refusal, Request
from catalogs.scanning import ANY_SUFFIX, READABLE_SUFFIXES, is_source, names_of_files, readable, root
from catalogs.supervisor import Started, supervised

T = TypeVar("T")
_CHUNK = 64  # files that a reading process gets at once
_LIKELY = (3, 1, 5, 4, 2, 6)  # numbers of bands of files that do not say it
_DTYPES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}


@dataclass(frozen=True)
class Refused:
    """How many files a reason holds back, one of them, and what is said of that one."""

    count: int
    example: str
    detail: str


@dataclass(frozen=True)
class Inspection:
    """Counts over the files of a folder, archive or DICOMDIR; `files` were found, `tried` of them were read.

    `path` is "" where it is withheld.
    `kinds` counts all files by suffix, readable or not; `shapes` ("band x y x x"), `bands` (how many), `dtypes` (as
    stored), `radiometry`, `units` (of flux, as read) and `pixel_scales` (arcsec), both of linear images, and `flags`
    (what is unusual) the files that were read; of a file of many objects, its first. `suggested_bands` are the names
    found in headers, () if none.
    """

    path: str
    files: int
    tried: int
    readable: int
    kinds: dict[str, int]
    shapes: dict[str, int]
    bands: dict[int, int]
    dtypes: dict[str, int]
    radiometry: dict[str, int]
    units: dict[str, int]
    pixel_scales: dict[str, int]
    flags: dict[str, int]
    refusals: dict[str, Refused]
    suggested_bands: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain dicts, lists, text and numbers."""
        plain = asdict(self)
        plain["bands"] = {str(number): count for number, count in self.bands.items()}
        plain["suggested_bands"], plain["notes"] = list(self.suggested_bands), list(self.notes)
        return plain

    def text(self) -> str:
        """For a person: a line for each question, most frequent answers first."""
        lines = [
            f"{f'{self.path}: ' if self.path else ''}{self.readable} of {self.tried} files read"
            + (f" ({self.files} found)" if self.files != self.tried else ""),
            f"  files       {_counted(self.kinds)}",
        ]
        if self.readable:
            lines.append(f"  shapes      {_counted(self.shapes)}  (bands x height x width)")
            lines.append(f"  values      {_counted(self.dtypes)}; {_counted(self.radiometry)}")
        if self.units:
            lines.append(f"  flux        {_counted(self.units)}; {_counted(self.pixel_scales)} arcsec a pixel")
        if self.flags:
            lines.append(f"  flagged     {', '.join(f'{flag} ({n})' for flag, n in self.flags.items())}")
        if self.suggested_bands:
            names = ", ".join(f'"{name}"' for name in self.suggested_bands)
            lines.append(f"  bands       the files suggest: bands = [{names}]")
        for reason, refused in self.refusals.items():
            lines.append(f"  refused     {reason}: {refused.count}, for example {refused.example}: {refused.detail}")
        return "\n".join(lines + [f"  note        {note}" for note in self.notes])


@dataclass(frozen=True)
class _Facts:
    """What a file's header says; `bands` are what it is read with, `named` those that it names itself."""

    bands: tuple[str, ...]
    named: tuple[str, ...]
    dtype: str
    uneven: bool = False


@dataclass(frozen=True)
class _Look:
    """What reading a file gave, without its pixels."""

    facts: _Facts
    shape: tuple[int, ...]
    dtype: str
    radiometry: str
    unit: str
    pixel_scale: float
    flags: tuple[str, ...]
    objects: int = 1


@dataclass(frozen=True)
class _Files:
    """Files for one reading process."""

    paths: tuple[Path, ...]
    read: Reader
    private: bool
    answered: Mapping[int, Refusal] = field(default_factory=dict)

    def without(self, row: int, refusal: Refusal) -> "_Files":
        return replace(self, answered={**self.answered, row: refusal})


def inspect(
    path: Path,
    read: Reader = read_galaxies,
    limit: int | None = None,
    suffixes: tuple[str, ...] = READABLE_SUFFIXES,
    *,
    private: bool = False,
    workers: int = 1,
) -> Inspection:
    """Read a file, or the files of a folder and its folders, each with as many bands as it holds itself.

    With `ANY_SUFFIX` also those of a zip archive or of a DICOMDIR, see `catalogs.scanning.scan`.

    `limit` files, evenly spread over the sorted names, are read at most, by `workers` supervised processes. Files that
    end in none of `suffixes` are only counted; `catalogs.scanning.ANY_SUFFIX` reads files of any name. Files of unknown
    layout (DICOM) are read with the one band "grey". `private`: names are withheld, and files called by their number in
    the order of their names. Raises MissingFileError where there is no such path, CatalogError where there is nothing
    to read, ValueError where `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; at least 1 file has to be read")
    if not path.exists():
        raise MissingFileError("{path}: no such file or folder", {"path": path})
    several = is_source(path, suffixes)
    folder = root(path) if several else path.parent
    every = [folder / name for name in names_of_files(path)] if several else [path]
    found = [file for file in every if readable(file.name, suffixes)] if several else every
    if not found:
        raise CatalogError(
            "{path}: none of {count} files ends in {suffixes}",
            {"path": path},
            count=len(every),
            suffixes=", ".join(READABLE_SUFFIXES if suffixes == ANY_SUFFIX else suffixes),
        )
    count = min(limit or len(found), len(found))
    tried = [found[n * len(found) // count] for n in range(count)]
    names = {file: f"file {number}" for number, file in enumerate(found, 1)} if private else {}
    tally = _Tally()
    jobs = [_Files(tuple(tried[start : start + _CHUNK]), read, private) for start in range(0, count, _CHUNK)]
    looked = dict(sorted((job.paths, looks) for job, looks in supervised(jobs, _look, workers)))
    for paths, looks in looked.items():
        for file, look in zip(paths, looks, strict=True):
            tally.add(names.get(file) or file.relative_to(folder).as_posix(), look)
    return Inspection(
        path="" if private else str(path),
        files=len(found),
        tried=len(tried),
        readable=sum(tally.shapes.values()),
        kinds=_sorted(Counter(_kind(file.name, private) for file in every)),
        shapes=_sorted(tally.shapes),
        bands=_sorted(tally.bands),
        dtypes=_sorted(tally.dtypes),
        radiometry=_sorted(tally.radiometry),
        units=_sorted(tally.units),
        pixel_scales=_sorted(tally.scales),
        flags=_sorted(tally.flags),
        refusals=dict(sorted(tally.refusals.items(), key=lambda item: -item[1].count)),
        suggested_bands=tally.suggestion(),
        notes=tally.notes(),
    )


def _look(job: _Files, started: Started) -> list[_Look | Refusal]:
    return [
        job.answered[place] if place in job.answered else _look_at(path, job, place, started)
        for place, path in enumerate(job.paths)
    ]


def _look_at(file: Path, job: _Files, place: int, started: Started) -> _Look | Refusal:
    started(place)
    # Private files are met by their domain's reader alone, which knows what may be said of them.
    if not job.private and is_container(file.name):
        return _look_into(file, job, place)
    facts = _Facts(("grey",), (), "") if job.private else _facts(file)
    return facts if isinstance(facts, Refusal) else _read(file, job, place, facts)


def _read(file: Path, job: _Files, place: int, facts: _Facts, item: str | None = None) -> _Look | Refusal:
    rows = pd.DataFrame({"object_id": [str(place)], "paths": [(str(file),)], "item": [item]})
    outcome = next(iter(job.read(rows, Request(facts.bands))))
    if isinstance(outcome, Refusal):
        return outcome
    return _Look(
        facts if facts.bands else replace(facts, bands=outcome.bands, named=outcome.bands),
        outcome.pixels.shape,
        facts.dtype or str(outcome.pixels.dtype),
        outcome.radiometry,
        outcome.unit,
        outcome.pixel_scale,
        outcome.flags,
    )


def _look_into(file: Path, job: _Files, place: int) -> _Look | Refusal:
    """The first object of a file of many, with the bands that it names or as many as it turns out to have."""
    looked: _Look | Refusal = Refusal("bands", "")
    for bands in ((), *map(_numbered, _LIKELY)):
        found = items(file, bands)
        if isinstance(found, Refusal):
            return found
        looked = _read(file, job, place, _Facts(bands, (), ""), found[0] if found else None)
        if isinstance(looked, _Look):
            return replace(looked, objects=max(1, len(found)))
        if looked.reason != "bands":
            return looked
    return looked


class _Tally:
    """Counts over the files that were looked at."""

    def __init__(self) -> None:
        self.shapes: Counter[str] = Counter()
        self.bands: Counter[int] = Counter()
        self.dtypes: Counter[str] = Counter()
        self.radiometry: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self.scales: Counter[str] = Counter()
        self.objects = 0
        self.flags: Counter[str] = Counter()
        self.named: Counter[tuple[str, ...]] = Counter()
        self.refusals: dict[str, Refused] = {}
        self.uneven = 0

    def add(self, name: str, look: _Look | Refusal) -> None:
        if isinstance(look, Refusal):
            known = self.refusals.get(look.reason, Refused(0, name, look.detail))
            self.refusals[look.reason] = Refused(known.count + 1, known.example, known.detail)
            return
        self.shapes[" x ".join(map(str, look.shape))] += 1
        self.bands[look.shape[0]] += 1
        self.dtypes[look.dtype] += 1
        self.radiometry[look.radiometry] += 1
        self.objects += look.objects
        if look.radiometry == "linear":
            self.units[look.unit or "unit unknown"] += 1
            self.scales[f"{look.pixel_scale:.3g}" if look.pixel_scale > 0 else "unknown"] += 1
        self.flags.update(look.flags)
        self.uneven += look.facts.uneven
        if look.facts.named:
            self.named[look.facts.named] += 1

    def suggestion(self) -> tuple[str, ...]:
        """The most frequent names of several bands; where each file holds one band, all of them as they came."""
        several = Counter({names: n for names, n in self.named.items() if len(names) > 1})
        if several:
            return several.most_common(1)[0][0]
        return tuple(names[0] for names in self.named)

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.objects > sum(self.shapes.values()):
            notes.append(f"these files hold {self.objects} objects; each becomes a row of the catalog")
        if self.uneven:
            notes.append(
                f"{self.uneven} file(s) hold several images of different shapes, of which one is read; "
                "if each is an object, set object_per_hdu = true"
            )
        if len(self.bands) > 1:
            notes.append(f"the files differ in their number of bands ({_counted(self.bands)}); a recipe reads one")
        if len([names for names in self.named if len(names) > 1]) > 1:
            orders = " and ".join(",".join(names) for names in self.named)
            notes.append(f"the headers name different bands: {orders}")
        return tuple(notes)


def _facts(file: Path) -> _Facts | Refusal:
    name = file.name.lower()
    if name.endswith(PICTURE_SUFFIXES):
        layout = picture_layout(file)
        if isinstance(layout, Refusal):
            return layout
        usual = {1: ("grey",), 3: ("r", "g", "b")}.get(layout.channels, ())
        return _Facts(usual or _numbered(layout.channels), usual, layout.dtype)
    if name.endswith(FITS_SUFFIXES):
        images = image_hdus(file)
        return images if isinstance(images, Refusal) else _fits_facts(images)
    return _Facts(("grey",), (), "")


def _fits_facts(images: list[ImageHDU]) -> _Facts:
    named = band_names(images)
    bands = named or _numbered(max(1, band_count(images)))
    uneven = len({image.shape for image in images}) > 1
    return _Facts(bands, named, _DTYPES.get(images[0].bitpix, ""), uneven)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


def _kind(name: str, private: bool) -> str:
    """The suffix; in a private domain only a usual one, since any other may be a piece of a name."""
    known = [suffix for suffix in (*READABLE_SUFFIXES, ".dcm", ".csv") if name.lower().endswith(suffix)]
    if known:
        return max(known, key=len)
    return "(other)" if private else Path(name).suffix.lower() or "(no suffix)"


def _sorted(counts: Counter[T]) -> dict[T, int]:
    return dict(counts.most_common())


def _counted(counts: dict[Any, int] | Counter[Any]) -> str:
    """Counts as text, at most eight; a single answer without its number."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(ranked) - 8} more" if len(ranked) > 8 else ""
    return ", ".join(f"{value} ({n})" for value, n in ranked[:8]) + more
