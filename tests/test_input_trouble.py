"""Input trouble: planted kinds are found, sound collections are left alone, in every radiometry and layout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_stores import blobs, write_store

from catalogs.letterbox import letterbox
from catalogs.pictures import decode_picture
from catalogs.reading import Cutout, Refusal
from domainssl.anomalies import input_trouble
from domainssl.anomalies.input_trouble import find_trouble
from domainssl.store import Store

RGB = ("r", "g", "b")


def scenes(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
    """Grey display images that share a layout: bright above, a dark disk on the left, a bar; each a little its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    images = np.empty((count, 1, size, size), np.float32)
    for image in images:
        dx, dy = rng.normal(scale=0.03, size=2)
        disk = (x - 0.3 - dx) ** 2 + (y - 0.55 - dy) ** 2 < 0.04
        bar = np.abs(x - 0.8 - dx) < 0.06
        scene = 0.7 - 0.4 * y - 0.25 * disk + 0.2 * bar + 0.02 * rng.normal(size=(size, size))
        image[0] = scene * rng.uniform(0.6, 1.0) + rng.uniform(0, 0.1)
    return images.clip(0, 1)


def found(store: Store, upright: bool) -> dict[int, tuple[str, ...]]:
    answers = find_trouble(store, np.arange(len(store)), upright)
    assert len(answers) == len(store)
    return {row: kinds for row, kinds in enumerate(answers) if kinds}


def test_planted_trouble_of_display_images_is_found_and_nothing_else(tmp_path: Path):
    images, rng = scenes(120), np.random.default_rng(1)
    images[3] = 1 - images[3]
    for row, turns in ((7, 1), (9, 2), (11, 3)):
        images[row] = np.rot90(images[row], turns, (1, 2))
    images[13] = 1 - np.rot90(images[13], 1, (1, 2))
    images[20, :, 40:] = 0.0
    images[22, :, :, :30] = np.nan
    images[24, :, :, 36:] = 1.0
    images[30] = rng.uniform(size=images[30].shape)
    images[32] = 0.5
    images[34] = 0.4 + 0.01 * images[34]
    store = write_store(tmp_path, images, bands=("grey",), radiometry="display")
    expected = {3: ("inverted",), 7: ("rotated",), 9: ("rotated",), 11: ("rotated",), 13: ("inverted", "rotated")}
    expected |= {20: ("cut",), 22: ("cut",), 24: ("cut",), 30: ("empty",), 32: ("empty",), 34: ("empty",)}
    assert found(store, upright=True) == expected
    unoriented = {row: kinds for row, kinds in expected.items() if row >= 20}
    assert found(store, upright=False) == unoriented


def test_of_linear_images_those_without_a_source_are_empty(tmp_path: Path):
    """Small and faint sources on blank sky are none; resampled sky, whose noise is correlated, is."""
    images, rng = blobs(60, 3, 64), np.random.default_rng(2)
    y, x = np.mgrid[:64, :64]
    images[5] = rng.normal(size=(3, 64, 64))
    coarse = rng.normal(size=(3, 65, 65))
    images[6] = (coarse[:, 1:, 1:] + coarse[:, :-1, 1:] + coarse[:, 1:, :-1] + coarse[:, :-1, :-1]) / 2
    images[7] = rng.normal(size=(3, 64, 64)) + 40 * np.exp(-((y - 30) ** 2 + (x - 33) ** 2) / 4)  # a point source
    images[8] = rng.normal(size=(3, 64, 64)) + 1.0 * np.exp(-((y - 30) ** 2 + (x - 33) ** 2) / 200)  # under the noise
    images[9, :, :20] = 0.0
    images[10, :, :20] = np.nan
    store = write_store(tmp_path, images, bands=RGB, sky_sigma=0.03)
    assert found(store, upright=False) == {5: ("empty",), 6: ("empty",), 9: ("cut",), 10: ("cut",)}


