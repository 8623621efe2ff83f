"""Every broken or odd FITS file of the shared collection: the outcome agrees with its label."""

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from catalogs.galaxies.fits_cubes import read_fits
from catalogs.galaxies.fits_files import band_count, image_hdus
from catalogs.reading import Cutout, Refusal, Request

ROOT = Path(os.environ.get("DOMAINSSL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LABELS = ROOT / "hostile" / "labels.csv"

# What each label's damage must lead to; () where the file is odd and must be read.
REASONS: dict[str, tuple[str, ...]] = {
    "": (),
    "wcs_variant": (),
    "ok_variant": (),
    "bad_wcs": (),
    "inf": (),
    "extreme": (),
    "missing_band": ("missing_band",),
    "all_nan": ("no_valid_pixels",),
    "constant": ("constant",),
    "band_mismatch": ("bands",),
    "too_small": ("too_small",),
    "no_data": ("no_image",),
    "no_image": ("no_image",),
    "truncated": ("truncated",),
    "zero_byte": ("empty",),
    "wrong_format": ("format",),
    "decompression_bomb_header": ("too_large",),
    "bad_header": ("bad_header",),
}


def hostile() -> list[tuple[str, str]]:
    if not LABELS.is_file():
        return []
    with LABELS.open(encoding="utf-8", newline="") as file:
        return [(row["file"], row["label"]) for row in csv.DictReader(file) if row["file"].startswith("fits/")]


def read(path: Path, bands: tuple[str, ...]) -> Cutout | Refusal:
    (outcome,) = read_fits(pd.DataFrame({"object_id": ["a"], "paths": [(str(path),)]}), Request(bands))
    return outcome


@pytest.mark.skipif(not LABELS.is_file(), reason="real collections are absent; set DOMAINSSL_DATA to their folder")
def test_there_are_as_many_as_the_collection_says() -> None:
    assert len(hostile()) == 47


@pytest.mark.parametrize(("file", "label"), hostile())
def test_the_outcome_agrees_with_the_label(file: str, label: str) -> None:
    path = LABELS.parent / file
    bands = ("x",) if label == "wcs_variant" else ("g", "r", "z")
    outcome = read(path, bands)
    # "shape" is said of a cutout that is not square, which is right to read, and of one with four axes.
    expected = {"four_dim.fits": ("shape",), "non_square.fits": ()}.get(path.name) or REASONS.get(label, ())
    if not expected:
        assert isinstance(outcome, Cutout), outcome
        assert outcome.pixels.shape[0] == len(bands)
        assert outcome.pixels.dtype == np.float32
        assert outcome.pixels.dtype.isnative
        assert not np.isinf(outcome.pixels).any()
        return
    assert isinstance(outcome, Refusal), "a file that cannot be used was read"
    assert outcome.reason in expected
    assert str(path.parent) not in outcome.detail
    assert path.name not in outcome.detail
    assert "Traceback" not in outcome.detail


@pytest.mark.parametrize("name", ["two_bands.fits", "five_bands.fits"])
def test_other_numbers_of_bands_are_read_where_the_recipe_names_them(name: str, shared_data: Path) -> None:
    path = shared_data / "hostile" / "fits" / "derived" / name
    images = image_hdus(path)
    assert not isinstance(images, Refusal)
    bands = tuple("ugriz"[: band_count(images)])
    outcome = read(path, bands)
    assert isinstance(outcome, Cutout)
    assert outcome.pixels.shape == (len(bands), 64, 64)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("bitpix_-32.fits", 0),
        ("bitpix_-64.fits", 0),
        ("channels_last.fits", 0),
        ("one_hdu_per_band.fits", 0),
        ("gz.fits.gz", 0),
        ("tile_GZIP_1.fits.fz", 0.01),
        ("tile_GZIP_2.fits.fz", 0.01),
        ("tile_RICE_1.fits.fz", 0.01),
        ("tile_HCOMPRESS_1.fits.fz", 0.02),
        ("bad_wcs.fits", 0),
    ],
)
def test_the_variants_hold_the_same_cutout(name: str, tolerance: float, shared_data: Path) -> None:
    folder = shared_data / "hostile" / "fits" / "derived"
    # example_a's central 64 x 64 pixels, of which all of these were made.
    whole = fits.getdata(shared_data / "galaxies" / "multiband" / "decals_grz" / "example_a.fits")
    expected = whole[:, 180:244, 180:244]
    outcome = read(folder / name, ("g", "r", "z"))
    assert isinstance(outcome, Cutout)
    np.testing.assert_allclose(outcome.pixels, expected, rtol=0, atol=float(tolerance))


def test_invalid_pixels_are_nan(shared_data: Path) -> None:
    folder = shared_data / "hostile" / "fits" / "derived"
    for name in ("inf.fits", "nan_hole.fits"):
        outcome = read(folder / name, ("g", "r", "z"))
        assert isinstance(outcome, Cutout)
        raw = np.asarray(fits.getdata(folder / name))
        np.testing.assert_array_equal(np.isnan(outcome.pixels), ~np.isfinite(raw))
        assert np.isnan(outcome.pixels).any()


@pytest.mark.parametrize("name", ["bitpix_8", "bitpix_16", "bitpix_32", "bitpix_64", "uint16_bzero"])
def test_integer_variants_hold_the_same_cutout_rounded(name: str, shared_data: Path) -> None:
    folder = shared_data / "hostile" / "fits" / "derived"
    whole, rounded = (read(folder / f"{n}.fits", ("g", "r", "z")) for n in ("bitpix_-32", name))
    assert isinstance(whole, Cutout)
    assert isinstance(rounded, Cutout)
    assert np.corrcoef(whole.pixels.ravel(), rounded.pixels.ravel())[0, 1] > 0.999
    assert rounded.pixels.min() >= 0  # BZERO undone
