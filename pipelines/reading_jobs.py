"""What reading processes do with rows of a catalog: ask their headers, and lay their images down in shards.

Imported by those processes: no torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from catalogs.chest_xrays.marks import painted_over
from catalogs.duplicates import image_fingerprint
from catalogs.file_facts import FileFacts, file_facts
from catalogs.letterbox import letterbox
from catalogs.reading import Cutout, Radiometry, Reader, Refusal, Request, spread
from catalogs.sky import sky_sigma
from catalogs.supervisor import Started
from domainssl.options import StoreOptions
from domainssl.shards import Layout, write_shard
from pipelines.marks import packed

SATURATION = 60_000.0  # sky sigmas; float16 ends at 65,504
WILD = 1e30


@dataclass(frozen=True)
class Rows:
    """Rows of the catalog and how they are read, by `catalog`; `answered` rows are refused unread.

    Each answer has `bands`, with NaN in those that the row's catalog lacks.
    """

    frame: pd.DataFrame
    requests: Mapping[str, Request]
    read: Reader
    bands: tuple[str, ...]
    answered: Mapping[int, Refusal] = field(default_factory=dict)

    def without(self, row: int, refusal: Refusal) -> "Rows":
        """See `catalogs.supervisor.Job`."""
        return replace(self, answered={**self.answered, row: refusal})

    def answers(self, started: Started) -> Iterator[Cutout | Refusal]:
        """One answer a row; neighbouring rows of one catalog go to the reader together."""
        start, catalogs = 0, self.frame["catalog"].tolist()
        for end in range(1, len(catalogs) + 1):
            if start in self.answered:
                yield self.answered[start]
            elif end < len(catalogs) and catalogs[end] == catalogs[start] and end not in self.answered:
                continue
            else:
                answers = self.read(self.frame.iloc[start:end], self.requests[catalogs[start]])
                for row in range(start, end):
                    started(row)
                    answer = next(answers)
                    yield spread(answer, self.bands) if isinstance(answer, Cutout) else answer
            start = end
        started(None)


@dataclass(frozen=True)
class ShardJob:
    """Rows of the catalog that become one shard; `find_marks` looks for what is burned in, which `paint_over` hides.

    `private`: numbers that could name a file are kept coarse.
    """

    number: int
    rows: Rows
    layout: Layout
    options: StoreOptions
    folder: Path
    find_marks: Callable[[Float[np.ndarray, "y x"]], Bool[np.ndarray, "y x"]] | None = None
    paint_over: bool = True
    private: bool = False

    def without(self, row: int, refusal: Refusal) -> "ShardJob":
        """See `catalogs.supervisor.Job`."""
        return replace(self, rows=self.rows.without(row, refusal))


@dataclass(frozen=True)
class Survey:
    """Files whose headers are asked."""

    paths: tuple[str | None, ...]
    survey: Callable[[Path], Mapping[str, Any] | None]
    answered: frozenset[int] = frozenset()

    def without(self, row: int, refusal: Refusal) -> "Survey":
        """See `catalogs.supervisor.Job`."""
        return replace(self, answered=self.answered | {row})


def ask(job: Survey, started: Started) -> list[Mapping[str, Any] | None]:
    """What each file's header says, None where there is none."""
    found: list[Mapping[str, Any] | None] = []
    for row, path in enumerate(job.paths):
        if path is None or row in job.answered:
            found.append(None)
        else:
            started(row)
            found.append(job.survey(Path(path)))
    return found


def probe(job: Rows, started: Started) -> Radiometry | None:
    """Linear or display, as the first readable image says; None where none can be read."""
    return next((answer.radiometry for answer in job.answers(started) if isinstance(answer, Cutout)), None)


