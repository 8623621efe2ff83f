"""Flux scale and band from headers as surveys write them; nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float

from catalogs.galaxies.calibration import band_name, flux_calibration, undo_asinh

AB = 3631e9  # nJy at magnitude 0


def header(**cards: object) -> fits.Header:
    made = fits.Header()
    for key, value in cards.items():
        made[key] = value
    return made


def with_wcs(arcsec: float, **cards: object) -> fits.Header:
    degrees = arcsec / 3600
    frame = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 5.0, "CRPIX2": 5.0}
    return header(**frame, CD1_1=-degrees, CD1_2=0.0, CD2_1=0.0, CD2_2=degrees, **cards)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("nJy", 1.0),
        ("uJy", 1e3),
        ("mJy", 1e6),
        ("Jy", 1e9),
        ("JY", 1e9),
        ("UJY", 1e3),
        ("microJansky", 1e3),
        ("1e-9 Jy", 1.0),
        ("10**-9 Jy", 1.0),
        ("3.631 uJy", 3631.0),
        ("Jy/pixel", 1e9),
        ("erg/s/cm2/Hz", 1e32),
        ("nanomaggies", 3631.0),
        ("nanomaggy", 3631.0),
        ("nmgy", 3631.0),
        ("NMGY", 3631.0),
        ("1e-9 maggies", 3631.0),
        ("maggies", AB),
    ],
)
def test_flux_densities(unit: str, factor: float) -> None:
    measured, result = flux_calibration(header(BUNIT=unit))
    assert measured == pytest.approx(factor)
    assert result == "nJy"


@pytest.mark.parametrize(
    ("unit", "per_steradian"),
    [("MJy/sr", 1e15), ("Jy/arcsec2", 1e9 * (180 / np.pi * 3600) ** 2), ("MJy / sr", 1e15)],
)
def test_surface_brightness_is_multiplied_by_the_pixels_area(unit: str, per_steradian: float) -> None:
    factor, result = flux_calibration(with_wcs(0.2, BUNIT=unit))
    assert factor == pytest.approx(per_steradian * (0.2 / 3600 * np.pi / 180) ** 2, rel=1e-6)
    assert result == "nJy"
    assert flux_calibration(header(BUNIT=unit)) == (1.0, unit)


def test_surface_brightness_of_a_cube() -> None:
    cube = with_wcs(0.2, BUNIT="MJy/sr", NAXIS=3, NAXIS1=9, NAXIS2=9, NAXIS3=5)
    assert flux_calibration(cube) == flux_calibration(with_wcs(0.2, BUNIT="MJy/sr"))


@pytest.mark.parametrize("key", ["MAGZERO", "MAGZPT", "PHOTZP", "MAGZP", "ZP"])
@pytest.mark.parametrize("unit", [None, "adu", "DN", "electron/s", "counts"])
def test_zero_points_apply_to_the_values_as_they_stand(key: str, unit: str | None) -> None:
    cards = header(**{key: 31.4}, EXPTIME=90.0)
    if unit is not None:
        cards["BUNIT"] = unit
    factor, result = flux_calibration(cards)
    assert factor == pytest.approx(1.0, rel=1e-4)  # magnitude 31.4 is 1 nJy, to the 31.4's last digit
    assert result == "nJy"


@given(st.floats(15, 40), st.floats(-5, 12))
def test_a_zero_point_gives_the_ab_magnitude_back(zero_point: float, dex: float) -> None:
    value = 10**dex
    flux = value * flux_calibration(header(MAGZERO=zero_point))[0]
    magnitude = (flux * units.nJy).to(units.ABmag).value
    assert magnitude == pytest.approx(zero_point - 2.5 * np.log10(value), abs=2e-4)


@pytest.mark.parametrize("value", [0.0, 0, -25.3, -21.1, 5.0, 99.0, -0.9999995e9, "", "unknown", "NaN", "inf", True])
def test_zero_points_that_are_not_filled_in(value: object) -> None:
    assert flux_calibration(header(PHOTZP=value)) == (1.0, "")
    assert flux_calibration(header(BUNIT="adu", PHOTZP=value)) == (1.0, "adu")
    assert flux_calibration(header(PHOTZP=value, ZP=25.0))[0] == pytest.approx(AB * 1e-10)  # the next one counts


def test_a_zero_point_written_as_text() -> None:
    assert flux_calibration(header(MAGZERO=" 30.0 ")) == flux_calibration(header(MAGZERO=30.0))


@pytest.mark.parametrize("comment", ["[mag] zero point for 1 s", "mag of 1 count/s", "ZP per second"])
def test_zero_points_of_one_second_need_to_know_whether_values_are_rates(comment: str) -> None:
    cards = header(EXPTIME=100.0)
    cards["MAGZPT"] = (25.0, comment)
    assert flux_calibration(cards) == (1.0, "")
    cards["BUNIT"] = "electron/s"
    assert flux_calibration(cards)[0] == pytest.approx(AB * 1e-10)
    cards["BUNIT"] = "electron"
    assert flux_calibration(cards)[0] == pytest.approx(AB * 1e-12)
    cards["EXPTIME"] = 0.0
    assert flux_calibration(cards) == (1.0, "electron")


def test_bunit_goes_before_zero_points() -> None:
    assert flux_calibration(header(BUNIT="nJy", MAGZERO=27.0, FLUXMAG0=6.3e10)) == (1.0, "nJy")


@pytest.mark.parametrize("unit", ["Jy/beam", "K", "mag", "MJY", "furlong", "erg/s/cm2/Angstrom", "%"])
def test_other_units_are_kept_and_no_zero_point_is_put_on_them(unit: str) -> None:
    assert flux_calibration(header(BUNIT=unit, MAGZERO=27.0)) == (1.0, unit)


def test_nothing_known() -> None:
    assert flux_calibration(header()) == (1.0, "")
    assert flux_calibration(header(BUNIT="  ")) == (1.0, "")


def test_fluxmag0() -> None:
    factor, unit = flux_calibration(header(FLUXMAG0=63095734448.0194))  # HSC's 27 mag
    assert (factor, unit) == (pytest.approx(AB * 10 ** (-0.4 * 27)), "nJy")
    assert flux_calibration(header(FLUXMAG0=0.0)) == (1.0, "")


@pytest.mark.parametrize(
    "vega",
    [{"TELESCOP": "WISE"}, {"TELESCOP": "UKIRT"}, {"MAGSYS": "Vega"}, {"MAGZP": (20.5, "[Vega mag] zero point")}],
)
def test_vega_magnitudes_are_no_janskys(vega: dict[str, object]) -> None:
    assert flux_calibration(header(**{"BUNIT": "DN", "MAGZP": 20.5} | vega)) == (1.0, "DN")


def test_vega_maggies() -> None:
    assert flux_calibration(header(BUNIT="nanomaggies", TELESCOP="WISE")) == (1.0, "nanomaggies")


def test_hubble() -> None:
    acs = {"PHOTFLAM": 7.0331e-20, "PHOTPLAM": 8045.0}  # ACS/WFC F814W: zero point 25.95 AB
    factor, unit = flux_calibration(header(BUNIT="ELECTRONS/S", **acs))
    assert unit == "nJy"
    assert (factor * units.nJy).to(units.ABmag).value == pytest.approx(25.95, abs=0.01)
    expected = (acs["PHOTFLAM"] * units.Unit("erg/(s cm2 AA)")).to(units.nJy, units.spectral_density(8045 * units.AA))
    assert factor == pytest.approx(expected.value)
    assert flux_calibration(header(BUNIT="ELECTRONS", EXPTIME=500.0, **acs))[0] == pytest.approx(factor / 500)
    assert flux_calibration(header(BUNIT="ELECTRONS", **acs)) == (1.0, "ELECTRONS")
    assert flux_calibration(header(EXPTIME=500.0, **acs)) == (1.0, "")


def pan_starrs(**cards: object) -> fits.Header:
    made = header(PSCAMERA="GPC1", EXPTIME=820.0, **cards)
    made["HIERARCH FPA.ZP"] = 25.0
    made["HIERARCH FPA.FILTERID"] = "g.00000"
    return made


def test_pan_starrs_stacks() -> None:
    factor, unit = flux_calibration(pan_starrs())
    assert unit == "nJy"
    assert (factor * units.nJy).to(units.ABmag).value == pytest.approx(25 + 2.5 * np.log10(820), abs=1e-3)
    assert flux_calibration(pan_starrs(MAGZP=0.0)) == (factor, unit)
    without = pan_starrs()
    del without["EXPTIME"]
    assert flux_calibration(without) == (1.0, "")


def compressed(linear: Float[np.ndarray, " n"], softening: float, offset: float) -> Float[np.ndarray, " n"]:
    """The IPP wiki's forward formula, with its alpha written out."""
    return 1.0857362 * np.arcsinh((linear - offset) / (2.0 * softening))


