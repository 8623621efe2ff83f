"""The simulated survey: the same objects however asked for, truth that fits the pixels, overlap that shares them."""

from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.samples import galaxy_models
from catalogs.samples.galaxy_models import Component
from catalogs.samples.survey import LARGEST, PER_FIELD, survey, truth
from catalogs.samples.survey_files import fits_bytes, fits_name, write_fits
from catalogs.samples.survey_parents import (
    BLOCK,
    EXTINCTIONS,
    Parents,
    SurveyOptions,
    _count_arms,
    draw_parent,
    load_parents,
    render,
)
from catalogs.samples.survey_perturbations import VOTES, add_shifted, fault, turned

SMALL = SurveyOptions(seed=3, size=40, parents=20, overlap=0.5, anomalies=0.2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("parents")


@pytest.fixture(scope="module")
def parents(cache):
    return load_parents(SMALL, cache)


def whole(options: SurveyOptions, parents: Parents, start: int, stop: int, chunk: int = 256):
    tables, pixels = zip(*survey(options, parents, start, stop, chunk), strict=True)
    return pd.concat(tables, ignore_index=True), np.concatenate(pixels)


@pytest.fixture(scope="module")
def first(parents):
    return whole(SMALL, parents, 0, 120)


@given(start=st.integers(0, 60), count=st.integers(1, 12), chunk=st.integers(1, 15))
@settings(max_examples=8, deadline=None)
def test_objects_do_not_depend_on_range_or_chunk(parents, first, start, count, chunk):
    table, pixels = whole(SMALL, parents, start, start + count, chunk)
    expected = first[0].iloc[start : start + count].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, expected)
    np.testing.assert_array_equal(pixels, first[1][start : start + count])


def test_parents_do_not_depend_on_workers_and_are_kept(cache, parents, tmp_path):
    again = load_parents(SMALL, tmp_path, workers=2)
    np.testing.assert_array_equal(again.pixels, parents.pixels)
    pd.testing.assert_frame_equal(again.facts, parents.facts)
    before = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]
    load_parents(SMALL, tmp_path)
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == before
    assert len(before) == 2  # nothing half-written stays


def test_another_seed_changes_everything(tmp_path, first):
    other = replace(SMALL, seed=4)
    table, pixels = whole(other, load_parents(other, tmp_path), 0, 40)
    for column in ("object_id", "redshift", "ra", "dec", "mag_r", "ebv"):
        assert not (table[column] == first[0][column].head(40)).any(), column
    assert np.corrcoef(pixels[:, 0, 0].ravel(), first[1][:40, 0, 0].ravel())[0, 1] < 0.2


def test_table_and_pixels_hold_what_they_say(first):
    table, pixels = first
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert table["object_id"].is_unique
    assert table.drop(columns="ttype").notna().all().all()
    odd_shape = table["anomaly"].isin(["ring", "merger"])
    assert ((table["type"] == "") == odd_shape).all()
    assert (table["ttype"].isna() == odd_shape).all()
    by_type = table[~odd_shape].groupby("type")["ttype"]
    assert by_type.min()["bulge"] == -5
    assert by_type.max()["bulge"] < by_type.min()["disk"] <= by_type.max()["disk"] < by_type.min()["spiral"]
    assert set(table.loc[table["type"] == "spiral", "arms"]) <= {2, 3, 4}
    assert (table.loc[table["type"] != "spiral", "arms"] == 0).all()


