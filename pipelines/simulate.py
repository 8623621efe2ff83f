"""A simulated survey of any size: FITS files and a table where it is small, straight into a run's store where large."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, final

import numpy as np
import pandas as pd

from catalogs.canonical import CatalogSource
from catalogs.columns import Columns
from catalogs.quarantine import write_quarantine
from catalogs.samples.survey import LARGEST, survey, truth
from catalogs.samples.survey_files import fits_bytes, fits_name, write_fits
from catalogs.samples.survey_parents import SurveyOptions, load_parents, parents_bytes
from catalogs.splits import assign_halves
from catalogs.supervisor import Started, supervised
from catalogs.tables import read_catalog
from domainssl.shards import Layout, shard_is_done, write_layout, write_shard
from pipelines.atomic import atomic_write, write_json, write_text
from pipelines.estimate import FLOAT16
from pipelines.prepare import preparation
from pipelines.progress import Progress
from pipelines.reading_jobs import SATURATION
from pipelines.recipe import Recipe, parse_recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import Context, StepResult, run_steps

R = TypeVar("R")
Format = Literal["fits", "store"]
_ROW_BYTES = 600  # of an object in tables and indices
_CHUNK = 64  # objects in memory at once
_FILES = 512  # FITS files a job
_TRUTH = 20_000  # rows of truth a job
_TIMED = 32
_NOTHING = pd.DataFrame({"object_id": [], "reason": [], "detail": []}, dtype=str)

RECIPE = """\
# A simulated survey: {count} objects, seed {seed}, {scale:g} arcsec a pixel.
domain = "galaxies"

[[catalog]]
name = "{name}"
table = "{table}"
{images}columns = {{ id = "object_id", file = "file", group = "group", psf_fwhm_px = "psf_fwhm_px_{{band}}" }}
bands = {bands}

[labels.type]
kind = "classes"

[labels.ttype]
kind = "ordered"

[labels.redshift]
kind = "real"

[labels.smooth_or_featured]
kind = "votes"
columns = ["smooth", "featured", "artifact"]

[labels.bar]
kind = "votes"
columns = ["bar_yes", "bar_no"]

[labels.spiral]
kind = "votes"
columns = ["spiral_yes", "spiral_no"]

[labels.number_of_arms]
kind = "votes"
columns = ["arms_2", "arms_3", "arms_4"]

[store]
size = {size}

