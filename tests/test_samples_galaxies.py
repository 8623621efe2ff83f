"""The simulated survey: files a stranger can open, the same for everyone, with the physics that it claims."""

from collections.abc import Callable
from pathlib import Path

import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from catalogs.samples.galaxies import COMMON, RARE, simulate, write_galaxies
from catalogs.samples.galaxy_exposures import EXTINCTION, Conditions, expose, spoil
from catalogs.samples.galaxy_models import BANDS, KINDS, PIXEL_ARCSEC, ZERO_POINT, Component, Kind, draw_galaxy

COUNT = 300


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_galaxies(tmp_path_factory.mktemp("survey"), COUNT, 3).parent


@pytest.fixture(scope="module")
def table(survey: Path) -> pd.DataFrame:
    return pd.read_csv(survey / "labels.csv", dtype={"objid": np.int64}, keep_default_na=False)


def _clear(psf_fwhm_px: float, ebv: float) -> Conditions:
    return Conditions(np.full(5, psf_fwhm_px), np.full(5, 1.0), ebv)


def test_same_files_whatever_the_workers(tmp_path: Path) -> None:
    done: list[int] = []
    one = write_galaxies(tmp_path / "one", 13, 5, workers=1).parent
    two = write_galaxies(tmp_path / "two", 13, 5, workers=2, progress=done.append).parent
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert len(files) == 14
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
    assert done == list(range(1, 14))


def test_another_seed_is_another_survey() -> None:
    first, again, other = (simulate("disk", seed, 0, 64)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, simulate("disk", 1, 1, 64)[0])


def test_ids_are_unique_and_lose_their_last_bits_as_floats(survey: Path, table: pd.DataFrame) -> None:
    ids = table["objid"].tolist()
    assert len(set(ids)) == COUNT
    assert min(ids) > 2**53
    assert len({float(number) for number in ids}) < COUNT
    assert [f"{number}.fits" for number in ids] == [Path(file).name for file in table["file"]]
    for number, file in zip(ids[:20], table["file"][:20], strict=True):
        assert int(fits.getheader(survey / "images" / file)["OBJECT"]) == number


def test_files_of_the_table_are_the_files_on_disk(survey: Path, table: pd.DataFrame) -> None:
    images = survey / "images"
    assert {path.relative_to(images).as_posix() for path in images.rglob("*.fits")} == set(table["file"])
    assert (table["file"].str.split("/").str[0] == table["tile"]).all()
    assert table["tile"].value_counts().eq(10).all()


def test_columns_and_labels(table: pd.DataFrame) -> None:
    psf = [f"psf_fwhm_px_{band}" for band in BANDS]
    assert list(table.columns) == [
        *("objid", "file", "tile", "ra", "dec", "redshift", "label", "truth", "ebv"),
        *psf,
        *("mag_r", "simulated"),
    ]
    common = table["truth"].isin(COMMON)
    assert (table.loc[~common, "label"] == "").all()
    assert table.loc[common, "label"].eq("").sum() == round(0.4 * common.sum())
    labelled = table[table["label"] != ""]
    assert (labelled["label"] == labelled["truth"]).all()
    counts = table["truth"].value_counts()
    assert set(counts.index) == set(KINDS)
    assert (counts[list(RARE)] == 3).all()
    assert (counts[list(COMMON)] > 0.12 * COUNT).all()
    assert (table["simulated"].astype(str).str.lower() == "true").all()
    assert table["redshift"].between(0.02, 0.4).all()
    assert 0.02 < table["ebv"].median() < 0.08
    assert table["psf_fwhm_px_u"].mean() > table["psf_fwhm_px_z"].mean()


