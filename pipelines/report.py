"""The page: everything a run found, gathered from its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64, Int64, UInt8

from catalogs.quarantine import read_quarantine, summary
from domainssl.embedding import read_parts
from domainssl.evaluation.retrieval import same_group_retrieval
from domainssl.store import Store
from domainssl.views.affine_crop import whole_frame
from pipelines.classify import safe_name
from pipelines.cohort import cohort_sentences
from pipelines.domains import DOMAINS
from pipelines.findings import (
    caution_sentences,
    change_sentences,
    notices,
    rare_sentence,
    retrieval_sentence,
    training_sentences,
    trouble_sentence,
)
from pipelines.label_sections import label_lists, suspect_sentences
from pipelines.map_findings import map_sentences, top_sentences
from pipelines.model_card import model_card
from pipelines.number_ranges import RANGE
from pipelines.objects import Objects
from pipelines.panels import drawn_panels
from pipelines.recipe import used_options
from pipelines.saliency import map_facts, saliency_labels, unmade
from pipelines.steps import Context, StepResult
from reports.exports import write_projection
from reports.label_exports import write_curves_svg, write_metrics_csv
from reports.model_card import write_card
from reports.page import Page, write_page
from reports.projection import project

THUMBNAIL, PICTURE = 48, 160  # pixels a side
BATCH = 256
HIDDEN_COLUMNS = ("object_id", "group", "split", RANGE)


def run(context: Context, said: tuple[str, ...] = ()) -> StepResult:
    """Write projection.parquet, report.html and model_card.md; `said` are findings to begin with, of a run that was
    trained before and is applied, whose page has no card."""
    recipe, folder = context.recipe, context.run
    folder.shared.unlink(missing_ok=True)  # what it says may no longer hold
    objects = Objects(context)
    ids, embedded, model = read_parts(folder.embeddings)
    anomalies = pd.read_parquet(folder.anomalies_parquet)
    place = {object_id: row for row, object_id in enumerate(ids)}
    sound = anomalies["trouble"] == ""
    top, troubled = anomalies[sound].head(recipe.report.top), anomalies[~sound].head(recipe.report.top)
    top_rows, trouble_rows = (
        np.array([place[name] for name in part["object_id"]], np.int64) for part in (top, troubled)
    )
    context.progress.note("report: placing the objects on the map")
    xy = project(embedded, seed=recipe.seed, always=top_rows)
    write_projection(ids, xy, folder.projection)

    others = np.random.default_rng(recipe.seed).permutation(len(ids))
    shown = np.unique(np.concatenate([top_rows, others[: recipe.report.thumbnails]]))
    manifest = folder.read_manifest()
    metrics = json.loads(folder.metrics.read_text())
    training = [json.loads(line) for line in _lines(folder.pretraining)] if recipe.pretrains else []
    guard = manifest.get("steps", {}).get("pretrain", {}).get("guard") if recipe.pretrains else None
    audit, subgroups = json.loads(folder.audit.read_text()), json.loads(folder.subgroups.read_text())
    owed = json.loads(folder.baselines.read_text())
    begins = _begins(context, objects, embedded, anomalies, training)
    collapsed = any(record.get("warning") for record in training)
    own_findings = begins["training"] if collapsed else []  # then nothing else counts before it is known
    own_findings = [*own_findings, *change_sentences(metrics), *caution_sentences(audit, owed, subgroups)]
    own_findings += suspect_sentences(folder.record("classify").get("label_errors", []))
    own_findings += [
        sentence for section, part in begins.items() if section != "training" or not collapsed for sentence in part
    ]
    facts: dict[str, Any] = {"anomalies": len(anomalies)}
    if DOMAINS[recipe.domain].private:
        patients = objects.frame.set_index("object_id")["group"].loc[ids].to_numpy(str)
        found = same_group_retrieval(embedded, patients, seed=recipe.seed)
        own_findings.append(retrieval_sentence(found))
        facts["same_patient_retrieval"] = None if found is None else asdict(found)
    own_findings += cohort_sentences(recipe, objects, folder, applied=bool(said))
    # Applied, a run is that of another card, which is not repeated here.
    card = None if said else model_card(context, objects, facts.get("same_patient_retrieval"))
    shown_rows = partial(pictures, objects, domain=recipe.domain)
    maps = [] if said else saliency_labels(context, objects, embedded, model, shown_rows)
    facts["saliency"] = [map_facts(label) for label in maps]
    own_findings += unmade(recipe)
    page = Page(
        title=DOMAINS[recipe.domain].title,
        subtitle=f"{', '.join(entry.name for entry in recipe.catalog)}: {len(ids):,} objects in {_bands(recipe.bands)}",
        object_ids=ids,
        xy=xy,
        columns=map_columns(objects, anomalies, folder.predictions, recipe.label_columns),
        notices=notices(objects, recipe.domain, recipe.classify.transductive),
        findings=[*said, *own_findings],
        begins=begins,
        thumbnails=pictures(objects, shown, THUMBNAIL, recipe.domain),
        thumbnail_rows=shown.astype(np.int64),
        metrics=metrics,
        trust=json.loads(folder.certainty.read_text()),
        audit=audit,
        subgroups=subgroups,
        baselines=owed,
        saliency=maps,
        anomalies=[_anomaly(row) for row in top.to_dict("records")],
        anomaly_pictures=pictures(objects, top_rows, PICTURE, recipe.domain),
        trouble=[_anomaly(row, "trouble") for row in troubled.to_dict("records")],
        trouble_pictures=pictures(objects, trouble_rows, PICTURE, recipe.domain),
        label_lists=label_lists(folder, ids, lambda rows: pictures(objects, rows, PICTURE, recipe.domain)),
        training=training,
        guard=guard,
        panels=drawn_panels(folder.panels, recipe.domain, objects.store.bands, _scale(objects.store)),
        quarantine=summary(read_quarantine(folder.quarantine)),
        provenance=provenance(manifest, recipe.model_dump(mode="json")),
        card=card,
    )
    write_page(folder.report, page)
    if card is not None:
        write_card(folder.model_card, card)
    write_metrics_csv(metrics, folder.metrics_csv)
    for label in recipe.labels:
        write_curves_svg(metrics, label, folder.folder / f"curves-{safe_name(label)}.svg")
    cards = () if card is None else (folder.model_card,)
    return StepResult((folder.report, folder.projection, *cards), facts)


def _begins(
    context: Context,
    objects: Objects,
    vectors: Float32[np.ndarray, "n d"],
    anomalies: pd.DataFrame,
    training: list[dict[str, Any]],
) -> dict[str, list[str]]:
    """What sections begin with; `vectors` are the embeddings in the store's order."""
    recipe, upright = context.recipe, DOMAINS[context.recipe.domain].upright
    top = top_sentences(recipe, objects, anomalies[anomalies["trouble"] == ""])
    if objects.simulated and "truth" in objects.frame:
        top = [rare_sentence(anomalies, objects.frame), *top]
    return {
        "map": map_sentences(recipe, objects, vectors),
        "anomalies": top,
        "trouble": [trouble_sentence(anomalies, upright)],
        "training": training_sentences(training, objects, upright),
    }