[encoder]
size = {encoder}
"""


@final
@dataclass(frozen=True)
class Cost:
    """What a simulation takes: bytes on disk, those of the parents included, and seconds by all workers together."""

    bytes: int
    seconds: float

    def text(self) -> str:
        """For a person."""
        return f"about {self.bytes / 1e9:.2f} GB on disk and {self.seconds / 60:.1f} minutes"


@final
@dataclass(frozen=True)
class SurveyJob:
    """Objects start to stop, to be written as FITS files below `folder`, or as shard `number` of the store there."""

    options: SurveyOptions
    cache: Path
    start: int
    stop: int
    folder: Path
    number: int | None = None

    def without(self, row: int, refusal: object) -> "SurveyJob":
        """Never asked: no row is read from a file."""
        raise AssertionError(f"row {row} refused: {refusal}")


def simulate(
    options: SurveyOptions,
    count: int,
    out: Path,
    form: Format,
    workers: int,
    progress: Progress,
    cache: Path | None = None,
) -> Path:
    """Writes `count` objects and gives the path of a recipe for them, `out/recipe.toml`; goes on where it was stopped.

    "fits": out/images, out/catalog.csv (the columns of `catalogs.samples.survey.truth`, and file). "store": `out` is a
    run's folder whose prepare step is done, with out/truth.parquet beside it. `cache` keeps the rendered parents for
    other surveys; without it they are removed in the end.

    Raises ValueError where the count is out of range, the disk too small, or `out` holds something else.
    """
    if not 1 <= count <= LARGEST:
        raise ValueError(f"objects = {count}: a simulated survey has 1 to {LARGEST:,}")
    work = {"fits": _fits, "store": _store}[form]
    cost = estimate(options, count, form, workers)
    progress.note(f"simulate: {cost.text()}")
    _demand_disk(cost, out)
    if form == "fits":
        _claim(out, options, count)
    else:
        RunFolder.open(out, create=True)
    parents = cache or out / "parents"
    with progress.counter("simulate: parents", options.parents) as counter:
        told = 0

        def show(done: int) -> None:
            nonlocal told
            counter.advance(done - told)
            told = done

        load_parents(options, parents, workers, show)
    recipe = work(options, count, out, parents, workers, progress)
    if cache is None:
        shutil.rmtree(parents)
    return recipe


def estimate(options: SurveyOptions, count: int, form: Format, workers: int) -> Cost:
    """The cost of a survey, from ten parents and 32 objects made and written in a temporary folder."""
    few = dataclasses.replace(options, parents=10)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begun = time.perf_counter()
        load_parents(few, folder)
        rendered = time.perf_counter()
        write(SurveyJob(few, folder, 0, _TIMED, folder, None if form == "fits" else 0), lambda row: None)
        written = time.perf_counter()
    stored = len(options.bands) * options.size**2 * FLOAT16
    each = _ROW_BYTES + (fits_bytes(options) if form == "fits" else stored)
    seconds = (rendered - begun) / few.parents * options.parents + (written - rendered) / _TIMED * count
    return Cost(parents_bytes(options) + count * each, seconds / workers)


def survey_recipe(options: SurveyOptions, count: int, form: Format) -> str:
    """The text of a recipe for the survey, its paths relative to the survey's folder."""
    scale = f"{options.pixel_scale:g}"
    return RECIPE.format(
        count=count,
        seed=options.seed,
        scale=options.pixel_scale,
        name=f"simulated {''.join(options.bands)} {scale} arcsec",
        table="catalog.csv" if form == "fits" else "truth.parquet",
        images='images = "images"\n' if form == "fits" else "",
        bands=json.dumps(options.bands),
        size=options.size,
        encoder=max(32, min(96, 3 * options.size // 4)),
    )


def write(job: SurveyJob, started: Started) -> None:
    """Writes the objects of one job, `_CHUNK` at a time."""
    parents = load_parents(job.options, job.cache)
    chunks = survey(job.options, parents, job.start, job.stop, _CHUNK)
    if job.number is not None:
        _write_shard(job, chunks)
        return
    for table, pixels in chunks:
        for row, image in zip(table.to_dict("records"), pixels, strict=True):
            path = job.folder / fits_name(row["object_id"], row["number"])
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                write_fits(path, image, {str(key): value for key, value in row.items()}, job.options)


def tell(job: SurveyJob, started: Started) -> pd.DataFrame:
    """The truth of one job's objects."""
    return truth(job.options, load_parents(job.options, job.cache).facts, job.start, job.stop)


def _write_shard(job: SurveyJob, chunks: Iterator[tuple[pd.DataFrame, np.ndarray]]) -> None:
    bands, size = job.options.bands, job.options.size
    images = np.empty((job.stop - job.start, len(bands), size, size), np.float16)
    tables, done = [], 0
    for table, pixels in chunks:
        sigma = table[[f"sky_sigma_{band}" for band in bands]].to_numpy(np.float32)
        pixels /= sigma[:, :, None, None]
        images[done : done + len(table)] = np.clip(pixels, -SATURATION, SATURATION, out=pixels)
        done += len(table)
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    nuisance = {
        name: whole[[f"{name}_{band}" for band in bands]].to_numpy(np.float32) for name in ("sky_sigma", "psf_fwhm_px")
    }
    nuisance["ebv"] = np.repeat(whole[["ebv"]].to_numpy(np.float32), len(bands), axis=1)
    assert job.number is not None
    write_shard(job.folder, job.number, whole["object_id"].tolist(), images, nuisance, bands, _NOTHING)


def _fits(options: SurveyOptions, count: int, out: Path, cache: Path, workers: int, progress: Progress) -> Path:
    table = _truth(options, count, cache, workers, progress)
    names = zip(table["object_id"], table["number"], strict=True)
    table.insert(1, "file", [fits_name(object_id, number) for object_id, number in names])
    starts = range(0, count, _FILES)
    jobs = [SurveyJob(options, cache, start, min(start + _FILES, count), out / "images") for start in starts]
    _write(jobs, count, workers, progress)
    with atomic_write(out / "catalog.csv") as part:
        table.to_csv(part, index=False)
    recipe = out / "recipe.toml"
    write_text(recipe, survey_recipe(options, count, "fits"))
    return recipe


def _store(options: SurveyOptions, count: int, out: Path, cache: Path, workers: int, progress: Progress) -> Path:
    run = RunFolder.open(out, create=False)
    recipe = parse_recipe(survey_recipe(options, count, "store"), out)
    with atomic_write(out / "truth.parquet") as part:
        _truth(options, count, cache, workers, progress).assign(file="").to_parquet(part, index=False)

    def prepare(context: Context) -> StepResult:
        return _prepared(context, options, count, cache)

    run_steps(Context(recipe, run, workers, "cpu", progress), ("prepare",), work={"prepare": prepare})
    return run.recipe


def _prepared(context: Context, options: SurveyOptions, count: int, cache: Path) -> StepResult:
    """What `pipelines.prepare.run` leaves, without any file being read."""
    recipe, run = context.recipe, context.run
    kept = _catalog(recipe, run.folder)
    layout = Layout(options.bands, options.size, "linear", preparation(recipe, "linear"))
    write_layout(run.store, layout)
    step = layout.rows_per_shard(count)
    jobs = [
        SurveyJob(options, cache, start, min(start + step, count), run.store, number)
        for number, start in enumerate(range(0, count, step))
        if not shard_is_done(run.store, number)
    ]
    _write(jobs, count, context.workers, context.progress)
    write_quarantine(_NOTHING, run.quarantine)
    with atomic_write(run.catalog) as part:
        kept.to_parquet(part, index=False)
    described = kept[["object_id", "group", "split", "half"]].to_csv(index=False)
    content = hashlib.sha256(f"{options}{layout}{described}".encode()).hexdigest()
    facts = {"counts": {"rows": count, "stored": count, "refused": {}}, "preparation": layout.preparation}
    return StepResult((run.store, run.catalog, run.quarantine), facts, content)


def _catalog(recipe: Recipe, out: Path) -> pd.DataFrame:
    (entry,) = recipe.catalog
    columns = Columns(**entry.columns)
    frame = read_catalog(CatalogSource(entry.name, entry.table, out, columns, entry.bands), recipe.label_columns)
    frame["half"] = assign_halves(frame)
    return frame.drop(columns=["paths", "issuer"])


def _truth(options: SurveyOptions, count: int, cache: Path, workers: int, progress: Progress) -> pd.DataFrame:
    starts = range(0, count, _TRUTH)
    jobs = [SurveyJob(options, cache, start, min(start + _TRUTH, count), cache) for start in starts]
    tables = {}
    with progress.counter("simulate: truth", count) as counter:
        for job, table in _done(jobs, tell, workers):
            tables[job.start] = table
            counter.advance(len(table))
    return pd.concat([tables[start] for start in starts], ignore_index=True)


def _write(jobs: Sequence[SurveyJob], count: int, workers: int, progress: Progress) -> None:
    with progress.counter("simulate: objects", count) as counter:
        counter.advance(count - sum(job.stop - job.start for job in jobs))
        for job, _ in _done(jobs, write, workers):
            counter.advance(job.stop - job.start)


def _done(
    jobs: Sequence[SurveyJob], work: Callable[[SurveyJob, Started], R], workers: int
) -> Iterator[tuple[SurveyJob, R]]:
    """Each job with its result: by this process alone where one is asked for, which starts none."""
    if workers == 1:
        return ((job, work(job, lambda row: None)) for job in jobs)
    return supervised(jobs, work, workers)


def _demand_disk(cost: Cost, out: Path) -> None:
    """ValueError where the disk of `out` has less room than what is not there yet."""
    there = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) if out.is_dir() else 0
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if cost.bytes - there > free:
        raise ValueError(
            f"the survey needs {cost.bytes / 1e9:.2f} GB and the disk of {out} has {free / 1e9:.2f} GB free; give "
            "fewer objects, a smaller size, fewer parents, or another disk"
        )


def _claim(out: Path, options: SurveyOptions, count: int) -> None:
    """Marks the folder as this survey's; ValueError where it holds another, or other files."""
    mark = out / "simulation.json"
    described = json.loads(json.dumps({"objects": count, **dataclasses.asdict(options)}))
    if mark.is_file():
        if json.loads(mark.read_bytes()) != described:
            raise ValueError(f"{out} holds another simulated survey; give another folder, or remove this one")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds other files; give the survey a folder of its own")
    else:
        write_json(mark, described)
