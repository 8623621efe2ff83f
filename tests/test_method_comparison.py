"""Methods under one budget: which take part, with what encoder, one table, and the list of methods."""

import csv
import json
from pathlib import Path

import pytest
from small_runs import SMALL, calm
from test_cli import imported_by

from catalogs.samples.galaxies import write_galaxies
from domainssl.encoders import load_encoder, weights_hash
from domainssl.methods.registry import METHODS
from pipelines.cli import main
from pipelines.method_comparison import method_variants
from pipelines.recipe import RecipeError
from pipelines.run_folder import RunFolder

QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]
BUDGET = "pretrain.images=16"
RECIPE = """
domain = "galaxies"
[[catalog]]
name = "survey"
table = "labels.csv"
images = "images"
bands = ["u", "g", "r", "i", "z"]
columns = { id = "objid", file = "file", group = "tile" }
[labels.label]
kind = "classes"
"""
WITHOUT_EPOCHS = SMALL.replace("epochs = 1\nprojector_epochs", "projector_epochs")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    write_galaxies(folder, 80, seed=0)
    path = folder / "recipe.toml"
    path.write_text(RECIPE + WITHOUT_EPOCHS)
    return path


def test_all_are_those_that_apply(recipe: Path) -> None:
    names = [variant.name for variant in method_variants(recipe, (), "all", BUDGET)]
    assert names == [name for name in METHODS if name not in ("none", "supervised")]
    grey = ['catalog.0.bands=["g"]']
    fewer = [variant.name for variant in method_variants(recipe, grey, "all", BUDGET)]
    assert fewer == [name for name in names if "bands" not in METHODS[name].needs]
    taught = ['pretrain.supervised.column="mag_r"']
    assert "supervised" in [variant.name for variant in method_variants(recipe, taught, "all", BUDGET)]


def test_a_method_that_cannot_train_the_encoder_gets_one_of_its_own(recipe: Path) -> None:
    simclr, mae, linear = method_variants(recipe, (), "simclr,mae,linear_autoencoder", BUDGET)
    assert simclr.recipe.encoder.name == "test_efficientnet"
    assert mae.recipe.encoder.name == "vit_tiny_patch16_224"
    assert linear.recipe.encoder.name == "dense_32"
    for variant in (simclr, mae, linear):
        assert variant.recipe.pretrain.guard == "off"
        assert variant.recipe.pretrain.images == 16
        assert variant.recipe.classify.heads == ("linear", "knn")
        assert variant.base == "base"


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        ("simclrr", (), "--methods: 'simclrr' is not known; did you mean 'simclr'?"),
        ("split_brain", ('catalog.0.bands=["g"]',), "split_brain predicts bands from other bands, the images have 1"),
        ("all", ("pretrain.epochs=3",), "pretrain.epochs says how long as well"),
        ("simclr,none", (), "--methods: 'none' trains nothing"),
    ],
)
def test_what_cannot_be_compared_is_an_error(recipe: Path, names: str, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("?", "\\?")):
        method_variants(recipe, settings, names, BUDGET)


def test_the_recipes_own_epochs_count_for_nothing_and_its_seed_stays(recipe: Path) -> None:
    own = recipe.with_name("own.toml")
    own.write_text(RECIPE + SMALL)  # which has epochs
    for variant in method_variants(own, ("seed=7",), "simclr,mae", BUDGET):
        assert variant.recipe.pretrain.epochs is None
        assert variant.recipe.seed == 7


def test_our_own_encoders_are_known_where_nothing_was_imported(recipe: Path, tmp_path: Path) -> None:
    sets = ['encoder.name="dense_8"', 'pretrain.method="linear_autoencoder"', 'classify.starts=["random","continued"]']
    words = [word for key in sets for word in ("--set", key)]
    code, _ = imported_by("run", recipe, "--out", tmp_path / "run", "--dry-run", *words)
    assert code == 0


def test_one_table_of_all(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all"
    command = ["evaluate", str(recipe), "--out", str(out), "--methods", "simclr,autoencoder,mae", *QUIET]
    with calm():
        assert main([*command, "--images", "16"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].startswith("| method | start | head |")
    assert (out / "methods.md").read_text() in printed
    with (out / "methods.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["method"], row["head"]) for row in rows} == {
        (name, head) for name in ("simclr", "autoencoder", "mae") for head in ("linear", "knn")
    }
    assert {row["images"] for row in rows} == {"16"}
    assert {(row["method"], row["start"]) for row in rows} == {(row["method"], "random") for row in rows}
    for name in ("simclr", "autoencoder", "mae"):
        run = RunFolder(out / "variants" / name)
        records = [json.loads(line) for line in run.pretraining.read_text().splitlines()]
        assert records
        assert run.panels.is_file() == (name != "simclr")


def test_seconds_become_images_once(recipe: Path, tmp_path: Path) -> None:
    command = ["--out", str(tmp_path / "run"), *QUIET, "--set", "pretrain.seconds=0.2", "--set", "pretrain.guard='off'"]
    with calm():
        assert main(["prepare", str(recipe), *command]) == 0
        assert main(["pretrain", str(recipe), *command]) == 0
        run = RunFolder(tmp_path / "run")
        told = run.read_manifest()["budget"]["checkpoints"]
        assert told["seconds"] == 0.2
        assert told["images"] >= 2
        assert run.record("pretrain")["options"]["seconds"] == 0.2
        trained = weights_hash(load_encoder(run.encoder))
        assert main(["pretrain", str(recipe), *command, "--force"]) == 0
    assert run.read_manifest()["budget"]["checkpoints"] == told
    assert weights_hash(load_encoder(run.encoder)) == trained


def test_a_column_is_learnt_in_place_of_a_pretext(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ['pretrain.method="supervised"', "pretrain.images=16", 'pretrain.supervised.column="mag_r"']
    command = ["--out", str(tmp_path / "run"), *QUIET, *(word for key in sets for word in ("--set", key))]
    with calm():
        assert main(["prepare", str(recipe), *command]) == 0
        for column, code, words in (
            ("label", 2, "'label' is evaluated as a label"),
            ("shape", 1, "the catalog has no column 'shape'"),
        ):
            assert main(["pretrain", str(recipe), *command, "--set", f'pretrain.supervised.column="{column}"']) == code
            assert words in capsys.readouterr().err
        assert main(["pretrain", str(recipe), *command, "--set", 'pretrain.supervised.column="mag_r"']) == 0


def test_the_list_of_methods_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == list(METHODS)
    assert set(told["mae"]) == {"family", "source", "good_for", "needs"}
    assert main(["methods"]) == 0
    assert capsys.readouterr().out.count("\n") == len(METHODS)
    assert imported_by("methods") == (0, [])


@pytest.mark.parametrize(
    "flags",
    [
        ["--methods", "all", "--sweep", "seed=1,2"],
        ["--seconds", "3"],
        ["--methods", "all", "--images", "9", "--seconds", "3"],
    ],
)
def test_budgets_and_sweeps_are_not_mixed(recipe: Path, tmp_path: Path, flags: list[str]) -> None:
    assert main(["evaluate", str(recipe), "--out", str(tmp_path / "x"), *QUIET, *flags]) == 2
    assert not (tmp_path / "x").exists()
