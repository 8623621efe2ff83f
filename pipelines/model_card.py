"""The run's model card (Mitchell et al. 2019), gathered from its files. A further section is one more function."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from catalogs.quarantine import read_quarantine, summary
from domainssl.evaluation.retrieval import Retrieval
from domainssl.weights_sources import encoder_facts
from pipelines.card_data import data, purpose
from pipelines.card_facts import CardFacts
from pipelines.card_labels import labels
from pipelines.card_limits import cost, limits, reproduction
from pipelines.card_results import ranking, score, shortcuts, trust, wrong_labels
from pipelines.card_subgroups import by_subgroup
from pipelines.card_weights import weights
from pipelines.cohort import image_sentences, label_sentences
from pipelines.domains import DOMAINS
from pipelines.findings import notices
from pipelines.objects import Objects
from pipelines.run_folder import fingerprint
from pipelines.steps import Context
from reports.model_card import CardSection, ModelCard
from reports.shared_rows import shared_rows

# In the order of the card; None where a run has nothing to say of it.
SECTIONS: Mapping[str, Callable[[CardFacts], CardSection | None]] = {
    "purpose": purpose,
    "data": data,
    "labels": labels,
    "weights": weights,
    "score": score,
    "trust": trust,
    "subgroups": by_subgroup,
    "shortcuts": shortcuts,
    "wrong labels": wrong_labels,
    "ranking": ranking,
    "limits": limits,
    "cost": cost,
    "reproduction": reproduction,
}


def model_card(
    context: Context, objects: Objects, retrieval: Mapping[str, Any] | None, *, shared: bool = False
) -> ModelCard:
    """The card of a run whose steps before the report are done.

    `retrieval` holds the fields of a `Retrieval`, None where it is not estimable; `shared`: as `CardFacts` says.
    """
    facts = _gathered(context, objects, retrieval, shared=shared)
    recipe = context.recipe
    named = "" if shared else f", {', '.join(entry.name for entry in recipe.catalog)}"
    sections = [section for make in SECTIONS.values() if (section := make(facts)) is not None]
    said = notices(objects, recipe.domain, recipe.classify.transductive, images=False)
    return ModelCard(f"Model card: {facts.domain.title.lower()}{named}", tuple(said), tuple(sections))


def _gathered(context: Context, objects: Objects, retrieval: Mapping[str, Any] | None, *, shared: bool) -> CardFacts:
    recipe, folder = context.recipe, context.run
    metrics = json.loads(folder.metrics.read_text())
    lines = folder.pretraining.read_text().splitlines() if recipe.pretrains else []
    surveyed = DOMAINS[recipe.domain].survey is not None
    return CardFacts(
        recipe=recipe,
        objects=objects,
        manifest=folder.read_manifest(),
        metrics=shared_rows(metrics) if shared else metrics,
        trust=json.loads(folder.certainty.read_text()),
        audit=json.loads(folder.audit.read_text()),
        subgroups=json.loads(folder.subgroups.read_text()),
        anomalies=pd.read_parquet(folder.anomalies_parquet),
        training=[json.loads(line) for line in lines if line],
        refused=summary(read_quarantine(folder.quarantine)),
        cohort=image_sentences(recipe, objects, folder) if surveyed else [],
        labels_said=label_sentences(recipe, objects),
        retrieval=None if retrieval is None else Retrieval(**retrieval),
        encoder=encoder_facts(folder.encoder) if recipe.pretrains else None,
        encoder_hash=fingerprint(folder.encoder) if recipe.pretrains else None,
        recipe_hash=hashlib.sha256(folder.recipe.read_bytes()).hexdigest(),
        shared=shared,
    )
