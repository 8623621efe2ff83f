"""Which steps are done again when what changes, with steps that write a line instead of training."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.progress import Quiet
from pipelines.recipe import Recipe, RecipeError, load_recipe
from pipelines.run_folder import RunFolder, RunFolderError
from pipelines.steps import (
    DEPENDS,
    FILES,
    FORCED,
    FORMS,
    STEPS,
    Context,
    StepError,
    StepResult,
    check_encoder,
    describe,
    run_steps,
)

ALL = tuple(STEPS)
DONE, BEFORE = "done", "done before"

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


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A context whose steps write their files and note their name in `calls.txt`."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("id,label\na,1\n")
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def fake(name: str) -> Callable[[Context], StepResult]:
        def run(context: Context) -> StepResult:
            with (tmp_path / "calls.txt").open("a") as file:
                file.write(name + "\n")
            outputs = []
            for attribute in FILES[name]:
                path: Path = getattr(context.run, attribute)
                if path.suffix:
                    path.write_text(name)
                else:
                    path.mkdir(exist_ok=True)
                    (path / "part-0").write_text(name)
                outputs.append(path)
            return StepResult(tuple(outputs), {"rows": 1})

        return run

    for name in STEPS:
        monkeypatch.setitem(STEPS, name, fake(name))
    recipe = load_recipe(tmp_path / "recipe.toml")
    return Context(recipe, RunFolder.open(tmp_path / "run", create=True), 1, "cpu", Quiet())


def changed(context: Context, *overrides: str) -> Context:
    return replace(context, recipe=load_recipe(context.run.folder.parent / "recipe.toml", overrides))


def calls(context: Context) -> list[str]:
    path = context.run.folder.parent / "calls.txt"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def test_the_tables_of_steps_agree() -> None:
    assert list(STEPS) == list(DEPENDS) == list(FILES) == ["prepare", "pretrain", "embed", "classify", "rank", "report"]
    for number, depends in enumerate(DEPENDS.values()):
        assert set(depends.after) <= set(ALL[:number])
        assert {part.split(".")[0] for part in depends.recipe} <= {*Recipe.model_fields, "sided", "provenance"}
    properties = [name for name, value in vars(RunFolder).items() if isinstance(value, property)]
    made = [attribute for files in (FILES, FORCED) for attributes in files.values() for attribute in attributes]
    assert sorted(made) == sorted(set(properties) - {"recipe", "manifest", "identity", "applied"})


def test_every_part_of_a_recipe_decides_some_step() -> None:
    decisive = {part.split(".")[0] for depends in DEPENDS.values() for part in depends.recipe}
    assert decisive == {*Recipe.model_fields, "sided", "provenance"}


def test_a_second_run_does_nothing_again(context: Context) -> None:
    assert run_steps(context, ALL) == dict.fromkeys(ALL, DONE)
    assert calls(context) == list(ALL)
    assert run_steps(context, ALL) == dict.fromkeys(ALL, BEFORE)
    assert calls(context) == []
    record = context.run.read_manifest()["steps"]["embed"]
    assert record["rows"] == 1
    assert record["seconds"] >= 0
    assert record["outputs"] == {"embeddings": [1, 5], "starts": [1, 5]}


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("store.size=64", list(ALL)),
        ("catalog.0.bands=['r']", list(ALL)),
        ("labels.label.kind=yes_no", list(ALL)),
        ("encoder.size=64", ["pretrain", "embed", "classify", "rank", "report"]),
        ("pretrain.epochs=3", ["pretrain", "embed", "classify", "rank", "report"]),
        ("classify.draws=3", ["classify", "report"]),
        ("classify.starts=['continued']", ["pretrain", "embed", "classify", "rank", "report"]),
        ("classify.features=['last', 'stages']", ["embed", "classify", "rank", "report"]),
        ("classify.transductive=true", ["pretrain", "embed", "classify", "rank", "report"]),
        ("rank.neighbours=3", ["rank", "report"]),
        ("report.top=3", ["report"]),
        ("catalog.0.licence=CC BY 4.0", ["report"]),
        ("labels.label.provenance=one expert", ["report"]),
    ],
)
def test_a_changed_option_does_its_step_and_those_after_it_again(
    context: Context, override: str, again: list[str]
) -> None:
    run_steps(context, ALL)
    calls(context)
    outcome = run_steps(changed(context, override), ALL)
    assert [name for name, what in outcome.items() if what == DONE] == again
    assert calls(context) == again


def test_a_step_that_writes_other_files_than_it_did_is_done_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps(context, ALL)
    monkeypatch.setitem(FORMS, "classify", FORMS["classify"] + 1)
    outcome = run_steps(context, ALL)
    assert [name for name, what in outcome.items() if what == DONE] == ["classify", "report"]


def test_a_changed_table_is_noticed(context: Context) -> None:
    run_steps(context, ALL)
    calls(context)
    context.recipe.catalog[0].table.write_text("id,label\na,2\n")  # type: ignore[union-attr]
    run_steps(context, ALL)
    assert calls(context) == list(ALL)


def test_other_labels_choose_the_checkpoint_anew_where_prepare_vouches_for_its_content(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = STEPS["prepare"]
    monkeypatch.setitem(STEPS, "prepare", lambda context: replace(prepare(context), content="the same pixels"))
    run_steps(context, ALL)
    calls(context)
    last = context.run.checkpoints
    last.mkdir()
    run_steps(changed(context, "labels.label.kind=yes_no"), ALL)
    assert calls(context) == list(ALL)
    assert last.is_dir()  # what was trained stays, under a key of its own
    run_steps(changed(context, "labels.label.kind=yes_no"), ["pretrain"], force=True)
    assert not last.exists()


def test_a_lost_output_is_made_again_and_what_follows_from_it(context: Context) -> None:
    run_steps(context, ALL)
    calls(context)
    context.run.encoder.unlink()
    run_steps(context, ALL)
    assert calls(context) == ["pretrain", "embed", "classify", "rank", "report"]


def test_force_does_a_step_again_and_outdates_those_after_it(context: Context) -> None:
    run_steps(context, ALL)
    calls(context)
    assert run_steps(context, ["rank"], force=True) == {"rank": DONE}
    assert run_steps(context, ALL)["report"] == DONE
    assert calls(context) == ["rank", "report"]


def test_a_single_step_demands_those_before_it(context: Context) -> None:
    with pytest.raises(StepError) as caught:
        run_steps(context, ["embed"])
    assert str(caught.value) == (
        "embed: the step prepare before it has not been done under this recipe; "
        f"`domainssl prepare RECIPE --out {context.run.folder}` does it, `domainssl run` all that is missing"
    )
    assert run_steps(context, ["prepare"]) == {"prepare": DONE}
    assert run_steps(context, ["pretrain"]) == {"pretrain": DONE}
    assert run_steps(context, ["embed"]) == {"embed": DONE}
    with pytest.raises(StepError, match="rank: the step pretrain before it is outdated under this recipe"):
        run_steps(changed(context, "pretrain.epochs=3"), ["rank"])
    assert load_recipe(context.run.recipe) == context.recipe  # what was not run is not written down as run
    assert calls(context) == ["prepare", "pretrain", "embed"]


def test_pretraining_of_no_epochs_is_skipped_and_leaves_no_encoder_of_another_recipe(context: Context) -> None:
    run_steps(context, ALL)
    calls(context)
    outcome = run_steps(changed(context, "pretrain.epochs=0"), ALL)
    assert outcome["pretrain"] == "needless"
    assert calls(context) == ["embed", "classify", "rank", "report"]
    assert not context.run.encoder.exists()
    assert run_steps(changed(context, "pretrain.epochs=0"), ALL)["embed"] == BEFORE


def test_a_step_that_fails_keeps_what_was_done_and_goes_on_from_its_own_files(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = STEPS["embed"]

    def fails(context: Context) -> StepResult:
        context.run.embeddings.mkdir(exist_ok=True)
        (context.run.embeddings / "part-7").touch()
        raise ValueError("shard 3 is damaged;\nrun prepare again")

    monkeypatch.setitem(STEPS, "embed", fails)
    with pytest.raises(StepError) as caught:
        run_steps(context, ALL)
    assert str(caught.value) == "embed: shard 3 is damaged; run prepare again"
    monkeypatch.setitem(STEPS, "embed", works)
    calls(context)
    run_steps(context, ALL)
    assert calls(context) == ["embed", "classify", "rank", "report"]
    assert (context.run.embeddings / "part-7").exists()  # the same recipe: a step may go on from it
    run_steps(changed(context, "encoder.size=64"), ALL)
    assert not (context.run.embeddings / "part-7").exists()  # another recipe: never


def test_the_recipe_as_run_is_written_and_repeats_the_run(context: Context) -> None:
    context = changed(context, "pretrain.epochs=7")
    run_steps(context, ALL)
    recipe = load_recipe(context.run.recipe)
    assert recipe == context.recipe
    assert recipe.pretrain.epochs == 7
    assert run_steps(replace(context, recipe=recipe), ALL) == dict.fromkeys(ALL, BEFORE)
    manifest = json.loads(context.run.manifest.read_bytes())
    assert manifest["seed"] == 0
    assert manifest["versions"]["python"]
    assert len(manifest["inputs"]["tables"]["table survey"]) == 64


def test_weights_from_a_file_are_part_of_what_decides(context: Context) -> None:
    weights = context.run.folder.parent / "w.safetensors"
    weights.write_bytes(b"1")
    context = changed(context, f"encoder.weights={weights}")
    run_steps(context, ALL)
    calls(context)
    weights.write_bytes(b"2")
    run_steps(context, ALL)
    assert calls(context) == ["pretrain", "embed", "classify", "rank", "report"]


def test_steps_hold_the_lock(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(context: Context) -> StepResult:
        with pytest.raises(RunFolderError, match="is in use by process"), context.run.locked():
            pass
        return StepResult(())

    monkeypatch.setitem(STEPS, "prepare", nested)
    assert run_steps(context, ["prepare"]) == {"prepare": DONE}


def test_errors_are_described_in_one_line_with_a_remedy() -> None:
    assert describe(ValueError("a is 3;\n  give 4")) == "a is 3; give 4"
    assert describe(KeyError("x")) == "KeyError: 'x'; run the same command with --debug to see where"
    assert describe(MemoryError()).startswith("out of memory; set a smaller pretrain.batch_size")
    full = OSError(28, "No space left on device", "a.npy")
    assert describe(full).startswith("the disk is full ([Errno 28] No space left on device: 'a.npy'); free some")


def test_an_encoder_that_timm_does_not_know_is_found_before_images_are_read(context: Context) -> None:
    check_encoder(context.recipe)
    with pytest.raises(RecipeError) as caught:
        check_encoder(changed(context, "encoder.name=resnet1").recipe)
    assert str(caught.value) == "encoder.name: timm has no model 'resnet1'; did you mean 'resnet18'?"


def test_cuda_that_is_not_there_is_an_error(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StepError, match="prepare: no CUDA device is available; give --device cpu, or auto"):
        run_steps(replace(context, device="cuda"), ALL)
    seen: list[str] = []

    def look(context: Context) -> StepResult:
        seen.append(context.device)
        return StepResult(())

    monkeypatch.setitem(STEPS, "prepare", look)
    run_steps(replace(context, device="auto"), ["prepare"])
    assert seen == ["cpu"]


@pytest.mark.parametrize(
    ("more", "key"),
    [((), "encoder.weights"), (("encoder.weights=none",), "classify.starts")],
)
def test_weights_that_cannot_be_had_stop_a_run_before_its_first_step(
    context: Context, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], key: str
) -> None:
    def absent(name: str, size: int) -> None:
        raise ValueError(f"the ImageNet weights of {name!r} could not be fetched")

    monkeypatch.setattr("domainssl.imagenet.imagenet_network", absent)
    other = "encoder.name=resnet18"
    with pytest.raises(StepError, match=rf"^prepare: {key}: the ImageNet weights of 'resnet18'.* could not be fetched"):
        run_steps(changed(context, other, *more), ALL)
    assert calls(context) == []
    alone = "classify.starts=['random', 'continued']"
    run_steps(changed(context, other, "encoder.weights=none", alone), ALL)
    assert calls(context) == list(ALL)
    run_steps(changed(context, other, "encoder.weights=none", alone), ALL)  # all is done: nothing is fetched
