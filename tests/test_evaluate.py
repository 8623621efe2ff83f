"""Evaluations: how sweeps are read and named, what is done once and what again, and one small sweep in earnest."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import SMALL
from synthetic_stores import blobs, write_store
from test_cli import imported_by

from catalogs.samples.galaxies import write_galaxies
from domainssl.embedding import read_parts
from pipelines.atomic import write_json
from pipelines.cli import main
from pipelines.evaluate import full_recipe
from pipelines.recipe import RecipeError
from pipelines.run_folder import RunFolder
from pipelines.steps import FILES, STEPS, Context, StepResult
from pipelines.sweeps import parse_sweep, variants

RECIPE = """
domain = "galaxies"
[[catalog]]
name = "survey"
table = "labels.csv"
images = "images"
bands = ["g"]
[labels.label]
kind = "classes"
"""
QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("id,file,label\na,a.fits,x\nb,b.fits,y\n")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + SMALL)
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Steps that leave plausible files at once; the list fills with (folder, step) as they are done."""
    done: list[tuple[str, str]] = []

    def prepare(run: RunFolder, context: Context) -> StepResult:
        write_store(run.store, blobs(4, 1, context.recipe.store.size), bands=("g",))
        frame = pd.DataFrame({"object_id": [f"object-{row}" for row in range(4)], "catalog": "survey", "half": "train"})
        frame["group"] = frame["object_id"]
        frame.assign(simulated=True).to_parquet(run.catalog)
        run.quarantine.write_text("object_id,reason,detail\n")
        run.duplicates.write_text("by,number,object_id,group,half\n")
        made = (run.store, run.catalog, run.quarantine, run.duplicates)
        return StepResult(made, {}, f"content of {context.recipe.store.size}")

    def classify(run: RunFolder, context: Context) -> StepResult:
        value = context.recipe.pretrain.temperature
        scores = {"labels_per_class": 2, "metric": "auroc", "value": value, "low": None, "high": None, "n_groups": 3}
        write_json(run.metrics, [{"label": "label", "start": "continued", "head": "linear", **scores}])
        return StepResult((run.metrics,))

    monkeypatch.setattr("pipelines.steps.check_weights", lambda step, recipe: None)  # no step reads any
    special = {"prepare": prepare, "classify": classify}
    for step in STEPS:

        def run(context: Context, step: str = step) -> StepResult:
            done.append((context.run.folder.name, step))
            if step in special:
                return special[step](context.run, context)
            files = [getattr(context.run, attribute) for attribute in FILES[step]]
            for file in files:
                file.write_text(step) if file.suffix else file.mkdir(exist_ok=True)
            return StepResult(tuple(files))

        monkeypatch.setitem(STEPS, step, run)
    return done


