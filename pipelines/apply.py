"""A trained run on new data: tomorrow's night, the second hospital. Nothing is learnt from it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from catalogs.scanning import is_source
from catalogs.table_files import TABLE_SUFFIXES
from domainssl.embedding import read_parts
from domainssl.encoders import load_encoder
from domainssl.evaluation.certainty import Certainty
from domainssl.evaluation.certainty_files import load_certainty
from domainssl.heads.files import load_head
from domainssl.heads.head import FittedHead
from pipelines import embed, prepare, rank, report
from pipelines.atomic import write_json
from pipelines.classify import safe_name
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.predictions import predicted, write_predictions
from pipelines.privacy import guarded, pseudonyms
from pipelines.progress import Progress
from pipelines.recipe import Recipe, RecipeError, check_paths, dump_fields, parse_recipe
from pipelines.recipe_toml import NotTomlError, parse_toml
from pipelines.run_folder import RunFolder, RunFolderError
from pipelines.shift import shifted
from pipelines.steps import DEPENDS, Context, StepResult, run_steps
from pipelines.votes import with_asked
from reports.shift import shift_sentences

REDONE = ("classify", "rank", "report")  # quick, and they read files of the trained run that no key of a step names


def apply(
    trained: RunFolder,
    catalog: Path,
    images: Path | None,
    out: Path | None,
    workers: int,
    device: str,
    progress: Progress,
) -> Path:
    """Embed, classify, rank and show the images of `catalog` by what `trained` has learnt, and return the page's path.

    `catalog` is a folder of images, a table with the columns that the run's recipe names, or a recipe, of which the
    catalogs are taken. The results lie in a run's folder of their own, `out` or below the trained run's "applied".
    Anomalies are scored against the objects that the trained run ranked. Run again, it goes on where it was.
    Raises RecipeError where catalog and run do not fit each other (domain, bands, preparation), RunFolderError where
    the run is not finished.
    """
    recipe = trained_recipe(trained)
    with guarded(DOMAINS[recipe.domain].private):
        fitted = applied_recipe(trained, recipe, catalog, images)
        target = RunFolder.open(out or trained.applied / _name(trained, recipe, catalog), create=True)
    context = Context(fitted, target, workers, device, progress)
    work = {
        "prepare": lambda context: prepare.run(context, trained.store),
        "embed": lambda context: _embed(context, trained),
        "classify": lambda context: _classify(context, replace(context, recipe=recipe, run=trained)),
        "rank": lambda context: rank.rank(context, trained),
        "report": lambda context: report.run(context, (_sentence(trained), *_shift(context.run))),
    }
    for step in REDONE:
        target.invalidate(step)
    run_steps(context, tuple(DEPENDS), work=work)
    return target.report


def trained_recipe(trained: RunFolder) -> Recipe:
    """The recipe of a run that has all that applying it needs; RunFolderError where a step is missing."""
    for step in ("pretrain", "embed", "classify", "rank"):
        if "finished" not in trained.record(step):
            remedy = "`domainssl run` with its recipe finishes it"
            if step == "pretrain":
                remedy += "; a run whose pretrain.epochs is 0 has learnt nothing that could be applied"
            raise RunFolderError(f"{trained.folder}: the step {step} is not done; {remedy}")
    recipe = parse_recipe(trained.recipe.read_text(encoding="utf-8"), trained.folder)
    if any(not (trained.heads / safe_name(label)).is_dir() for label in recipe.labels):
        raise RunFolderError(
            f"{trained.folder}: its heads were made by an earlier version, which did not calibrate them; "
            "`domainssl classify` with its recipe brings them up to date"
        )
    return recipe


def applied_recipe(trained: RunFolder, recipe: Recipe, catalog: Path, images: Path | None) -> Recipe:
    """The trained run's recipe with other catalogs, without labels and pretraining, and with its encoder as weights."""
    if catalog.suffix == ".toml" and catalog.is_file():
        entries = _catalogs_of(recipe, catalog)
    else:
        entries = [_entry(recipe, catalog, images)]
    fields = recipe.model_dump(mode="json")
    fields |= {
        "catalog": [{**entry, "use": ["rank"]} for entry in entries],
        "labels": {},
        "start": {},
        "classify": {**fields["classify"], "starts": ["imagenet"], "heads": [], "consistency": 0, "unit": "image"},
        "encoder": {**fields["encoder"], "weights": str(trained.encoder.resolve())},
        "pretrain": {**fields["pretrain"], "epochs": 0, "images": None, "seconds": None},
        "report": {**fields["report"], "saliency": "off"},  # its maps are of the trained run's own test half
    }
    fitted = parse_recipe(dump_fields(fields), catalog.parent)
    check_paths(fitted)
    if fitted.bands != recipe.bands:
        raise RecipeError(
            f"catalog.0.bands: {list(fitted.bands)} are not those of the run, {list(recipe.bands)}; "
            "a trained run takes the bands it was trained on, in their order"
        )
    return fitted


