"""Sky sigma from the border: right on noise, whatever the centre holds."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from astropy.stats import mad_std
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from catalogs.reading import Cutout
from catalogs.sky import _CLIPPED_TO_SIGMA, border_sigma, sky_sigma, variance_sigma


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


def test_a_neighbour_and_holes_in_the_border_hardly_matter() -> None:
    pixels = noise(120) + galaxy(120, 20)
    pixels[0, :3, 10:40] += 50.0
    pixels[0, 5:9, 5:9] = np.nan
    assert border_sigma(pixels)[0] == pytest.approx(0.02, rel=0.05)


def test_astropy_agrees_on_an_empty_field() -> None:
    pixels = noise(512)
    assert border_sigma(pixels)[0] == pytest.approx(float(mad_std(pixels)), rel=0.03)


def test_the_clipped_deviation_is_that_of_a_clipped_gaussian() -> None:
    inside = NormalDist().cdf(3) - NormalDist().cdf(-3)
    assert pytest.approx(_CLIPPED_TO_SIGMA) == 1 / NormalDist().inv_cdf(0.5 + inside / 4)


def sersic(side: int, index: float, radius: float, border: float, angle: float) -> np.ndarray:
    """A Sersic profile of axis ratio 0.7 behind a PSF of 3 pixels FWHM; `border` is its mean over the top row."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.hypot(along * 0.84, across / 0.84)
    steepness = 2 * index - 1 / 3
    image = gaussian_filter(np.exp(-steepness * (distance / radius) ** (1 / index)), 1.3, mode="nearest")
    return image * (border / image[0].mean())


def white(side: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(side, side))


def interpolated(side: int, rng: np.random.Generator) -> np.ndarray:
    """Bilinear at a shift of (0.4, 0.3) pixel; normalised to sigma 1."""
    values = rng.normal(size=(side + 1, side + 1))
    values = (0.7 * values[:, :-1] + 0.3 * values[:, 1:]) / np.hypot(0.7, 0.3)
    return (0.6 * values[:-1] + 0.4 * values[1:]) / np.hypot(0.6, 0.4)


def smoothed(side: int, rng: np.random.Generator) -> np.ndarray:
    """By a Gaussian of 1 pixel, as a drizzled or oversampled image; normalised to sigma 1."""
    point = np.zeros((17, 17))
    point[8, 8] = 1.0
    values = gaussian_filter(rng.normal(size=(side + 16, side + 16)), 1.0)[8:-8, 8:-8]
    return values / np.sqrt((gaussian_filter(point, 1.0) ** 2).sum())


@pytest.mark.parametrize(("index", "border"), [(1.0, 0.0), (1.0, 2.0), (4.0, 2.0), (1.0, 30.0), (4.0, 30.0)])
@pytest.mark.parametrize(
    ("side", "kind"),
    [(32, white), (32, interpolated), (64, white), (64, interpolated), (64, smoothed), (128, white), (128, smoothed)],
)
def test_galaxies_that_fill_the_cutout_within_5_percent(
    side: int, kind: Callable[[int, np.random.Generator], np.ndarray], border: float, index: float
) -> None:
    rng = np.random.default_rng(side)
    measured = []
    for _ in range(2400 // side):
        light = sersic(side, index, 0.4 * side, border, rng.uniform(0, np.pi))
        measured.append(border_sigma((light + kind(side, rng))[None])[0])
    assert np.median(measured) == pytest.approx(1.0, abs=0.05)


def test_a_gradient_drops_out() -> None:
    y, x = np.mgrid[:96, :80]
    plane = (noise(96, sigma=1.0)[:, :, :80] + 0.5 * x - 0.3 * y).astype(np.float32)
    assert border_sigma(plane)[0] == pytest.approx(1.0, rel=0.07)


def test_a_small_source_on_the_border() -> None:
    pixels = noise(128, sigma=1.0)
    pixels[0, :9, 40:49] += 100 * galaxy(9, 2.0)
    assert border_sigma(pixels)[0] == pytest.approx(1.0, rel=0.06)


@given(
    side=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
    holes=st.floats(0, 1),
    scale=st.floats(-6, 6),
)
def test_positive_or_nan_for_any_shape(side: tuple[int, int], seed: int, holes: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = (10**scale * rng.normal(size=(2, *side))).astype(np.float32)
    pixels[rng.random(pixels.shape) < holes] = rng.choice([np.nan, np.inf, -np.inf])
    for sigma, plane in zip(border_sigma(pixels), pixels, strict=True):
        several = len(np.unique(plane[np.isfinite(plane)])) > 1
        assert sigma > 0 if several else np.isnan(sigma)


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


def test_edges_that_were_not_observed() -> None:
    pixels = noise(96, sigma=1.0)
    pixels[0, :, :30] = 0.0
    pixels[0, 80:] = np.nan
    assert border_sigma(pixels)[0] == pytest.approx(1.0, rel=0.06)
    blank = np.zeros((1, 100, 100), np.float32)
    blank[0, 25:-25, 25:-25] = noise(50)[0] - 0.3  # the sky is subtracted
    assert border_sigma(blank)[0] == pytest.approx(0.02, rel=0.15)  # differences over the edge hold less noise


def test_whole_numbers() -> None:
    counts = np.round(noise(128, sigma=3.0) + 1000)
    assert border_sigma(counts)[0] == pytest.approx(3.0, rel=0.05)


def test_hardly_any_noise_falls_back_to_the_standard_deviation() -> None:
    pixels = np.zeros((1, 30, 30), np.float32)
    pixels[0, 15, 15] = 4.0
    assert border_sigma(pixels)[0] == pytest.approx(pixels.std())


def test_nothing_to_measure_is_nan() -> None:
    pixels = np.stack([np.full((9, 9), np.nan, np.float32), np.ones((9, 9), np.float32)])
    assert np.isnan(border_sigma(pixels)).all()


def test_variance_is_read_on_the_border() -> None:
    variance = np.full((2, 60, 60), 4.0, np.float32)
    variance[0, 20:40, 20:40] = 100.0  # the galaxy's photons
    variance[0, :3] = np.nan
    variance[1, :, :2] = [0.0, -1.0]
    sigma = variance_sigma(variance)
    assert sigma.dtype == np.float32
    assert sigma.tolist() == [2.0, 2.0]


def test_no_known_variance_is_nan() -> None:
    variance = np.full((1, 20, 20), np.inf, np.float32)
    variance[0, 8:12, 8:12] = 1.0
    assert np.isnan(variance_sigma(variance)).all()


def test_sky_sigma_takes_variance_then_the_parent_then_the_border() -> None:
    pixels = noise(64, sigma=1.0).repeat(4, axis=0)
    bands = ("u", "g", "r", "i")
    variance = np.stack([np.full((64, 64), value, np.float32) for value in (9.0, np.nan, np.nan, 0.0)])
    parent = {"sky_sigma": np.array([7.0, 5.0, np.nan, -1.0], np.float32)}
    border = border_sigma(pixels)[0]
    assert sky_sigma(Cutout(pixels, bands, "linear", parent, variance=variance)).tolist() == [3.0, 5.0, border, border]
    assert sky_sigma(Cutout(pixels, bands, "linear", parent)).tolist() == [7.0, 5.0, border, border]
    assert sky_sigma(Cutout(pixels, bands, "linear")).tolist() == [border] * 4
    assert np.isnan(sky_sigma(Cutout(np.full_like(pixels, np.nan), bands, "linear"))).all()