def swept(recipe: Path, *sweeps: str, more: tuple[str, ...] = ()) -> list[str]:
    out = recipe.parent / "evaluation"
    return ["evaluate", str(recipe), "--out", str(out), *[f"--sweep={sweep}" for sweep in sweeps], *QUIET, *more]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("pretrain.temperature=0.1,0.2, 0.5", ("0.1", "0.2", "0.5")),
        ('pretrain.without=[],["blur"],["noise","erase"]', ("[]", '["blur"]', '["noise","erase"]')),
        ("encoder.weights=imagenet,none", ("imagenet", "none")),
        ('encoder.weights="a,b.safetensors",none', ('"a,b.safetensors"', "none")),
        (r'labels.x.yes="say \"a,b\"",' + "'c,d'", (r'"say \"a,b\""', "'c,d'")),
        ("x={ a = 1, b = [2, 3] },4", ("{ a = 1, b = [2, 3] }", "4")),
    ],
)
def test_values_are_parted_where_toml_would_part_them(text: str, values: tuple[str, ...]) -> None:
    assert parse_sweep(text).values == values
    assert parse_sweep(text).key == text.partition("=")[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pretrain.temperature", "is not of the form key=v1,v2; write for example"),
        ("=1,2", "is not of the form"),
        ("seed=1,,2", "has an empty value"),
        ("seed=", "has an empty value"),
        ("pretrain.temperature=0.1,0.10", "names 0.10 twice; give each value once"),
        ('pretrain.without=["blur"', "has a bracket without its counterpart; close it"),
        ("encoder.weights='none", "has a quote without its counterpart; close it"),
    ],
)
def test_what_is_no_sweep_is_wrong_usage(
    text: str, problem: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(swept(recipe, text)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"domainssl: error: --sweep {text}: {problem}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("sweeps", "problem"),
    [
        (("pretrain.temperatur=0.1,0.2",), "--sweep pretrain.temperatur: pretrain.temperatur: unknown key; did you"),
        (("pretrain.temperature=0.1,-1",), "--sweep temperature=-1: pretrain.temperature: -1.0 is too small; give mor"),
        (("pretrain.temperature=0.1,warm",), "--sweep temperature=warm: pretrain.temperature: 'warm' is not a number"),
        (("seed=1,2", "store.size=40,20"), "--sweep seed=1,size=20 (and 1 more): store.size: 20 is too small; give"),
        (("seed=1", "seed=2"), "--sweep seed: is given twice; give all its values at once"),
        (("rank.trees=10,20",), "--sweep rank.trees: no step of an evaluation depends on it; sweep another key"),
        (("report.top=10,20",), "--sweep report.top: no step of an evaluation depends on it; sweep another key"),
        (("domain=galaxies,chest_xrays",), "--sweep domain: domains are not compared"),
        (('classify.starts=["random"],["continued"]',), "--sweep starts=random: classify.starts: ['random'] lacks"),
        (("encoder.weights=none,absent.safetensors",), "--sweep weights=absent.safetensors: encoder.weights: no file"),
        (("encoder.name=resnet18,resnet1",), "encoder.name: timm has no model 'resnet1'; did you mean 'resnet18'?"),
    ],
)
def test_a_wrong_key_or_value_is_said_before_anything_is_done(
    sweeps: tuple[str, ...], problem: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(swept(recipe, *sweeps)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"domainssl: error: {problem}")
    assert error.count("\n") == 1
    assert not (recipe.parent / "evaluation").exists()


def test_a_wrong_sweep_waits_for_no_heavy_import(recipe: Path) -> None:
    assert imported_by(*swept(recipe, "pretrain.temperatur=0.1,0.2")) == (2, [])


def test_names_say_key_and_value_and_are_fit_for_files(recipe: Path) -> None:
    for name in ("a", "b"):
        (recipe.parent / name).mkdir()
        (recipe.parent / name / "encoder.safetensors").touch()

    def names(*sweeps: str) -> list[str]:
        found = variants(recipe, (), [parse_sweep(sweep) for sweep in sweeps], recipe.parent / "out")
        return [variant.name for variant in found]

    assert names("pretrain.temperature=0.1,0.20") == ["temperature=0.1", "temperature=0.2"]
    assert names("seed=1,2", "pretrain.frozen_batchnorm=true,false")[1:3] == [
        "seed=1,frozen_batchnorm=false",
        "seed=2,frozen_batchnorm=true",
    ]
    assert names("store.size=40", "encoder.size=32,40") == [
        "store.size=40,encoder.size=32",
        "store.size=40,encoder.size=40",
    ]
    assert names("classify.labels_per_class=[2],[2,5]") == ["labels_per_class=2", "labels_per_class=2+5"]
    assert names(f"encoder.weights={recipe.parent}/a/encoder.safetensors,{recipe.parent}/b/encoder.safetensors") == [
        "weights=a_encoder.safetensors",
        "weights=b_encoder.safetensors",
    ]
    long = names(*(f'labels."{word * 30}".kind=classes,yes_no' for word in "ab"))
    assert len(set(long)) == len(long) == 4
    assert max(len(name) for name in long) <= 120


def test_variants_that_prepare_alike_share_a_base(recipe: Path) -> None:
    sweeps = [parse_sweep("pretrain.temperature=0.1,0.2"), parse_sweep("store.size=40,48")]
    found = variants(recipe, (), sweeps, recipe.parent / "out")
    assert [variant.base for variant in found] == ["base-size=40", "base-size=48"] * 2
    assert {variant.base for variant in variants(recipe, (), sweeps[:1], recipe.parent / "out")} == {"base"}


def test_private_domains_name_no_path(recipe: Path) -> None:
    for name in ("smith", "jones"):
        (recipe.parent / f"{name}.safetensors").touch()
        shutil.copy(recipe.parent / "labels.csv", recipe.parent / f"{name}.csv")
    recipe.write_text(recipe.read_text().replace('"galaxies"', '"chest_xrays"'))
    for sweep in ("encoder.weights={0}/smith.safetensors,{0}/jones.safetensors", "catalog.0.table=smith.csv,jones.csv"):
        found = variants(recipe, (), [parse_sweep(sweep.format(recipe.parent))], recipe.parent / "out")
        said = str([(variant.name, variant.settings, variant.base) for variant in found])
        assert "smith" not in said
        assert "jones" not in said
        assert len({variant.name for variant in found}) == 2


def test_images_are_prepared_once_and_nothing_is_done_twice(
    recipe: Path, calls: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = recipe.parent / "evaluation"
    names = ["temperature=0.1", "temperature=0.2"]
    each = [(name, step) for name in names for step in ("pretrain", "embed", "classify")]
    command = swept(recipe, "pretrain.temperature=0.1,0.2")
    assert main(command) == 0
    assert capsys.readouterr().out == f"{out / 'evaluation.html'}\n"
    assert calls == [("base", "prepare"), *each]
    for name in names:
        store = out / "variants" / name / "store"
        assert store.is_symlink()
        assert not Path(store.readlink()).is_absolute()
        assert store.resolve() == out / "base" / "store"
    assert "These galaxies are simulated" in (out / "evaluation.html").read_text()
    with (out / "evaluation.csv").open(newline="") as file:
        assert [(line["variant"], line["value"]) for line in csv.DictReader(file)] == [
            ("temperature=0.1", "0.1"),
            ("temperature=0.2", "0.2"),
        ]

    calls.clear()
    moved = out.rename(recipe.parent / "moved")
    command[command.index(str(out))] = str(moved)
    assert main(command) == 0
    assert calls == []

    assert main([arg.replace("0.1,0.2", "0.2,0.3") for arg in command]) == 0  # another value, beside what is there
    assert {folder for folder, _ in calls} == {"temperature=0.3"}

    calls.clear()
    RunFolder(moved / "variants" / names[0]).invalidate("embed")
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    assert calls == [(names[0], "embed"), (names[0], "classify")]
    found = json.loads(capsys.readouterr().out)
    assert found["variants"][names[0]] == {"pretrain": "done before", "embed": "done", "classify": "done"}
    assert found["failures"] == {}
    assert found["result"] == str(moved / "evaluation.html")

    calls.clear()
    assert main([*command, "--force"]) == 0
    assert calls == [("base", "prepare"), *each]


def test_other_images_are_another_base_and_changed_tables_are_prepared_again(
    recipe: Path, calls: list[tuple[str, str]]
) -> None:
    assert main(swept(recipe, "store.size=40,48")) == 0
    assert [call for call in calls if call[1] == "prepare"] == [
        ("base-size=40", "prepare"),
        ("base-size=48", "prepare"),
    ]
    base = recipe.parent / "evaluation" / "base-size=48"
    assert (recipe.parent / "evaluation" / "variants" / "size=48" / "store").resolve() == base / "store"

    calls.clear()
    (recipe.parent / "labels.csv").write_text("id,file,label\na,a.fits,y\nb,b.fits,x\n")
    assert main(swept(recipe, "store.size=40,48")) == 0
    assert ("base-size=40", "prepare") in calls
    assert ("size=40", "classify") in calls
    assert ("size=40", "prepare") not in calls


@pytest.mark.parametrize("failing", [["temperature=0.1"], ["temperature=0.1", "temperature=0.2"]])
def test_a_variant_that_fails_does_not_stop_the_others(
    failing: list[str],
    recipe: Path,
    calls: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound: Callable[[Context], StepResult] = STEPS["embed"]

    def embed(context: Context) -> StepResult:
        if context.run.folder.name in failing:
            raise ValueError("the loss is not finite;\n lower pretrain.encoder_rate")
        return sound(context)

    monkeypatch.setitem(STEPS, "embed", embed)
    out = recipe.parent / "evaluation"
    assert main(swept(recipe, "pretrain.temperature=0.1,0.2,0.3")) == 1
    said = capsys.readouterr()
    assert said.err.startswith(
        f"domainssl: error: {len(failing)} of 3 variants failed: temperature=0.1: embed: the loss is not finite; lower"
    )
    assert said.err.count("\n") == 1
    assert said.out == f"{out / 'evaluation.html'}\n"
    html = (out / "evaluation.html").read_text()
    assert f"No results, since a step failed: {', '.join(failing)}." in html
    assert ("temperature=0.3", "classify") in calls

    assert main(swept(recipe, "pretrain.temperature=0.1,0.2,0.3", more=("--debug",))) == 1
    assert capsys.readouterr().err.count("StepError: embed: the loss is not finite") == len(failing)

    calls.clear()
    monkeypatch.setitem(STEPS, "embed", sound)
    assert main(swept(recipe, "pretrain.temperature=0.1,0.2,0.3")) == 0
    assert calls == [(name, step) for name in failing for step in ("embed", "classify")]


def test_images_that_cannot_be_prepared_fail_every_variant_once(
    recipe: Path, calls: list[tuple[str, str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def prepare(context: Context) -> StepResult:
        tried.append(context.run.folder.name)
        raise ValueError("none of 2 images could be read")

    monkeypatch.setitem(STEPS, "prepare", prepare)
    assert main(swept(recipe, "pretrain.temperature=0.1,0.2", more=("--json",))) == 1
    said = capsys.readouterr()
    assert said.err.startswith("domainssl: error: 2 of 2 variants failed: temperature=0.1: prepare: none of 2 images")
    assert json.loads(said.out)["result"] is None
    assert tried == ["base"]
    assert calls == []


@pytest.mark.usefixtures("calls")
def test_a_sweep_and_a_run_do_not_share_a_folder(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recipe.parent / "evaluation"
    RunFolder.open(out, create=True)
    assert main(swept(recipe, "seed=1,2")) == 2
    assert f"{out} is a run; give the evaluation a folder of its own with --out" in capsys.readouterr().err
    (out / "manifest.json").rename(out / "notes.txt")
    assert main(swept(recipe, "seed=1,2")) == 2
    assert f"{out} holds other files and no evaluation; give another --out" in capsys.readouterr().err
    (out / "notes.txt").unlink()
    assert main(swept(recipe, "seed=1,2")) == 0
    assert main(["run", str(recipe), "--out", str(out), *QUIET]) == 2
    with RunFolder(out).locked():
        assert main(swept(recipe, "seed=1,2")) == 1
    assert f"{out} is in use by process" in capsys.readouterr().err


def test_without_a_sweep_everything_is_compared_in_a_run(
    recipe: Path, calls: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = recipe.parent / "evaluation"
    assert main(swept(recipe)) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert calls == [("evaluation", step) for step in STEPS]
    full = full_recipe(recipe)
    assert full.classify.starts == ("random", "imagenet", "scratch", "continued")
    assert full.classify.heads == ()
    assert full.classify.features == ("last", "stages", "symmetry")
    assert full.classify.cross
    assert not full_recipe(recipe, ["classify.cross=false"]).classify.cross
    unlabelled = recipe.with_name("unlabelled.toml")
    unlabelled.write_text(recipe.read_text().replace('[labels.label]\nkind = "classes"\n', ""))
    with pytest.raises(RecipeError, match="labels: there are none, so nothing could be measured"):
        full_recipe(unlabelled)
    assert main(swept(unlabelled, "seed=1,2")) == 2
    assert "domainssl: error: labels: there are none" in capsys.readouterr().err


SURVEY = """
domain = "galaxies"
[[catalog]]
name = "simulated"
table = "survey/labels.csv"
images = "survey/images"
columns = { id = "objid", file = "file", group = "tile" }
bands = ["u", "g", "r", "i", "z"]
[labels.label]
kind = "classes"
"""


@pytest.mark.slow
def test_a_variant_is_the_run_with_that_value(tmp_path: Path) -> None:
    write_galaxies(tmp_path / "survey", 80, seed=3)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(SURVEY + SMALL)
    out, alone = tmp_path / "evaluation", tmp_path / "alone"
    assert main(swept(recipe, "pretrain.temperature=0.1,0.5")) == 0
    first, second = (out / "variants" / f"temperature={value}" for value in ("0.1", "0.5"))
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (first, second)]
    assert manifests[0]["precision"] == manifests[1]["precision"]
    assert manifests[0]["run"] != manifests[1]["run"]

    one = [str(recipe), "--out", str(alone), "--set", "pretrain.temperature=0.5", *QUIET]
    assert main(["prepare", *one]) == 0
    RunFolder(alone).update(precision=manifests[1]["precision"])
    for step in ("pretrain", "embed", "classify"):
        assert main([step, *one]) == 0
    assert (alone / "metrics.json").read_text() == (second / "metrics.json").read_text()
    features = [read_parts(folder / "embeddings")[1] for folder in (alone, second, first)]
    np.testing.assert_array_equal(features[0], features[1])
    assert not np.array_equal(features[0], features[2])

    with (out / "evaluation.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (first, second)]
    assert len(lines) == len(metrics[0]) + len(metrics[1])
    assert [float(line["value"]) for line in lines if line["value"]] == [
        row["value"] for rows in metrics for row in rows if row["value"] is not None
    ]
    html = (out / "evaluation.html").read_text()
    drawn = [line["value"] for line in lines if line["metric"] == "macro_auroc" and not line["class"]]
    assert ("<svg" in html) == any(drawn)  # few galaxies: a class may have fewer than ten in the test half
    assert str(tmp_path) not in html
