"""The steps of a run: what each depends on, which are done, and doing the others in order."""

import dataclasses
import errno
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.atomic import write_text
from pipelines.domains import DOMAINS
from pipelines.privacy import PublicError, guarded, hide_inputs, hide_sources, pseudonyms
from pipelines.progress import Progress
from pipelines.recipe import Recipe, RecipeError, dump_fields, dump_recipe
from pipelines.recipe_messages import did_you_mean
from pipelines.recipe_saliency import check_saliency
from pipelines.run_folder import RunFolder, environment, fingerprint, step_key


@dataclass(frozen=True)
class Context:
    """What a step is given. `device` is "cpu" or "cuda" by the time a step sees it ("auto" is resolved before)."""

    recipe: Recipe
    run: RunFolder
    workers: int
    device: str
    progress: Progress


@dataclass(frozen=True)
class StepResult:
    """What a step leaves: files or folders of the run, and facts (counts, precision …) for the manifest.

    `content`: a hash of everything that later steps read from this one (but for label columns, on which classify
    depends by itself), if the step has it. Doing the step again with the same content then leaves later steps valid;
    without it they are done again.
    """

    outputs: tuple[Path, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    content: str | None = None


def _prepare(context: Context) -> StepResult:
    from pipelines.prepare import run

    check_encoder(context.recipe)  # before the images are read, not after
    return run(context)


def _pretrain(context: Context) -> StepResult:
    from pipelines.pretrain import run

    return run(context)


def _embed(context: Context) -> StepResult:
    from pipelines.embed import run

    return run(context)


def _classify(context: Context) -> StepResult:
    from pipelines.classify import run

    return run(context)


def _rank(context: Context) -> StepResult:
    from pipelines.rank import run

    return run(context)


def _report(context: Context) -> StepResult:
    from pipelines.report import run

    return run(context)


Step = Callable[[Context], StepResult]

# Imported when called: torch and umap take seconds.
STEPS: dict[str, Step] = {
    "prepare": _prepare,
    "pretrain": _pretrain,
    "embed": _embed,
    "classify": _classify,
    "rank": _rank,
    "report": _report,
}


@dataclass(frozen=True)
class Depends:
    """What decides a step's outcome: steps before it, parts of the recipe ("a", "a.b", "sided" or "provenance", that of
    the labels), files it names."""

    after: tuple[str, ...]
    recipe: tuple[str, ...]
    inputs: tuple[Literal["tables", "weights", "starts"], ...] = ()


_GUARDED = ("classify.starts", "classify.primary_labels")
_EMBEDDED = ("classify.starts", "classify.features", "classify.unlabelled")

# A step depends on `catalog`, `labels` and the tables by itself where it reads label columns or the use of catalogs,
# since prepare's content leaves labels out (see StepResult).
DEPENDS: dict[str, Depends] = {
    "prepare": Depends((), ("domain", "split", "catalog", "labels", "store"), ("tables",)),
    "pretrain": Depends(
        ("prepare",),
        ("domain", "sided", "catalog", "labels", "encoder", "pretrain", *_GUARDED, "classify.transductive", "seed"),
        ("tables", "weights"),
    ),
    "embed": Depends(
        ("prepare", "pretrain"),
        ("domain", "catalog", "labels", "encoder", "start", *_EMBEDDED, "seed"),
        ("tables", "weights", "starts"),
    ),
    "classify": Depends(("embed",), ("domain", "sided", "catalog", "labels", "classify", "seed"), ("tables",)),
    "rank": Depends(("embed",), ("domain", "catalog", "rank", "seed")),
    "report": Depends(
        ("classify", "rank"),
        ("domain", "catalog", "labels", "provenance", "pretrain", "report", "seed"),
        ("tables",),
    ),
}

# Files that a step makes, as names of RunFolder's properties: removed before it is done under another key, so that no
# step resumes from, or reads, what belongs to another recipe.
FILES: dict[str, tuple[str, ...]] = {
    "prepare": ("catalog", "quarantine", "duplicates", "review", "store"),
    "pretrain": ("pretraining", "panels", "encoder", "scratch"),
    "embed": ("embeddings", "starts"),
    "classify": (
        *("heads", "predictions", "predictions_csv", "metrics", "certainty", "audit", "baselines"),
        *("suspects", "next_labels"),
        *("subgroups", "shift"),
    ),
    "rank": ("anomalies", "anomalies_parquet"),
    "report": ("projection", "metrics_csv", "report", "shared", "model_card"),
}

# Raised where a step writes other files than before, so that runs made before are brought up to date.
FORMS: dict[str, int] = {"classify": 4, "report": 3}

# What --force removes beside these. Checkpoints carry a key of their own, which labels are no part of: with other
# labels the best checkpoint is chosen anew, but nothing is trained again.
FORCED: dict[str, tuple[str, ...]] = {"pretrain": ("checkpoints",)}

AS_RUN = "# As run: paths are absolute, and every default is written out."
AS_RUN_PRIVATE = (
    "# As run, every default written out; source ids stand in place of paths, so it runs nothing by itself."
)

# Why a step has nothing to do under a recipe.
NEEDLESS: dict[str, Callable[[Recipe], str | None]] = {
    "pretrain": lambda recipe: (
        "pretrain.epochs is 0"
        if recipe.pretrain.epochs == 0
        else None
        if recipe.pretrains
        else f"pretrain.method is {recipe.pretrain.method!r}"
    ),
}


class StepError(Exception):
    """A step that failed; the message is one line that begins with its name."""

    def __init__(self, step: str, what: str) -> None:
        self.step = step
        super().__init__(f"{step}: {what}")


Before = Literal["never", "interrupted", "finished"]


@dataclass(frozen=True)
class State:
    """Where a step stands. `token` is what later steps depend on; None until the step is done, or `needless`."""

    key: str | None
    done: bool
    token: str | None
    needless: str | None = None
    before: Before = "never"


def states(recipe: Recipe, run: RunFolder, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, State]:
    """Where every step stands under this recipe; `inputs` as `input_fingerprints` gives them."""
    parts = {**recipe.model_dump(mode="json"), "sided": recipe.sided}
    # Words for page and card alone: other ones change no pixel and no score.
    origins = {label: entry.pop("provenance") for label, entry in parts["labels"].items()}
    parts["provenance"] = {"labels": origins, "images": [entry.pop("licence") for entry in parts["catalog"]]}
    found: dict[str, State] = {}
    for name, depends in DEPENDS.items():
        tokens = [found[earlier].token for earlier in depends.after]
        record = run.record(name)
        before: Before = "finished" if "finished" in record else "interrupted" if record else "never"
        needless = NEEDLESS[name](recipe) if name in NEEDLESS else None
        known = [token for token in tokens if token is not None]
        if len(known) < len(tokens):  # a step before it is still to be done, so its key is not known yet
            found[name] = State(None, False, None, needless, before)
            continue
        files = {key: value for kind in depends.inputs for key, value in inputs[kind].items()}
        form: dict[str, object] = {"form": FORMS[name]} if name in FORMS else {}
        if name == "embed" and recipe.classify.consistency:  # not where there are none: runs made before stay valid
            form["views"] = [recipe.classify.consistency, recipe.sided]
        key = step_key({part: _part(parts, part) for part in depends.recipe} | form, known, files)
        done = needless is None and run.is_done(name, key)
        token = key if needless else (record.get("content") or record["made"]) if done else None
        found[name] = State(key, done, token, needless, before)
    return found


def _part(recipe: Mapping[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return recipe[section][key] if key else recipe[section]


def input_fingerprints(recipe: Recipe, run: RunFolder) -> dict[str, dict[str, str]]:
    """The hashes of the files that a recipe names: the tables (or scanned folders) by catalog, and the weights."""
    private = DOMAINS[recipe.domain].private
    with guarded(private):
        found = _fingerprints(recipe)
        return hide_inputs(found, pseudonyms(run)) if private else found


def as_run(recipe: Recipe, run: RunFolder) -> str:
    """The recipe as the run's folder keeps it."""
    if not DOMAINS[recipe.domain].private:
        return f"{AS_RUN}\n{dump_recipe(recipe)}"
    hidden = hide_sources(recipe.model_dump(mode="json"), pseudonyms(run))
    return f"{AS_RUN_PRIVATE}\n{dump_fields(hidden)}"


def _fingerprints(recipe: Recipe) -> dict[str, dict[str, str]]:
    sources = {entry.name: entry.table or entry.images for entry in recipe.catalog}
    for entry in recipe.catalog:
        sources |= {f"{entry.name}, match {number}": match.table for number, match in enumerate(entry.match)}
        if entry.layout is not None and entry.images is not None:
            tables = (
                path for part in (entry.images, entry.images / "annotations") for path in sorted(part.glob("*.*"))
            )
            found = [path for path in tables if path.suffix in (".csv", ".gz", ".txt", ".json") and path.is_file()]
            sources |= {f"{entry.name}, table {number}": path for number, path in enumerate(found)}
    weights = Path(recipe.encoder.weights)
    return {
        "tables": {f"table {name}": fingerprint(path) for name, path in sources.items() if path is not None},
        "weights": {"weights": fingerprint(weights)} if weights.suffix == ".safetensors" else {},
        "starts": {f"start {name}": fingerprint(entry.file) for name, entry in recipe.start.items()},
    }


def run_steps(
    context: Context, names: Sequence[str], force: bool = False, work: Mapping[str, Step] | None = None
) -> dict[str, str]:
    """Does the named steps in their order, but for those already done under this recipe; `force` does them anyway.

    `work` gives other functions than `STEPS` for the same steps.

    Gives what became of each: "done", "done before" or "needless". Holds the run's lock. Raises StepError, also where a
    step that is not named but needed is missing or outdated; what was finished before stays finished.
    """
    run, recipe, say = context.run, context.recipe, context.progress.note
    with run.locked():
        try:
            inputs = input_fingerprints(recipe, run)
        except (OSError, PublicError) as error:
            raise StepError(next(iter(names)), describe(error)) from error
        outcome: dict[str, str] = {}
        for name in [step for step in DEPENDS if step in names]:
            found = states(recipe, run, inputs)
            state = found[name]
            _demand_earlier(run, name, name, found)
            if not outcome:
                if work is None and "embed" in names and not found["embed"].done:
                    check_weights(name, recipe)
                write_text(run.recipe, as_run(recipe, run))
                run.update(seed=recipe.seed, inputs=inputs, **environment())
            if state.needless:
                _remove_files(run, name)
                run.invalidate(name)
                say(f"{name}: {state.needless}, skipped")
                outcome[name] = "needless"
            elif state.done and not force:
                say(f"{name}: done before, skipped")
                outcome[name] = "done before"
            else:
                assert state.key is not None  # _demand_earlier saw to it
                context = dataclasses.replace(context, device=_resolve_device(name, context.device))
                _do(context, name, state.key, force, (work or STEPS)[name])
                outcome[name] = "done"
        return outcome


def check_encoder(recipe: Recipe) -> None:
    """Raises RecipeError for an encoder that timm does not know, or that gives no maps; imports timm, so not part of
    reading a recipe."""
    import timm

    import domainssl.dense  # noqa: F401 - timm then knows its networks by name

    name = recipe.encoder.name
    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models())
        raise RecipeError(f"encoder.name: timm has no model {name!r}{hint or '; timm.list_models() names them'}")
    check_saliency(recipe)


def check_weights(step: str, recipe: Recipe) -> None:
    """Raises StepError where ImageNet weights that the recipe asks for cannot be had, before hours of other work.

    Weights of a package are there with it; others are fetched from timm's hub, which keeps them.
    """
    from domainssl.imagenet import PACKAGED_IMAGENET, imagenet_network

    name, start = recipe.encoder.name, recipe.encoder.weights == "imagenet"
    compared = bool(recipe.labels) and "imagenet" in recipe.classify.starts
    if name in PACKAGED_IMAGENET or not (compared or start):
        return
    try:
        imagenet_network(name, recipe.encoder.size)
    except ValueError as error:
        compare = (
            f"classify.starts: the ImageNet weights of {name!r}, to compare with, could not be fetched from timm's hub "
            f"({type(error.__cause__ or error).__name__}); connect to a network, or leave 'imagenet' out"
        )
        raise StepError(step, f"encoder.weights: {error}" if start else compare) from error


def describe(error: BaseException) -> str:
    """An error in one line with a remedy; our own ValueErrors bring theirs."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({text}); free some space and run the same command again to go on"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; set a smaller pretrain.batch_size, or give fewer --workers"
    if isinstance(error, ValueError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}; run the same command with --debug to see where"


def _demand_earlier(run: RunFolder, wanted: str, name: str, found: Mapping[str, State]) -> None:
    for earlier in DEPENDS[name].after:
        _demand_earlier(run, wanted, earlier, found)
        if found[earlier].token is None:
            what = "is outdated" if found[earlier].before == "finished" else "has not been done"
            remedy = f"`domainssl {earlier} RECIPE --out {run.folder}` does it, `domainssl run` all that is missing"
            raise StepError(wanted, f"the step {earlier} before it {what} under this recipe; {remedy}")


def _do(context: Context, name: str, key: str, force: bool, step: Step) -> None:
    run, say = context.run, context.progress.note
    if force or run.record(name).get("key") != key:
        _remove_files(run, name, FORCED.get(name, ()) if force else ())
    run.begin(name, key)
    say(f"{name}: started")
    start = time.monotonic()
    try:
        result = step(context)
    except RecipeError:
        raise
    except Exception as error:
        raise StepError(name, describe(error)) from error
    seconds = round(time.monotonic() - start, 3)
    content = {} if result.content is None else {"content": result.content}
    run.mark_done(name, key, result.outputs, seconds=seconds, **content, **result.facts)
    say(f"{name}: done in {_duration(seconds)}")


def _remove_files(run: RunFolder, name: str, more: Sequence[str] = ()) -> None:
    for attribute in (*FILES[name], *more):
        path: Path = getattr(run, attribute)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _resolve_device(step: str, device: str) -> str:
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise StepError(step, "no CUDA device is available; give --device cpu, or auto")
    return "cpu"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
