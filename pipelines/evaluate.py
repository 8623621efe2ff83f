"""Evaluations: the full comparison of a recipe, and sweeps, whose variants share one store, seed and budget."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from pipelines.atomic import write_bytes
from pipelines.domains import DOMAINS
from pipelines.progress import Progress
from pipelines.recipe import Recipe, RecipeError, load_recipe
from pipelines.run_folder import NotARunError, RunFolder
from pipelines.steps import Context, StepError, check_encoder, describe, run_steps
from pipelines.sweeps import STEPS, Variant

if TYPE_CHECKING:  # matplotlib, which reports import, would make errors in a recipe wait
    from reports.sweep import SweptVariant

# What an evaluation without a sweep compares: all starts, and every head on every kind of features.
FULL = (
    'classify.starts=["random","imagenet","scratch","continued"]',
    "classify.heads=[]",
    'classify.features=["last","stages","symmetry"]',
    "classify.cross=true",
)
COPIED = ("catalog", "quarantine", "duplicates", "review")  # where they are, beside the store, which is linked


@final
@dataclass(frozen=True)
class Evaluation:
    """What a sweep left: what became of each variant's steps, why some failed, and the page (None without results)."""

    steps: Mapping[str, Mapping[str, str]]
    failures: Mapping[str, str]
    page: Path | None

    def failed(self) -> str:
        """The failures in one line."""
        total = len(self.steps) + len(self.failures)
        reasons = "; ".join(f"{name}: {why}" for name, why in self.failures.items())
        return f"{len(self.failures)} of {total} variants failed: {reasons}"


def full_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe with everything compared; `overrides` come after that. RecipeError also for one without labels."""
    recipe = load_recipe(path, [*FULL, *overrides])
    if not recipe.labels:
        raise RecipeError("labels: there are none, so nothing could be measured; add a table [labels.NAME]")
    return recipe


def evaluate(
    variants: Sequence[Variant],
    out: Path,
    workers: int,
    device: str,
    progress: Progress,
    force: bool = False,
    on_error: Callable[[Exception], None] = lambda error: None,
) -> Evaluation:
    """Prepares the images once, trains and scores every variant, and writes evaluation.csv, .svg and .html to `out`.

    Each variant is a run's folder below `out`/variants, whose store is a link to the shared one; what is done there
    under the same recipe is not done again. A variant that fails does not stop the others. `force` does all again.
    `on_error` is told of each failure, while where it happened is still known.
    Raises NotARunError where `out` holds something else, RecipeError for encoders that timm does not know, both before
    anything is done.
    """
    for recipe in {variant.recipe.encoder.name: variant.recipe for variant in variants}.values():
        check_encoder(recipe)
    _open(out)
    steps: dict[str, dict[str, str]] = {}
    failures: dict[str, str] = {}
    prepared: dict[str, StepError | None] = {}
    with RunFolder(out).locked():
        for number, variant in enumerate(variants, start=1):
            progress.note(f"variant {number} of {len(variants)}: {variant.name}")
            try:
                base = _base(variant, out)
                if variant.base not in prepared:
                    prepared[variant.base] = _prepare(Context(variant.recipe, base, workers, device, progress), force)
                failure = prepared[variant.base]
                if failure is not None:
                    raise failure
                run = RunFolder.open(_folder(variant, out), create=True)
                with run.locked():
                    share(base, run)
                    _share_precision(variant, variants, out)
                context = Context(variant.recipe, run, workers, device, progress)
                steps[variant.name] = run_steps(context, STEPS[1:], force)
            except (StepError, ValueError, OSError) as error:
                failures[variant.name] = str(error) if isinstance(error, StepError) else describe(error)
                on_error(error)
            if variant.name in failures:
                progress.note(f"variant {variant.name} failed: {failures[variant.name]}")
        done = [variant for variant in variants if variant.name in steps]
        page = _report(done, tuple(failures), out) if done else None
    return Evaluation(steps, failures, page)


def share(base: RunFolder, run: RunFolder) -> None:
    """Give `run` the images that `base` prepared: a link to its store, copies of its tables, and the step's record."""
    record = base.record("prepare")
    if run.record("prepare") == record and run.is_done("prepare", str(record["key"])):
        return
    link = Path(os.path.relpath(base.store, run.folder))
    if run.store.is_symlink():
        run.store.unlink()
    if not run.store.exists():
        run.store.symlink_to(link, target_is_directory=True)
    for name in COPIED:
        if getattr(base, name).is_file():
            write_bytes(getattr(run, name), getattr(base, name).read_bytes())
    run.invalidate("prepare")  # a record is merged into the one that is there
    run.update(steps={"prepare": record})


