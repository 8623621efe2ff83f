"""Letterboxing: one factor for both axes, the mean kept, NaN without weight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogs.letterbox import letterbox
from catalogs.reading import Cutout

sides = st.integers(1, 40)


def cutout(pixels: np.ndarray, **nuisance: float) -> Cutout:
    bands = tuple("ugrizy"[: len(pixels)])
    values = {name: np.full(len(pixels), value, np.float32) for name, value in nuisance.items()}
    return Cutout(pixels.astype(np.float32), bands, "linear", values)


@settings(deadline=None)
@given(sides, sides, st.integers(1, 50), st.none() | st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_a_constant_stays_constant_also_around_holes(
    height: int, width: int, size: int, crop: int | None, seed: int
) -> None:
    pixels = np.full((2, height, width), 7.25)
    pixels[np.random.default_rng(seed).random(pixels.shape) < 0.3] = np.nan
    boxed = letterbox(cutout(pixels), size, crop).pixels
    assert boxed.shape == (2, size, size)
    assert boxed.dtype == np.float32
    assert np.isnan(boxed).all() or np.nanmax(np.abs(boxed - 7.25)) < 1e-5


@settings(deadline=None)
@given(st.integers(2, 60), st.data())
def test_shrinking_keeps_the_mean(side: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, side))
    pixels = np.random.default_rng(side).normal(10, 3, (2, side, side))
    boxed = letterbox(cutout(pixels), size, None).pixels
    assert boxed.mean(axis=(1, 2)) == pytest.approx(pixels.mean(axis=(1, 2)), rel=1e-5)


def test_whole_factors_are_block_means() -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 12, 12))
    blocks = pixels.reshape(3, 4, 3, 4, 3).mean(axis=(2, 4))
    assert letterbox(cutout(pixels), 4, None).pixels == pytest.approx(blocks, abs=1e-6)


def test_enlarging_agrees_with_pillow() -> None:
    pixels = np.random.default_rng(0).normal(size=(1, 11, 11)).astype(np.float32)
    pillow = np.asarray(Image.fromarray(pixels[0]).resize((29, 29), Image.Resampling.BILINEAR))
    assert letterbox(cutout(pixels), 29, None).pixels[0] == pytest.approx(pillow, abs=1e-5)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(4, 80))
def test_the_aspect_is_kept_and_the_image_is_centred(height: int, width: int, size: int) -> None:
    valid = np.isfinite(letterbox(cutout(np.ones((1, height, width))), size, None).pixels[0])
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    factor = size / max(height, width)
    pixel = max(1.0, factor)  # half a source pixel each side
    if height * factor >= 1 and width * factor >= 1:
        assert abs(len(rows) - height * factor) <= 1
        assert abs(len(columns) - width * factor) <= 1
        assert abs(rows.mean() - (size - 1) / 2) <= pixel
        assert abs(columns.mean() - (size - 1) / 2) <= pixel


@pytest.mark.parametrize(("side", "size", "crop"), [(65, 32, None), (64, 128, None), (101, 40, 61), (40, 64, 80)])
def test_a_source_in_the_centre_stays_there(side: int, size: int, crop: int | None) -> None:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    boxed = np.nan_to_num(letterbox(cutout(np.exp(-(y**2 + x**2) / 50)[None]), size, crop).pixels[0])
    grid = np.arange(size) - (size - 1) / 2
    assert (boxed.sum(axis=0) @ grid) / boxed.sum() == pytest.approx(0, abs=0.02)
    assert (boxed.sum(axis=1) @ grid) / boxed.sum() == pytest.approx(0, abs=0.02)


def test_a_crop_keeps_one_pixel_scale_for_all() -> None:
    # An image smaller than the crop is padded, not enlarged.
    boxed = letterbox(cutout(np.ones((1, 10, 20))), 20, 20).pixels[0]
    assert np.isfinite(boxed).sum() == 200
    assert np.isfinite(boxed[5:15]).all()


def test_the_size_it_has_changes_nothing() -> None:
    pixels = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    pixels[0, 3, 3] = np.nan
    boxed = letterbox(cutout(pixels, sky_sigma=0.5), 16, None)
    np.testing.assert_array_equal(boxed.pixels, pixels)
    assert boxed.nuisance["sky_sigma"] == pytest.approx(0.5)


def test_a_nan_carries_no_weight_and_less_than_half_covered_is_nan() -> None:
    pixels = np.array([[[1.0, 3.0, np.nan, np.nan], [np.nan, 5.0, np.nan, 8.0], *[[2.0] * 4] * 2]])
    boxed = letterbox(cutout(pixels), 2, None).pixels[0]
    np.testing.assert_allclose(boxed, [[3.0, np.nan], [2.0, 2.0]])


def test_one_pixel_and_extreme_values() -> None:
    assert (letterbox(cutout(np.full((1, 1, 1), 3.0)), 8, None).pixels == 3).all()
    pixels = np.zeros((1, 30, 30))
    pixels[0, 4, 4] = 1e30
    boxed = letterbox(cutout(pixels), 20, None).pixels
    assert np.isfinite(boxed).all()
    assert boxed[0, 10:].max() == 0  # a hot pixel spoils its neighbourhood only


def test_the_seeing_is_scaled_and_a_sigma_of_resampled_noise_forgotten() -> None:
    nuisance = letterbox(cutout(np.ones((2, 40, 40)), psf_fwhm_px=4.0, ebv=0.1, sky_sigma=1.0), 32, 20).nuisance
    assert nuisance["psf_fwhm_px"] == pytest.approx(4.0 * 32 / 20)
    assert nuisance["ebv"] == pytest.approx(0.1)
    assert np.isnan(nuisance["sky_sigma"]).all()


@pytest.mark.parametrize(("size", "crop"), [(0, None), (8, 0)])
def test_a_size_without_pixels_is_refused(size: int, crop: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        letterbox(cutout(np.ones((1, 9, 9))), size, crop)
