"""Files to the store: every file is decoded once, in parallel; what cannot be read is listed with its reason."""

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.letterbox import letterbox
from catalogs.quarantine import summary, write_quarantine
from catalogs.reading import Cutout, Radiometry, Refusal
from catalogs.sky import border_sigma
from catalogs.splits import assign_halves
from catalogs.tables import CatalogSource, Columns, combine, read_catalog
from domainssl.shards import Layout, shard_is_done, write_layout, write_shard
from pipelines.atomic import atomic_write
from pipelines.domains import DOMAINS
from pipelines.domains.domain import DomainReader
from pipelines.recipe import CatalogEntry, Recipe
from pipelines.steps import Context, StepResult

SATURATION = 60_000.0  # sky sigmas; float16 ends at 65,504


@dataclass(frozen=True)
class ShardJob:
    """Rows of the catalog that become one shard, and how; `deadly` rows are refused unread."""

    number: int
    rows: pd.DataFrame
    white: tuple[float | None, ...]
    read: DomainReader
    layout: Layout
    crop: int | None
    folder: Path
    deadly: frozenset[int] = frozenset()


def run(context: Context) -> StepResult:
    """Read the tables, lay the images down in the store, write catalog.parquet and quarantine.csv.

    Raises ValueError where no image at all could be read, naming the reasons.
    """
    recipe, folder = context.recipe, context.run.store
    labels = tuple(recipe.labels)
    frame = combine([read_catalog(source(entry), labels) for entry in recipe.catalog], labels)
    _check_labels(recipe, frame)
    frame["half"] = assign_halves(frame)
    whites = {entry.name: entry.white for entry in recipe.catalog}
    read = DOMAINS[recipe.domain].read
    radiometry = _radiometry(read, recipe, frame, whites)
    layout = Layout(recipe.bands, recipe.store.size, radiometry, preparation(recipe, radiometry))
    write_layout(folder, layout)

    step = layout.rows_per_shard(len(frame))
    jobs = []
    for number, start in enumerate(range(0, len(frame), step)):
        rows = frame.iloc[start : start + step]
        white = tuple(whites[name] for name in rows["catalog"])
        jobs.append(ShardJob(number, rows, white, read, layout, recipe.store.crop, folder))
    waiting = [job for job in jobs if not shard_is_done(folder, job.number)]
    with context.progress.counter("prepare", len(frame)) as counter:
        counter.advance(len(frame) - sum(len(job.rows) for job in waiting))
        for job in _finished(waiting, context.workers):
            counter.advance(len(job.rows))

    index = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("shard-*.parquet"))], ignore_index=True)
    refused = index.loc[index["offset"] < 0, ["object_id", "reason", "detail"]]
    write_quarantine(refused, context.run.quarantine)
    kept = frame.drop(columns="paths")
    with atomic_write(context.run.catalog) as part:
        kept.to_parquet(part, index=False)
    counts = {"rows": len(frame), "stored": len(frame) - len(refused), "refused": summary(refused)}
    if len(refused) == len(frame):
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary(refused).items())
        first = refused.iloc[0]
        raise ValueError(
            f"none of {len(frame)} images could be read ({reasons}), for example {first['object_id']}: "
            f"{first['detail']}; see {context.run.quarantine.name}, or try `domainssl inspect` on the folder"
        )
    if len(refused):
        context.progress.note(f"prepare: {len(refused)} of {len(frame)} left out, see {context.run.quarantine.name}")
    outputs = (folder, context.run.catalog, context.run.quarantine)
    return StepResult(outputs, {"counts": counts, "preparation": layout.preparation}, _content(folder, frame, recipe))


def source(entry: CatalogEntry) -> CatalogSource:
    """The recipe's catalog in the form that `catalogs` takes; images default to the table's folder."""
    images = entry.images or (entry.table.parent if entry.table else Path())
    return CatalogSource(entry.name, entry.table, images, Columns(**entry.columns), entry.bands, entry.file_pattern)


