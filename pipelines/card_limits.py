"""Sections of the model card on what is not known, what the run cost, and how to make and apply it again."""

import pandas as pd

from pipelines.attributes import NUMBERS, WORDS
from pipelines.card_data import licences_known
from pipelines.card_facts import CardFacts, several
from pipelines.card_labels import origin_stated
from reports.audit import NAMES
from reports.metric_rows import is_number
from reports.model_card import CardSection, Table

_CLOCK = (
    "Seconds are wall clock of each step's last start to its end: work of an interrupted step before that, and the "
    "report, are not in them."
)
_ENERGY = "Energy and carbon were not measured, nor how busy the machine was with other work."


def limits(facts: CardFacts) -> CardSection:
    """What bounds every sentence above, each said for itself."""
    recipe = facts.recipe
    groups = max((int(row["n_groups"]) for row in facts.metrics if is_number(row.get("n_groups"))), default=0)
    catalogs = "catalog" if len(recipe.catalog) == 1 else f"{len(recipe.catalog)} catalogs"
    absent = _absent(facts)
    if facts.metrics:
        few = "about " if facts.shared else ""
        finding = (
            f"Scores rest on {few}{groups:,} test {facts.group} of the same {catalogs} as what was learnt from: no "
            "other collection was scored, so how this does elsewhere is not known."
        )
    else:
        finding = "0 scores were measured: whether the embeddings are good for anything was not measured."
    said = []
    if facts.metrics:
        said.append("One training, from one seed: what another would give was not measured.")
    if absent:
        said.append(
            f"Not asked, since the catalog has no such column: {', '.join(NAMES.get(name, name) for name in absent)}. "
            "Whether scores differ by these, "
            "or rest on them, is not known."
        )
    unknown = facts.record("prepare").get("counts", {}).get("patient unknown", 0)
    if unknown:
        said.append(
            f"Of {facts.number(unknown)} {facts.image} it is not known whose they are: halves may share patients."
        )
    untold = [label for label in recipe.labels if not origin_stated(facts, label)]
    if untold:
        said.append(
            f"{several(len(untold), 'label has', 'labels have')} no stated origin; scores measure agreement with "
            "labels, not truth."
        )
    if not licences_known(facts):
        said.append("The licence of the images is not known to this run, nor that of what was learnt from them.")
    if recipe.classify.transductive:
        said.append("Transductive: the test half's images were learnt from, so scores are optimistic.")
    if recipe.encoder.weights.endswith(".safetensors"):
        said.append("The start is a file: whether it has seen images of the test half is not known.")
    if facts.recipe.pretrains and facts.record("pretrain")["guard"]["chosen"] == "start":
        said.append("Pretraining did not help by its own guard: nothing of it is in the encoder.")
    if recipe.classify.fine_tuning == 0 and facts.metrics:
        said.append("Fine-tuning of the whole encoder was not tried: heads see its frozen embeddings.")
    if facts.shared:
        said.append(
            "How far a prediction can be trusted, shortcuts, and wrong labels stand in the run's own card alone."
        )
    return CardSection("Limits", finding, tuple(said), (), "worse")


def cost(facts: CardFacts) -> CardSection:
    """Time a step and threads, in place of energy, which nobody measured."""
    steps = {
        name: record["seconds"]
        for name, record in facts.manifest["steps"].items()
        if "seconds" in record and name != "report"
    }
    total = sum(steps.values())
    longest = max(steps, key=lambda name: steps[name], default="none")
    finding = (
        f"{total:,.0f} seconds in {several(len(steps), 'step', 'steps')}, the longest {longest} with "
        f"{steps.get(longest, 0):,.0f}."
    )
    precision = facts.manifest.get("precision", {})
    threads = precision.get("threads")
    device = str(precision.get("of", "")).rpartition(" ")[2] or "a device that is not recorded"
    computed = (
        ""
        if threads is None
        else f"The encoder was computed on {device} with {several(int(threads), 'thread', 'threads')} a process. "
    )
    rows = tuple((name, f"{seconds:,.1f}") for name, seconds in steps.items())
    return CardSection(
        "Cost", finding, (f"{computed}{_CLOCK}", _ENERGY), (Table("Seconds", ("Step", "Seconds"), rows),)
    )


def reproduction(facts: CardFacts) -> CardSection:
    """Seed, versions and hashes, and the commands."""
    versions = {name: version for name, version in facts.manifest["versions"].items() if version is not None}
    version = versions.get("domainssl", "unknown")
    finding = f"Seed {facts.recipe.seed}, domainssl {version}, recipe.toml of the run's folder."
    said = ["domainssl run RECIPE --out RUN makes a run from a recipe; recipe.toml has every default written out."]
    if facts.domain.private:
        said = [
            "recipe.toml has every default written out, with source ids in place of paths, which have to be put back."
        ]
    if facts.recipe.pretrains:
        said.append(
            "domainssl apply RUN CATALOG applies encoder and heads to new images; from Python, "
            "domainssl.encoders.load_encoder reads encoder.safetensors, which normalises its own input."
        )
    else:
        said.append(
            "A run without pretraining cannot be applied to other images by domainssl apply; its heads can be read."
        )
    rows = [(f"{name}", version) for name, version in versions.items()]
    tables = [Table("Versions", ("Package", "Version"), tuple(rows))]
    if not facts.shared:
        hashes = [
            ("recipe.toml", facts.recipe_hash),
            ("domainssl's own source files", str(facts.manifest.get("code", "not recorded"))),
        ]
        if not facts.domain.private:  # there they are pseudonyms, which say nothing to others
            hashes += list(facts.manifest.get("inputs", {}).get("tables", {}).items())
        tables.append(Table("sha256", ("Of", "Value"), tuple(hashes)))
        said.append("No commit is recorded: the hash of the source files stands for it.")
        said.append(f"Run {facts.manifest['run']}. Whom to ask about it is not recorded: write it here.")
    return CardSection("How to make it again", finding, tuple(said), tuple(tables))


def _absent(facts: CardFacts) -> list[str]:
    """Attributes that the domain's images could be asked about and that no row of the catalog tells."""
    frame = facts.objects.frame
    wanted = [
        name for name in (*WORDS, *NUMBERS) if name in facts.domain.kept or (facts.domain.sky and name == "redshift")
    ]
    return [name for name in wanted if name not in frame or bool(pd.isna(frame[name]).all())]
