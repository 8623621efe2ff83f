"""The card of a finished run: each number is that of the run's files, and what is missing reads well."""

import dataclasses
import hashlib
import json
import re
from typing import Any

import pandas as pd
import pytest
from small_runs import SMALL
from test_subgroups_section import entry, gap, level

from catalogs.samples.galaxies import write_galaxies
from domainssl.encoders import load_encoder
from pipelines.card_facts import CardFacts
from pipelines.model_card import SECTIONS, _gathered, model_card
from pipelines.objects import Objects
from pipelines.progress import Quiet
from pipelines.recipe import load_recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import Context, run_steps
from reports.metric_rows import metric_name
from reports.model_card import CardSection, card_markdown

RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "a|b `night`"
table = "{survey}/labels.csv"
images = "{survey}/images"
columns = {{ id = "objid", file = "file", group = "objid" }}
bands = ["u", "g", "r", "i", "z"]

[labels.label]
kind = "classes"
provenance = "the simulation's <own> words"

[labels.redshift]
kind = "real"

"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A small run of simulated galaxies, done up to the report."""
    folder = tmp_path_factory.mktemp("card")
    write_galaxies(folder / "survey", 160, seed=3)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(survey=folder / "survey") + SMALL)
    found = Context(load_recipe(recipe), RunFolder.open(folder / "run", create=True), 1, "cpu", Quiet())
    run_steps(found, ("prepare", "pretrain", "embed", "classify", "rank"))
    return found


@pytest.fixture(scope="module")
def text(context: Context) -> str:
    return card_markdown(model_card(context, Objects(context), None))


@pytest.fixture(scope="module")
def facts(context: Context) -> CardFacts:
    return _gathered(context, Objects(context), None, shared=False)


def table(text: str, caption: str) -> list[list[str]]:
    """The rows below the heads of the table with this caption, without escapes."""
    block = text.split(f"\n{caption}:\n\n")[1].split("\n\n")[0].splitlines()
    cells = [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in block[2:]]
    return [[re.sub(r"\\(.)", r"\1", cell) for cell in line] for line in cells]


def section(facts: CardFacts, name: str, **changes: Any) -> CardSection:
    found = SECTIONS[name](dataclasses.replace(facts, **changes))
    assert found is not None
    return found


def changed(facts: CardFacts, step: str, **record: Any) -> dict[str, Any]:
    """The manifest with another record of a step."""
    steps = facts.manifest["steps"]
    return {**facts.manifest, "steps": {**steps, step: {**steps[step], **record}}}


def test_every_section_begins_with_a_number_or_says_why_there_is_none(facts: CardFacts) -> None:
    for name in SECTIONS:
        finding = section(facts, name).finding
        assert re.search(r"\d|not estimable", finding), finding


def test_counts_are_those_of_the_catalog(context: Context, text: str) -> None:
    frame = pd.read_parquet(context.run.catalog)
    halves = {half: frame[frame["half"] == half] for half in ("train", "test")}
    assert "160 objects of" in text
    for half, words in (("train", "training"), ("test", "test")):
        own = halves[half]
        assert f"{len(own)} objects of {own['group'].nunique()} groups in the {words} half" in text
    assert table(text, "Catalogs") == [
        ["a|b `night`", "pretrain, classify, rank", "u, g, r, i, z", "160", str(frame["group"].nunique())]
    ]
    expected = []
    for name in sorted(frame["label"].dropna().unique()):
        given = [own[own["label"] == name] for own in halves.values()]
        expected.append(["label", name, *(str(n) for own in given for n in (len(own), own["group"].nunique()))])
    assert table(text, "How often each answer was given") == expected


def test_scores_are_those_of_the_metrics(context: Context, text: str) -> None:
    rows = json.loads(context.run.metrics.read_text())
    own = [row for row in rows if row["start"] == "continued" and "difference_to" not in row and not row.get("class")]
    values = {(row["label"], metric_name(row["metric"])): row for row in own}
    shown = table(text, "Scores on the test half")
    assert [line[:3] for line in shown] == [["label", "macro AUROC", "2"], ["redshift", "R²", "2"]]
    told = {(line[0], line[1]): line[4] for line in shown}
    told |= {(line[0], line[1]): line[3] for line in table(text, "Other scores of this encoder")}
    assert set(told) == set(values)
    for key, cell in told.items():
        row = values[key]
        if row["value"] is None:
            assert cell == "not estimable"
            continue
        numbers = [float(number.replace("−", "-").replace(",", "")) for number in re.findall(r"−?[\d,.]+", cell)]
        assert numbers == pytest.approx([row["value"], row["low"], row["high"]], abs=0.051, rel=0.02)
    assert sum(cell != "not estimable" for cell in told.values()) > 4
    assert {line[6] for line in shown} == {str(row["n_groups"]) for row in own}


