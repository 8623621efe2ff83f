"""The page of a run that can be handed out: from its files, only what tells of many."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from catalogs.quarantine import read_quarantine
from domainssl.evaluation.retrieval import Retrieval
from pipelines.domains import DOMAINS
from pipelines.findings import change_sentences, collapse_sentences, notices, retrieval_sentence
from pipelines.model_card import model_card
from pipelines.objects import Objects
from pipelines.privacy import PublicError, guarded
from pipelines.recipe import Recipe, used_options
from pipelines.run_folder import RunFolder
from pipelines.steps import Context
from reports.shared import Counted, SharedPage, write_shared
from reports.shared_rows import shared_rows, shared_starts
from reports.suppression import FEWEST

OPTIONS = ("store", "encoder", "pretrain", "classify", "rank")


def share(context: Context) -> Path:
    """Write shared.html beside the report of a run whose report is done, and return its path.

    Holds the run's lock. In a private domain, errors say nothing that the data said.
    """
    with context.run.locked(), guarded(DOMAINS[context.recipe.domain].private):
        path = context.run.shared
        write_shared(path, _page(context))
    context.progress.note(
        f"report: {path.name} holds aggregate results alone; hiding small counts is no proof of anonymity"
    )
    return path


def _page(context: Context) -> SharedPage:
    recipe, folder = context.recipe, context.run
    domain, objects = DOMAINS[recipe.domain], Objects(context)
    if unknown := folder.record("prepare").get("counts", {}).get("patient unknown"):
        raise PublicError(
            f"of {unknown} images it is not known whose they are, so that small numbers of patients cannot be hidden; "
            "name the table's column of patients in columns.group"
        )
    training = _records(folder.pretraining) if recipe.pretrains else []
    metrics = json.loads(folder.metrics.read_text())
    people = objects.frame["group" if domain.private else "object_id"]
    left_out, left_out_people = _left_out(folder, private=domain.private)
    said = [*change_sentences(shared_rows(metrics)), *collapse_sentences(training)]
    said += _trouble_sentences(pd.read_parquet(folder.anomalies_parquet), people.set_axis(objects.frame["object_id"]))
    found = folder.record("report").get("same_patient_retrieval")
    if domain.private:
        said.append(retrieval_sentence(None if found is None else Retrieval(**found), counted=False))
    return SharedPage(
        title=f"{domain.title}: aggregate results",
        used=Counted(len(people), people.nunique()),
        left_out=left_out,
        left_out_people=left_out_people,
        notices=notices(objects, recipe.domain, recipe.classify.transductive, images=False),
        findings=said,
        metrics=metrics,
        subgroups=json.loads(folder.subgroups.read_text()),
        training=training,
        guard=_guard(folder.record("pretrain").get("guard")) if recipe.pretrains else None,
        provenance=_provenance(recipe, folder.read_manifest()),
        image="images" if domain.private else "objects",
        person="patients" if domain.private else "objects",
        card=model_card(context, objects, found, shared=True),
    )


def _left_out(folder: RunFolder, *, private: bool) -> tuple[dict[str, Counted], int]:
    """What was left out by reason, and to how many people it belongs."""
    refused = read_quarantine(folder.quarantine)
    if private:
        groups = pd.read_parquet(folder.catalog, columns=["object_id", "group"]).set_index("object_id")["group"]
        refused["person"] = groups.reindex(refused["object_id"]).to_numpy()
    else:
        refused["person"] = refused["object_id"]
    found = {str(reason): Counted(len(rows), rows["person"].nunique()) for reason, rows in refused.groupby("reason")}
    return found, int(refused["person"].nunique())


def _trouble_sentences(anomalies: pd.DataFrame, people: "pd.Series[str]") -> list[str]:
    """How many ranked images are wrong as images, if that, and how many are not, is of enough people."""
    troubled = anomalies["trouble"] != ""
    if not troubled.any():
        return ["No ranked image is in input trouble."]
    number = [people.loc[anomalies.loc[rows, "object_id"]].nunique() for rows in (troubled, ~troubled)]
    if min(number) < FEWEST:
        return ["Some ranked images are in input trouble; how many is not said, since few are, or few are not."]
    return [f"{int(troubled.sum()):,} ranked images are in input trouble."]


def _guard(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was chosen and what from, without the number of labelled images."""
    if facts is None or not facts["candidates"]:
        return facts
    kept = facts["chosen"] == "start"
    why = (
        "Pretraining did not help: the encoder it started from was kept as it was."
        if kept
        else f"The encoder after {facts['chosen']} was exported."
    )
    by = "a head on labelled images of the training half" if facts["labelled"] else "a label-free score"
    return {"chosen": facts["chosen"], "why": why, "candidates": facts["candidates"], "measured_by": by}


def _provenance(recipe: Recipe, manifest: dict[str, Any]) -> dict[str, Any]:
    """Versions, the seed and options; of the options no path, no file and no name that the user chose."""
    options = {name: asdict(getattr(recipe, name)) for name in OPTIONS}
    if recipe.encoder.weights.endswith(".safetensors"):
        options["encoder"]["weights"] = "a .safetensors file"
    options["pretrain"] = used_options({**options["pretrain"], "supervised": {"column": "withheld"}})
    starts = shared_starts(recipe.classify.starts)
    if recipe.classify.metadata:
        options["classify"] |= {"metadata": "withheld"}
    if recipe.classify.subgroups or recipe.classify.transfer != type(recipe.classify)().transfer:
        options["classify"] |= {"subgroups": "withheld", "transfer": "withheld"}
    options["classify"]["starts"] = [starts[start] for start in recipe.classify.starts]
    labels = {label: entry.kind for label, entry in recipe.labels.items()}
    return {
        "domain": recipe.domain,
        "seed": recipe.seed,
        "versions": manifest["versions"],
        "labels": labels,
        **options,
    }


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]