def test_header_and_wcs(survey: Path, table: pd.DataFrame) -> None:
    for _, row in table[::25].iterrows():
        with fits.open(survey / "images" / row["file"]) as hdus:
            hdus.verify("exception")
            header, pixels = hdus[0].header, hdus[0].data
        assert pixels.shape == (5, 64, 64)
        assert pixels.dtype == np.dtype(">f4")
        assert np.isfinite(pixels).all()
        assert header["SIMULATED"] is True
        assert (header["FILTER"], header["BUNIT"], header["MAGZERO"]) == ("ugriz", "nJy", ZERO_POINT)
        assert tuple(header[f"BAND{plane}"] for plane in range(1, 6)) == BANDS
        assert header["EBV"] == row["ebv"]
        assert [header[f"PSF{n}"] for n in range(1, 6)] == [row[f"psf_fwhm_px_{band}"] for band in BANDS]
        wcs = WCS(header).celestial
        x, y = wcs.wcs_world2pix(row["ra"], row["dec"], 0)
        assert abs(x - 31.5) <= 0.5
        assert abs(y - 31.5) <= 0.5
        np.testing.assert_allclose(wcs.wcs_pix2world(x, y, 0), (row["ra"], row["dec"]), rtol=0, atol=1e-9)
        np.testing.assert_allclose(wcs.proj_plane_pixel_scales()[0].to_value("arcsec"), PIXEL_ARCSEC)


def test_the_object_lies_where_the_wcs_says(survey: Path, table: pd.DataFrame) -> None:
    bright = table[table["truth"].isin(["bulge", "disk"])].nsmallest(10, "mag_r")
    offsets = []
    for _, row in bright.iterrows():
        with fits.open(survey / "images" / row["file"]) as hdus:
            core = hdus[0].data[2, 26:38, 26:38].astype(float)
            x, y = WCS(hdus[0].header).celestial.wcs_world2pix(row["ra"], row["dec"], 0)
        weight = core**2 / (core**2).sum()
        offsets.append(
            (float((weight.sum(0) * np.arange(26, 38)).sum() - x), float((weight.sum(1) * np.arange(26, 38)).sum() - y))
        )
    assert np.abs(np.median(offsets, axis=0)).max() < 0.1
    assert np.abs(offsets).max() < 0.5


def test_border_noise_agrees_with_the_header(survey: Path, table: pd.DataFrame) -> None:
    border = np.ones((64, 64), bool)
    border[5:-5, 5:-5] = False
    ratios = []
    for file in table.loc[table["truth"] != "artifact", "file"][::4]:
        with fits.open(survey / "images" / file) as hdus:
            sky = hdus[0].data[:, border].astype(float)
            drawn = np.array([hdus[0].header[f"SKYSIG{plane}"] for plane in range(1, 6)])
        ratios.append(1.4826 * np.median(np.abs(sky - np.median(sky, axis=1, keepdims=True)), axis=1) / drawn)
    within = np.abs(np.array(ratios) - 1) < 0.15
    assert within.mean() > 0.9  # the rest are galaxies that fill the border
    np.testing.assert_allclose(np.median(ratios, axis=0), 1.0, atol=0.06)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 10_000))
def test_mag_r_is_the_magnitude_of_the_components(kind: Kind, seed: int) -> None:
    galaxy = draw_galaxy(kind, np.random.default_rng(seed))
    flux = np.sum([part.fluxes for part in galaxy.components], axis=0)
    assert ZERO_POINT - 2.5 * np.log10(flux[2]) == pytest.approx(galaxy.mag_r, abs=1e-6)
    assert all(part.profile.flux == pytest.approx(1.0) for part in galaxy.components)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.floats(0.01, 0.5))
def test_galactic_dust_takes_what_its_law_says(kind: Kind, seed: int, ebv: float) -> None:
    components = draw_galaxy(kind, np.random.default_rng(seed)).components
    clear, dusty = (expose(components, _clear(4.0, e), 64).sum(axis=(1, 2)) for e in (0.0, ebv))
    np.testing.assert_allclose(dusty / clear, 10 ** (-0.4 * EXTINCTION * ebv), rtol=1e-6)
    u_over_z = (dusty[0] / dusty[4]) / (clear[0] / clear[4])
    assert u_over_z == pytest.approx(10 ** (-0.4 * (4.239 - 1.263) * ebv), rel=1e-6)


