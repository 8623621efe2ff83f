"""FITS cutouts of the DESI Legacy Imaging Surveys at given positions, one polite request after the other."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from catalogs.columns import texts, usual_column
from catalogs.errors import CatalogError
from catalogs.fetch.download import BusyError, Client, FetchError, NoConnectionError, forget
from catalogs.quarantine import COLUMNS
from catalogs.reading import Refusal, Request
from catalogs.table_files import read_table

VIEWER = "https://www.legacysurvey.org/viewer"
HOMEPAGE = "https://www.legacysurvey.org/viewer"
CITATION = (
    "Dey A. et al. 2019, AJ 157, 168 (DESI Legacy Imaging Surveys)",
    "the acknowledgment at https://www.legacysurvey.org/acknowledgment/",
)
LICENCE = "free to use with credit: Legacy Surveys / D. Lang (Perimeter Institute)"
# Some of the bands may not cover a position: whether an object goes without them is for the recipe to say.
_KEPT = ("missing_band",)


@final
@dataclass(frozen=True)
class CutoutRequest:
    """What is asked for at every position: `size` pixels of `pixscale` arcsec a side, in `bands` ("grz") of a layer.

    The survey's own pixels are 0.262 arcsec wide; at another scale the server resamples. Raises ValueError for values
    that no request can have.
    """

    layer: str = "ls-dr10"
    size: int = 160
    pixscale: float | int = 0.262
    bands: str = "grz"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.+-]+", self.layer):
            raise ValueError(f"layer {self.layer!r} is no name of a layer; give one such as 'ls-dr10'")
        if not 16 <= self.size <= 3000:
            raise ValueError(f"size {self.size} is not between 16 and 3000 pixels")
        if not 0 < self.pixscale < 100:
            raise ValueError(f"pixscale {self.pixscale} is not a number of arcsec a pixel, such as 0.262")
        if not re.fullmatch(r"[A-Za-z]+", self.bands) or len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands {self.bands!r} are not letters, each once, such as 'grz'")

    @property
    def folder(self) -> str:
        """The name of the folder of such cutouts, other for every other request."""
        return f"{self.layer}_{self.bands}_{self.size}px_{self.pixscale:g}arcsec"

    @property
    def bytes(self) -> int:
        """The size of one cutout: float32 pixels and two blocks of header."""
        return 2 * 2880 + 4 * len(self.bands) * self.size**2

    def url(self, ra: float, dec: float, viewer: str = VIEWER) -> str:
        """The address of the cutout at a position in degrees."""
        query = {"ra": f"{ra:.6f}", "dec": f"{dec:.6f}", "layer": self.layer, "pixscale": f"{self.pixscale:g}"}
        return f"{viewer}/fits-cutout?{urlencode({**query, 'size': self.size, 'bands': self.bands})}"


def read_positions(path: Path) -> pd.DataFrame:
    """object_id (str), ra and dec (float64, degrees; NaN where the cell is no number), then the table's other columns.

    The columns are found by their usual names; without ids, the position is one. Raises CatalogError for a table that
    cannot be read, without rows or positions, and for an id in two rows.
    """

    def ids(columns: Sequence[str]) -> list[str]:
        found = usual_column("id", columns)
        return [] if found is None else [found]

    table = read_table(path, as_text=ids)
    columns = [str(column) for column in table.columns]
    named = {key: usual_column(key, columns) for key in ("id", "ra", "dec")}
    for key in ("ra", "dec"):
        if named[key] is None:
            raise CatalogError("{path}: no column {key}; it has {columns}", {"path": path, "columns": columns}, key=key)
    if table.empty:
        raise CatalogError("{path} has no rows; give a table with one row an object", {"path": path})
    ra, dec = (pd.to_numeric(table[named[key]], errors="coerce").astype(np.float64) for key in ("ra", "dec"))
    given = [None] * len(table) if named["id"] is None else texts(table[named["id"]])
    found = pd.Series([name or _name(*place) for name, *place in zip(given, ra, dec, strict=True)], dtype=object)
    doubles = found[found.duplicated()]
    if len(doubles):
        raise CatalogError("{path}: {id!r} stands in several rows; keep one", {"path": path, "id": doubles.iloc[0]})
    taken = {*named.values(), "object_id", "ra", "dec", "file", "item"}
    others = table[[column for column in table.columns if column not in taken]]
    return pd.concat([pd.DataFrame({"object_id": found, "ra": ra, "dec": dec}), others], axis=1)


def missing_cutouts(positions: pd.DataFrame, request: CutoutRequest, images: Path) -> int:
    """How many cutouts are not there yet."""
    there = [_target(images, request, ra, dec).is_file() for _, ra, dec in _rows(positions)]
    return len(there) - sum(there)


def fetch_cutouts(
    positions: pd.DataFrame, request: CutoutRequest, images: Path, client: Client, viewer: str = VIEWER
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of what is there in the end (object_id, file relative to `images`, ra, dec, ...), and the quarantine.

    Cutouts that are there are not asked for again; files are named by their position. One that fails (an answer other
    than the file, a web page in its place, a position off the survey) is left out, with a reason, and the next one
    follows. Raises NoConnectionError where the server is not reached, BusyError where it asks for fewer requests than
    ours; the cutouts so far stay.
    """
    failed: list[tuple[str, str, str]] = []
    kept: list[int] = []
    files: list[str] = []
    asked = False
    with client.watch.counter("cutouts", len(positions)) as counter:
        for number, (object_id, ra, dec) in enumerate(_rows(positions)):
            target = _target(images, request, ra, dec)
            if target.is_file():
                refusal = None
            elif not (0 <= ra <= 360 and -90 <= dec <= 90):
                refusal = Refusal("position", f"ra {ra}, dec {dec} are no degrees on the sky")
            else:
                if asked:
                    time.sleep(client.patience.pause)
                asked = True
                refusal = _fetch(client, request, ra, dec, viewer, target)
            if refusal is None:
                kept.append(number)
                files.append(target.relative_to(images).as_posix())
            else:
                failed.append((object_id, refusal.reason, refusal.detail))
            counter.advance()
    table = positions.iloc[kept].reset_index(drop=True)
    table.insert(1, "file", pd.Series(files, dtype=object))
    return table, pd.DataFrame(failed, columns=list(COLUMNS), dtype=object)


