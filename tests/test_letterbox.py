"""Letterboxing: one factor for both axes, the mean kept, NaN without weight."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogs.letterbox import letterbox
from catalogs.reading import Cutout
from catalogs.wcs import pixel_scale

sides = st.integers(1, 40)


def tan(scale: float, crpix: tuple[float, float] = (20.5, 20.5)) -> WCS:
    """North up, arcsec a pixel, about ra 150, dec 30."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 30.0], list(crpix)
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


def noisy(side: int, holes: float, seed: int = 0) -> Cutout:
    """Noise of a variance that differs from pixel to pixel, with holes."""
    generator = np.random.default_rng(seed)
    variance = generator.uniform(0.5, 2, (2, side, side)).astype(np.float32)
    pixels = generator.normal(0, np.sqrt(variance)).astype(np.float32)
    pixels[generator.random(pixels.shape) < holes] = np.nan
    return Cutout(pixels, ("g", "r"), "linear", variance=variance)


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


@pytest.mark.parametrize(("size", "crop"), [(8, None), (15, None), (50, None), (31, 37), (40, 30), (9, 41)])
def test_the_variance_is_that_of_many_draws(size: int, crop: int | None) -> None:
    first = noisy(24, 0.1)
    boxed = letterbox(first, size, crop)
    sigma = np.sqrt(first.variance)
    draws = np.random.default_rng(1).normal(0, 1, (500, *sigma.shape)) * sigma + 0 * first.pixels
    many = Cutout(draws.reshape(-1, 24, 24).astype(np.float32), ("g",) * 1000, "linear")
    spread = letterbox(many, size, crop).pixels.reshape(500, 2, size, size).astype(np.float64).var(axis=0)
    np.testing.assert_array_equal(np.isnan(boxed.variance), np.isnan(boxed.pixels))
    ratio = spread[np.isfinite(spread)] / boxed.variance[np.isfinite(spread)]
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert np.abs(ratio - 1).max() < 6 * np.sqrt(2 / 500)


def test_whole_factors_divide_the_variance() -> None:
    cutout = Cutout(np.ones((1, 12, 12), np.float32), ("r",), "linear", variance=np.full((1, 12, 12), 3.0, np.float32))
    assert letterbox(cutout, 4, None).variance == pytest.approx(np.full((1, 4, 4), 3 / 9))


def test_an_unknown_variance_is_unknown_after() -> None:
    variance = np.ones((1, 8, 8), np.float32)
    variance[0, 0, 0], variance[0, 7, 7] = np.nan, np.inf
    boxed = letterbox(Cutout(np.ones((1, 8, 8), np.float32), ("r",), "linear", variance=variance), 4, None)
    assert np.argwhere(np.isnan(boxed.variance)).tolist() == [[0, 0, 0], [0, 3, 3]]
    assert np.isfinite(boxed.pixels).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 80), st.none() | st.integers(1, 90), st.data())
def test_the_sky_stays_on_its_pixels(height: int, width: int, size: int, crop: int | None, data: st.DataObject) -> None:
    # A gradient along each axis tells which source position a new pixel shows.
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wcs = tan(0.3, (data.draw(st.floats(-50, 90)), data.draw(st.floats(-50, 90))))
    image = Cutout(np.stack([x, y]), ("x", "y"), "linear", wcs=wcs, pixel_scale=0.3)
    boxed = letterbox(image, size, crop)
    assert boxed.pixel_scale == pytest.approx(pixel_scale(boxed.wcs))
    side = crop or max(height, width)
    rows, columns = np.nonzero(np.isfinite(boxed.pixels[0]))
    sky = boxed.wcs.all_pix2world(np.stack([columns, rows], 1), 0) if len(rows) else np.empty((0, 2))
    positions = wcs.all_world2pix(sky, 0)
    shown = boxed.pixels[:, rows, columns].T
    # At edges the covered part of a footprint has another centre than the whole.
    edge = 1.0 * side / size
    limits = np.array([width, height]) - 1
    inner = ((positions > edge) & (positions < limits - edge)).all(axis=1)
    rim = size / side  # enlarging repeats the square's edge pixels
    inner &= (np.minimum(rows, columns) >= rim) & (np.maximum(rows, columns) <= size - 1 - rim)
    # A mean over parts of pixels, each of one value, errs by up to 1/8 source pixel, alternating.
    assert np.abs(shown - positions)[inner].max(initial=0) <= 0.1251
    assert np.abs(shown - positions).max(initial=0) <= 0.5 + side / size


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 70)])
@pytest.mark.parametrize(("size", "crop"), [(32, None), (45, 50), (48, 81), (200, None), (128, 57)])
def test_the_centroid_keeps_its_sky_position(height: int, width: int, size: int, crop: int | None) -> None:
    y, x = np.mgrid[:height, :width]
    blob = np.exp(-((y - 29.3) ** 2 + (x - 33.6) ** 2) / 2 / 3.0**2)
    wcs = tan(0.3, (12.0, 50.0))
    boxed = letterbox(Cutout(blob[None].astype(np.float32), ("r",), "linear", wcs=wcs), size, crop)
    image = np.nan_to_num(boxed.pixels[0].astype(np.float64))
    rows, columns = np.mgrid[:size, :size]
    centroid = [(columns * image).sum() / image.sum(), (rows * image).sum() / image.sum()]
    found = wcs.all_world2pix(boxed.wcs.all_pix2world([centroid], 0), 0)[0]
    assert found == pytest.approx([33.6, 29.3], abs=0.01)


