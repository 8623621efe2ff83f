"""What reading processes do with rows of a catalog: say whose they are, and lay their images down in shards.

Imported by those processes: no torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.letterbox import letterbox
from catalogs.reading import Cutout, Radiometry, Refusal
from catalogs.sky import border_sigma
from catalogs.supervisor import Started
from domainssl.shards import Layout, write_shard
from pipelines.domains.domain import DomainReader

SATURATION = 60_000.0  # sky sigmas; float16 ends at 65,504


@dataclass(frozen=True)
class Rows:
    """Rows of the catalog and how they are read; `white` one a row; `answered` rows are refused unread."""

    frame: pd.DataFrame
    white: tuple[float | None, ...]
    read: DomainReader
    bands: tuple[str, ...]
    answered: Mapping[int, Refusal] = field(default_factory=dict)

    def without(self, row: int, refusal: Refusal) -> "Rows":
        """See `catalogs.supervisor.Job`."""
        return replace(self, answered={**self.answered, row: refusal})

    def answers(self, started: Started) -> Iterator[Cutout | Refusal]:
        """One answer a row; rows that share a white value go to the reader together."""
        start = 0
        for end in range(1, len(self.frame) + 1):
            if start in self.answered:
                yield self.answered[start]
            elif end < len(self.frame) and self.white[end] == self.white[start] and end not in self.answered:
                continue
            else:
                answers = self.read(self.frame.iloc[start:end], bands=self.bands, white=self.white[start])
                for row in range(start, end):
                    started(row)
                    yield next(answers)
            start = end
        started(None)


@dataclass(frozen=True)
class ShardJob:
    """Rows of the catalog that become one shard."""

    number: int
    rows: Rows
    layout: Layout
    crop: int | None
    folder: Path

    def without(self, row: int, refusal: Refusal) -> "ShardJob":
        """See `catalogs.supervisor.Job`."""
        return replace(self, rows=self.rows.without(row, refusal))


@dataclass(frozen=True)
class Identities:
    """Files that are asked whom they show."""

    paths: tuple[str | None, ...]
    identify: Callable[[Path], tuple[str, str] | None]
    answered: frozenset[int] = frozenset()

    def without(self, row: int, refusal: Refusal) -> "Identities":
        """See `catalogs.supervisor.Job`."""
        return replace(self, answered=self.answered | {row})


def ask(job: Identities, started: Started) -> list[tuple[str, str] | None]:
    """Issuer and id of each file, None where it does not say."""
    found: list[tuple[str, str] | None] = []
    for row, path in enumerate(job.paths):
        if path is None or row in job.answered:
            found.append(None)
        else:
            started(row)
            found.append(job.identify(Path(path)))
    return found


def probe(job: Rows, started: Started) -> Radiometry | None:
    """Linear or display, as the first readable image says; None where none can be read."""
    return next((answer.radiometry for answer in job.answers(started) if isinstance(answer, Cutout)), None)


def write(job: ShardJob, started: Started) -> None:
    """Read, letterbox and write the rows of one shard."""
    images, ids, flags, refused = [], [], [], []
    nuisance: dict[str, list[np.ndarray]] = {}
    for object_id, answer in zip(job.rows.frame["object_id"], job.rows.answers(started), strict=True):
        stored = standardised(answer, job.layout, job.crop) if isinstance(answer, Cutout) else answer
        if isinstance(stored, Refusal):
            refused.append((object_id, stored.reason, stored.detail))
            continue
        ids.append(object_id)
        images.append(stored.pixels.astype(np.float16))
        flags.append(stored.flags)
        for name, values in stored.nuisance.items():
            nuisance.setdefault(name, []).append(values)
    side, bands = job.layout.size, job.layout.bands
    stack = np.stack(images) if images else np.empty((0, len(bands), side, side), np.float16)
    table = pd.DataFrame(refused, columns=["object_id", "reason", "detail"])
    columns = {name: np.stack(values) for name, values in nuisance.items()}
    write_shard(job.folder, job.number, ids, stack, columns, bands, table, flags)


def standardised(cutout: Cutout, layout: Layout, crop: int | None) -> Cutout | Refusal:
    """A cutout as the store holds it: square, float16's range, linear flux in units of its own sky sigma."""
    if cutout.radiometry != layout.radiometry:
        return Refusal("radiometry", f"the file holds {cutout.radiometry} values, the others {layout.radiometry} ones")
    if cutout.radiometry == "display":
        boxed = letterbox(cutout, layout.size, crop)
        return boxed if np.isfinite(boxed.pixels).any() else Refusal("no_valid_pixels", "nothing is left in the frame")
    # A single wild pixel (1e30) would smear over its neighbours: cut to what float16 holds before resampling.
    limit = border_sigma(cutout.pixels)[:, None, None] * SATURATION
    clipped = replace(cutout, pixels=np.clip(cutout.pixels, -limit, limit))
    boxed = letterbox(clipped, layout.size, crop)
    sigma = np.asarray(boxed.nuisance.get("sky_sigma", np.full(len(layout.bands), np.nan)), np.float32)
    sigma = np.where(np.isfinite(sigma), sigma, border_sigma(boxed.pixels)).astype(np.float32)
    if not np.isfinite(sigma).all():
        return Refusal("no_sky", "the sky sigma cannot be measured: the image is constant or has too few valid pixels")
    pixels = np.clip(boxed.pixels / sigma[:, None, None], -SATURATION, SATURATION)
    return replace(boxed, pixels=pixels.astype(np.float32), nuisance={**boxed.nuisance, "sky_sigma": sigma})