def test_hashes_seconds_and_parameters_are_those_of_the_files(context: Context, text: str) -> None:
    told = dict(line for line in table(text, "Weights"))
    encoder = load_encoder(context.run.encoder)
    assert told["Parameters"] == f"{sum(part.numel() for part in encoder.network.parameters()):,}"
    assert told["sha256 of encoder.safetensors"] == hashlib.sha256(context.run.encoder.read_bytes()).hexdigest()
    assert told["Licence of the start"] == "none is needed: they are of nobody"
    hashes = dict(line for line in table(text, "sha256"))
    assert hashes["recipe.toml"] == hashlib.sha256(context.run.recipe.read_bytes()).hexdigest()
    manifest = context.run.read_manifest()
    assert hashes["table a|b `night`"] == manifest["inputs"]["tables"]["table a|b `night`"]
    seconds = {name: f"{manifest['steps'][name]['seconds']:,.1f}" for name in ("prepare", "pretrain", "embed")}
    assert dict(line for line in table(text, "Seconds")).items() >= seconds.items()


def test_words_of_the_run_stand_in_it_and_no_path_or_time(context: Context, facts: CardFacts, text: str) -> None:
    assert facts.manifest["steps"]["pretrain"]["guard"]["why"] in text
    assert "the simulation's \\<own\\> words" in text
    assert "> **These galaxies are simulated; they measure nothing of real ones.**" in text
    assert not re.search(r"\d\d:\d\d|" + re.escape(str(context.run.folder.parent)), text)
    assert card_markdown(model_card(context, Objects(context), None)) == text


def test_without_labels(facts: CardFacts) -> None:
    recipe = facts.recipe.model_copy(update={"labels": {}})
    changes: dict[str, Any] = {"recipe": recipe, "metrics": [], "trust": [], "audit": [], "labels_said": []}
    bare = dataclasses.replace(facts, **changes)
    assert [name for name, make in SECTIONS.items() if make(bare) is None] == [
        "score", "trust", "subgroups", "shortcuts", "wrong labels",
    ]  # fmt: skip
    assert section(bare, "labels").finding.startswith("No label was given")
    assert section(bare, "limits").finding.startswith("0 scores were measured")
    assert "with heads for 0 labels" in section(bare, "purpose").finding


def test_without_pretraining(facts: CardFacts) -> None:
    pretrain = dataclasses.replace(facts.recipe.pretrain, epochs=0)
    encoder = dataclasses.replace(facts.recipe.encoder, weights="imagenet", name="tf_efficientnet_lite0")
    recipe = facts.recipe.model_copy(update={"pretrain": pretrain, "encoder": encoder})
    manifest = {**facts.manifest, "steps": {k: v for k, v in facts.manifest["steps"].items() if k != "pretrain"}}
    bare = dataclasses.replace(facts, recipe=recipe, manifest=manifest, encoder=None, encoder_hash=None, training=[])
    found = section(bare, "weights")
    assert found.finding.startswith("The encoder is used as it came, after 0 epochs of training here: ImageNet weights")
    assert ("Licence of the start", "Apache-2.0 (of the weights' file)") in found.tables[0].rows
    assert any("non-commercial" in sentence for sentence in found.said)
    for name in ("purpose", "data", "limits", "cost", "reproduction"):
        assert "None" not in section(bare, name).finding


def test_a_start_of_unknown_licence_is_a_warning(facts: CardFacts) -> None:
    encoder = dataclasses.replace(facts.recipe.encoder, weights="/home/x/secret.safetensors")
    recipe = facts.recipe.model_copy(update={"encoder": encoder})
    manifest = {**facts.manifest, "inputs": {"tables": {}, "weights": {"weights": "ab" * 32}}}
    found = section(facts, "weights", recipe=recipe, manifest=manifest)
    assert found.state == "worse"
    assert ("Start", f"a file of the user's (sha256 {'ab' * 32})") in found.tables[0].rows
    assert ("Licence of the start", "not known") in found.tables[0].rows
    assert "secret" not in str(found)
    assert any("whether it has seen" in said for said in section(facts, "limits", recipe=recipe).said)


