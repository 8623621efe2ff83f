"""Galactic extinction: published coefficients, and a map read where its own projection says."""

import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

from catalogs.errors import CatalogError, MissingFileError
from catalogs.galaxies.extinction import COEFFICIENTS, GENERAL, coefficients, ebv_at

SIZE = 128


def write_map(folder: Path) -> None:
    """Both hemispheres in the Lambert projection of SFD98's appendix C; values b/100 + cos(l)/10 of the pixel."""
    scale = SIZE / 2
    for name, sign in (("ngp", 1), ("sgp", -1)):
        y, x = np.mgrid[:SIZE, :SIZE]
        east, north = (x - (SIZE - 1) / 2) / scale, -sign * (y - (SIZE - 1) / 2) / scale
        latitude = np.degrees(sign * np.arcsin(np.clip(1 - east**2 - north**2, -1, 1)))
        longitude = np.arctan2(north, east)
        header = fits.Header({"LAM_NSGP": sign, "LAM_SCAL": scale})
        header["CRPIX1"] = header["CRPIX2"] = SIZE / 2 + 0.5
        values = (truth(longitude, latitude)).astype(np.float32)
        fits.PrimaryHDU(values, header).writeto(folder / f"SFD_dust_4096_{name}.fits")


def truth(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    return 2 + latitude / 100 + np.cos(longitude) / 10


def test_positions_give_the_maps_value_unscaled(tmp_path: Path) -> None:
    write_map(tmp_path)
    rng = np.random.default_rng(0)
    latitude = np.concatenate([rng.uniform(10, 75, 50), rng.uniform(-75, -10, 50)])
    longitude = rng.uniform(0, 360, 100)
    icrs = SkyCoord(longitude * units.deg, latitude * units.deg, frame="galactic").icrs
    ebv = ebv_at(icrs.ra.deg, icrs.dec.deg, tmp_path)
    assert ebv.dtype == np.float32
    np.testing.assert_allclose(ebv, truth(np.radians(longitude), latitude), atol=0.01)


def test_unknown_positions_are_nan(tmp_path: Path) -> None:
    write_map(tmp_path)
    ra, dec = np.array([np.nan, 10.0, 20.0, np.inf]), np.array([0.0, np.nan, 20.0, 0.0])
    assert np.isnan(ebv_at(ra, dec, str(tmp_path))).tolist() == [True, True, False, True]
    assert np.isnan(ebv_at(ra[:2], dec[:2], tmp_path)).all()
    assert ebv_at(np.zeros(0), np.zeros(0), tmp_path).shape == (0,)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match=r"no SFD_dust_4096_ngp\.fits and no SFD_dust_4096_sgp\.fits"):
        ebv_at(np.zeros(1), np.zeros(1), tmp_path)
    write_map(tmp_path)
    with pytest.raises(CatalogError, match="beyond 90"):
        ebv_at(np.zeros(1), np.array([91.0]), tmp_path)
    monkeypatch.setitem(sys.modules, "sfdmap2.sfdmap", None)
    with pytest.raises(CatalogError, match=r"pip install domainssl\[dust\]"):
        ebv_at(np.zeros(1), np.zeros(1), tmp_path)


def test_coefficients_by_survey() -> None:
    assert coefficients(("u", "g", "r", "i", "z", "y"), "LSST") == (4.145, 3.237, 2.273, 1.684, 1.323, 1.088)
    assert coefficients(("g", "r", "z"), "DECaLS") == coefficients(("g", "r", "z"), "legacy") == (3.214, 2.165, 1.211)
    assert coefficients(("r",), "Pan-STARRS") == (2.271,)
    assert coefficients(("g", "y"), None) == (3.303, 1.088)
    assert coefficients((), "hsc") == ()


def test_bands_without_a_coefficient_give_none() -> None:
    assert coefficients(("g", "F814W"), "lsst") is None
    assert coefficients(("y",), "des") is None  # DECam's is Y
    assert coefficients(("red",), None) is None


def test_an_unknown_survey_is_an_error() -> None:
    with pytest.raises(CatalogError, match=r"survey 'Kepler'.*sdss, lsst"):
        coefficients(("g",), "Kepler")


@pytest.mark.parametrize("table", [*COEFFICIENTS.values(), GENERAL])
def test_redder_bands_suffer_less(table: dict[str, float]) -> None:
    broad = [table[band] for band in ("u", "g", "r", "i", "z", "y", "Y", "W1", "W2", "W3", "W4") if band in table]
    assert broad == sorted(broad, reverse=True)