def pictures(objects: Objects, rows: Int64[np.ndarray, " n"], side: int, domain: str) -> UInt8[np.ndarray, "n s s 3"]:
    """Pictures of these rows as the domain renders them, `side` pixels."""
    store = objects.store
    scale = _scale(store)
    shrink, unused = whole_frame(side), torch.Generator()  # the whole frame has no draws
    parts = []
    for start in range(0, len(rows), BATCH):
        batch = shrink(store.batch(rows[start : start + BATCH]), unused)
        images = torch.where(batch.valid, batch.images, torch.nan).numpy()
        parts.append(DOMAINS[domain].render(images, store.bands, scale))
    return np.concatenate(parts) if parts else np.empty((0, side, side, 3), np.uint8)


def _scale(store: Store) -> Float64[np.ndarray, " c"] | None:
    return white_balance(store) if store.radiometry == "linear" else None


def white_balance(store: Store) -> Float64[np.ndarray, " c"]:
    """The flux a band that is shown alike: the bright pixels' typical colour becomes white, noise stays near 1.

    The median sky sigma a band times the band's bright level (99.5 % of pixels, in sigmas) over the bands' mean level;
    at least half a sky sigma, so that a shallow band shows no more than twice its noise.
    """
    rows = np.linspace(0, len(store) - 1, min(len(store), 256)).astype(np.int64)
    sigma = np.nanmedian(store.nuisance["sky_sigma"], axis=0).astype(np.float64)
    images = store.batch(rows).images.numpy() / sigma[:, None, None]
    seen = [plane[plane.any(axis=(1, 2))] for plane in np.moveaxis(images, 1, 0)]  # objects that have the band
    bright = np.array([np.quantile(plane, 0.995) if plane.size else 1.0 for plane in seen])
    level = np.maximum(bright, 1.0)
    balance: Float64[np.ndarray, " c"] = sigma * np.clip(level / np.exp(np.log(level).mean()), 0.5, None)
    return balance


