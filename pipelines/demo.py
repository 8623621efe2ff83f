"""The demos: a simulated sample from nothing, then everything a run does, under a recipe that is left beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.progress import Progress
from pipelines.recipe import load_recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import DEPENDS, Context, run_steps

GALAXIES = """\
# The demo's recipe: simulated galaxies in 5 bands.
# domainssl run recipe.toml --out run
domain = "galaxies"

[[catalog]]
name = "simulated survey"
table = "sample/labels.csv"
images = "sample/images"
columns = { id = "objid", file = "file", group = "tile", ebv = "ebv", psf_fwhm_px = "psf_fwhm_px_{band}" }
bands = ["u", "g", "r", "i", "z"]

[labels.label]
kind = "classes"

[store]
size = 96

[encoder]
size = 96

[pretrain]
epochs = 6
projector_epochs = 2

[classify]
labels_per_class = [5, 10, 20, 25, 50]
heads = ["linear", "prototype", "knn"]
"""


CHEST = """\
# The demo's recipe: simulated chest radiographs as DICOM files, of two sites, one of which burns a mark in.
# domainssl run recipe.toml --out run
domain = "chest_xrays"

[[catalog]]
name = "simulated cohort"
table = "sample/labels.csv"
images = "sample/images"
columns = { id = "image_id", file = "file", group = "patient_id", issuer = "issuer" }
bands = ["grey"]

[labels.effusion]
kind = "yes_no"
provenance = "simulated: the truth"

[store]
size = 128

[encoder]
size = 96

[pretrain]
method = "byol"
epochs = 8
projector_epochs = 2

[classify]
labels_per_class = [5, 10, 20, 40]
heads = ["linear", "prototype", "knn"]
"""

Write = Callable[[Path, int, int, Callable[[int], None]], Path]  # folder, count, workers, progress


@dataclass(frozen=True)
class Demo:
    """What is simulated, how many of it, and the recipe of the run."""

    what: str
    count: int
    recipe: str
    write: Write


def _galaxies(folder: Path, count: int, workers: int, progress: Callable[[int], None]) -> Path:
    from catalogs.samples.galaxies import write_galaxies  # GalSim is imported only when something is simulated

    return write_galaxies(folder, count, seed=0, workers=workers, progress=progress)


def _radiographs(folder: Path, count: int, workers: int, progress: Callable[[int], None]) -> Path:
    from catalogs.samples.radiographs import write_radiographs

    return write_radiographs(folder, count, seed=0, workers=workers, progress=progress)


DEMOS: dict[str, Demo] = {
    "galaxies": Demo("galaxies", 900, GALAXIES, _galaxies),
    "chest": Demo("radiographs", 440, CHEST, _radiographs),
}


def run_demo(name: str, out: Path, count: int | None, workers: int, device: str, progress: Progress) -> Path:
    """Simulate `count` objects into `out`, run every step on them and return the report's path.

    Run again, it goes on where it was. Raises ValueError for a name that is not in `DEMOS`.
    """
    if name not in DEMOS:
        raise ValueError(f"no demo {name!r}; there are {' and '.join(DEMOS)}")
    demo = DEMOS[name]
    number = count or demo.count
    sample, recipe = out / "sample", out / "recipe.toml"
    run = RunFolder.open(out / "run", create=True)
    if count_rows(sample / "labels.csv") != number:
        with progress.counter(f"simulating {demo.what}", number) as counter:
            told = 0

            def show(done: int) -> None:
                nonlocal told
                counter.advance(done - told)
                told = done

            demo.write(sample, number, workers, show)
    recipe.write_text(demo.recipe)
    run_steps(Context(load_recipe(recipe), run, workers, device, progress), tuple(DEPENDS))
    return run.report


def count_rows(table: Path) -> int:
    """Rows of a CSV table without its header; 0 where there is none."""
    return len(table.read_text().splitlines()) - 1 if table.is_file() else 0
