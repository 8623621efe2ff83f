"""Pictures of linear flux and of display images."""

from pathlib import Path

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reports.rendering import render_display, render_linear, render_window, wavelength_order


def noisy_galaxy(bands: int, size: int = 33, seed: int = 0) -> np.ndarray:
    """A bright exponential disc in unit noise, brighter in later bands."""
    y, x = np.mgrid[:size, :size] - size // 2
    disc = 400 * np.exp(-np.hypot(x, y) / 3)
    noise = np.random.default_rng(seed).normal(size=(1, bands, size, size))
    return (noise + disc * np.linspace(0.5, 2, bands)[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("minimum", [0.0, -0.5])
def test_three_bands_agree_with_astropy(minimum: float) -> None:
    pixels = noisy_galaxy(3)
    ours = render_linear(pixels, ("g", "r", "z"), np.ones(3), stretch=30.0, softening=10.0, minimum=minimum)
    g, r, z = pixels[0].astype(np.float64)
    astropys = make_lupton_rgb(z, r, g, minimum=minimum, stretch=30.0, Q=10.0)
    # astropy truncates to 8 bits where we round.
    assert np.abs(ours[0].astype(int) - astropys.astype(int)).max() <= 1


def test_flux_and_scale_in_the_same_other_unit_give_the_same_picture() -> None:
    pixels, scale = noisy_galaxy(3), np.array([1.0, 2.0, 4.0])
    nanojansky = render_linear(pixels * np.float32(1024), ("g", "r", "z"), scale * 1024)
    np.testing.assert_array_equal(nanojansky, render_linear(pixels, ("g", "r", "z"), scale))


def test_sky_is_faint_and_cores_are_not_burnt() -> None:
    picture = render_linear(noisy_galaxy(3, size=65), ("g", "r", "z"), np.ones(3))[0].astype(int)
    border = np.concatenate([picture[:8].ravel(), picture[-8:].ravel()])
    assert 0 < border.mean() < 15
    assert (border > 0).mean() > 0.3
    assert 120 < picture.max() <= 255
    assert (picture == 255).mean() < 0.01


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (1, 3, 4, 4), elements=st.floats(1, 1e5, width=32)),
)
def test_colour_is_kept(pixels: np.ndarray) -> None:
    """Channel ratios of the picture are those of the flux, within 8-bit rounding."""
    picture = render_linear(pixels, ("g", "r", "z"), np.ones(3), minimum=0.0)[0].astype(float)
    flux = np.moveaxis(pixels[0, ::-1], 0, -1).astype(float)
    expected = flux / flux.sum(axis=-1, keepdims=True) * picture.sum(axis=-1, keepdims=True)
    assert np.abs(picture - expected).max() <= 1.5


def test_longest_wavelength_is_red_whatever_the_order_given() -> None:
    pixels = np.zeros((1, 3, 2, 2), np.float32)
    pixels[:, 1] = 50
    picture = render_linear(pixels, ("g", "z", "r"), np.ones(3), minimum=0.0)[0, 0, 0]
    assert picture[0] > 0
    assert picture[1] == picture[2] == 0


def test_one_band_is_grey_and_two_have_their_mean_as_green() -> None:
    grey = render_linear(noisy_galaxy(1), ("F160W",), np.ones(1))
    assert (grey[..., 0] == grey[..., 2]).all()
    assert (grey[..., 0] == grey[..., 1]).all()
    pixels = np.stack([np.full((2, 2), 20), np.full((2, 2), 60)])[None].astype(np.float32)
    red, green, blue = render_linear(pixels, ("i", "g"), np.ones(2), minimum=0.0)[0, 0, 0].astype(float)
    assert red < green < blue
    assert green == pytest.approx((red + blue) / 2, abs=1)


@pytest.mark.parametrize(
    ("bands", "red", "green", "blue"),
    [("griz", "z", "ri", "g"), ("ugriz", "iz", "r", "ug"), ("ugrizy", "zy", "ri", "ug")],
)
def test_more_bands_are_averaged_in_groups(bands: str, red: str, green: str, blue: str) -> None:
    for channel, group in enumerate((red, green, blue)):
        pixels = np.array([100.0 if band in group else 0.0 for band in bands], np.float32)[None, :, None, None]
        picture = render_linear(pixels, tuple(bands), np.ones(len(bands)), minimum=0.0)[0, 0, 0]
        assert np.flatnonzero(picture).tolist() == [channel]


def test_nan_and_infinity_are_sky() -> None:
    clean = noisy_galaxy(3)
    clean[..., :4] = 0
    broken = clean.copy()
    broken[..., 0], broken[..., 1], broken[..., 2] = np.nan, np.inf, -np.inf
    args = (("g", "r", "z"), np.ones(3))
    np.testing.assert_array_equal(render_linear(broken, *args), render_linear(clean, *args))


def test_wavelength_order() -> None:
    assert wavelength_order(("z", "g", "r")) == [1, 2, 0]
    assert wavelength_order(("HSC-Y", "HSC-G", "HSC-I")) == [1, 2, 0]
    assert wavelength_order(("F814W", "F160W", "F475W")) == [2, 0, 1]
    assert wavelength_order(("second", "first")) == [0, 1]


def test_no_objects_give_an_empty_array() -> None:
    assert render_linear(np.zeros((0, 3, 4, 4), np.float32), ("g", "r", "z"), np.ones(3)).shape == (0, 4, 4, 3)
    assert render_display(np.zeros((0, 1, 4, 4), np.float32)).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("scale", [[1, 1, 0], [1, np.nan, 1], [1, -1, 1]])
def test_a_scale_that_is_not_positive_is_refused(scale: list[float]) -> None:
    with pytest.raises(ValueError, match="sky sigma"):
        render_linear(noisy_galaxy(3), ("g", "r", "z"), np.array(scale, float))


