"""Where light lies and how far it reaches: exact on made images; colours without places know no places."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_stores import write_store

from domainssl.evaluation.colour_features import QUANTILES, colour_features
from domainssl.evaluation.place_measures import place_measures

SIDE = 64


def gaussian(x: float, y: float, sigma: float, total: float) -> np.ndarray:
    v, u = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    shape = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2))
    return (total * shape / shape.sum()).astype(np.float32)[None]


def test_flux_and_radius_are_those_of_gaussians(tmp_path: Path) -> None:
    widths, fluxes = (3.0, 6.0, 6.0), (1000.0, 1000.0, 5000.0)
    images = np.stack([gaussian(0, 0, s, f) + 4.0 for s, f in zip(widths, fluxes, strict=True)])
    store = write_store(tmp_path, images, bands=("r",))
    found = place_measures(store, np.arange(3), sources=True)
    np.testing.assert_allclose(found["flux"], fluxes, rtol=0.02)
    # half of a Gaussian lies within 1.1774 sigma
    np.testing.assert_allclose(found["radius"], [1.1774 * s / (SIDE / 2) for s in widths], atol=1.5 / (SIDE / 2))
    assert "crop" not in found
    assert set(place_measures(store, np.arange(3), sources=False)) == {"offset_x", "offset_y"}


def test_the_centre_of_light_and_what_is_black_are_found(tmp_path: Path) -> None:
    images = np.stack([gaussian(8, 0, 2, 1), gaussian(0, -8, 2, 1), gaussian(0, 0, 2, 1)])
    images = images / images.max()
    images[2, :, :, :16] = np.nan
    store = write_store(tmp_path, images, bands=("grey",), radiometry="display")
    found = place_measures(store, np.arange(3), sources=False)
    np.testing.assert_allclose(found["offset_x"][:2], [0.25, 0], atol=0.01)
    np.testing.assert_allclose(found["offset_y"][:2], [0, -0.25], atol=0.01)
    assert found["offset_x"][2] == pytest.approx(-0.25, abs=0.01)  # of the frame that is there
    black = [(images[n] <= 0.02).sum() / np.isfinite(images[n]).sum() for n in range(3)]
    np.testing.assert_allclose(found["crop"], black, atol=0.005)
    empty = place_measures(store, np.empty(0, np.int64), sources=True)
    assert all(len(values) == 0 for values in empty.values())
    assert set(empty) == {"offset_x", "offset_y", "crop", "flux", "radius"}


def test_nothing_but_sky_has_no_place(tmp_path: Path) -> None:
    store = write_store(tmp_path, np.zeros((1, 1, 32, 32), np.float32), bands=("r",))
    found = place_measures(store, np.arange(1), sources=True)
    assert all(np.isnan(values[0]) for values in found.values())


def test_colours_know_no_places(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((3, 3, 32, 32)).astype(np.float16).astype(np.float32)
    elsewhere = images.reshape(3, 3, -1)[:, :, rng.permutation(32 * 32)].reshape(images.shape)
    first, second = (
        colour_features(write_store(tmp_path / name, some, bands=("g", "r", "z"), radiometry="display"), np.arange(3))
        for name, some in (("a", images), ("b", elsewhere))
    )
    assert first.shape == (3, 5 * (2 + len(QUANTILES)))
    np.testing.assert_allclose(first, second, atol=1e-5)
    np.testing.assert_allclose(first[:, 0], images[:, 0].mean(axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(first[:, 3], (images[:, 0] - images[:, 1]).mean(axis=(1, 2)), atol=1e-4)
    median = 10 + QUANTILES.index(0.5)
    np.testing.assert_allclose(first[:, median], np.median(images[:, 0], axis=(1, 2)), atol=1e-3)


def test_colours_of_flux_are_in_sky_sigmas_and_nothing_valid_gives_zeros(tmp_path: Path) -> None:
    images = np.full((2, 1, 16, 16), 3.0, np.float32)
    images[1, :, 0, 1:] = images[1, :, 1:] = np.nan  # one pixel
    found = colour_features(write_store(tmp_path, images, bands=("r",), sky_sigma=7.0), np.arange(2))
    np.testing.assert_allclose(found[:, 0], np.arcsinh(3.0), rtol=1e-3)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-3)
    assert colour_features(write_store(tmp_path, images, bands=("r",)), np.empty(0, np.int64)).shape == (0, 9)
