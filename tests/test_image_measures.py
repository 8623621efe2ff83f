"""Plain numbers of images: exact on made ones, of valid pixels alone."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_stores import write_store

from domainssl.evaluation.image_measures import image_measures


def test_brightness_contrast_sharpness_and_frame_of_made_images(tmp_path: Path) -> None:
    flat = np.full((1, 16, 16), 0.5, np.float32)
    stripes = np.zeros((1, 16, 16), np.float32)
    stripes[:, :, ::2] = 1.0
    halves = np.zeros((1, 16, 16), np.float32)
    halves[:, :, 8:] = 1.0
    framed = halves.copy()
    framed[:, :4] = framed[:, -4:] = np.nan
    store = write_store(tmp_path, np.stack([flat, stripes, halves, framed]), bands=("grey",), radiometry="display")
    found = image_measures(store, np.arange(4))
    np.testing.assert_allclose(found["brightness"], 0.5)
    np.testing.assert_allclose(found["contrast"], [0, 0.5, 0.5, 0.5], atol=1e-6)
    assert np.isnan(found["sharpness"][0])
    np.testing.assert_allclose(found["sharpness"][1:], [2, 2 / np.sqrt(15), 2 / np.sqrt(15)], rtol=1e-5)
    np.testing.assert_allclose(found["frame"], [0, 0, 0, 0.5])
    assert all(len(values) == 0 for values in image_measures(store, np.empty(0, np.int64)).values())


@pytest.mark.parametrize("count", [1, 300])
def test_rows_are_measured_in_their_order(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((count, 2, 8, 8)).astype(np.float32)
    store = write_store(tmp_path, images, bands=("g", "r"), radiometry="display")
    rows = rng.permutation(count)
    found = image_measures(store, rows)
    np.testing.assert_allclose(found["brightness"], images[rows].mean(axis=(1, 2, 3)), atol=1e-3)
    np.testing.assert_allclose(found["contrast"], images[rows].std(axis=(1, 2, 3)), atol=1e-3)