def _fetch(client: Client, request: CutoutRequest, ra: float, dec: float, viewer: str, target: Path) -> Refusal | None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".part-{target.name}")
    forget(part)  # a cutout is made anew for each request: no part of one fits another
    try:
        client.download(request.url(ra, dec, viewer), part)
        refusal = _refuse(part, request)
        if refusal is None:
            part.replace(target)
        return refusal
    except NoConnectionError as error:
        raise NoConnectionError(f"{error}; run the same command again when there is one, to go on") from None
    except BusyError:
        raise
    except FetchError as error:
        return Refusal("not_delivered", str(error))
    finally:
        forget(part)


def _refuse(path: Path, request: CutoutRequest) -> Refusal | None:
    from catalogs.galaxies.reader import read_galaxies

    rows = pd.DataFrame({"object_id": ["cutout"], "paths": [(str(path),)]})
    (found,) = read_galaxies(rows, Request(tuple(request.bands)))
    if isinstance(found, Refusal):
        return None if found.reason in _KEPT else found
    height, width = found.pixels.shape[1:]
    if (height, width) != (request.size, request.size):
        wanted = f"{request.size} x {request.size}"
        return Refusal("size", f"the server sent {height} x {width} pixels where {wanted} were asked for")
    return None


def _rows(positions: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    return zip(*(positions[name].tolist() for name in ("object_id", "ra", "dec")), strict=True)


def _target(images: Path, request: CutoutRequest, ra: float, dec: float) -> Path:
    return images / request.folder / f"{_name(ra, dec)}.fits"


def _name(ra: float, dec: float) -> str:
    return f"{ra:010.6f}{dec:+010.6f}"
