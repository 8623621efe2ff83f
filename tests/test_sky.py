"""Sky sigma from the border: right on noise, whatever the centre holds."""

import numpy as np
import pytest
from astropy.stats import mad_std, sigma_clip

from catalogs.sky import border_sigma


def noise(side: int = 256, sigma: float = 0.02, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, sigma, (1, side, side)).astype(np.float32)


def galaxy(side: int, width: float) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (5 * np.exp(-(y**2 + x**2) / (2 * width**2))).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_gaussian_noise_with_a_bright_centre(seed: int) -> None:
    sigma = border_sigma(noise(seed=seed) + galaxy(256, 25))
    assert sigma == pytest.approx(0.02, rel=0.03)


def test_bands_are_measured_apart() -> None:
    both = np.concatenate([noise(sigma=0.02), noise(sigma=2.0, seed=1)])
    assert border_sigma(both) == pytest.approx([0.02, 2.0], rel=0.03)


def test_astropy_agrees() -> None:
    pixels = noise(120) + galaxy(120, 20)
    pixels[0, :3, 10:40] += 50.0  # a neighbour on the border
    pixels[0, 5:9, 5:9] = np.nan
    border = np.ones((120, 120), bool)
    border[12:-12, 12:-12] = False
    values = pixels[0][border].astype(np.float64)
    clipped = sigma_clip(values[np.isfinite(values)], sigma=3, maxiters=3, cenfunc="median", stdfunc="mad_std")
    assert border_sigma(pixels)[0] == pytest.approx(float(mad_std(clipped.compressed())), rel=1e-5)


def test_a_hot_pixel_does_not_matter() -> None:
    pixels = noise()
    expected = border_sigma(pixels)
    pixels[0, 0, 0] = 1e30
    assert border_sigma(pixels) == pytest.approx(expected, rel=1e-3)


def test_scales_with_the_image_and_ignores_a_pedestal() -> None:
    assert border_sigma(noise() * 8 + 64) == pytest.approx(8 * border_sigma(noise()), rel=1e-3)


def test_padding_and_blank_borders_fall_back_to_all_pixels() -> None:
    padded = np.full((1, 100, 100), np.nan, np.float32)
    padded[0, 20:-20, 20:-20] = noise(60)[0]
    blank = np.zeros((1, 100, 100), np.float32)
    blank[0, 12:-12, 12:-12] = noise(76)[0]
    assert border_sigma(padded) == pytest.approx(0.02, rel=0.05)
    assert border_sigma(blank)[0] > 0


def test_mostly_equal_pixels_fall_back_to_their_standard_deviation() -> None:
    pixels = np.zeros((1, 30, 30), np.float32)
    pixels[0, 10:20, 10:20] = 4.0
    assert border_sigma(pixels)[0] == pytest.approx(pixels.std())


def test_nothing_to_measure_is_nan() -> None:
    pixels = np.stack([np.full((9, 9), np.nan, np.float32), np.ones((9, 9), np.float32)])
    assert np.isnan(border_sigma(pixels)).all()