def preparation(recipe: Recipe, radiometry: Radiometry) -> str:
    """The hash of how files become pixels: reader and version, bands, size, crop, white, linear or display."""
    described = {
        "domain": recipe.domain,
        "version": DOMAINS[recipe.domain].version,
        "bands": recipe.bands,
        "size": recipe.store.size,
        "crop": recipe.store.crop,
        "white": sorted({str(entry.white) for entry in recipe.catalog}),
        "radiometry": radiometry,
        "letterbox": 1,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def write_job(job: ShardJob) -> ShardJob:
    """Read, letterbox and write the rows of one shard; runs in a reading process."""
    images, ids, refused = [], [], []
    nuisance: dict[str, list[np.ndarray]] = {}
    for object_id, answer in zip(job.rows["object_id"], _read(job), strict=True):
        stored = standardised(answer, job.layout, job.crop) if isinstance(answer, Cutout) else answer
        if isinstance(stored, Refusal):
            refused.append((object_id, stored.reason, stored.detail))
            continue
        ids.append(object_id)
        images.append(stored.pixels)
        for name, values in stored.nuisance.items():
            nuisance.setdefault(name, []).append(values)
    side, bands = job.layout.size, job.layout.bands
    stack = np.stack(images) if images else np.empty((0, len(bands), side, side), np.float32)
    table = pd.DataFrame(refused, columns=["object_id", "reason", "detail"])
    columns = {name: np.stack(values) for name, values in nuisance.items()}
    write_shard(job.folder, job.number, ids, stack, columns, bands, table)
    return job


def standardised(cutout: Cutout, layout: Layout, crop: int | None) -> Cutout | Refusal:
    """A cutout as the store holds it: square, float16's range, linear flux in units of its own sky sigma."""
    if cutout.radiometry != layout.radiometry:
        return Refusal("radiometry", f"the file holds {cutout.radiometry} values, the others {layout.radiometry} ones")
    if cutout.radiometry == "display":
        boxed = letterbox(cutout, layout.size, crop)
        return boxed if np.isfinite(boxed.pixels).any() else Refusal("no_valid_pixels", "nothing is left in the frame")
    # A single wild pixel (1e30) would smear over its neighbours: cut to what float16 holds before resampling.
    limit = border_sigma(cutout.pixels)[:, None, None] * SATURATION
    clipped = np.clip(cutout.pixels, -limit, limit)
    boxed = letterbox(Cutout(clipped, cutout.bands, "linear", cutout.nuisance), layout.size, crop)
    sigma = np.asarray(boxed.nuisance.get("sky_sigma", np.full(len(layout.bands), np.nan)), np.float32)
    sigma = np.where(np.isfinite(sigma), sigma, border_sigma(boxed.pixels)).astype(np.float32)
    if not np.isfinite(sigma).all():
        return Refusal("no_sky", "the sky sigma cannot be measured: the image is constant or has too few valid pixels")
    pixels = np.clip(boxed.pixels / sigma[:, None, None], -SATURATION, SATURATION)
    return Cutout(pixels.astype(np.float32), boxed.bands, "linear", {**boxed.nuisance, "sky_sigma": sigma})


def _read(job: ShardJob) -> Iterator[Cutout | Refusal]:
    start = 0
    for end in range(1, len(job.rows) + 1):  # rows that share a white value go to the reader together
        if start in job.deadly:
            yield Refusal("crashed", "the file ended the process that read it")
        elif end < len(job.rows) and job.white[end] == job.white[start] and end not in job.deadly:
            continue
        else:
            yield from job.read(job.rows.iloc[start:end], bands=job.layout.bands, white=job.white[start])
        start = end


def _finished(jobs: list[ShardJob], workers: int) -> Iterator[ShardJob]:
    """The jobs as they are done, by `workers` reading processes; a file that kills its reader is refused, not fatal."""
    left = {job.number: job for job in jobs}
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, max(1, len(jobs))), mp_context=spawn) as pool:
            for future in as_completed([pool.submit(write_job, job) for job in jobs]):
                job = future.result()
                del left[job.number]
                yield job
    except BrokenProcessPool:
        for job in left.values():
            yield _rescued(job)


def _rescued(job: ShardJob) -> ShardJob:
    """Read a shard in a process of its own; where that dies, find the rows that kill it and refuse them."""
    if not _survives(job, write_job):
        deadly = {place for place in range(len(job.rows)) if not _survives(_single(job, place), _try_row)}
        if not _survives(dataclasses.replace(job, deadly=frozenset(deadly)), write_job):
            raise ValueError(f"reading processes die on shard {job.number} as a whole; give them more memory")
    return job


def _single(job: ShardJob, place: int) -> ShardJob:
    return dataclasses.replace(job, rows=job.rows.iloc[place : place + 1], white=job.white[place : place + 1])


def _try_row(job: ShardJob) -> int:
    return sum(1 for _ in _read(job))


def _survives(job: ShardJob, work: object) -> bool:
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(work, job).result()  # type: ignore[arg-type]
    except BrokenProcessPool:
        return False
    return True


def _radiometry(read: DomainReader, recipe: Recipe, frame: pd.DataFrame, whites: dict[str, float | None]) -> Radiometry:
    """Linear or display, as the first readable image of the catalog says; the others must agree."""
    for name, rows in frame.groupby("catalog", sort=False):
        for start in range(0, len(rows)):
            for answer in read(rows.iloc[start : start + 1], bands=recipe.bands, white=whites[str(name)]):
                if isinstance(answer, Cutout):
                    return answer.radiometry
    return "display"


def _check_labels(recipe: Recipe, frame: pd.DataFrame) -> None:
    for name in recipe.labels:
        if frame[name].isna().all():
            raise ValueError(f"labels.{name}: no row has a value in this column; name a column that holds labels")


def _content(folder: Path, frame: pd.DataFrame, recipe: Recipe) -> str:
    """A hash of the stored pixels, their nuisance and what later steps read of each object, labels left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("shard-*")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    uses = {entry.name: entry.use for entry in recipe.catalog}
    rules = json.dumps({"uses": uses, "labelled": bool(recipe.labels)}, sort_keys=True)
    described = frame[["object_id", "catalog", "group", "split", "half"]].to_csv(index=False) + rules
    digest.update(described.encode())
    return digest.hexdigest()