def sersic_like(side: int) -> np.ndarray:
    """An elliptical exponential disk and a de Vaucouleurs-like bulge, smoothed by a PSF, off centre."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.sqrt((x - 3) ** 2 + ((y + 2) / 0.6) ** 2 + 2.0)
    return np.exp(-radius / 6) + 3 * np.exp(-7.67 * ((radius / 5) ** 0.25 - 1)) / 50


@pytest.mark.parametrize("size", [32, 75, 100, 133, 300])
@pytest.mark.parametrize("crop", [None, 120])
def test_the_flux_of_a_galaxy_is_kept_both_ways(size: int, crop: int | None) -> None:
    galaxy = sersic_like(150)[None]
    side = crop or 150
    there = letterbox(cutout(galaxy), size, crop)
    inside = galaxy[0, 15:135, 15:135] if crop else galaxy[0]
    assert np.nansum(there.pixels, dtype=np.float64) * (side / size) ** 2 == pytest.approx(inside.sum(), rel=0.01)
    back = letterbox(there, side, None)
    assert np.nansum(back.pixels, dtype=np.float64) == pytest.approx(inside.sum(), rel=0.01)


def test_an_angle_brings_two_pixel_scales_to_one_grid() -> None:
    fine, coarse = noisy(80, 0), noisy(40, 0)
    boxes = [
        letterbox(replace(image, pixel_scale=scale, wcs=tan(scale, (side / 2 + 0.5,) * 2)), 32, None, arcsec=9.6)
        for image, scale, side in ((fine, 0.15, 80), (coarse, 0.3, 40))
    ]
    assert [box.pixel_scale for box in boxes] == pytest.approx([0.3, 0.3])
    corners = [box.wcs.all_pix2world([[0, 0], [31, 31]], 0) for box in boxes]
    np.testing.assert_allclose(*corners, atol=1e-9)
    assert boxes[1].pixels == pytest.approx(coarse.pixels[:, 4:36, 4:36])
    assert letterbox(replace(fine, pixel_scale=0.15), 5, None, arcsec=0.01).pixels[0, 0, 0] == fine.pixels[0, 39, 39]


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e-4])
def test_the_pixel_scale_of_a_damaged_header_takes_no_memory(scale: float) -> None:
    boxed = letterbox(replace(noisy(40, 0), pixel_scale=scale), 32, None, arcsec=60)
    assert boxed.pixels.shape == boxed.variance.shape == (2, 32, 32)
    assert np.isnan(boxed.pixels).all()


def test_an_angle_needs_a_scale_and_no_crop() -> None:
    image = replace(noisy(40, 0), pixel_scale=0.2)
    with pytest.raises(ValueError, match="not both"):
        letterbox(image, 32, 20, arcsec=4)
    with pytest.raises(ValueError, match="positive"):
        letterbox(image, 32, None, arcsec=-4.0)
    with pytest.raises(AssertionError, match="pixel scale"):
        letterbox(noisy(40, 0), 32, None, arcsec=4)


@pytest.mark.parametrize(("size", "crop"), [(32, None), (40, 30), (64, 50)])
def test_bands_do_not_know_of_each_other(size: int, crop: int | None) -> None:
    image, last_digit = noisy(40, 0.2), {"rtol": 1e-3, "atol": 1e-6}  # of some processors' products of matrices
    both = letterbox(image, size, crop)
    swapped = letterbox(replace(image, pixels=image.pixels[::-1], variance=image.variance[::-1]), size, crop)
    np.testing.assert_allclose(swapped.pixels[::-1], both.pixels, **last_digit)
    np.testing.assert_allclose(swapped.variance[::-1], both.variance, **last_digit)
    missing = image.pixels.copy()
    missing[0] = np.nan
    one = letterbox(replace(image, pixels=missing), size, crop)
    assert np.isnan(one.pixels[0]).all()
    assert np.isnan(one.variance[0]).all()
    np.testing.assert_allclose(one.pixels[1], both.pixels[1], **last_digit)


def test_what_is_not_given_stays_unknown() -> None:
    boxed = letterbox(cutout(np.ones((1, 20, 20))), 12, None)
    assert boxed.variance is None
    assert boxed.wcs is None
    assert np.isnan(boxed.pixel_scale)
    assert letterbox(replace(noisy(20, 0), unit="nJy"), 12, None).unit == "nJy"


@pytest.mark.parametrize("height", [1000, 1201])
@pytest.mark.parametrize(("size", "crop"), [(64, None), (333, 1003), (64, 1000), (1210, 1100)])
@pytest.mark.parametrize("holes", [0, 0.4])
def test_large_images_are_resized_as_small_ones(height: int, size: int, crop: int | None, holes: float) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.normal(3, 1, (2, height, 301)).astype(np.float32)
    pixels[0, generator.random((height, 301)) < holes] = np.nan
    boxed = letterbox(Cutout(pixels, ("g", "r"), "linear"), size, crop)
    # With a variance, by products with all the weights.
    other = letterbox(Cutout(pixels, ("g", "r"), "linear", variance=np.ones_like(pixels)), size, crop)
    np.testing.assert_allclose(boxed.pixels, other.pixels, rtol=2e-5, atol=2e-5)
