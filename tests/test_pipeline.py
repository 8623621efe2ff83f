"""The steps together, on a small simulated survey: what a run leaves, what it refuses, and what a kill changes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from catalogs.samples.galaxies import write_galaxies
from domainssl.embedding import read_parts
from domainssl.evaluation.class_metrics import CLASS_METRICS
from pipelines.cli import main
from pipelines.run_folder import RunFolder

RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "simulated"
table = "{survey}/labels.csv"
images = "{survey}/images"
columns = {{ id = "objid", file = "file", group = "tile", ebv = "ebv", psf_fwhm_px = "psf_fwhm_px_{{band}}" }}
bands = ["u", "g", "r", "i", "z"]

[labels.label]
kind = "classes"

[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 2
projector_epochs = 1
batch_size = 16

[classify]
labels_per_class = [2, 5]
starts = ["random", "continued"]
heads = ["linear", "prototype"]
resamples = 100
"""
STEPS = ("prepare", "pretrain", "embed", "classify", "rank", "report")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    write_galaxies(folder, 160, seed=3)
    return folder


@pytest.fixture(scope="module")
def recipe(survey: Path) -> Path:
    path = survey / "recipe.toml"
    path.write_text(RECIPE.format(survey=survey))
    return path


@pytest.fixture(scope="module")
def done(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["run", str(recipe), "--out", str(out), "--quiet", "--workers", "1", "--device", "cpu"]) == 0
    return out


def test_a_run_leaves_every_file_of_the_design(done: Path) -> None:
    expected = (
        *("recipe.toml", "manifest.json", "catalog.parquet", "quarantine.csv", "store", "checkpoints"),
        *("pretraining.jsonl", "encoder.safetensors", "embeddings", "heads", "predictions.parquet", "metrics.json"),
        *("anomalies.csv", "anomalies.parquet", "projection.parquet", "report.html"),
        *("suspects.csv", "next_labels.csv", "model_card.md"),
    )
    assert [name for name in expected if not (done / name).exists()] == []
    assert not list(done.rglob("*.part"))


def test_embeddings_are_half_precision_lists_with_exact_ids(done: Path, survey: Path) -> None:
    table = pa.concat_tables([pq.read_table(path) for path in sorted((done / "embeddings").glob("part-*.parquet"))])
    kind = table.schema.field("embedding").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.value_type == pa.float16()
    ids = pd.read_csv(survey / "labels.csv", dtype=str)["objid"].tolist()
    assert table.column("object_id").to_pylist() == ids
    assert int(ids[0]) > 2**53  # a float would round it
    anomalies = pd.read_csv(done / "anomalies.csv", dtype={"object_id": str})
    assert set(anomalies["object_id"]) == set(ids)
    assert anomalies["rank"].tolist() == list(range(1, len(ids) + 1))


def test_the_table_has_every_start_and_the_paired_difference(done: Path) -> None:
    rows = json.loads((done / "metrics.json").read_text())
    keys = {"label", "start", "head", "labels_per_class", "metric", "value", "low", "high", "n_groups"}
    assert all(keys <= set(row) for row in rows)
    plain = {(row["start"], row["labels_per_class"], row["metric"]) for row in rows if "difference_to" not in row}
    assert plain == {(s, n, m) for s in ("random", "continued") for n in (2, 5) for m in CLASS_METRICS}
    assert {row["head"] for row in rows} == {"linear", "prototype"}
    assert {row["difference_to"] for row in rows if "difference_to" in row} == {"random"}
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["steps"]["pretrain"]["guard"]["candidates"][0]["name"] == "start"


def test_pretraining_never_saw_the_test_half(done: Path) -> None:
    catalog = pd.read_parquet(done / "catalog.parquet")
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["steps"]["pretrain"]["images"] == (catalog["half"] == "train").sum()
    assert catalog.groupby("group")["half"].nunique().max() == 1


