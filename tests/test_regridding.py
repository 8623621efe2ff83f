"""Bands on different grids to one: flux, mask, position and noise, beside the `reproject` package called by hand."""

import numpy as np
import pytest
from astropy.wcs import WCS, Sip

from catalogs.galaxies.regridding import Plane, regrid, same_grid
from catalogs.wcs import resampled


def tan(side: int, scale: float, rotation: float = 0.0, shift: float = 0.0) -> WCS:
    """About ra 150, dec 2 in the middle of `side` pixels of `scale` arcsec, rotated by degrees, shifted by pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix = [side / 2 + 0.5 + shift, side / 2 + 0.5]
    angle = np.radians(rotation)
    matrix = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = matrix * scale / 3600
    wcs.wcs.set()
    return wcs


def star(side: int, scale: float, fwhm: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """Mean surface brightness of a unit Gaussian in each pixel; positions in arcsec from the middle."""
    grid = ((np.arange(side * 9) + 0.5) / 9 - side / 2) * scale
    x, y = np.meshgrid(grid - dx, grid - dy)
    sigma = fwhm / 2.3548
    fine = np.exp(-(x**2 + y**2) / 2 / sigma**2) / (2 * np.pi * sigma**2)
    return fine.reshape(side, 9, side, 9).mean(axis=(1, 3))


def centroid(image: np.ndarray) -> np.ndarray:
    image = np.nan_to_num(image.astype(np.float64))
    y, x = np.indices(image.shape)
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


# From (side, arcsec a pixel, rotation) to (side, arcsec a pixel).
GRIDS = [
    ((40, 0.2, 0), (80, 0.1)),
    ((40, 0.2, 17), (80, 0.1)),
    ((40, 0.2, 45), (40, 0.2)),
    ((60, 0.1, -30), (30, 0.2)),
    ((60, 0.1, 110), (20, 0.3)),
]


@pytest.mark.parametrize(("source", "target"), GRIDS)
@pytest.mark.parametrize("phase", [(0.0, 0.0), (0.31, -0.44)])
def test_flux_and_position_agree_with_the_truth_and_with_reproject(
    source: tuple[int, float, float], target: tuple[int, float], phase: tuple[float, float]
) -> None:
    from reproject import reproject_exact

    (side, scale, rotation), (new_side, new_scale) = source, target
    image = star(side, scale, 1.6 * scale, phase[0] * scale, phase[1] * scale)  # as sharp as surveys sample
    old, new = tan(side, scale, rotation), tan(new_side, new_scale, shift=0.37)
    bright, _ = regrid([Plane(image, None, old, False)], new, (new_side, new_side))
    counts, _ = regrid([Plane(image * scale**2, None, old, True)], new, (new_side, new_side))
    assert np.nansum(bright[0]) * new_scale**2 == pytest.approx(1, rel=0.01)
    assert np.nansum(counts[0]) == pytest.approx(1, rel=0.01)
    np.testing.assert_allclose(counts, bright * new_scale**2, rtol=1e-5, atol=1e-12)

    sampled = 1.6 * max(scale, new_scale)  # pixels that hold the whole star know no position within
    image = star(side, scale, sampled, phase[0] * scale, phase[1] * scale)
    bright, _ = regrid([Plane(image, None, old, False)], new, (new_side, new_side))
    exact, covered = reproject_exact((image, old), new, shape_out=(new_side, new_side))
    assert centroid(bright[0]) == pytest.approx(centroid(exact), abs=0.05)
    there = old.all_world2pix(new.all_pix2world([centroid(bright[0])], 0), 0)[0]
    assert there == pytest.approx(centroid(image), abs=0.05)
    # The masks differ at the rim only, where half a pixel is covered.
    assert (np.isfinite(bright[0]) == (covered > 0.5))[np.abs(covered - 0.5) > 0.2].all()


@pytest.mark.parametrize(("source", "target"), GRIDS)
def test_smooth_images_agree_with_reproject_pixel_by_pixel(
    source: tuple[int, float, float], target: tuple[int, float]
) -> None:
    from reproject import reproject_exact

    (side, scale, rotation), (new_side, new_scale) = source, target
    image = star(side, scale, 10 * scale)
    old, new = tan(side, scale, rotation), tan(new_side, new_scale, shift=0.37)
    found, _ = regrid([Plane(image, None, old, False)], new, (new_side, new_side))
    exact, covered = reproject_exact((image, old), new, shape_out=(new_side, new_side))
    inner = covered > 0.999
    # Enlarged, its exact means are blocks of one value; ours are interpolated.
    limit = 0.03 if new_scale >= scale else 0.06
    assert np.abs(found[0] - exact)[inner].max() < limit * image.max()


@pytest.mark.parametrize(("source", "target"), GRIDS)
def test_the_variance_is_that_of_many_draws(source: tuple[int, float, float], target: tuple[int, float]) -> None:
    (side, scale, rotation), (new_side, new_scale) = source, target
    old, new = tan(side, scale, rotation), tan(new_side, new_scale, shift=0.37)
    generator = np.random.default_rng(0)
    variance = generator.uniform(0.5, 2, (side, side))
    hole = np.zeros((side, side))
    hole[side // 2 : side // 2 + 3, side // 2 : side // 2 + 2] = np.nan
    pixels, spread = regrid([Plane(hole, variance, old, True)], new, (new_side, new_side))
    np.testing.assert_array_equal(np.isnan(spread), np.isnan(pixels))
    draws = []
    for _ in range(12):  # few whole planes, and many pixels: the mean ratio is sharp
        noise = generator.normal(0, np.sqrt(variance)) + hole
        draws.append(regrid([Plane(noise, None, old, True)], new, (new_side, new_side))[0][0])
    ratio = np.nanmean(np.square(draws)) / np.nanmean(spread)
    assert ratio == pytest.approx(1, abs=0.1)


def test_the_variance_of_each_pixel_is_exact() -> None:
    # The response to each source pixel alone gives all weights.
    side, new_side = 6, 5
    old, new = tan(side, 0.1, 30), tan(new_side, 0.17, shift=0.2)
    variance = np.random.default_rng(0).uniform(0.5, 2, (side, side))
    _, spread = regrid([Plane(np.zeros((side, side)), variance, old, False)], new, (new_side, new_side))
    units = [Plane(unit.reshape(side, side), None, old, False) for unit in np.eye(side * side)]
    weights = regrid(units, new, (new_side, new_side))[0].astype(np.float64)
    np.testing.assert_allclose(spread[0], (weights**2 * variance.ravel()[:, None, None]).sum(axis=0), rtol=1e-5)


def test_nan_spreads_no_further_than_a_pixel_and_carries_no_weight() -> None:
    image = np.full((40, 40), 7.0)
    image[20, 20] = np.nan
    old, new = tan(40, 0.2), tan(80, 0.1)
    found, _ = regrid([Plane(image, None, old, False)], new, (80, 80))
    assert np.argwhere(np.isnan(found[0])).tolist() == [[40, 40], [40, 41], [41, 40], [41, 41]]
    assert np.nanmax(np.abs(found - 7)) < 1e-5
    turned, _ = regrid([Plane(image, None, tan(40, 0.2, 30), False)], tan(20, 0.2), (20, 20))
    assert np.isnan(turned).sum() <= 4
    assert np.nanmax(np.abs(turned - 7)) < 1e-5


def test_the_same_pixels_are_cut_and_not_resampled() -> None:
    image = np.random.default_rng(0).normal(size=(30, 40))
    image[3, 4] = np.inf
    variance = np.full((30, 40), 2.0)
    wcs = tan(30, 0.2, 25)
    found, spread = regrid([Plane(image, variance, wcs, True)], resampled(wcs, (-5, 10), 1), (20, 40))
    expected = image[:15, 10:].astype(np.float32)
    np.testing.assert_array_equal(found[0, 5:, :30], expected)
    assert np.isnan(found[0, :5]).all()
    assert np.isnan(found[0, :, 30:]).all()
    assert np.nanmax(spread) == np.nanmin(spread) == 2
    lone = regrid([Plane(image, variance, wcs, True)], resampled(wcs, (0, 0), 1), (10, 10))
    assert np.isnan(lone[0][0, 3, 4])
    assert np.isnan(lone[1][0, 3, 4])


def test_outside_the_source_is_nan_and_bands_are_apart() -> None:
    image = np.ones((20, 20))
    far = tan(20, 0.2)
    far.wcs.crval = [330.0, -2.0]  # the other side of the sky
    near = Plane(image, image, tan(20, 0.2, 10), False)
    planes = [near, Plane(image, None, far, False), Plane(image * np.nan, image, tan(20, 0.2, 5), False)]
    found, spread = regrid(planes, tan(12, 0.2), (12, 12))
    assert np.isfinite(found[0]).all()
    assert np.isfinite(spread[0]).all()
    assert np.isnan(found[1:]).all()
    assert np.isnan(spread[1:]).all()
    assert regrid(planes[1:2], tan(12, 0.2), (12, 12))[1] is None
    back, _ = regrid(planes[::-1], tan(12, 0.2), (12, 12))
    np.testing.assert_array_equal(back[::-1], found)


def test_sip_and_another_frame_are_followed() -> None:
    image = star(60, 0.2, 1.0, 1.3, -0.9)
    bent = tan(60, 0.2, 20)
    bent.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    a, b = np.zeros((3, 3)), np.zeros((3, 3))
    a[2, 0], b[1, 1] = 2e-3, 1e-3
    bent.sip = Sip(a, b, None, None, bent.wcs.crpix)
    bent.wcs.set()
    found, _ = regrid([Plane(image, None, bent, True)], tan(80, 0.15), (80, 80))
    there = bent.all_world2pix(tan(80, 0.15).all_pix2world([centroid(found[0])], 0), 0)[0]
    assert there == pytest.approx(centroid(image), abs=0.05)
    assert np.nansum(found) == pytest.approx(image.sum(), rel=0.01)

    galactic = WCS(naxis=2)
    galactic.wcs.ctype, galactic.wcs.crpix, galactic.wcs.cdelt = ["GLON-TAN", "GLAT-TAN"], [40.5, 40.5], [-5e-5, 5e-5]
    from astropy.coordinates import SkyCoord

    middle = SkyCoord(150, 2, unit="deg").galactic
    galactic.wcs.crval = [middle.l.deg, middle.b.deg]
    found, _ = regrid([Plane(image, None, tan(60, 0.2), True)], galactic, (80, 80))
    assert np.nansum(found) == pytest.approx(image.sum(), rel=0.01)


def test_grids_are_the_same_within_a_twentieth_of_a_pixel() -> None:
    wcs = tan(50, 0.2, 10)
    assert same_grid(wcs, (50, 40), wcs, (50, 40))
    assert not same_grid(wcs, (50, 40), wcs, (40, 50))
    assert same_grid(wcs, (50, 50), resampled(wcs, (0.03, 0), 1), (50, 50))
    assert not same_grid(wcs, (50, 50), resampled(wcs, (0.07, 0), 1), (50, 50))
    assert not same_grid(wcs, (50, 50), tan(50, 0.2, 10.3), (50, 50))  # equal in the middle only
    far = tan(50, 0.2, 10)
    far.wcs.crval = [330.0, -2.0]
    assert not same_grid(wcs, (50, 50), far, (50, 50))