def test_votes_follow_the_tree_and_the_truth(parents):
    table = truth(SMALL, parents.facts, 0, 1000)
    votes = table[list(VOTES)]
    assert (votes >= 0).all().all()
    asked = votes[["smooth", "featured", "artifact"]].sum(axis=1)
    assert (asked >= 30).all()
    assert (votes["bar_yes"] + votes["bar_no"] == votes["featured"]).all()
    assert (votes["spiral_yes"] + votes["spiral_no"] == votes["featured"]).all()
    assert (votes[["arms_2", "arms_3", "arms_4"]].sum(axis=1) == votes["spiral_yes"]).all()
    sound = table["anomaly"] == ""
    assert (votes["artifact"] / asked)[table["anomaly"] == "artifact"].mean() > 0.7
    assert (votes["artifact"] / asked)[sound].mean() < 0.06
    spiral = sound & (table["type"] == "spiral")
    assert (votes["featured"] / asked)[spiral].mean() > 0.8
    assert (votes["smooth"] / asked)[sound & (table["type"] == "bulge")].mean() > 0.8
    share = votes["bar_yes"] / votes["featured"]
    assert share[spiral & table["barred"]].mean() > 0.75
    assert share[spiral & ~table["barred"]].mean() < 0.15
    chosen = votes[["arms_2", "arms_3", "arms_4"]].to_numpy().argmax(axis=1) + 2
    assert (chosen == table["arms"])[spiral].mean() > 0.95


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_anomalies_and_overlap_are_as_many_as_asked(parents, share):
    options = replace(SMALL, anomalies=share, overlap=0.75 * share)
    table = truth(options, parents.facts, 0, 1200)
    assert (table["anomaly"] != "").mean() == pytest.approx(share, abs=0.03)
    assert (table["neighbours"] > 0).mean() == pytest.approx(0.75 * share, abs=0.06)
    if share:
        assert set(table["anomaly"]) - {""} == {"ring", "merger", "artifact"}


def test_dust_reddens_by_the_extinction_coefficients(parents):
    """Without noise to speak of, the ratio with and without dust is 10**(-0.4 R E(B-V)) in every pixel."""
    dark = replace(SMALL, noise=1e-9, anomalies=0.0)
    table, reddened = whole(dark, parents, 0, 24)
    _, clear = whole(replace(dark, dust=0.0), parents, 0, 24)
    for place, band in enumerate(SMALL.bands):
        expected = 10 ** (-0.4 * EXTINCTIONS[band] * table["ebv"].to_numpy())
        centre = (slice(None), place, slice(15, 25), slice(15, 25))
        ratio = reddened[centre] / clear[centre]
        np.testing.assert_allclose(ratio, np.broadcast_to(expected[:, None, None], ratio.shape), rtol=2e-5)


def test_noise_is_what_the_table_says(parents):
    sound = replace(SMALL, anomalies=0.0)
    table, pixels = whole(sound, parents, 0, 80)
    _, quiet = whole(replace(sound, noise=1e-9), parents, 0, 80)
    noise = pixels - quiet
    assert abs(noise.mean()) < 2e-2 * noise.std()
    for place, band in enumerate(SMALL.bands):
        expected = table[f"sky_sigma_{band}"].to_numpy()
        np.testing.assert_allclose(noise[:, place].std(axis=(1, 2)), expected, rtol=0.1)
        assert np.mean(noise[:, place].std(axis=(1, 2)) / expected) == pytest.approx(1, abs=0.005)
    coarse = replace(SMALL, pixel_scale=0.524)
    np.testing.assert_allclose(coarse.sky_sigma, 2 * SMALL.sky_sigma)  # the same depth per area


