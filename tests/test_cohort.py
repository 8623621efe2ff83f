"""A clinical cohort as a run prepares it: marks hidden in all images, no patient in both halves, words on the page."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from small_runs import SMALL

from catalogs.chest_xrays.marks import find_marks
from catalogs.samples.radiographs import write_radiographs
from domainssl.shards import read_hidden
from domainssl.store import Store
from pipelines.cli import main
from pipelines.marks_hidden import marks_hidden
from pipelines.objects import Objects
from pipelines.progress import Quiet
from pipelines.recipe import load_recipe
from pipelines.run_folder import RunFolder
from pipelines.steps import Context

RECIPE = """\
domain = "chest_xrays"
{split}
[[catalog]]
name = "cohort"
table = "{folder}/labels.csv"
images = "{folder}/images"
columns = {{ id = "image_id", file = "file", group = "patient_id", issuer = "issuer" }}
bands = ["grey"]
[labels.effusion]
kind = "yes_no"
provenance = "simulated"
"""
COUNT, SIDE = 120, 128


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_radiographs(folder / "sample", COUNT, seed=3, workers=2, size=192)
    return folder


def run(cohort: Path, out: str, *commands: str, split: str = "", more: tuple[str, ...] = ()) -> Path:
    recipe = cohort / f"{out}.toml"
    recipe.write_text(
        RECIPE.format(folder=cohort / "sample", split=split) + SMALL.replace("size = 40", f"size = {SIDE}")
    )
    sets = [part for setting in more for part in ("--set", setting)]
    for command in commands:
        assert main([command, str(recipe), "--out", str(cohort / out), "--quiet", "--device", "cpu", *sets]) == 0
    return cohort / out


@pytest.fixture(scope="module")
def hidden(cohort: Path) -> Path:
    return run(cohort, "hidden", "run")


def images(run: Path) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Pixels, which of them are valid, and the catalog's rows."""
    store = Store(run / "store")
    batch = store.batch(np.arange(len(store)))
    catalog = pd.read_parquet(run / "catalog.parquet").set_index("object_id").loc[store.object_ids]
    return batch.images.numpy()[:, 0], batch.valid.numpy()[:, 0], catalog


def told(features: np.ndarray, site: np.ndarray) -> float:
    """AUROC of the site by a linear probe, out of fold."""
    probe = LogisticRegression(C=0.1, max_iter=500)
    return float(roc_auc_score(site, cross_val_predict(probe, features, site, cv=5, method="decision_function")))


def marked(run: Path) -> float:
    """AUROC of the site by how much of an image the detector takes for marks."""
    pixels, valid, catalog = images(run)
    seen = [find_marks(np.where(*both, np.float32(np.nan))).sum() for both in zip(valid, pixels, strict=True)]
    score = roc_auc_score(catalog["site"] == catalog["site"].min(), seen)
    return float(max(score, 1 - score))


def test_the_region_is_hidden_in_every_image_marked_or_not(hidden: Path, cohort: Path) -> None:
    region = read_hidden(hidden / "store")
    assert region is not None
    assert 0 < region.mean() < 0.25
    pixels, valid, catalog = images(hidden)
    assert not pixels[:, region].any()
    assert not valid[:, region].any()
    kept, valid_kept, _ = images(run(cohort, "kept", "prepare", more=('store.marks="keep"',)))
    assert read_hidden(cohort / "kept" / "store") is None
    assert valid_kept[:, region].any()
    # Where most marks are, some images are bright in the one store and none is in the other.
    assert kept[:, region].max() == pytest.approx(1.0, abs=0.02)
    marks = pd.read_csv(cohort / "sample" / "labels.csv")["mark"].mean()
    counts = json.loads((hidden / "manifest.json").read_text())["steps"]["prepare"]["counts"]["marks"]
    assert counts["images with marks"] >= 0.8 * marks * len(pixels)
    assert counts["hidden share"] == pytest.approx(region.mean(), abs=1e-3)
    declared = pd.read_parquet(hidden / "catalog.parquet").set_index("object_id")["burned_in"] == "YES"
    review = pd.read_csv(hidden / "review.csv")
    assert set(review["object_id"]) == set(declared.index[declared]) & set(catalog.index)
    assert len(catalog) == len(pixels)


