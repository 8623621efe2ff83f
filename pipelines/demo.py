"""The demo: a simulated survey from nothing, then everything a run does, under a recipe that is left beside it."""

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
table = "survey/labels.csv"
images = "survey/images"
columns = { id = "objid", file = "file", group = "tile", ebv = "ebv", psf_fwhm_px = "psf_fwhm_px_{band}" }
bands = ["u", "g", "r", "i", "z"]

[labels.label]
kind = "classes"

[store]
size = 96

[encoder]
size = 96

[pretrain]
epochs = 8
projector_epochs = 2
batch_size = 64

[classify]
labels_per_class = [5, 10, 20, 25, 50]
"""
GALAXY_COUNT = 900


def run_demo(domain: str, out: Path, count: int | None, workers: int, device: str, progress: Progress) -> Path:
    """Simulate `count` objects into `out`, run every step on them and return the report's path.

    Run again, it goes on where it was. Raises ValueError for a domain without a simulation.
    """
    if domain != "galaxies":
        raise ValueError(f"no simulation of {domain!r} yet; try `domainssl demo galaxies`")
    # GalSim is imported only when something is simulated.
    from catalogs.samples.galaxies import write_galaxies

    number = count or GALAXY_COUNT
    survey, recipe = out / "survey", out / "recipe.toml"
    run = RunFolder.open(out / "run", create=True)
    if count_rows(survey / "labels.csv") != number:
        with progress.counter("simulating galaxies", number) as counter:
            told = 0

            def show(done: int) -> None:
                nonlocal told
                counter.advance(done - told)
                told = done

            write_galaxies(survey, number, seed=0, workers=workers, progress=show)
    recipe.write_text(GALAXIES)
    run_steps(Context(load_recipe(recipe), run, workers, device, progress), tuple(DEPENDS))
    return run.report


def count_rows(table: Path) -> int:
    """Rows of a CSV table without its header; 0 where there is none."""
    return len(table.read_text().splitlines()) - 1 if table.is_file() else 0