def test_neighbours_share_pixels_and_others_do_not(first):
    table, pixels = first
    shared = 0
    for number, field in table.groupby(table["number"] // PER_FIELD):
        close = field[field["neighbours"] > 0]
        assert len(close) in (0, 2, 3, 4), number
        for a, b in ((a, b) for a in field.index for b in field.index if a < b):
            # pixel k of a is pixel k + step of b
            step = (table.loc[b, ["crpix1", "crpix2"]] - table.loc[a, ["crpix1", "crpix2"]]).astype(int)
            if abs(step).max() >= SMALL.size:
                continue
            assert {a, b} <= set(close.index)
            x, y = step
            of_a = (slice(max(0, -y), SMALL.size - max(0, y)), slice(max(0, -x), SMALL.size - max(0, x)))
            of_b = (slice(max(0, y), SMALL.size - max(0, -y)), slice(max(0, x), SMALL.size - max(0, -x)))
            np.testing.assert_array_equal(pixels[a][:, *of_a], pixels[b][:, *of_b])
            shared += 1
    assert shared > 10


def test_groups_share_no_parent_and_no_pixel(parents):
    table = truth(SMALL, parents.facts, 0, 400)
    assert (table.groupby("parent")["group"].nunique() == 1).all()
    assert (table.groupby(table["number"] // PER_FIELD)["group"].nunique() == 1).all()
    x, y, z = np.cos(np.deg2rad(table["dec"])), np.sin(np.deg2rad(table["dec"])), np.deg2rad(table["ra"])
    place = np.stack([x * np.cos(z), x * np.sin(z), y], axis=1)
    apart = np.rad2deg(2 * np.arcsin(np.linalg.norm(place[:, None] - place[None], axis=2) / 2)) * 3600
    field = table["number"].to_numpy() // PER_FIELD
    assert apart[field[:, None] != field[None]].min() > 89
    assert np.hypot(SMALL.size, SMALL.size) * SMALL.pixel_scale < 89


def test_two_surveys_show_the_same_sky(cache, parents, first):
    other = replace(SMALL, bands=("y", "r"), pixel_scale=0.4, size=32)
    table, pixels = whole(other, load_parents(other, cache), 0, 40)
    same = [c for c in table if not c.startswith(("object_id", "psf_", "sky_", "crpix"))]
    pd.testing.assert_frame_equal(table[same], first[0].head(40)[same])
    assert not set(table["object_id"]) & set(first[0]["object_id"])
    # the same flux in r within 4 arcsec, whatever the pixels
    sums = []
    for options, rows, images in ((other, table, pixels[:, 1]), (SMALL, first[0].head(40), first[1][:40, 1])):
        grid = np.arange(options.size)
        total = []
        for (_, row), image in zip(rows.iterrows(), images, strict=True):
            wcs = _wcs(row, options)
            x, y = wcs.all_world2pix(row["ra"], row["dec"], 0)
            inside = np.hypot(grid - x, grid[:, None] - y) * options.pixel_scale < 4
            total.append(image[inside].sum() / inside.sum() * np.pi * (4 / options.pixel_scale) ** 2)
        sums.append(np.array(total))
    sound = (table["anomaly"] != "artifact").to_numpy()
    assert np.median(np.abs(sums[0] / sums[1] - 1)[sound]) < 0.05


def _wcs(row, options: SurveyOptions) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [row["crval1"], row["crval2"]]
    wcs.wcs.crpix = [row["crpix1"], row["crpix2"]]
    wcs.wcs.cdelt = [-options.pixel_scale / 3600, options.pixel_scale / 3600]
    return wcs


def test_objects_lie_where_the_catalog_says(parents):
    """On noiseless images the light's centre of mass within 2 arcsec is the object's place."""
    quiet = replace(SMALL, noise=1e-9, anomalies=0.0, overlap=0.0)
    table, pixels = whole(quiet, parents, 0, 40)
    table = table[table["type"] == "bulge"]
    missed = []
    for number, row in table.iterrows():
        x, y = _wcs(row, quiet).all_world2pix(row["ra"], row["dec"], 0)
        assert abs(x - 19.5) <= 0.5 + 1e-6
        assert abs(y - 19.5) <= 0.5 + 1e-6
        image = pixels[number].sum(axis=0)
        for _ in range(20):
            grid = np.arange(SMALL.size)
            weight = image * np.exp(-0.5 * ((grid - x) ** 2 + (grid[:, None] - y) ** 2) / 3**2)
            x, y = (
                x + ((grid - x) * weight).sum() / weight.sum(),
                y + ((grid[:, None] - y) * weight).sum() / weight.sum(),
            )
        expected = _wcs(row, quiet).all_world2pix(row["ra"], row["dec"], 0)
        missed.append(np.hypot(x - expected[0], y - expected[1]))
    assert np.median(missed) < 0.02


@given(x=st.floats(-10, 40), y=st.floats(-10, 40))
@settings(max_examples=15, deadline=None)
def test_shift_agrees_with_galsim(x, y):
    """A Gaussian moved by our interpolation is the Gaussian that GalSim draws there."""
    here = galsim.Gaussian(sigma=1.8)

    def drawn(size, dx, dy):
        return here.shift(dx, dy).drawImage(nx=size, ny=size, scale=1, method="no_pixel", dtype=np.float32).array

    canvas = np.zeros((2, 30, 30), np.float32)
    add_shifted(canvas, np.stack([drawn(41, 0.0, 0.0)] * 2), (x, y), np.array([1.0, 3.0]))
    expected = drawn(30, x - 14.5, y - 14.5)
    np.testing.assert_allclose(canvas[0], expected, atol=3e-3 * drawn(41, 0.0, 0.0).max())
    np.testing.assert_allclose(canvas[1], 3 * canvas[0], rtol=1e-4, atol=1e-7)


def test_turns_are_the_eight_symmetries():
    image = np.arange(2 * 25, dtype=np.float32).reshape(2, 5, 5)
    found = {turned(image, turn).tobytes() for turn in range(8)}
    assert len(found) == 8
    assert all(turned(image, turn)[0, 2, 2] == image[0, 2, 2] for turn in range(8))


@pytest.mark.parametrize("bands", [1, 2, 6])
def test_every_fault_shows(bands):
    for seed in range(12):
        found = fault(np.full(bands, 2.0), 40, np.random.default_rng(seed))
        assert found.shape == (bands, 40, 40)
        assert found.max() > 2 * 3


def test_arms_are_counted_right():
    for seed in range(30):
        number = int(np.random.default_rng(seed).choice([2, 3, 4], p=[0.75, 0.15, 0.10]))  # as the model draws first
        profile = galaxy_models._drawn(galaxy_models._spiral_arms(6.0, np.random.default_rng(seed)))
        tilted = galaxy_models._tilted(profile, 0.7, 0.4)
        assert _count_arms(Component(tilted, np.ones(5))) == number


def test_render_agrees_with_galsims_own_drawing():
    options = SurveyOptions(bands=("r",), pixel_scale=0.4, size=64)
    galaxy, facts = draw_parent(0, 2)
    assert facts["kind"] == BLOCK[2] == "disk"
    image = render(galaxy.components, options, 64)[0]
    psf = galsim.Moffat(beta=3.5, fwhm=1.05 / 0.262)
    light = galsim.Sum([part.profile.withFlux(float(part.fluxes[2])) for part in galaxy.components])
    expected = galsim.Convolve(light, psf).drawImage(nx=64, ny=64, scale=0.4 / 0.262).array
    np.testing.assert_allclose(image, expected, atol=3e-3 * expected.max())


def test_fits_files_carry_what_readers_need(tmp_path, first):
    table, pixels = first
    row = table.iloc[5].to_dict()
    path = tmp_path / Path(fits_name(row["object_id"], 5)).name
    write_fits(path, pixels[5], row, SMALL)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size <= fits_bytes(SMALL) <= 1.5 * path.stat().st_size
    with fits.open(path) as hdus:
        header = hdus[0].header
        np.testing.assert_array_equal(hdus[0].data, pixels[5])
        assert (header["BUNIT"], header["FILTER"], header["BAND3"]) == ("nJy", "grz", "z")
        np.testing.assert_allclose(hdus["VARIANCE"].data[1], row["sky_sigma_r"] ** 2, rtol=1e-6)
        sky = WCS(header, naxis=2).all_pix2world([[19.5, 19.5]], 0)[0]
        assert np.abs((sky - [row["ra"], row["dec"]]) * 3600).max() < 0.3


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bands": ("g", "k")}, "bands"),
        ({"bands": ()}, "bands"),
        ({"bands": ("g", "g")}, "bands"),
        ({"psf_fwhm": {"g": 9.0}}, "psf_fwhm"),
        ({"pixel_scale": 0.0}, "pixel_scale"),
        ({"size": 500}, "size"),
        ({"parents": 15}, "parents"),
        ({"noise": 0.0}, "noise"),
        ({"overlap": 0.9}, "overlap"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_options_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        SurveyOptions(**wrong)


def test_beyond_the_sky(parents):
    assert len(truth(SMALL, parents.facts, LARGEST - 3, LARGEST)) == 3
    with pytest.raises(ValueError, match="up to"):
        truth(SMALL, parents.facts, 0, LARGEST + 1)