def write(job: ShardJob, started: Started) -> None:
    """Read, letterbox and write the rows of one shard."""
    images, ids, flags, units, fingerprints, marks, refused = [], [], [], [], [], [], []
    facts: list[FileFacts] = []
    nuisance: dict[str, list[np.ndarray]] = {}
    for place, (object_id, answer) in enumerate(
        zip(job.rows.frame["object_id"], job.rows.answers(started), strict=True)
    ):
        stored = standardised(answer, job.layout, job.options) if isinstance(answer, Cutout) else answer
        if isinstance(stored, Refusal):
            refused.append((object_id, stored.reason, stored.detail))
            continue
        ids.append(object_id)
        images.append(stored.pixels.astype(np.float16))
        flags.append(stored.flags)
        units.append(stored.unit)
        assert isinstance(answer, Cutout)
        facts.append(_facts(job.rows.frame.iloc[place], answer, private=job.private))
        if job.options.duplicates:
            fingerprints.append(image_fingerprint(stored.pixels))
        if job.find_marks is not None:
            found = marks_in(stored.pixels, job.find_marks)
            marks.append(packed(found))
        if job.find_marks is not None and job.paint_over:
            images[-1] = np.stack([painted_over(plane, found) for plane in stored.pixels]).astype(np.float16)
        unknown = np.full(len(job.layout.bands), np.nan, np.float32)
        for name in sorted({*nuisance, *stored.nuisance}):
            before = nuisance.setdefault(name, [unknown] * (len(ids) - 1))
            before.append(stored.nuisance.get(name, unknown))
    side, bands = job.layout.size, job.layout.bands
    stack = np.stack(images) if images else np.empty((0, len(bands), side, side), np.float16)
    table = pd.DataFrame(refused, columns=["object_id", "reason", "detail"])
    columns = {name: np.stack(values) for name, values in nuisance.items()}
    write_shard(job.folder, job.number, ids, stack, columns, bands, table, flags, units, fingerprints, marks, facts)


def _facts(row: "pd.Series[Any]", cutout: Cutout, *, private: bool) -> FileFacts:
    """Of the file that a row was read from; bytes only where it is of this object alone."""
    height, width = cutout.pixels.shape[1:]
    alone = pd.isna(row.get("item")) and not np.isfinite(row.get("cutout_arcsec", np.nan))
    return file_facts(row["paths"], (height, width), alone=alone, coarse_numbers=private)


def marks_in(
    pixels: Float[np.ndarray, "band y x"], find: Callable[[Float[np.ndarray, "y x"]], Bool[np.ndarray, "y x"]]
) -> Bool[np.ndarray, "y x"]:
    """Where any band has marks: coloured text may stand in one alone; equal bands are looked at once."""
    distinct = pixels[:1] if all(np.array_equal(plane, pixels[0], equal_nan=True) for plane in pixels) else pixels
    marks: Bool[np.ndarray, "y x"] = np.logical_or.reduce([find(plane) for plane in distinct])
    return marks


def standardised(cutout: Cutout, layout: Layout, options: StoreOptions) -> Cutout | Refusal:
    """A cutout as the store holds it: square, float16's range, linear flux in units of its own sky sigma.

    nJy become nJy per stored pixel, so that the sum of the pixels is the flux; values of other units stay as they are.

    The sky sigma is that of the variance, or of the survey image that the cutout is from, carried through resampling;
    otherwise it is measured on the result. Bands that are missing have none.
    """
    crop, arcsec = options.crop, options.arcsec
    if cutout.radiometry != layout.radiometry:
        return Refusal("radiometry", f"the file holds {cutout.radiometry} values, the others {layout.radiometry} ones")
    if arcsec is not None and not cutout.pixel_scale > 0:
        return Refusal("no_scale", "the file does not say how large its pixels are; give store.crop for store.arcsec")
    # The WCS is not stored, and slow to carry; where the scale is unknown it counts source pixels.
    cutout = replace(cutout, wcs=None, pixel_scale=cutout.pixel_scale if cutout.pixel_scale > 0 else 1.0)
    if cutout.radiometry == "display":
        boxed = letterbox(cutout, layout.size, crop, arcsec=arcsec)
        return boxed if np.isfinite(boxed.pixels).any() else Refusal("no_valid_pixels", "nothing is left in the frame")
    if cutout.variance is None and (known := cutout.nuisance.get("sky_sigma")) is not None:
        variance = np.broadcast_to(np.square(known)[:, None, None], cutout.pixels.shape).astype(np.float32)
        cutout = replace(cutout, variance=variance)
    # A wild pixel (1e38) must not become infinite where it is summed; it is cut to what float16 holds below.
    boxed = letterbox(replace(cutout, pixels=np.clip(cutout.pixels, -WILD, WILD)), layout.size, crop, arcsec=arcsec)
    sigma = sky_sigma(boxed)
    present = np.isfinite(boxed.pixels).any(axis=(1, 2))
    if not present.any():
        return Refusal("no_valid_pixels", "nothing is left in the frame")
    if not np.isfinite(sigma[present]).all():
        return Refusal("no_sky", "the sky sigma cannot be measured: the image is constant or has too few valid pixels")
    pixels = np.clip(boxed.pixels / sigma[:, None, None], -SATURATION, SATURATION)
    if cutout.unit == "nJy":  # a flux per pixel, so that images of other pixel scales compare
        sigma = (sigma * np.square(boxed.pixel_scale / cutout.pixel_scale)).astype(np.float32)
    return replace(boxed, pixels=pixels.astype(np.float32), nuisance={**boxed.nuisance, "sky_sigma": sigma})
