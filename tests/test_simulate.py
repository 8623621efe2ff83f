"""`domainssl simulate`: files and stores that the other commands take, resumable, with a price named before."""

import dataclasses
import shutil
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from catalogs.samples.survey import survey
from catalogs.samples.survey_parents import SurveyOptions, load_parents
from domainssl.store import Store
from pipelines.cli import main
from pipelines.progress import Quiet
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.run import Run
from pipelines.run_folder import RunFolder
from pipelines.simulate import estimate, simulate, survey_recipe
from pipelines.steps import Context, input_fingerprints, states
from pipelines.targets import targets

SMALL = SurveyOptions(seed=5, size=32, parents=10, bands=("r", "z"))
COUNT = 70


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("parents")


@pytest.fixture(scope="module")
def expected(cache):
    ((table, pixels),) = survey(SMALL, load_parents(SMALL, cache), 0, COUNT)
    return table, pixels


@pytest.fixture(scope="module")
def stored(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("survey") / "run"
    recipe = simulate(SMALL, COUNT, out, "store", 1, Quiet(), cache)
    assert recipe == out / "recipe.toml"
    return out


@pytest.fixture(scope="module")
def filed(tmp_path_factory, cache):
    out = tmp_path_factory.mktemp("survey") / "files"
    simulate(SMALL, COUNT, out, "fits", 1, Quiet(), cache)
    return out


def test_store_is_a_run_whose_prepare_is_done(stored):
    recipe, run = load_recipe(stored / "recipe.toml"), RunFolder.open(stored, create=False)
    assert states(recipe, run, input_fingerprints(recipe, run))["prepare"].done
    assert main(["prepare", str(stored / "recipe.toml"), "--out", str(stored), "--quiet"]) == 0
    assert states(recipe, run, input_fingerprints(recipe, run))["prepare"].done
    assert len(Run(stored).catalog) == COUNT
    assert Run(stored).quarantine.empty
    assert main(["run", str(stored / "recipe.toml"), "--out", str(stored), "--dry-run", "--quiet"]) == 0


def test_store_holds_the_survey(stored, expected):
    table, pixels = expected
    store = Store(stored / "store")
    assert store.object_ids == table["object_id"].tolist()
    assert (store.bands, store.radiometry) == (SMALL.bands, "linear")
    batch = store.batch(np.arange(COUNT))
    assert batch.valid.all()
    sigma = table[[f"sky_sigma_{band}" for band in SMALL.bands]].to_numpy()
    np.testing.assert_allclose(batch.nuisance["sky_sigma"], sigma, rtol=1e-6)
    np.testing.assert_allclose(batch.nuisance["psf_fwhm_px"], table[["psf_fwhm_px_r", "psf_fwhm_px_z"]], rtol=1e-6)
    np.testing.assert_allclose(batch.nuisance["ebv"][:, 1], table["ebv"], rtol=1e-6)
    np.testing.assert_allclose(batch.images, pixels, rtol=1e-3, atol=1e-3 * sigma.min())


def test_objects_and_labels_of_the_store_fit_the_steps(stored, expected):
    from pipelines.objects import Objects

    recipe = load_recipe(stored / "recipe.toml")
    objects = Objects(Context(recipe, RunFolder.open(stored, create=False), 1, "cpu", Quiet()))
    assert objects.simulated
    for label in recipe.labels:
        assert len(objects.targets(label).y) == COUNT
    arms = objects.targets("number_of_arms").y
    assert np.isnan(arms[expected[0]["spiral_yes"] == 0]).all()  # nobody asked: unknown
    assert np.nanmax(objects.targets("ttype").y) > 3


def test_a_stopped_store_goes_on(stored, cache, monkeypatch):
    shard = stored / "store" / "shard-00000.npy"
    untouched = shard.stat().st_mtime_ns
    (stored / "store" / "shard-00001.parquet").unlink()
    simulate(SMALL, COUNT, stored, "store", 1, Quiet(), cache)
    assert (stored / "store" / "shard-00001.parquet").is_file()
    assert shard.stat().st_mtime_ns == untouched


def test_files_hold_the_survey_and_are_read(filed, expected):
    table, pixels = expected
    catalog = pd.read_csv(filed / "catalog.csv", keep_default_na=False)
    assert catalog["object_id"].tolist() == table["object_id"].tolist()
    assert set(table.columns) < set(catalog.columns)
    for number in (0, 17, COUNT - 1):
        with fits.open(filed / "images" / catalog["file"][number]) as hdus:
            np.testing.assert_array_equal(hdus[0].data, pixels[number])
    recipe = load_recipe(filed / "recipe.toml")
    frame = pd.read_csv(filed / "catalog.csv", dtype=str)
    for name, entry in recipe.labels.items():
        assert len(targets(frame, name, entry).outputs) >= 1


def test_files_can_be_prepared(filed, tmp_path, expected):
    recipe = str(filed / "recipe.toml")
    assert main(["prepare", recipe, "--out", str(tmp_path / "run"), "--quiet", "--workers", "1"]) == 0
    batch = Store(tmp_path / "run" / "store").batch(np.arange(COUNT))
    np.testing.assert_allclose(batch.images, expected[1], rtol=1e-2, atol=1.0)


def test_files_are_resumed_and_another_survey_is_refused(filed, cache, tmp_path):
    first, second = sorted((filed / "images").rglob("*.fits"))[:2]
    content, untouched = first.read_bytes(), second.stat().st_mtime_ns
    first.unlink()
    simulate(SMALL, COUNT, filed, "fits", 1, Quiet(), cache)
    assert first.read_bytes() == content
    assert second.stat().st_mtime_ns == untouched
    with pytest.raises(ValueError, match="another simulated survey"):
        simulate(dataclasses.replace(SMALL, overlap=0.0), COUNT, filed, "fits", 1, Quiet(), cache)
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="other files"):
        simulate(SMALL, COUNT, tmp_path, "fits", 1, Quiet(), cache)


