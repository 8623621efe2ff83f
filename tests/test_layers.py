"""Which HDU is science, mask and noise; bits by name; noise of any kind to variance."""

from pathlib import Path

import numpy as np
import pytest
import survey_files as surveys
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from catalogs.galaxies.layers import (
    LAYOUTS,
    Layers,
    apply_mask,
    as_variance,
    find_companions,
    find_layers,
    plane_bits,
)

SHAPE = (12, 10)
IMAGE, ONES = surveys.sky(0, SHAPE), np.ones(SHAPE, np.float32)
NO_FLAGS = np.zeros(SHAPE, np.int32)
HEADER = surveys.tan(SHAPE)


def layers(path: Path, band: str = "") -> Layers | None:
    with fits.open(path) as hdus:
        return find_layers(hdus, band)


def test_layouts_of_surveys_are_recognised(tmp_path: Path) -> None:
    cube = np.stack([IMAGE] * 3)
    found = {
        "rubin": layers(surveys.rubin(tmp_path / "a.fits", IMAGE, {}, ONES, HEADER)),
        "compressed": layers(surveys.rubin(tmp_path / "b.fits", IMAGE, {}, ONES, HEADER, compressed=True)),
        "euclid": layers(surveys.euclid_in_one(tmp_path / "c.fits", IMAGE, ONES, NO_FLAGS, HEADER)),
        "legacy": layers(surveys.legacy_cutout(tmp_path / "d.fits", cube, cube, NO_FLAGS, HEADER), "r"),
        "jwst": layers(surveys.space(tmp_path / "e.fits", "JWST", IMAGE, ONES, NO_FLAGS, HEADER)),
        "hst": layers(surveys.space(tmp_path / "f.fits", "HST", IMAGE, ONES, NO_FLAGS, HEADER)),
    }
    assert found["rubin"] == Layers(1, 2, 3, "variance", 1 | 2 | 8 | 256, "rubin")
    assert found["compressed"] == found["rubin"]
    assert found["euclid"] == Layers(0, 2, 1, "rms", 1 | 2 | 4 | 256, "euclid-vis")
    assert found["legacy"] == Layers(0, 2, 1, "ivar", 8 | 64, "legacy")
    assert found["jwst"] == Layers(1, 3, 2, "rms", 1, "jwst")
    hst = found["hst"]
    assert hst is not None
    assert hst.layout == "hst"
    assert [bit for bit in range(14) if not hst.bad_bits >> bit & 1] == [5, 6, 10]


def test_what_marks_galaxies_is_no_fault() -> None:
    good = {"DETECTED", "DETECTED_NEGATIVE", "INTRP", "EDGE", "GALAXY", "CLUSTER", "NPRIMARY", "STARCORE"}
    for name, layout in LAYOUTS.items():
        assert not good & set(layout.bad), name


def test_a_mask_whose_planes_nothing_numbers_is_not_guessed_at(tmp_path: Path) -> None:
    path = surveys.rubin(tmp_path / "a.fits", IMAGE, {}, ONES, HEADER, planes=())
    assert layers(path) == Layers(1, None, 3, "variance", 0, "rubin")
    objects = surveys.write(tmp_path / "b.fits", fits.PrimaryHDU(IMAGE, HEADER), fits.ImageHDU(NO_FLAGS, name="MASK"))
    assert layers(objects) is None


def test_other_files_have_no_layers_or_generic_ones(tmp_path: Path) -> None:
    assert layers(surveys.write(tmp_path / "a.fits", fits.PrimaryHDU(IMAGE))) is None
    bands = [fits.ImageHDU(IMAGE, name=band) for band in "grz"]
    assert layers(surveys.write(tmp_path / "b.fits", *bands)) is None
    weights = fits.ImageHDU(IMAGE, name="SCI"), fits.ImageHDU(ONES, name="WHT")
    assert layers(surveys.write(tmp_path / "c.fits", *weights)) == Layers(1, None, 2, "ivar", 0, "generic")
    of_hst = fits.PrimaryHDU(header=fits.Header({"TELESCOP": "HST"})), *weights
    assert layers(surveys.write(tmp_path / "d.fits", *of_hst)) is None  # exposure time
    other_shape = fits.ImageHDU(IMAGE, name="SCI"), fits.ImageHDU(ONES[:5], name="ERR")
    assert layers(surveys.write(tmp_path / "e.fits", *other_shape)) is None


def test_companion_files(tmp_path: Path) -> None:
    mosaic = surveys.euclid(tmp_path, IMAGE, ONES, NO_FLAGS, HEADER)
    later = tmp_path / "EUC_MER_MOSAIC-VIS-RMS_TILE102018211-000000_20250101T000000.0Z_00.00.fits"
    other = tmp_path / "EUC_MER_MOSAIC-VIS-RMS_TILE1020182110-FFFFFF_20260101T000000.0Z_00.00.fits"
    for path in (later, other):
        path.write_bytes(b"x")
    found = find_companions(mosaic)
    assert found is not None
    assert (found.noise, found.noise_kind) == (later, "rms")
    assert found.mask is not None
    assert "-FLAG_" in found.mask.name
    stack = find_companions(surveys.pan_starrs(tmp_path, IMAGE, ONES, NO_FLAGS, HEADER))
    assert stack is not None
    assert stack.mask is not None
    assert stack.mask.name.endswith("unconv.mask.fits")
    assert stack.noise is not None
    assert stack.noise_kind == "variance"
    brick = find_companions(surveys.legacy_brick(tmp_path, "z", IMAGE, ONES, NO_FLAGS, HEADER))
    assert brick is not None
    assert brick.noise == tmp_path / "legacysurvey-1501p022-invvar-z.fits.fz"
    alone = find_companions(tmp_path / "legacysurvey-9999p999-image-g.fits.fz")
    assert alone is not None
    assert (alone.mask, alone.noise) == (None, None)
    assert find_companions(tmp_path / "galaxy.fits") is None


def test_planes_are_named_by_headers() -> None:
    assert plane_bits(fits.Header({"MP_SAT": 1, "HIERARCH MP_NO_DATA": 8})) == {"SAT": 2, "NO_DATA": 256}
    assert plane_bits(fits.Header({"MSKNAM00": "SAT", "MSKVAL00": 32})) == {"SAT": 32}
    assert plane_bits(fits.Header({"MBIT_2": "SATUR_G"})) == {"SATUR_G": 4}


@given(st.lists(st.integers(0, 2**31 - 1), min_size=6, max_size=6), st.integers(0, 2**31 - 1))
def test_masking(values: list[int], bits: int) -> None:
    mask = np.array(values).reshape(2, 3)
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)
    masked = apply_mask(pixels, mask, bits)
    np.testing.assert_array_equal(np.isnan(masked), (mask & bits) != 0)
    np.testing.assert_array_equal(masked[~np.isnan(masked)], pixels[~np.isnan(masked)])
    assert masked.dtype == np.float32


@pytest.mark.parametrize(("kind", "power"), [("variance", 1), ("rms", 2), ("ivar", -1)])
@given(value=st.floats(1e-10, 1e10))
def test_every_kind_of_noise_becomes_a_variance(kind, power, value: float) -> None:
    noise = np.array([value, 0, -1, np.nan, np.inf, -np.inf])
    variance = as_variance(noise, kind)
    assert variance[0] == pytest.approx(value**power)
    assert np.isnan(variance[1:]).all()  # zero inverse variance is no infinite one