def test_the_mask_alone_tells_no_site(hidden: Path, cohort: Path) -> None:
    _, valid, catalog = images(hidden)
    site = (catalog["site"] == catalog["site"].min()).to_numpy()
    # Beyond the letterbox and padding, which both sites have alike, the mask is one for all images.
    assert 0.3 < told(valid[:, ::8, ::8].reshape(len(valid), -1).astype(np.float32), site) < 0.7
    # Nor do the marks that are still to be seen, which tell nearly all where they are kept.
    assert marked(hidden) < 0.65
    assert marked(cohort / "kept") > 0.8


def test_the_page_says_what_a_board_asks(hidden: Path) -> None:
    page = (hidden / "report.html").read_text()
    for sentence in (
        r"Training half: \d+ patients with \d+ images; test half: \d+ patients with \d+ images \(by a hash",
        r"Views: PA \d+, AP \d+",
        r"A pixel of the network.{1,6}s input is 1\d?\.\d mm by the headers",
        "not assessable at this resolution",
        "percentiles 0.5 and 99.5",
        r"Marks burned in near the borders \(detector \d+\) were found in \d+ of \d+ images",
        r"effusion: \d+ empty ones are unknown",
        "origin of the labels: simulated",
        "at most \\(percentage points\\): effusion",
    ):
        assert re.search(sentence, page), sentence


def test_laterals_are_left_out_and_said(hidden: Path, cohort: Path) -> None:
    table = pd.read_csv(cohort / "sample" / "labels.csv")
    refused = pd.read_csv(hidden / "quarantine.csv")
    laterals = table["view"].isin(["LL", "RL"]).sum()
    assert (refused["reason"] == "view").sum() == laterals
    assert laterals > 0


def test_a_stratified_split_is_nearer_in_labels_and_site(hidden: Path, cohort: Path) -> None:
    def apart(folder: Path) -> float:
        catalog = pd.read_parquet(folder / "catalog.parquet")
        found = catalog.groupby("half")[["site", "effusion"]].value_counts(normalize=True, dropna=False).unstack(0)
        return float((found["train"].fillna(0) - found["test"].fillna(0)).abs().sum())

    stratified = run(cohort, "stratified", "prepare", split='split = "stratified"')
    assert apart(stratified) < apart(hidden)


def test_a_patient_in_both_halves_is_refused(cohort: Path, hidden: Path, tmp_path: Path) -> None:
    catalog = pd.read_parquet(hidden / "catalog.parquet")
    rows = catalog.index[catalog["group"] == catalog["group"].value_counts().index[0]]
    catalog.loc[rows[0], "half"] = {"train": "test", "test": "train"}[catalog.loc[rows[0], "half"]]
    copy = RunFolder.open(tmp_path / "run", create=True)
    copy.store.symlink_to(hidden / "store", target_is_directory=True)
    catalog.to_parquet(copy.catalog, index=False)
    context = Context(load_recipe(cohort / "hidden.toml"), copy, 1, "cpu", Quiet())
    with pytest.raises(ValueError, match=r"1 group\(s\) have objects in the training and in the test half"):
        Objects(context)


def test_marks_hidden_afterwards_are_hidden_as_if_from_the_first(cohort: Path, hidden: Path) -> None:
    """A run that keeps its marks knows where they are, so that a score can be had with them and without."""
    kept = Store(run(cohort, "kept", "prepare", more=('store.marks="keep"',)) / "store")
    change = marks_hidden(kept)
    assert change is not None
    rows = np.arange(len(kept))
    found, wanted = change(kept.batch(rows)), Store(hidden / "store").batch(rows)
    assert not np.allclose(kept.batch(rows).images, wanted.images, atol=2e-3)
    np.testing.assert_array_equal(found.valid, wanted.valid)
    np.testing.assert_allclose(found.images, wanted.images, atol=2e-3)  # float16, painted before or after
    pieces = change(kept.batch(rows[5:7])).images
    np.testing.assert_allclose(pieces, found.images[5:7])