def test_bands_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 names for pixels with 3"):
        render_linear(noisy_galaxy(3), ("g", "r"), np.ones(3))


def test_display_images_pass_unchanged() -> None:
    levels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    picture = render_display(levels.astype(np.float32) / 255)
    np.testing.assert_array_equal(picture, np.moveaxis(levels, 1, -1))


def test_display_grey_nan_and_range() -> None:
    pixels = np.array([[np.nan, -0.5], [0.5, 7.0]], np.float32)[None, None]
    picture = render_display(pixels)
    assert picture.shape == (1, 2, 2, 3)
    assert picture[0, ..., 1].tolist() == [[0, 0], [128, 255]]
    with pytest.raises(ValueError, match="2 channels"):
        render_display(np.zeros((1, 2, 3, 3), np.float32))


def test_window_and_level_golden() -> None:
    """A CT lung window, level -600 and width 1500 HU: black from -1350, white from 150."""
    pixels = np.array([[-3000, -1350, -975, -600, -225, 150, 3000, np.nan]], np.float32)[None, None]
    picture = render_window(pixels, -600, 1500.0)
    assert picture.shape == (1, 1, 8, 3)
    assert picture[0, 0, :, 0].tolist() == [0, 0, 64, 128, 191, 255, 255, 0]
    assert (picture == picture[..., :1]).all()


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 1, 3, 4), elements=st.floats(-4096, 4096, width=32)),
    st.integers(-8000, 8000).map(lambda quarters: quarters / 4),  # a DICOM decimal string holds 16 characters
    st.integers(1, 20000).map(lambda quarters: quarters / 4),
)
def test_windows_agree_with_pydicom(pixels: np.ndarray, level: float, window: float) -> None:
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    header = Dataset()
    header.PhotometricInterpretation, header.VOILUTFunction = "MONOCHROME2", "LINEAR_EXACT"
    header.WindowCenter, header.WindowWidth = str(level), str(window)
    header.BitsStored, header.PixelRepresentation = 8, 0
    header.RescaleSlope, header.RescaleIntercept = "1", "0"  # pydicom then maps to 0..255
    expected = apply_windowing(pixels[:, 0].astype(np.float64), header)
    picture = render_window(pixels, level, window)
    assert np.abs(picture[..., 0] - expected).max() <= 0.5 + 1e-3


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (1, 1, 5, 5), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
)
def test_brighter_pixels_are_never_darker(pixels: np.ndarray) -> None:
    """For any pixels: without a warning, NaN black, the order of the others kept."""
    picture = render_window(pixels)[0, ..., 0]
    values = pixels[0, 0]
    assert (picture[np.isnan(values)] == 0).all()
    order = np.argsort(values[~np.isnan(values)])
    assert (np.diff(picture[~np.isnan(values)][order].astype(int)) >= 0).all()


def test_an_image_without_a_window_gets_its_own() -> None:
    ramp = np.linspace(0, 1000, 1001, dtype=np.float32).reshape(1, 1, 7, 143)
    hot = ramp.copy()
    hot[0, 0, 0, :3] = 1e6, np.nan, np.inf
    both = render_window(np.concatenate([ramp, -3 * ramp + 7]))
    assert (both[0] == 0).mean() == pytest.approx(0.01, abs=0.005)
    assert (both[0] == 255).mean() == pytest.approx(0.01, abs=0.005)
    np.testing.assert_allclose(both[0].astype(int), 255 - both[1].astype(int), atol=1)
    # A few hot pixels do not darken the rest.
    assert np.abs(render_window(hot)[0, 1:].astype(int) - both[0, 1:].astype(int)).max() <= 2
    # A level alone moves the window that the image has, a window alone widens it round the image's own level.
    assert render_window(ramp, level=0)[0, 0, 0, 0] == 128
    assert render_window(ramp, window=1e6)[0].min() > 126


def test_images_of_one_value_or_none_divide_by_nothing() -> None:
    flat = np.full((1, 1, 4, 4), 7, np.float32)
    assert (render_window(flat) == 128).all()
    assert (render_window(np.full((1, 3, 4, 4), np.nan, np.float32)) == 0).all()
    assert render_window(np.zeros((0, 1, 4, 4), np.float32)).shape == (0, 4, 4, 3)
    # A background of more than 98 % leaves the content its contrast.
    flat = np.zeros((1, 1, 100, 100), np.float32)
    flat[0, 0, 0, :2] = 1, 2
    assert render_window(flat)[0, 0, :3, 0].tolist() == [128, 255, 0]


@pytest.mark.parametrize(
    ("channels", "level", "window", "message"),
    [
        (2, None, None, "2 channels"),
        (1, None, 0, "window 0 must be positive"),
        (1, None, float("nan"), "window nan"),
        (1, float("inf"), 1.0, "level inf must be finite"),
    ],
)
def test_windows_that_are_none_are_refused(
    channels: int, level: float | None, window: float | int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        render_window(np.zeros((1, channels, 2, 2), np.float32), level, window)


def test_real_decals_cutout_shows_a_galaxy_on_a_dark_sky(shared_data: Path) -> None:
    from astropy.io import fits

    cube = fits.getdata(shared_data / "galaxies/multiband/decals_grz/example_a.fits").astype(np.float32)
    sigma = 1.4826 * np.median(np.abs(cube - np.median(cube, axis=(1, 2), keepdims=True)), axis=(1, 2))
    picture = render_linear(cube[None], ("g", "r", "z"), sigma)[0].astype(int)
    centre = picture[192:232, 192:232].mean()
    assert np.median(picture) < 25
    assert centre > 4 * np.median(picture)