def test_without_a_common_layout_nothing_is_called_rotated_or_inverted(tmp_path: Path):
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:32, :32] / 32
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 80, 1, 1))
    waves = 0.5 + 0.4 * np.sin(8 * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    store = write_store(tmp_path, waves[:, None].astype(np.float32), bands=("grey",), radiometry="display")
    assert found(store, upright=True) == {}


def test_what_all_have_is_no_trouble(tmp_path: Path):
    images = scenes(60)
    images[:, :, :20] = np.nan
    images[:, :, :, 50:] = 0.0
    images[:30] = images[:30, :, :, ::-1]
    store = write_store(tmp_path, images, bands=("grey",), radiometry="display")
    assert found(store, upright=False) == {}


def test_answers_follow_the_rows_and_do_not_depend_on_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = scenes(50)
    images[4] = 1 - images[4]
    images[40, :, 30:] = 0.0
    store = write_store(tmp_path, images, bands=("grey",), radiometry="display")
    rows = np.random.default_rng(4).permutation(50)
    whole = find_trouble(store, np.arange(50), upright=True)
    assert find_trouble(store, rows, upright=True) == [whole[row] for row in rows]
    monkeypatch.setattr(input_trouble, "BATCH_BYTES", 7 * 4 * 64 * 64)
    assert find_trouble(store, np.arange(50), upright=True) == whole
    monkeypatch.setattr(input_trouble, "SAMPLE", 30)
    assert find_trouble(store, np.arange(50), upright=True, seed=1) == whole


def test_few_images_and_none(tmp_path: Path):
    images = scenes(4)
    images[0] = 1 - images[0]
    images[1] = 0.25
    store = write_store(tmp_path, images, bands=("grey",), radiometry="display")
    assert find_trouble(store, np.arange(4), upright=True) == [(), ("empty",), (), ()]
    assert find_trouble(store, np.arange(0), upright=True) == []


@pytest.mark.parametrize(
    ("collection", "upright"), [("chest/nih", True), ("galaxies/efigi", False)], ids=["upright", "any angle"]
)
def test_real_collections(shared_data: Path, tmp_path: Path, collection: str, upright: bool):
    """Under 1 % of sound images are flagged, and most of the planted trouble is found."""
    files = pd.read_csv(shared_data / collection / "labels.csv")["file"].iloc[:700]
    images = np.stack([picture(shared_data / collection / file, grey=upright) for file in files])
    count = len(images)
    healthy = write_store(
        tmp_path / "healthy", images, bands=("grey",) if upright else RGB, per_shard=256, radiometry="display"
    )
    assert len(found(healthy, upright)) < 0.01 * count
    rows = np.random.default_rng(5).permutation(count)[:60].reshape(6, 10)
    size = images.shape[-1]
    for row in rows[0]:
        images[row, :, int(0.65 * size) :] = 0.0
    for row in rows[1]:
        images[row] = np.random.default_rng(row).uniform(size=images[row].shape)
    for turns in (1, 2, 3) if upright else ():
        for row in rows[1 + turns]:
            images[row] = np.rot90(images[row], turns, (1, 2))
    if upright:
        images[rows[5]] = 1 - images[rows[5]]
    planted = write_store(
        tmp_path / "planted", images, bands=("grey",) if upright else RGB, per_shard=256, radiometry="display"
    )
    kinds = found(planted, upright)
    assert sum(kinds.get(row) == ("cut",) for row in rows[0]) >= 9
    assert sum(kinds.get(row) == ("empty",) for row in rows[1]) >= 9
    assert len(set(kinds) - set(rows.ravel().tolist())) < 0.01 * count
    if upright:
        assert sum(kinds.get(row) == ("rotated",) for row in rows[2:5].ravel()) >= 24
        assert sum(kinds.get(row) == ("inverted",) for row in rows[5]) >= 8


def picture(path: Path, grey: bool) -> np.ndarray:
    decoded = decode_picture(path)
    assert not isinstance(decoded, Refusal)
    values = np.moveaxis(decoded.values.astype(np.float32) / 255, -1, 0)
    values = values[:1] if grey else values
    return letterbox(Cutout(values, ("grey",) if grey else RGB, "display"), 96, None).pixels