@pytest.mark.parametrize("kind", ["bulge", "spiral", "edge_on", "merger"])
@pytest.mark.parametrize("size", [64, 81])
def test_exposure_agrees_with_galsims_own_drawing(kind: Kind, size: int) -> None:
    components = draw_galaxy(kind, np.random.default_rng(8)).components
    image = expose(components, _clear(4.2, 0.0), size, (0.3, -0.2))[2]
    whole = galsim.Sum([part.fluxes[2] * part.profile for part in components])
    seen = galsim.Convolve(whole, galsim.Moffat(beta=3.5, fwhm=4.2)).shift(0.3, -0.2)
    expected = seen.drawImage(nx=size, ny=size, scale=1.0).array
    np.testing.assert_allclose(image, expected, atol=3e-3 * expected.max())


@pytest.mark.parametrize("fwhm", [3.0, 4.5, 7.0])
def test_a_star_like_bulge_has_the_width_of_the_psf(fwhm: float) -> None:
    star = Component(galsim.Sersic(4.0, half_light_radius=0.02), np.full(5, 1000.0))
    image = expose([star], _clear(fwhm, 0.0), 65)[1]
    assert np.unravel_index(image.argmax(), image.shape) == (32, 32)
    row = image[32] / image.max()
    half = np.interp(0.5, row[32:][::-1], np.arange(33.0)[::-1])
    assert 2 * half == pytest.approx(np.hypot(fwhm, 0.6), rel=0.06)  # a pixel adds about 0.6 in quadrature
    assert image.sum() == pytest.approx(1000.0, rel=0.01)


@pytest.mark.parametrize("seed", range(12))
def test_every_fault_is_far_above_the_noise(seed: int) -> None:
    conditions = Conditions(np.full(5, 4.0), np.arange(10.0, 60.0, 10.0), 0.0)
    fault = spoil(np.zeros((5, 64, 64)), conditions, np.random.default_rng(seed))
    in_sigma = np.abs(fault / conditions.sky_sigma[:, None, None])
    assert (in_sigma > 2.5).sum() >= 10
    assert in_sigma.max() < 400


def test_colours_alone_do_not_tell_the_kinds() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(COMMON, 600)
    fluxes = [np.sum([part.fluxes for part in draw_galaxy(kind, rng).components], axis=0) for kind in kinds.tolist()]
    colours = -2.5 * np.diff(np.log10(fluxes), axis=1)
    accuracy = LogisticRegression(C=100.0, max_iter=1000).fit(colours, kinds).score(colours, kinds)
    assert 0.3 < accuracy < 0.65  # chance is 0.25: colour helps, and does not suffice


def test_distant_galaxies_are_fainter_and_smaller() -> None:
    galaxies = [draw_galaxy("disk", np.random.default_rng(seed)) for seed in range(300)]
    facts = pd.DataFrame({"z": [g.redshift for g in galaxies], "mag": [g.mag_r for g in galaxies]})
    facts["size"] = [g.half_light_px for g in galaxies]
    facts["u-z"] = [-2.5 * np.log10(np.divide(*sum(p.fluxes for p in g.components)[[0, 4]])) for g in galaxies]
    rho = facts.corr("spearman")["z"]
    assert rho["mag"] > 0.3
    assert rho["size"] < -0.2
    assert rho["u-z"] > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: write_galaxies(folder, 0, 1), "count = 0"),
        (lambda folder: write_galaxies(folder, 10, -1), "seed = -1"),
        (lambda folder: write_galaxies(folder, 10, 1, workers=0), "workers = 0"),
        (lambda folder: write_galaxies(folder, 10, 1, size=32), "size = 32"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(call: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())