def test_a_second_run_does_nothing_and_another_seed_does_it_again(
    done: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done / "metrics.json").stat().st_mtime_ns
    assert main(["run", str(recipe), "--out", str(done), "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert all(f"{step}: done before, skipped" in said for step in STEPS)
    assert (done / "metrics.json").stat().st_mtime_ns == before


def test_without_labels_there_is_still_a_map_and_a_ranking(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace('[labels.label]\nkind = "classes"\n', "")
    path = tmp_path / "unlabelled.toml"
    path.write_text(text)
    out = tmp_path / "run"
    assert main(["run", str(path), "--out", str(out), "--quiet", "--workers", "1", "--set", "pretrain.epochs=0"]) == 0
    assert json.loads((out / "metrics.json").read_text()) == []
    assert len(pd.read_csv(out / "anomalies.csv")) == 160
    assert "report.html" in [entry.name for entry in out.iterdir()]


@pytest.mark.parametrize(
    ("table", "override", "code", "message"),
    [
        ("objid,file\n", None, 1, "no rows"),
        ("objid,file,label\n7,gone.fits,a\n8,gone2.fits,b\n", None, 1, "none of 2 images could be read (missing 2)"),
        ("objid,file,label\n7,a.fits,a\n7,b.fits,b\n", None, 1, "7"),
        (None, None, 2, "catalog.0.table: no file"),
        ("objid,file\n1,a.fits\n", "pretrain.epoch=3", 2, "did you mean 'epochs'?"),
    ],
)
def test_a_wrong_input_gives_one_line_that_helps(
    table: str | None, override: str | None, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'domain = "galaxies"\n[[catalog]]\nname = "t"\ntable = "t.csv"\nimages = "."\n'
        'columns = { id = "objid", file = "file" }\nbands = ["g", "r", "z"]\n'
    )
    if table is not None:
        (tmp_path / "t.csv").write_text(table)
    settings = ["--set", override] if override else []
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--quiet", "--workers", "1", *settings]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(said) == 1
    assert message in said[0]
    assert "Traceback" not in said[0]


def results(out: Path) -> Mapping[str, object]:
    """Everything that a kill must not change."""
    parts = [pq.read_table(path).to_pandas() for path in sorted((out / "embeddings").glob("part-*.parquet"))]
    return {
        "metrics": (out / "metrics.json").read_text(),
        "anomalies": (out / "anomalies.csv").read_text(),
        "projection": pd.read_parquet(out / "projection.parquet").to_csv(),
        "quarantine": (out / "quarantine.csv").read_text(),
        "embeddings": np.stack(pd.concat(parts)["embedding"].tolist()).tobytes(),
        "predictions": pd.read_parquet(out / "predictions.parquet").to_csv(),
        "lists": [(out / name).read_text() for name in ("suspects.csv", "next_labels.csv")],
    }


@pytest.mark.slow
def test_kill_9_in_each_step_and_run_again_gives_the_same_numbers(done: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pipelines", "run", str(recipe), "--out", str(out), "--workers", "1"]
    root = Path(__file__).resolve().parent.parent
    for number, step in enumerate(STEPS):
        process = subprocess.Popen(
            command, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(f"{step}: started"):
                break
            assert not line.startswith(f"{step}: done"), line
        time.sleep(0.05 + 0.3 * (number % 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        if step == "prepare":  # a run times its number format; on a busy machine two runs may choose differently
            RunFolder(out).update(precision=RunFolder(done).read_manifest()["precision"])
    finished = subprocess.run([*command, "--quiet"], cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    expected = results(done)
    assert {name: value == expected[name] for name, value in results(out).items()} == dict.fromkeys(expected, True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "title"), [("galaxies", "galaxies"), ("chest", "chest radiographs")])
def test_the_demo_runs_on_the_default_encoder(
    name: str, title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", name, "--out", str(out), "--count", "150", "--quiet", "--workers", "2"]) == 0
    report = Path(capsys.readouterr().out.strip())
    assert report == out / "run" / "report.html"
    page = report.read_text()
    assert f"These {title} are simulated" in page
    manifest = json.loads((out / "run" / "manifest.json").read_text())
    assert manifest["steps"]["embed"]["width"] == 1280
    pretrained = manifest["steps"]["pretrain"]
    kept = manifest["steps"]["embed"]["weights"] == pretrained["start_weights"]
    assert kept == (pretrained["guard"]["chosen"] == "start")  # with so few images it may have helped or not
    last = json.loads((out / "run" / "pretraining.jsonl").read_text().splitlines()[-1])
    assert last["warning"] is None  # no collapse
    if name == "galaxies":  # of 150 radiographs too few are labelled to tell
        # What ImageNet knows survived five bands and a stretch. Nine tiles are too few for metrics.json to say so.
        assert told_apart(out / "run", "imagenet") > told_apart(out / "run", "random") + 0.05


def told_apart(run: Path, start: str) -> float:
    """Macro AUROC of logistic regression on all labels of the training half."""
    ids, features, _ = read_parts(run / "starts" / start / "last")
    catalog = pd.read_parquet(run / "catalog.parquet").set_index("object_id").loc[ids]
    known, train = catalog["label"].notna().to_numpy(bool), (catalog["half"] == "train").to_numpy(bool)
    scaled = StandardScaler().fit(features[train]).transform(features)
    labels = catalog["label"].to_numpy(object)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(scaled[known & train], labels[known & train].astype(str))
    scores = model.predict_proba(scaled[known & ~train])
    return float(roc_auc_score(labels[known & ~train].astype(str), scores, multi_class="ovr", labels=model.classes_))
