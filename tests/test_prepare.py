"""Preparing: what becomes of wild pixels, deadly files and catalogs that differ."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from reader_that_dies import read

from catalogs.reading import Cutout, Refusal, Request
from catalogs.supervisor import supervised
from domainssl.options import StoreOptions
from domainssl.shards import Layout, write_layout
from domainssl.store import Store
from pipelines.cli import main
from pipelines.reading_jobs import SATURATION, Rows, ShardJob, standardised, write

LINEAR = Layout(("g", "r"), 32, "linear", "p")


def sky(sigma: tuple[float, ...] = (2.0, 5.0), side: int = 48) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(len(sigma), side, side))
    return (noise * np.array(sigma)[:, None, None]).astype(np.float32)


def test_linear_flux_is_stored_in_its_own_sky_sigma() -> None:
    stored = standardised(Cutout(sky(), ("g", "r"), "linear"), dataclasses.replace(LINEAR, size=48), StoreOptions())
    assert isinstance(stored, Cutout)
    np.testing.assert_allclose(stored.nuisance["sky_sigma"], [2.0, 5.0], rtol=0.1)
    np.testing.assert_allclose(stored.pixels.std(axis=(1, 2)), 1.0, rtol=0.1)


def test_a_wild_pixel_is_cut_to_what_half_precision_holds() -> None:
    pixels = sky()
    pixels[0, 20, 20] = 1e30
    stored = standardised(Cutout(pixels, ("g", "r"), "linear"), LINEAR, StoreOptions())
    assert isinstance(stored, Cutout)
    assert np.isfinite(stored.pixels.astype(np.float16)).all()
    assert stored.pixels.max() <= SATURATION
    assert (stored.pixels[0] > 100).sum() <= 9  # it did not spread beyond its neighbours


def test_display_values_among_linear_ones_are_refused() -> None:
    answer = standardised(Cutout(np.full((2, 9, 9), 0.5, np.float32), ("g", "r"), "display"), LINEAR, StoreOptions())
    assert isinstance(answer, Refusal)
    assert answer.reason == "radiometry"


def test_a_file_that_kills_its_reader_costs_one_object(tmp_path: Path) -> None:
    names = ["a", "deadly", "b", "c", "deadly", "d"]
    ids = [f"{name}{place}" for place, name in enumerate(names)]
    catalogs = ["first", "second", "third", "third", "second", "fourth"]
    rows = pd.DataFrame({"object_id": ids, "paths": [(name,) for name in names], "catalog": catalogs})
    layout = Layout(("grey",), 8, "display", "p")
    write_layout(tmp_path, layout)
    whites = {"first": 0.25, "second": None, "third": 0.5, "fourth": 0.75}
    requests = {name: Request(layout.bands, white) for name, white in whites.items()}
    job = ShardJob(0, Rows(rows, requests, read, layout.bands), layout, StoreOptions(), tmp_path)
    assert [done.number for done, _ in supervised([job], write, 2)] == [0]
    index = pd.read_parquet(tmp_path / "shard-00000.parquet")
    refused = index[index["offset"] < 0]
    assert sorted(refused["object_id"]) == ["deadly1", "deadly4"]
    assert set(refused["reason"]) == {"crashed"}
    store = Store(tmp_path)
    assert store.object_ids == ["a0", "b2", "c3", "d5"]
    images = store.batch(np.arange(4)).images
    np.testing.assert_allclose(images[:, 0, 4, 4].numpy(), [0.25, 0.5, 0.5, 0.75])


@pytest.fixture
def two_catalogs(tmp_path: Path) -> Path:
    """A survey of 16-bit pictures without labels, and a small labelled table of 8-bit ones."""
    rng = np.random.default_rng(0)
    survey, labelled = tmp_path / "survey", tmp_path / "labelled"
    survey.mkdir()
    labelled.mkdir()
    for number in range(12):
        values = rng.integers(0, 4095, (20, 30)).astype(np.uint16)
        Image.fromarray(values).save(survey / f"s{number}.png")
    (survey / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n truncated")
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (24, 24)).astype(np.uint8)).save(labelled / f"l{number}.png")
    lines = ["file,kind,patient", *(f"l{n}.png,{'ab'[n % 2]},p{n // 2}" for n in range(12))]
    (labelled / "labels.csv").write_text("\n".join(lines))
    path = tmp_path / "recipe.toml"
    path.write_text("""
domain = "galaxies"
[[catalog]]
name = "survey"
use = ["pretrain", "rank"]
images = "survey"
bands = ["grey"]
white = 4095.0
[[catalog]]
name = "labelled"
use = ["classify"]
table = "labelled/labels.csv"
bands = ["grey"]
[labels.kind]
kind = "classes"
[store]
size = 32
[encoder]
size = 32
""")
    return path


def test_several_catalogs_share_a_store_and_keep_their_uses(two_catalogs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["prepare", str(two_catalogs), "--out", str(out), "--quiet", "--workers", "1"]) == 0
    catalog = pd.read_parquet(out / "catalog.parquet")
    assert catalog["catalog"].value_counts().to_dict() == {"survey": 13, "labelled": 12}
    assert catalog.loc[catalog["catalog"] == "labelled"].groupby("group")["half"].nunique().max() == 1
    quarantine = pd.read_csv(out / "quarantine.csv")
    assert quarantine["object_id"].tolist() == ["broken"]
    store = Store(out / "store")
    assert len(store) == 24
    picture = store.batch(np.array([store.object_ids.index("s0")]))
    assert picture.images.max() > 0.9  # white is 4095, not 65535
    assert not bool(picture.valid.all())  # 20 x 30 is letterboxed, not squashed
    assert 0.6 < float(picture.valid.float().mean()) < 0.72


def test_a_store_that_lost_its_last_shard_is_completed_alike(two_catalogs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["prepare", str(two_catalogs), "--out", str(out), "--quiet", "--workers", "1"]
    assert main(command) == 0
    content = {path.name: path.read_bytes() for path in (out / "store").iterdir()}
    (out / "store" / "shard-00000.parquet").unlink()
    assert main(command) == 0
    assert {path.name: path.read_bytes() for path in (out / "store").iterdir()} == content