@given(st.floats(1e-2, 1e4), st.floats(-1e3, 1e3), st.integers(0, 99))
def test_asinh_is_undone(softening: float, offset: float, seed: int) -> None:
    linear = np.random.default_rng(seed).normal(offset, 100 * softening, 50)
    cards = pan_starrs(BSOFTEN=softening, BOFFSET=offset)
    back = undo_asinh(compressed(linear, softening, offset), cards)
    np.testing.assert_allclose(back, linear, rtol=1e-4, atol=1e-5 * softening)


def test_asinh_keeps_type_nan_and_headers_without_it() -> None:
    values = np.array([[np.nan, 0.0, 1.0]], np.float32)
    linear = undo_asinh(values, pan_starrs(BSOFTEN=100.0, BOFFSET=3.0))
    assert linear.dtype == np.float32
    assert linear[0, 1] == 3.0
    assert np.isnan(linear[0, 0])
    assert undo_asinh(values, pan_starrs()) is values
    assert undo_asinh(values, pan_starrs(BSOFTEN="x", BOFFSET=0.0)) is values


def test_legacy_survey_cutouts_at_any_scale() -> None:
    layout = {"SURVEY": "DECaLS", "VERSION": "DR3", "IMAGETYP": "image", "BANDS": "grz"}
    factor, unit = flux_calibration(with_wcs(0.262, **layout))
    assert (factor, unit) == (pytest.approx(3631.0), "nJy")
    # The viewer interpolates: a pixel of half the side has the same value, and a quarter of the flux.
    assert flux_calibration(with_wcs(0.131, **layout))[0] == pytest.approx(3631.0 / 4)
    assert flux_calibration(header(**layout)) == (1.0, "")
    assert flux_calibration(with_wcs(0.262, **layout | {"SURVEY": "unWISE"})) == (1.0, "")