def _catalogs_of(recipe: Recipe, path: Path) -> list[dict[str, Any]]:
    """The catalogs of another recipe, whose domain and store must be the run's where it names them."""
    try:
        data = parse_toml(path.read_text(encoding="utf-8-sig"))
    except NotTomlError as error:
        raise RecipeError(str(error)) from None
    ours = recipe.model_dump(mode="json")
    wanted = {"domain": ours["domain"], **{f"store.{key}": value for key, value in ours["store"].items()}}
    store = data.get("store", {})
    given = {"domain": data.get("domain"), **{f"store.{key}": value for key, value in store.items()}}
    for key, value in given.items():
        if value is not None and key in wanted and value != wanted[key]:
            raise RecipeError(
                f"{key}: {value!r} is not the run's, {wanted[key]!r}; images prepared otherwise than those it was "
                "trained on would be scored wrongly"
            )
    entries = data.get("catalog")
    if not isinstance(entries, list) or not entries:
        raise RecipeError("catalog: there is none; write a [[catalog]] with name, table, images and bands")
    return entries


def _entry(recipe: Recipe, catalog: Path, images: Path | None) -> dict[str, Any]:
    """The run's first ranked catalog with another table and folder."""
    model = next((entry for entry in recipe.catalog if "rank" in entry.use), recipe.catalog[0])
    entry = model.model_dump(mode="json") | {"match": [], "layout": None, "licence": None}
    if DOMAINS[recipe.domain].private:
        entry["file_pattern"] = None  # the run does not keep it
    if is_source(catalog, DOMAINS[recipe.domain].suffixes):
        return {
            **entry,
            "name": "applied",
            "table": None,
            "images": str(catalog.resolve()),
            "columns": {},
            "cutout": None,
        }
    if catalog.is_file() and not catalog.name.lower().endswith(TABLE_SUFFIXES):
        raise RecipeError(f"CATALOG is neither a folder, nor a recipe, nor a table ({', '.join(TABLE_SUFFIXES)})")
    folder = images or catalog.parent
    return {**entry, "name": "applied", "table": str(catalog.absolute()), "images": str(folder.absolute())}


def _name(trained: RunFolder, recipe: Recipe, catalog: Path) -> str:
    """The folder of these results: the catalog's name, or in a private domain its source id."""
    if DOMAINS[recipe.domain].private:
        return pseudonyms(trained).of("source", str(catalog.resolve()))
    return catalog.resolve().stem


def _embed(context: Context, trained: RunFolder) -> StepResult:
    """Embeddings by the trained run's encoder, computed in the number format of that run, so that they agree."""
    if precision := trained.read_manifest().get("precision"):
        context.run.update(precision=precision)
    return embed.embed_all(context, Objects(context), load_encoder(trained.encoder))


def _classify(context: Context, past: Context) -> StepResult:
    """Write predictions by the trained run's heads, shift.json, and empty metrics, certainty, audit, baselines and
    subgroups: nothing was measured."""
    trained, labels = past.run, tuple(past.recipe.labels)
    heads: dict[str, tuple[FittedHead, Certainty]] = {}
    ids, embedded, model = read_parts(context.run.embeddings)
    predictions = pd.DataFrame({"object_id": ids})
    for label in labels:
        path = trained.heads / safe_name(label)
        head, outputs, kind, _ = load_head(path.with_name(f"{path.name}.safetensors"), features_id=model)
        certainty = load_certainty(path, features_id=model)
        predictions = predictions.assign(**predicted(label, kind, outputs, head, certainty, embedded))
        heads[label] = (head, certainty)
    write_predictions(with_asked(predictions, past.recipe.labels), context.run)
    write_json(context.run.shift, shifted(context, past, embedded, heads))
    run = context.run
    empty = (run.metrics, run.certainty, run.audit, run.baselines, run.subgroups)
    for path in empty:
        write_json(path, [])
    files = (run.predictions, run.predictions_csv, run.shift, *empty)
    return StepResult(files, {"labels": list(labels)})


def _shift(run: RunFolder) -> list[str]:
    return shift_sentences(json.loads(run.shift.read_text()))


def _sentence(trained: RunFolder) -> str:
    count = trained.record("rank").get("ranked")
    return (
        f"A run that was trained before was applied to these images: its encoder and heads; oddity is measured against "
        f"the {count:,} objects that it ranked. Nothing was learnt from these images and no score was measured on "
        "them; what is known of the run stands in its own model_card.md."
    )