@pytest.mark.parametrize("form", ["fits", "store"])
@pytest.mark.parametrize("bands", [("g",), ("u", "g", "r", "i", "z", "y")])
def test_recipe_is_one(form, bands, tmp_path):
    options = dataclasses.replace(SMALL, bands=bands)
    recipe = parse_recipe(survey_recipe(options, 100, form), tmp_path)
    assert recipe.bands == bands
    kinds = {name: entry.kind for name, entry in recipe.labels.items()}
    assert (kinds["type"], kinds["ttype"], kinds["redshift"]) == ("classes", "ordered", "real")
    assert sum(kind == "votes" for kind in kinds.values()) == 4


def test_estimate_is_near_what_was_written(stored, filed, cache):
    parents = sum(path.stat().st_size for path in cache.iterdir())
    for form, folder in (("store", stored / "store"), ("fits", filed / "images")):
        cost = estimate(SMALL, 10_000, form, 1)
        each = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / COUNT
        assert each * 10_000 + parents == pytest.approx(cost.bytes, rel=0.35), form
        assert 0 < cost.seconds / estimate(SMALL, 10_000, form, 2).seconds < 10


def test_full_disk_is_told_before(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1_000_000))
    with pytest.raises(ValueError, match=r"needs .* GB and the disk of .* has 0.00 GB free"):
        simulate(SMALL, 10_000, tmp_path / "out", "store", 1, Quiet())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [0, 10**9])
def test_counts_out_of_range(count, tmp_path):
    with pytest.raises(ValueError, match="a simulated survey has 1 to"):
        simulate(SMALL, count, tmp_path, "fits", 1, Quiet())


def test_command_line(tmp_path, capsys):
    out = tmp_path / "survey"
    words = "--objects 9 --bands gr --pixel-scale 0.4 --size 32 --seed 2 --parents 10 --format fits --workers 1 --quiet"
    assert main(["simulate", str(out), *words.split()]) == 0
    assert capsys.readouterr().out.strip() == str(out / "recipe.toml")
    assert len(list((out / "images").rglob("*.fits"))) == 9
    assert not (out / "parents").exists()
    assert main(["simulate", str(tmp_path / "other"), "--objects", "9", "--bands", "gk"]) == 1
    assert "bands = 'gk'" in capsys.readouterr().err