@pytest.mark.parametrize(
    ("filter_name", "band"),
    [
        ("g DECam SDSS c0001 4720.0 1520.0", "g"),
        ("Y DECam c0005 10095.0 1130.0", "Y"),
        ("HSC-G", "g"),
        ("HSC-I2", "i"),
        ("HSC-Y", "y"),
        ("NB0921", "NB0921"),
        ("LSST_r", "r"),
        ("r_57", "r"),
        ("g.00000", "g"),
        ("VIS", "VIS"),
        ("NIR_Y", "Y"),
        ("NISP H", "H"),
        ("DECAM_g", "g"),
        ("CFIS_u", "u"),
        ("HSC_z", "z"),
        ("SDSS g", "g"),
        ("i.MP9702", "i"),
        ("r'", "r"),
        ("u", "u"),
        (" z ", "z"),
        ("F814W;CLEAR2L", "F814W"),
        ("CLEAR1L,F606W", "F606W"),
        ("F606W;POL0V", "F606W+POL0V"),
        ("W1", "W1"),
        ("NUV", "NUV"),
        ("CLEAR", ""),
        ("", ""),
    ],
)
def test_band_names(filter_name: str, band: str) -> None:
    assert band_name(header(FILTER=filter_name)) == band


def test_where_the_band_is_looked_for() -> None:
    assert band_name(header(FILTER1="CLEAR1L", FILTER2="F814W")) == "F814W"
    assert band_name(header(BAND="r")) == "r"
    assert band_name(header(FILTER="", BAND="r")) == "r"
    assert band_name(pan_starrs()) == "g"
    assert band_name(header()) == ""


def test_real_cutouts(shared_data: Path) -> None:
    folder = shared_data / "galaxies" / "multiband"
    factor, unit = flux_calibration(fits.getheader(folder / "decals_grz" / "example_a.fits"))
    assert (factor, unit) == (pytest.approx(3631 * (0.1 / 0.262) ** 2, rel=1e-3), "nJy")
    assert flux_calibration(fits.getheader(folder / "hsc_scarlet" / "Cut_HSC.fits")) == (1.0, "")