def map_columns(
    objects: Objects, anomalies: pd.DataFrame, predictions: Path, labels: tuple[str, ...]
) -> dict[str, list[Any]]:
    """What the map can be coloured by: labels, predictions, the anomaly score, then the catalog's other columns."""
    columns: dict[str, Any] = {label: objects.frame[label] for label in labels}
    predicted = pd.read_parquet(predictions).drop(columns="object_id")
    columns |= {f"{name} (predicted)": predicted[name] for name in map(str, predicted) if ":" not in name}
    score = anomalies.set_index("object_id")["score"]
    columns["anomaly score"] = score.reindex(objects.store.object_ids)
    for name in objects.frame.columns:
        values = objects.frame[name]
        if name in HIDDEN_COLUMNS or name in columns or values.isna().all() or values.nunique() < 2:
            continue
        numeric = pd.api.types.is_numeric_dtype(values)
        if numeric or values.nunique() <= 30:  # free text, and ids under another name, colour nothing
            columns[name] = values
    return {name: [None if pd.isna(v) else v for v in np.asarray(values).tolist()] for name, values in columns.items()}


def provenance(manifest: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """What made this page: weights, versions, precision, seed, counts and the recipe, without paths."""
    told = ("use", "bands", "views", "layout", "survey", "missing_band", "cutout", "white")
    recipe["catalog"] = {
        entry["name"]: {key: entry[key] for key in told if entry[key] is not None} for entry in recipe["catalog"]
    }
    recipe["start"] = {name: entry["encoder"] or "a .safetensors file" for name, entry in recipe["start"].items()}
    if recipe["encoder"]["weights"].endswith(".safetensors"):
        recipe["encoder"]["weights"] = "a .safetensors file"
    recipe["pretrain"] = used_options(recipe["pretrain"])
    kept: dict[str, Any] = {name: manifest[name] for name in ("versions", "precision", "seed") if name in manifest}
    weights = {"embedded by": manifest.get("steps", {}).get("embed", {}).get("weights")}
    started = manifest.get("steps", {}).get("pretrain", {}).get("start_weights")
    weights |= {"started from": started} if started else {}
    records = manifest.get("steps", {})  # this one's own has no time yet
    steps = {name: record["seconds"] for name, record in records.items() if "seconds" in record}
    return {**kept, "sha256 of weights": weights, "seconds a step": steps, "recipe": recipe}


def _anomaly(row: Mapping[Any, Any], notes: str = "flags") -> dict[str, Any]:
    flags = [flag for flag in str(row.get(notes) or "").split(";") if flag]
    urls = [url for url in str(row.get("links") or "").split() if url]
    links = {url.split("/")[2].removeprefix("www."): url for url in urls}
    return {
        "rank": int(row["rank"]),
        "object_id": str(row["object_id"]),
        "score": float(row["score"]),
        "flags": flags,
        "links": links,
    }


def _bands(bands: tuple[str, ...]) -> str:
    return f"band {bands[0]}" if len(bands) == 1 else f"bands {', '.join(bands)}"


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line] if path.is_file() else []
