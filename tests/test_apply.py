"""A trained run on new data: the same objects get the same answers, other bands and other preparation are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import SMALL

from catalogs.samples.galaxies import write_galaxies
from domainssl.embedding import read_parts
from domainssl.evaluation.prevalence import class_shares
from pipelines.apply import applied_recipe
from pipelines.cli import main
from pipelines.recipe import load_recipe
from pipelines.run_folder import RunFolder

RECIPE = """\
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
CATALOG = """\
{extra}
[[catalog]]
name = "tomorrow"
table = "night/labels.csv"
images = "night/images"
columns = {{ id = "objid", file = "file" }}
bands = {bands}
{store}
"""
QUIET = ["--quiet", "--workers", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apply")
    write_galaxies(folder / "survey", 120, seed=3)
    write_galaxies(folder / "night", 30, seed=4)
    (folder / "recipe.toml").write_text(RECIPE + SMALL)
    assert main(["run", str(folder / "recipe.toml"), "--out", str(folder / "run"), *QUIET]) == 0
    return folder


def catalog(folder: Path, bands: str = '["u", "g", "r", "i", "z"]', extra: str = "", store: str = "") -> str:
    path = folder / "night.toml"
    path.write_text(CATALOG.format(bands=bands, extra=extra, store=store))
    return str(path)


def test_the_run_s_own_objects_get_their_own_answers(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    command = ["apply", str(folder / "run"), str(folder / "survey" / "labels.csv"), "--out", str(out), *QUIET]
    assert main([*command, "--images", str(folder / "survey" / "images")]) == 0
    (ids, first, model), (again, second, same_model) = (read_parts(run / "embeddings") for run in (folder / "run", out))
    assert ids == again
    assert model == same_model
    np.testing.assert_array_equal(first, second)
    predicted, repeated = (pd.read_parquet(run / "predictions.parquet") for run in (folder / "run", out))
    pd.testing.assert_frame_equal(predicted, repeated)
    ranked, applied = (
        pd.read_parquet(run / "anomalies.parquet").set_index("object_id") for run in (folder / "run", out)
    )
    # Each object meets itself among those it is compared with, so it looks less odd than in the run, by one neighbour.
    assert (applied["knn"] <= ranked.loc[applied.index, "knn"] + 1e-5).all()
    assert applied["score"].corr(ranked.loc[applied.index, "score"], method="spearman") > 0.9
    assert json.loads((out / "metrics.json").read_text()) == []
    assert json.loads((out / "subgroups.json").read_text()) == []
    (entry,) = json.loads((out / "shift.json").read_text())
    assert entry["objects"] == 120
    assert [answer["called"] for answer in entry["answers"]] == ["score"]  # 60 test objects are too few to tell
    assert "p" in entry["answers"][0]
    (split,) = json.loads((folder / "run" / "subgroups.json").read_text())
    assert [gap["attribute"] for gap in split["gaps"]] == ["mag_r", "redshift"]
    assert split["transfer"] is None  # there is no column "site"
    assert '<section id="subgroups"' in (folder / "run" / "report.html").read_text()
    page = (out / "report.html").read_text()
    assert '<section id="subgroups"' not in page
    assert "was applied to these images" in page
    assert 'id="model-card"' not in page  # the card is the trained run's
    assert not (out / "model_card.md").exists()
    assert 'id="model-card"' in (folder / "run" / "report.html").read_text()
    assert "120 objects that it ranked" in page
    assert "how common its answers are among the new objects is not estimable: the run does not call" in page


def test_where_scores_are_probabilities_they_suggest_shares(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domainssl.evaluation.prevalence.MINIMUM", 2)
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(folder / "run", run)
    (told,) = json.loads((run / "certainty.json").read_text())
    told["questions"][0]["after"]["called"] = "probability"
    (run / "certainty.json").write_text(json.dumps([told]))
    night = folder / "night"
    command = ["apply", str(run), str(night / "labels.csv"), "--images", str(night / "images"), "--out", str(out)]
    assert main([*command, *QUIET]) == 0
    (entry,) = json.loads((out / "shift.json").read_text())
    (answer,) = entry["answers"]
    catalog = pd.read_parquet(run / "catalog.parquet")
    learnt = catalog[(catalog["half"] == "train") & catalog["label"].notna()]["label"].value_counts(normalize=True)
    assert answer["trained"] == pytest.approx([learnt[name] for name in answer["names"]])
    assert sum(answer["now"]) == pytest.approx(1)
    scores = pd.read_parquet(out / "predictions.parquet")[[f"label:{name}" for name in answer["names"]]]
    expected = class_shares(scores.to_numpy(np.float64), np.array(answer["trained"]), np.ones((30, 1)))
    assert answer["now"] == pytest.approx(expected[:, 0], abs=1e-3)
    assert 0 < answer["p"] <= answer["p_holm"] <= 1
    assert "among these 30 new objects the scores suggest" in (out / "report.html").read_text()


def test_a_folder_a_table_and_a_recipe_agree(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = [tmp_path / name for name in ("folder", "table", "recipe")]
    night = folder / "night"
    for out, where in zip(
        outs,
        ([str(night / "images")], [str(night / "labels.csv"), "--images", str(night / "images")], [catalog(folder)]),
        strict=True,
    ):
        assert main(["apply", str(folder / "run"), *where, "--out", str(out), *QUIET]) == 0
        assert capsys.readouterr().out.strip() == str(out / "report.html")
    vectors = [read_parts(out / "embeddings") for out in outs]
    assert len(vectors[0][0]) == 30
    for _, found, _ in vectors[1:]:
        np.testing.assert_allclose(np.sort(found, axis=0), np.sort(vectors[0][1], axis=0), atol=1e-6)
    scores = pd.read_csv(outs[0] / "anomalies.csv")["score"]
    assert scores.between(0, 1).all()
    assert main(["apply", str(folder / "run"), catalog(folder), *QUIET]) == 0
    assert (folder / "run" / "applied" / "night" / "report.html").is_file()
    assert main(["run", str(folder / "recipe.toml"), "--out", str(folder / "run"), *QUIET[1:]]) == 0
    assert "report: done before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bands": '["g", "r", "i", "z", "u"]'}, "catalog.0.bands"),
        ({"bands": '["g", "r", "z"]'}, "catalog.0.bands"),
        ({"extra": 'domain = "chest_xrays"'}, "domain: 'chest_xrays' is not the run's, 'galaxies'"),
        ({"store": "[store]\nsize = 48"}, "store.size: 48 is not the run's, 40"),
        ({"store": "[store]\ncrop = 32"}, "store.crop: 32 is not the run's, None"),
    ],
)
def test_other_bands_or_preparation_are_refused_at_once(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], said: str
) -> None:
    out = tmp_path / "out"
    assert main(["apply", str(folder / "run"), catalog(folder, **changed), "--out", str(out), *QUIET]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_maps_of_the_trained_run_are_not_asked_of_new_objects(folder: Path) -> None:
    asked = load_recipe(folder / "recipe.toml", ["report.saliency=occlusion"])
    applied = applied_recipe(RunFolder(folder / "run"), asked, Path(catalog(folder)), None)
    assert applied.report.saliency == "off"
    assert applied.report.top == asked.report.top


def test_pictures_are_no_flux(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import tifffile

    (tmp_path / "pictures").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (5, 40, 40), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "pictures" / f"{number}.tif", pixels, photometric="minisblack")
    command = ["apply", str(folder / "run"), str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), *QUIET]
    assert main(command) == 1
    assert "radiometry display here, linear there" in capsys.readouterr().err


def test_what_is_no_finished_run_is_said_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(tmp_path / "nope"), str(folder / "night"), *QUIET]) == 2
    assert "no run at" in capsys.readouterr().err
    assert main(["prepare", str(folder / "recipe.toml"), "--out", str(tmp_path / "half"), *QUIET]) == 0
    assert main(["apply", str(tmp_path / "half"), str(folder / "night"), *QUIET]) == 1
    assert "the step pretrain is not done" in capsys.readouterr().err
    assert main(["apply", str(folder / "run"), str(folder / "nowhere.csv"), *QUIET]) == 2
    assert "catalog.0.table: no file or folder" in capsys.readouterr().err