def _open(out: Path) -> None:
    """Makes the folder of a sweep; NotARunError where something else lies there."""
    if out.exists() and not out.is_dir():
        raise NotARunError(f"{out} is a file; give the evaluation a folder of its own with --out")
    if (out / "manifest.json").exists():
        raise NotARunError(f"{out} is a run; give the evaluation a folder of its own with --out")
    entries = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")] if out.is_dir() else []
    if entries and not any((out / name / "manifest.json").is_file() for name in entries if name.startswith("base")):
        raise NotARunError(f"{out} holds other files and no evaluation; give another --out")
    out.mkdir(parents=True, exist_ok=True)


def _base(variant: Variant, out: Path) -> RunFolder:
    return RunFolder.open(out / variant.base, create=True)


def _folder(variant: Variant, out: Path) -> Path:
    return out / "variants" / variant.name


def _prepare(context: Context, force: bool) -> StepError | None:
    """Prepares the images; gives what went wrong, so that the other variants of these images need not try again."""
    try:
        run_steps(context, ("prepare",), force)
    except StepError as error:
        return error
    return None


def _share_precision(variant: Variant, variants: Sequence[Variant], out: Path) -> None:
    """The number format is timed once an encoder: two timings could choose differently, and variants with them."""
    run = RunFolder(_folder(variant, out))
    if "precision" in run.read_manifest():
        return
    for other in variants:
        folder = RunFolder(_folder(other, out))
        if other.recipe.encoder != variant.recipe.encoder or not folder.manifest.is_file():
            continue
        if known := folder.read_manifest().get("precision"):
            run.update(precision=known)
            return


def _report(variants: Sequence[Variant], failed: Sequence[str], out: Path) -> Path:
    from pipelines.findings import notices
    from pipelines.objects import Objects
    from pipelines.progress import Quiet
    from reports.sweep import SweepPage, write_sweep

    said: dict[str, None] = {}
    for variant in {variant.base: variant for variant in variants}.values():
        objects = Objects(Context(variant.recipe, RunFolder(out / variant.base), 1, "cpu", Quiet()))
        said |= dict.fromkeys(notices(objects, variant.recipe.domain, variant.recipe.classify.transductive))
    keys = list(variants[0].settings)
    domain = DOMAINS[variants[0].recipe.domain]
    page = SweepPage(
        title=f"{domain.title}: sweep of {', '.join(keys)}",
        subtitle=f"{_count(len(variants), 'variant')} of one recipe, {_count(len(objects.store), 'object')}",
        variants=[_swept(variant, out) for variant in variants],
        notices=tuple(said),
        failed=failed,
        provenance=_provenance(variants, out),
    )
    return write_sweep(out, page)


def _swept(variant: Variant, out: Path) -> "SweptVariant":
    from reports.sweep import SweptVariant

    run = RunFolder(_folder(variant, out))
    rows = json.loads(run.metrics.read_bytes())
    warning = (run.record("pretrain").get("final") or {}).get("warning")
    if not variant.recipe.pretrains:
        return SweptVariant(variant.name, variant.settings, rows, "was not pretrained, so it has no score of its own.")
    return SweptVariant(variant.name, variant.settings, rows, f"pretraining: {warning}" if warning else "")


def _provenance(variants: Sequence[Variant], out: Path) -> dict[str, Any]:
    """Versions, the seed where it is one, what pretraining took, and what all variants have in common; no paths."""
    manifests = [RunFolder(_folder(variant, out)).read_manifest() for variant in variants]
    took = {
        variant.name: f"{record.get('final', {}).get('images', 0):,} images seen, {record['seconds']:.0f} s"
        for variant, manifest in zip(variants, manifests, strict=True)
        if "seconds" in (record := manifest["steps"].get("pretrain", {}))
    }
    recipes = [variant.recipe.model_dump(mode="json") for variant in variants]
    common = {
        section: {
            key: value for key, value in recipes[0][section].items() if all(r[section][key] == value for r in recipes)
        }
        for section in ("store", "encoder", "pretrain", "classify")
    }
    if "/" in str(common["encoder"].get("weights", "")):
        common["encoder"]["weights"] = "a .safetensors file"
    seeds = {variant.recipe.seed for variant in variants}
    seed = {"seed": seeds.pop()} if len(seeds) == 1 else {}
    return {**seed, "versions": manifests[0]["versions"], "pretraining": took, "recipe": common}


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
