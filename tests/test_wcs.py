"""Celestial WCS: odd headers are read or None, and sky positions stay on their pixels through cutting and resizing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.wcs import celestial, header_scale, pixel_scale, resampled

# What astropy makes of each file; None where the header has no celestial axes.
VARIANTS = {
    "1904-66_HPX.fits": 240.0,
    "1904-66_STG.fits": 240.0,
    "1904-66_TAN.fits": 240.0,
    "1904-66_ZPN.fits": 240.0,  # no sky at its reference pixel, which lies far outside the image
    "blankimg.fits": None,
    "cdtest1.fits": None,
    "interpim_hdu_test.fits": None,
    "pole.fits": 1.2233126,
    "razero.fits": 1.2233126,
    "region.fits": 31.488,
    "sipsample.fits": 1.2233126,
    "tnx.fits": 0.2675621,
    "tpv.fits.gz": 0.2625750,
}


def header(**cards: Any) -> fits.Header:
    """A small TAN image about ra 150, dec 2, with other cards or without those that are None."""
    tan = {"NAXIS": 2, "NAXIS1": 60, "NAXIS2": 50, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    tan |= {"CRPIX1": 30.5, "CRPIX2": 25.5, "CRVAL1": 150.0, "CRVAL2": 2.0, "CDELT1": -1e-4, "CDELT2": 1e-4}
    found = fits.Header()
    for key, value in (tan | {key.replace("__", "-"): value for key, value in cards.items()}).items():
        if value is not None:
            found[key] = value
    return found


def read(path: Path) -> fits.Header:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.getheader(path)


@pytest.mark.parametrize("name", VARIANTS)
def test_unusual_projections_are_read(name: str, shared_data: Path) -> None:
    wcs = celestial(read(shared_data / "hostile/fits/wcs_variants" / name))
    assert (None if wcs is None else pytest.approx(pixel_scale(wcs), rel=1e-6)) == VARIANTS[name]


@pytest.mark.parametrize("name", [name for name, scale in VARIANTS.items() if scale])
def test_the_positions_are_those_of_the_whole_header(name: str, shared_data: Path) -> None:
    cards = read(shared_data / "hostile/fits/wcs_variants" / name)
    grid = np.random.default_rng(0).uniform(0, cards["NAXIS1"], (20, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = WCS(cards).all_pix2world(grid, 0)
    np.testing.assert_allclose(celestial(cards).all_pix2world(grid, 0), expected, rtol=1e-12)


def test_a_broken_wcs_is_none(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert celestial(read(shared_data / "hostile/fits/derived/bad_wcs.fits")) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "RA---XXX"},
        {"CTYPE1": None, "CTYPE2": None},
        {"CTYPE1": None},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE2": "DEC--SIN"},
        {"CTYPE1": 3},
        {"CDELT1": 0.0},
        {"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4},
        {"CRVAL1": 1e9},
        {"CRVAL2": 91.0},
        {"CRVAL1": "NaN"},
        {"CRPIX1": 1e300},
        {"CRVAL2": None},
        {"CRPIX1": None},
        {"CD1_1": "1e-4"},
        {"CDELT2": True},
        {"RADESYS": "NOWHERE"},
        {"CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP"},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_2_0": 1e-5},  # no B_ORDER
        {"CUNIT1": "parsec", "CUNIT2": "parsec"},
    ],
)
def test_what_cannot_be_used_is_none(cards: dict[str, Any]) -> None:
    assert celestial(header()) is not None
    assert celestial(header(**cards)) is None


def test_a_card_of_nonsense_is_none() -> None:
    text = header().tostring(endcard=False, padding=False).replace("150.0", "1,5e2")
    assert celestial(fits.Header.fromstring(text)) is None


def test_an_empty_header_is_none_and_has_no_scale() -> None:
    assert celestial(fits.Header()) is None
    assert np.isnan(pixel_scale(None))


def test_the_band_axis_is_dropped_wherever_it_is() -> None:
    last = celestial(header(NAXIS=3, NAXIS3=4, CTYPE3="BAND", CRPIX3=1.0, CRVAL3=1.0, CDELT3=1.0))
    cube = header(NAXIS=3, NAXIS1=4, NAXIS2=60, NAXIS3=50, CTYPE1="BAND", CTYPE2="RA---TAN", CTYPE3="DEC--TAN")
    cube.update({"CRPIX1": 1, "CRPIX2": 30.5, "CRPIX3": 25.5, "CRVAL1": 1, "CRVAL2": 150.0, "CRVAL3": 2.0})
    cube.update({"CDELT1": 1, "CDELT2": -1e-4, "CDELT3": 1e-4})
    for wcs in (last, celestial(cube)):
        assert wcs.naxis == 2
        assert wcs.pixel_shape == (60, 50)
        assert wcs.all_pix2world([[29.5, 24.5]], 0)[0] == pytest.approx([150, 2])


def test_sip_without_its_name_is_applied_silently(capfd: pytest.CaptureFixture[str]) -> None:
    cards = header(A_ORDER=2, B_ORDER=2, A_2_0=1e-4, B_0_2=1e-4)
    wcs = celestial(cards)
    assert wcs.sip is not None
    assert cards["CTYPE1"] == "RA---TAN"  # the caller's header is left as it is
    assert capfd.readouterr() == ("", "")


def test_the_scale_is_that_of_the_area() -> None:
    assert pixel_scale(celestial(header())) == pytest.approx(0.36)
    assert pixel_scale(celestial(header(CDELT1=-4e-4))) == pytest.approx(0.72)
    assert pixel_scale(celestial(header(CROTA2=30.0))) == pytest.approx(0.36)


@st.composite
def images(draw: st.DrawFn) -> WCS:
    wcs = WCS(naxis=2)
    projection = draw(st.sampled_from(["TAN", "SIN", "ARC", "STG", "ZEA", "HPX", "CAR", "AIT", "TPV"]))
    # HPX, CAR and AIT refer to the equator, so that a reference elsewhere is a native pole far off.
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    low = projection in ("HPX", "CAR", "AIT")
    wcs.wcs.crval = [draw(st.floats(0, 360)), 0.0 if low else draw(st.floats(-89, 89))]
    wcs.wcs.crpix = [draw(st.floats(-300, 400)), draw(st.floats(-300, 400))]
    scale, angle = draw(st.floats(0.03, 3)) / 3600, np.radians(draw(st.floats(0, 360)))
    rotation = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if draw(st.booleans()):
        wcs.wcs.cd = scale * rotation
    else:
        wcs.wcs.pc, wcs.wcs.cdelt = rotation, [scale, scale * draw(st.floats(0.5, 2))]
    if projection == "TPV":
        wcs.wcs.set_pv([(1, 0, 0.0), (1, 1, 1.0), (1, 4, 1e-3), (2, 0, 0.0), (2, 1, 1.0), (2, 5, 2e-3)])
    if projection == "TAN" and draw(st.booleans()):
        wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        terms = np.random.default_rng(draw(st.integers(0, 99))).normal(0, 1, (2, 4, 4))
        p, q = np.indices((4, 4))
        terms *= np.where((p + q >= 2) & (p + q <= 3), 300.0 ** (1 - p - q) / 50, 0)  # some pixels at 300 from CRPIX
        wcs.sip = Sip(*terms, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


@settings(deadline=None, max_examples=100)
@given(
    images(),
    st.tuples(st.floats(-100, 100), st.integers(-100, 100)),
    st.floats(0.01, 100),
    st.tuples(st.floats(0, 100), st.floats(0, 100)),
)
def test_the_sky_stays_on_its_pixels(
    wcs: WCS, first: tuple[float, int], factor: float, pixel: tuple[float, float]
) -> None:
    new = resampled(wcs, first, factor)
    (y, x), (y0, x0) = pixel, first
    expected = np.array([(x - x0 + 0.5) * factor - 0.5, (y - y0 + 0.5) * factor - 0.5])
    sky = wcs.all_pix2world([[x, y]], 0)
    found = new.all_world2pix(sky, 0, tolerance=1e-6, maxiter=50)[0]
    assert np.abs(found - expected).max() <= 0.01 * min(1, factor)  # 0.01 px, of the source too
    np.testing.assert_allclose(new.all_pix2world(expected[None], 0), sky, atol=1e-9)
    assert pixel_scale(new) == pytest.approx(pixel_scale(wcs) / factor)


def test_sip_inverse_polynomials_scale_too(shared_data: Path) -> None:
    wcs = celestial(read(shared_data / "hostile/fits/wcs_variants/sipsample.fits"))
    assert wcs.sip.ap is not None
    old, new = wcs.sip, resampled(wcs, (10, 20), 4).sip
    focal = np.array([[30.0, 40.0]])
    relative = old.foc2pix(focal, 1) - old.crpix
    np.testing.assert_allclose(new.foc2pix(focal * 4, 1) - new.crpix, relative * 4, rtol=1e-9)


def test_there_and_back_is_the_same_and_the_first_is_left_alone() -> None:
    wcs = celestial(header(CROTA2=20.0))
    back = resampled(resampled(wcs, (3, -5), 2.5), (-7.5, 12.5), 0.4)
    np.testing.assert_allclose(back.wcs.crpix, wcs.wcs.crpix)
    np.testing.assert_allclose(back.pixel_scale_matrix, wcs.pixel_scale_matrix)
    assert wcs.wcs.crpix.tolist() == [30.5, 25.5]
    assert wcs.pixel_shape == (60, 50)
    assert resampled(wcs, (0, 0), 1).pixel_shape is None


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CDELT1": None, "CDELT2": None, "CD1_1": -7e-5, "CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 7e-5},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CDELT1": -0.3, "CDELT2": 0.3},
        {"PC1_1": 2.0, "PC2_2": 2.0},
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"},
        {"CTYPE1": None, "CTYPE2": None},
        {"CRVAL1": "ten"},
        {"CRPIX2": None},
        {"CDELT2": 0.0},
    ],
)
def test_a_header_alone_gives_the_scale_of_its_wcs(cards: dict[str, Any]) -> None:
    of = header(**cards)
    np.testing.assert_allclose(header_scale(of), pixel_scale(celestial(of)), rtol=1e-9)