def test_the_licence_of_images_is_that_of_the_recipe_and_said_where_it_is_none(facts: CardFacts) -> None:
    (entry,) = facts.recipe.catalog
    stated = entry.model_copy(update={"licence": "CC <BY> 4.0"})
    recipe = facts.recipe.model_copy(update={"catalog": (stated,)})
    absent, told = "licence of its images is not stated (catalog.*.licence)", "by the recipe: CC <BY> 4.0."
    unknown = "The licence of the images is not known"
    for one, there, missing in ((facts.recipe, absent, told), (recipe, told, absent)):
        said = " ".join(section(facts, "data", recipe=one).said)
        assert there in said
        assert missing not in said
        assert any(unknown in line for line in section(facts, "limits", recipe=one).said) == (one is facts.recipe)


def test_a_kept_start_is_said(facts: CardFacts) -> None:
    guard = {**facts.manifest["steps"]["pretrain"]["guard"], "chosen": "start", "why": "Pretraining did not help."}
    manifest = changed(facts, "pretrain", guard=guard)
    assert "None of that was exported: the start was kept" in section(facts, "weights", manifest=manifest).finding
    assert any("nothing of it is in the encoder" in said for said in section(facts, "limits", manifest=manifest).said)


def test_what_is_not_estimable_is_said(facts: CardFacts) -> None:
    rows = [{**row, "value": None, "low": None, "high": None} for row in facts.metrics]
    assert "not estimable" in str(section(facts, "score", metrics=rows).tables[0].rows)
    trust = [{"label": "label", "kind": "classes", "questions": [], "far": None}]
    found = section(facts, "trust", trust=trust)
    assert found.finding.startswith("Not estimable")
    assert found.state == "unknown"
    assert "Not estimable" in section(facts, "shortcuts", audit=[]).finding
    manifest = changed(facts, "classify", label_errors=[])
    assert "Not estimable" in section(facts, "wrong labels", manifest=manifest).finding


def test_subgroups_are_told_and_in_private_their_sites_are_numbered(facts: CardFacts) -> None:
    entries = [entry([gap("sex", ("F", "M"), 0.2), gap("site", ("site-aaaa", "site-bbbb"), 0.001)])]
    entries[0]["levels"] += [level("site", "site-aaaa", 120), level("site", "site-bbbb", 203)]
    found = section(facts, "subgroups", subgroups=entries)
    assert found.state == "worse"
    assert found.finding.startswith("<sick>: Scores differ by site more than chance explains")
    assert "site-aaaa" in found.finding
    hidden = section(facts, "subgroups", subgroups=entries, shared=True)
    assert hidden.state == "worse"
    assert "site-aaaa" not in str(hidden)
    assert "level 1" in hidden.finding
    assert section(facts, "subgroups", subgroups=[]).finding.startswith("Not estimable")


def test_labels_of_unknown_origin_are_a_warning(facts: CardFacts) -> None:
    told = section(facts, "labels")
    assert told.finding.startswith("Of 2 labels, 1 without a stated origin")
    assert [row[2] for row in told.tables[0].rows] == ["yes", "no"]
    own = facts.recipe.labels["label"]
    stated = facts.recipe.model_copy(update={"labels": {"label": own}})
    assert section(facts, "labels", recipe=stated).state == "unknown"
    labels = {**facts.recipe.labels, "label": own.model_copy(update={"provenance": None})}
    recipe = facts.recipe.model_copy(update={"labels": labels})
    found = section(facts, "labels", recipe=recipe)
    assert found.finding.startswith("Of 2 labels, 2 without a stated origin")
    assert found.state == "worse"


def test_shared_the_card_names_no_catalog_and_tells_of_no_few(context: Context, facts: CardFacts) -> None:
    card = card_markdown(model_card(context, Objects(context), None, shared=True))
    for hidden in ("night", "<own", str(context.run.folder.parent)):
        assert hidden not in card
    assert not re.search(r"\b[0-9a-f]{16,}\b", card)
    counts = [cell for line in table(card, "How often each answer was given") for cell in line[2:]]
    assert all(cell == "≥ 10" or int(cell) >= 10 for cell in counts)
    assert any(int(line[2]) < 10 for line in SECTIONS["labels"](facts).tables[1].rows)  # type: ignore[union-attr]
    assert "How far to trust" not in card
