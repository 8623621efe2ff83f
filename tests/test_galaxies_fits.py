"""FITS layouts: cubes, an HDU a band, a file a band; named planes; what the catalog knows of each band."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogs.galaxies.fits_cubes import read_fits
from catalogs.galaxies.fits_files import band_count, band_names, image_hdus
from catalogs.galaxies.reader import read_galaxies
from catalogs.reading import Cutout, Refusal, Request

GRZ = ("g", "r", "z")


def planes(bands: int = 3, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(bands, height, width)).astype(np.float32)


def read(*paths: Path, bands: tuple[str, ...] = GRZ) -> Cutout | Refusal:
    (outcome,) = read_fits(pd.DataFrame({"object_id": ["a"], "paths": [tuple(map(str, paths))]}), Request(bands))
    return outcome


def pixels(*paths: Path, bands: tuple[str, ...] = GRZ) -> np.ndarray:
    outcome = read(*paths, bands=bands)
    assert isinstance(outcome, Cutout), outcome
    assert outcome.bands == bands
    assert outcome.radiometry == "linear"
    return outcome.pixels


def reason(*paths: Path, bands: tuple[str, ...] = GRZ) -> str:
    outcome = read(*paths, bands=bands)
    assert isinstance(outcome, Refusal), "read although it should be refused"
    return outcome.reason


def write(path: Path, *hdus: Any) -> Path:
    fits.HDUList([fits.PrimaryHDU(), *hdus] if not isinstance(hdus[0], fits.PrimaryHDU) else list(hdus)).writeto(path)
    return path


def test_a_cube_has_its_bands_first_or_last(tmp_path: Path) -> None:
    first = write(tmp_path / "first.fits", fits.PrimaryHDU(planes()))
    last = write(tmp_path / "last.fits", fits.PrimaryHDU(planes().transpose(1, 2, 0)))
    np.testing.assert_array_equal(pixels(first), planes())
    np.testing.assert_array_equal(pixels(last), planes())
    ambiguous = write(tmp_path / "both.fits", fits.PrimaryHDU(planes(8, 9, 8)))
    np.testing.assert_array_equal(pixels(ambiguous, bands=tuple("abcdefgh")), planes(8, 9, 8))


def test_planes_named_in_the_header_are_taken_by_name(tmp_path: Path) -> None:
    for name, cards in {
        "bands": {"BANDS": "grz"},
        "list": {"FILTERS": "g, r, z"},
        "zero": {"BAND0": "g", "BAND1": "r", "BAND2": "z"},
        "one": {"BAND1": "g", "BAND2": "r", "BAND3": "z"},
    }.items():
        path = write(tmp_path / f"{name}.fits", fits.PrimaryHDU(planes(), header=fits.Header(cards)))
        np.testing.assert_array_equal(pixels(path, bands=("z", "r", "g")), planes()[::-1])
        np.testing.assert_array_equal(pixels(path, bands=("r",)), planes()[1:2])
        np.testing.assert_array_equal(pixels(path, bands=("B1", "B2", "B3")), planes())  # other names: by order
        assert reason(path, bands=("u", "g", "r")) == "bands"  # g is there, and not where u, g, r would put it


def test_upper_and_lower_case_can_be_two_bands(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(planes(), header=fits.Header({"BANDS": "yYJ"})))
    np.testing.assert_array_equal(pixels(path, bands=("Y", "y", "J")), planes()[[1, 0, 2]])


def test_an_hdu_a_band(tmp_path: Path) -> None:
    named = [fits.ImageHDU(plane, name=band) for band, plane in zip("zrg", planes(), strict=True)]
    path = write(tmp_path / "named.fits", *named)
    np.testing.assert_array_equal(pixels(path), planes()[::-1])
    np.testing.assert_array_equal(pixels(path, bands=("r",)), planes()[1:2])
    assert reason(path, bands=("i",)) == "bands"
    ordered = write(tmp_path / "ordered.fits", *(fits.ImageHDU(plane) for plane in planes()))
    np.testing.assert_array_equal(pixels(ordered), planes())
    assert reason(ordered, bands=("g", "r")) == "bands"
    uneven = write(tmp_path / "uneven.fits", *(fits.ImageHDU(np.ones((9, 9 + n))) for n in range(3)))
    assert reason(uneven) == "shape"


def test_masks_and_variances_are_no_bands(tmp_path: Path) -> None:
    image, mask, variance = (
        fits.ImageHDU(plane, name=name) for name, plane in zip(("IMAGE", "MASK", "VARIANCE"), planes(), strict=True)
    )
    path = write(tmp_path / "a.fits", image, mask, variance)
    np.testing.assert_array_equal(pixels(path, bands=("i",)), planes()[:1])
    assert reason(path) == "bands"


def test_of_several_images_the_science_image_is_the_single_band(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", *(fits.ImageHDU(p, name=n) for n, p in zip(("X", "SCI"), planes(2), strict=True)))
    np.testing.assert_array_equal(pixels(path, bands=("F814W",)), planes(2)[1:])


def test_a_file_a_band(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{band}.fits", fits.PrimaryHDU(p)) for band, p in zip(GRZ, planes(), strict=True)]
    np.testing.assert_array_equal(pixels(*paths), planes())
    assert reason(*paths[:2]) == "bands"
    assert reason(paths[0], tmp_path / "nope.fits", paths[1]) == "missing"
    other = write(tmp_path / "other.fits", fits.PrimaryHDU(planes(1, 20, 20)[0]))
    assert reason(paths[0], paths[1], other) == "shape"
    assert reason() == "missing"


@pytest.mark.parametrize("kind", ["GZIP_1", "RICE_1"])
def test_compressed_files_and_what_is_left_of_them(kind: str, tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(-500, 3000, (64, 64)).astype(np.int16)
    path = write(tmp_path / "a.fits.fz", fits.CompImageHDU(data, compression_type=kind))
    np.testing.assert_array_equal(pixels(path, bands=("r",))[0], data)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert reason(path, bands=("r",)) == "truncated"


def test_gzip_and_what_is_left_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(planes(3, 60, 60)))
    content = gzip.compress(path.read_bytes())
    (tmp_path / "a.fits.gz").write_bytes(content)
    np.testing.assert_array_equal(pixels(tmp_path / "a.fits.gz"), planes(3, 60, 60))
    for share in (0.001, 0.05, 0.5, 0.9):
        (tmp_path / "a.fits.gz").write_bytes(content[: int(len(content) * share) + 12])
        assert reason(tmp_path / "a.fits.gz") == "truncated"
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(b"<html>" * 100))
    assert reason(tmp_path / "a.fits.gz") == "format"


def test_blank_and_scaled_integers(tmp_path: Path) -> None:
    data = np.arange(144, dtype=np.uint16).reshape(12, 12)  # stored with BZERO 32768
    hdu = fits.PrimaryHDU(data)
    hdu.header["BLANK"] = 5 - 32768
    expected = data.astype(np.float32)
    expected.flat[5] = np.nan
    np.testing.assert_array_equal(pixels(write(tmp_path / "a.fits", hdu), bands=("r",))[0], expected)
    scaled = fits.PrimaryHDU(data.astype(np.int16))
    scaled.header["BSCALE"], scaled.header["BZERO"] = 0.5, -3.0
    scaled.writeto(tmp_path / "b.fits")
    with fits.open(tmp_path / "b.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].data = data.astype(np.int16)
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = 0.5, -3.0
    np.testing.assert_allclose(pixels(tmp_path / "b.fits", bands=("r",))[0], data * 0.5 - 3)


def test_values_beyond_float32_are_nan(tmp_path: Path) -> None:
    data = planes().astype(np.float64)
    data[0, 0, 0], data[1, 1, 1] = 1e300, -np.inf
    found = pixels(write(tmp_path / "a.fits", fits.PrimaryHDU(data)))
    assert np.isnan(found[0, 0, 0])
    assert np.isnan(found[1, 1, 1])
    assert np.isnan(found).sum() == 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.ones((3, 12, 12)), "constant"),
        (np.full((3, 12, 12), np.nan), "no_valid_pixels"),
        (np.concatenate([planes(2), np.zeros((1, 12, 16), np.float32)]), "missing_band"),
        (planes(3, 7, 12), "too_small"),
        (planes(4), "bands"),
        (planes()[None], "shape"),
        (np.arange(100.0), "shape"),
    ],
)
def test_what_cannot_be_used_is_refused(data: np.ndarray, expected: str, tmp_path: Path) -> None:
    assert reason(write(tmp_path / "a.fits", fits.PrimaryHDU(data))) == expected


def test_a_header_that_declares_too_much_is_refused_before_its_data_are_touched(tmp_path: Path) -> None:
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 20_000), ("NAXIS2", 20_000)])
    content = header.tostring().encode()
    (tmp_path / "a.fits").write_bytes(content)
    assert reason(tmp_path / "a.fits", bands=("r",)) == "too_large"
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(content))
    assert reason(tmp_path / "a.fits.gz", bands=("r",)) == "too_large"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_never_raises(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.fits"
    if not path.exists():
        write(path, fits.PrimaryHDU(planes()), fits.ImageHDU(planes(1)[0], name="extra"))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, 2 * 2880), max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    outcome = read(damaged)
    assert isinstance(outcome, Cutout | Refusal)
    if isinstance(outcome, Refusal):
        assert str(tmp_path) not in outcome.detail
        assert damaged.name not in outcome.detail


@pytest.mark.parametrize("name", ["example_a", "example_b", "example_c", "example_bad_pix", "temp_small"])
def test_real_decals_cubes(name: str, shared_data: Path) -> None:
    path = shared_data / "galaxies" / "multiband" / "decals_grz" / f"{name}.fits"
    outcome, stored = read(path), np.asarray(fits.getdata(path))
    assert isinstance(outcome, Cutout)
    assert outcome.unit == "nJy"
    factor = np.median(outcome.pixels[stored > 0] / stored[stored > 0])  # from nanomaggies, see test_calibration.py
    np.testing.assert_allclose(outcome.pixels, stored * factor, rtol=1e-5)
    images = image_hdus(path)
    assert not isinstance(images, Refusal)
    assert (band_count(images), band_names(images)) == (3, GRZ)


@pytest.mark.parametrize("name", ["Cut_HSC", "Cut_HSC1"])
def test_real_hsc_cubes(name: str, shared_data: Path) -> None:
    path = shared_data / "galaxies" / "multiband" / "hsc_scarlet" / f"{name}.fits"
    found = pixels(path, bands=tuple("grizy"))
    assert found.shape == (5, 50, 50)
    np.testing.assert_allclose(found, np.asarray(fits.getdata(path)), rtol=1e-6)
    assert reason(path) == "bands"


def test_the_galaxy_reader_takes_both_kinds_and_adds_what_the_catalog_knows(tmp_path: Path) -> None:
    write(tmp_path / "a.fits", fits.PrimaryHDU(planes()))
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(tmp_path / "b.PNG")
    rows = pd.DataFrame(
        {
            "object_id": ["a", "b", "c"],
            "paths": [(str(tmp_path / name),) for name in ("a.fits", "b.PNG", "c.fits")],
            "ebv": np.array([0.05, np.nan, 0.1], np.float32),
            "psf_fwhm_px:g": np.array([4, 5, 6], np.float32),
            "psf_fwhm_px:z": np.array([3, 2, 1], np.float32),
        },
        index=[5, 5, 9],
    )
    galaxy, picture, absent = read_galaxies(rows, Request(GRZ))
    assert isinstance(galaxy, Cutout)
    assert isinstance(picture, Cutout)
    assert absent == Refusal("missing", "there is no such file")
    assert (galaxy.radiometry, picture.radiometry) == ("linear", "display")
    np.testing.assert_allclose(galaxy.nuisance["ebv"], [0.05] * 3)
    np.testing.assert_allclose(galaxy.nuisance["psf_fwhm_px"], [4, np.nan, 3])
    np.testing.assert_allclose(picture.nuisance["ebv"], [np.nan] * 3)
    (plain, _, _) = read_galaxies(rows[["object_id", "paths"]], Request(GRZ))
    assert isinstance(plain, Cutout)
    assert plain.nuisance == {}


def test_filters_are_told_by_their_plain_names(tmp_path: Path) -> None:
    hdus = [fits.ImageHDU(plane) for plane in planes()]
    for hdu, name in zip(hdus, ("HSC-Z", "HSC-G", "HSC-R"), strict=True):
        hdu.header["FILTER"] = name
    np.testing.assert_array_equal(pixels(write(tmp_path / "hsc.fits", *hdus)), planes()[[1, 2, 0]])
