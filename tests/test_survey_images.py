"""Cutouts from survey images: the pixels of Cutout2D, the layers of each survey, few pixels read, files opened once."""

import gzip
import math
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import survey_files as surveys
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from catalogs.galaxies import image_files
from catalogs.galaxies.survey_bands import UNREAD_MASK
from catalogs.galaxies.survey_images import AT_EDGE, MIXED_UNITS, read_survey_images
from catalogs.reading import Cutout, Refusal, Request

SHAPE = (90, 110)
SCALE = 0.2
HEADER = surveys.tan(SHAPE, SCALE)
IMAGE = surveys.sky(0, SHAPE)
LOSSLESS: dict[str, Any] = {"compression_type": "GZIP_2", "quantize_level": 0}


def table(paths: Any, places: list[tuple[float, float]], arcsec: float = 3.2) -> pd.DataFrame:
    """One row a place; `paths` are one file, a list of a file a band, or a list of such lists."""
    paths = [paths] if isinstance(paths, Path) else paths
    paths = [paths] * len(places) if isinstance(paths[0], Path) else paths
    return pd.DataFrame(
        {
            "object_id": [str(n) for n in range(len(places))],
            "paths": [tuple(map(str, one)) for one in paths],
            "ra": [ra for ra, _ in places],
            "dec": [dec for _, dec in places],
            "cutout_arcsec": arcsec,
        }
    )


def place(x: float, y: float, header: fits.Header = HEADER) -> tuple[float, float]:
    ra, dec = WCS(header).celestial.all_pix2world([[x, y]], 0)[0]
    return float(ra), float(dec)


def cut(paths: Any, *places: tuple[float, float], bands: tuple[str, ...] = ("r",), **more: Any) -> Cutout:
    outcome = answer(paths, *places, bands=bands, **more)
    assert isinstance(outcome, Cutout), outcome
    return outcome


def answer(
    paths: Any,
    where: tuple[float, float],
    bands: tuple[str, ...] = ("r",),
    arcsec: float = 3.2,
    reproject: bool = False,
) -> Cutout | Refusal:
    (outcome,) = read_survey_images(table(paths, [where], arcsec), Request(bands, reproject=reproject))
    return outcome


def reason(*args: Any, **more: Any) -> str:
    outcome = answer(*args, **more)
    assert isinstance(outcome, Refusal), "read although it should be refused"
    return outcome.reason


def image(path: Path, pixels: np.ndarray = IMAGE, header: fits.Header = HEADER) -> Path:
    return surveys.write(path, fits.PrimaryHDU(pixels, header))


def test_cutouts_have_the_pixels_of_cutout2d(tmp_path: Path) -> None:
    turned = surveys.tan(SHAPE, SCALE, angle=33.0)
    path = image(tmp_path / "a.fits", header=turned)
    random = np.random.default_rng(1)
    fractions = random.uniform([-0.4, -0.4], [SHAPE[1] - 0.6, SHAPE[0] - 0.6], (12, 2))
    corners = [(0.1, 0.1), (109.1, 89.2), (0.2, 89.1), (54.7, 44.2), (54.2, 44.7), (-0.49, 20.0)]
    places = [place(x, y, turned) for x, y in [*map(tuple, fractions), *corners]]
    for pixels in (8, 15, 16, 200):
        rows = table(path, places, pixels * SCALE)
        for (ra, dec), outcome in zip(places, read_survey_images(rows, Request(("r",))), strict=True):
            assert isinstance(outcome, Cutout)
            theirs = Cutout2D(IMAGE, SkyCoord(ra, dec, unit="deg"), pixels, WCS(turned), mode="partial")
            np.testing.assert_array_equal(outcome.pixels[0], theirs.data)
            assert outcome.pixel_scale == pytest.approx(SCALE)
            assert (AT_EDGE in outcome.flags) == np.isnan(theirs.data).any()
            np.testing.assert_allclose(outcome.wcs.wcs.crpix, theirs.wcs.wcs.crpix, atol=1e-9)
            own, other = outcome.wcs.pixel_to_world(1, 2), theirs.wcs.pixel_to_world(1, 2)
            assert own.separation(other).arcsec < 1e-6


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
@pytest.mark.parametrize("scaling", [{}, {"BSCALE": 0.5, "BZERO": 3.0}, {"BLANK": 7}, {"BLANK": 0}])
def test_every_pixel_format_is_read_as_astropy_does(tmp_path: Path, bitpix: int, scaling: dict[str, Any]) -> None:
    if bitpix < 0:
        scaling = {key: value for key, value in scaling.items() if key != "BLANK"}
    raw = np.random.default_rng(0).integers(0, 120, SHAPE).astype({-32: "f4", -64: "f8"}.get(bitpix, f"i{bitpix // 8}"))
    hdu = fits.PrimaryHDU(raw.astype("u1") if bitpix == 8 else raw, HEADER)
    path = surveys.write(tmp_path / "a.fits", hdu)
    with fits.open(path, "update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update(scaling)
    expected = raw.astype(np.float64) * scaling.get("BSCALE", 1) + scaling.get("BZERO", 0)
    expected[raw == scaling.get("BLANK", -1)] = np.nan
    if scaling.get("BLANK") != 0:
        np.testing.assert_array_equal(fits.getdata(path).astype(np.float64), expected)
    found = cut(path, place(49.7, 39.7), arcsec=20 * SCALE).pixels[0]
    np.testing.assert_array_equal(found, expected[30:50, 40:60].astype(np.float32))


def test_a_planted_source_is_where_the_cutouts_wcs_says(tmp_path: Path) -> None:
    y, x = np.indices(SHAPE)
    for number, (x0, y0) in enumerate([(40.3, 51.7), (3.6, 86.2)]):
        blob = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 8).astype(np.float32)
        header = surveys.tan(SHAPE, SCALE, angle=20.0)
        ra, dec = place(x0, y0, header)
        found = cut(image(tmp_path / f"{number}.fits", blob, header), (ra, dec), arcsec=21 * SCALE)
        local = np.nan_to_num(found.pixels[0].astype(np.float64))
        rows, columns = np.indices(local.shape)
        if AT_EDGE not in found.flags:
            centre = np.array([(local * columns).sum(), (local * rows).sum()]) / local.sum()
            np.testing.assert_allclose(found.wcs.all_world2pix([[ra, dec]], 0)[0], centre, atol=0.01)
        model = found.wcs.all_world2pix([[ra, dec]], 0)[0]
        again = np.exp(-((columns - model[0]) ** 2 + (rows - model[1]) ** 2) / 8)
        valid = np.isfinite(found.pixels[0])
        np.testing.assert_allclose(found.pixels[0][valid], again[valid], atol=1e-5)


def test_frames_axes_and_distortions_of_the_wcs(tmp_path: Path) -> None:
    where = SkyCoord(150.1, 2.2, unit="deg")
    galactic = surveys.tan(SHAPE, SCALE, (where.galactic.l.deg, where.galactic.b.deg))
    galactic["CTYPE1"], galactic["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    fk4 = surveys.with_cards(surveys.tan(SHAPE, SCALE), RADESYS="FK4", EQUINOX=1950.0)
    b1950 = where.transform_to("fk4")
    fk4["CRVAL1"], fk4["CRVAL2"] = b1950.ra.deg, b1950.dec.deg
    sip = surveys.with_cards(HEADER, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    sip.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_0_2": -1e-4})
    for name, header in {"galactic": galactic, "fk4": fk4, "sip": sip}.items():
        path = image(tmp_path / f"{name}.fits", header=header)
        for east, north in ((0, 0), (4, -3)):
            near = where.spherical_offsets_by(east * units.arcsec, north * units.arcsec)
            theirs = Cutout2D(IMAGE, near, 16, WCS(header), mode="partial")
            found = cut(path, (near.ra.deg, near.dec.deg))
            np.testing.assert_array_equal(found.pixels[0], theirs.data, err_msg=name)
    assert reason(tmp_path / "sip.fits", (151.0, 2.2)) == "outside"
    # Declination first: Cutout2D takes the pixel axes for exchanged as well, so another of astropy's ways is asked.
    header = surveys.with_cards(HEADER, CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=2.2, CRVAL2=150.1)
    near = where.spherical_offsets_by(4.1 * units.arcsec, -3.3 * units.arcsec)
    x, y = (math.ceil(one - 8) for one in WCS(header).world_to_pixel(near))
    found = cut(image(tmp_path / "swapped.fits", header=header), (near.ra.deg, near.dec.deg))
    np.testing.assert_array_equal(found.pixels[0], IMAGE[y : y + 16, x : x + 16])


def test_refusals(tmp_path: Path) -> None:
    path, middle = image(tmp_path / "a.fits"), place(49.7, 39.7)
    assert reason(path, (10.0, -80.0)) == "outside"
    assert reason(path, (330.1, -2.2)) == "outside"  # the antipode
    assert reason(path, place(-0.6, 40)) == "outside"
    assert reason(path, place(110.4, 40)) == "outside"
    for broken in ((math.nan, 2.2), (150.1, math.inf), (150.1, 91.0), (720.5, 2.2)):
        assert reason(path, broken) == "position"
    for arcsec in (math.nan, 0.0, -3.0):
        assert reason(path, middle, arcsec=arcsec) == "position"
    assert reason(path, middle, arcsec=7.4 * SCALE) == "too_small"
    assert reason(path, middle, arcsec=1e6) == "too_large"
    assert reason([path, path], middle, bands=("g", "r", "z")) == "bands"
    assert reason(tmp_path / "none.fits", middle) == "missing"
    assert reason(surveys.write(tmp_path / "b.fits", fits.PrimaryHDU(IMAGE)), middle) == "wcs"
    spectrum = surveys.with_cards(HEADER, CTYPE1="WAVE", CTYPE2="LINEAR")
    assert reason(image(tmp_path / "c.fits", header=spectrum), middle) == "wcs"
    assert reason(image(tmp_path / "d.fits", np.full(SHAPE, np.nan, np.float32)), middle) == "no_valid_pixels"
    assert reason(image(tmp_path / "e.fits", np.zeros(SHAPE, np.float32)), middle) == "constant"
    assert reason(surveys.write(tmp_path / "f.fits", fits.PrimaryHDU()), middle) == "no_image"
    (tmp_path / "g.fits").write_bytes(b"<html>")
    assert reason(tmp_path / "g.fits", middle) == "format"
    with pytest.raises(ValueError, match="cutout_arcsec"):
        next(read_survey_images(table(path, [middle]).drop(columns="cutout_arcsec"), Request(("r",))))


def test_damaged_files_refuse_their_rows_alone(tmp_path: Path) -> None:
    good, middle = image(tmp_path / "a.fits"), place(49.7, 39.7)
    content = good.read_bytes()
    short = tmp_path / "short.fits"
    short.write_bytes(content[: len(content) // 2])
    compressed = surveys.write(tmp_path / "b.fits.fz", fits.CompImageHDU(IMAGE, HEADER, **LOSSLESS))
    broken = tmp_path / "c.fits.fz"
    broken.write_bytes(compressed.read_bytes()[:20000])
    zipped = tmp_path / "d.fits.gz"
    zipped.write_bytes(gzip.compress(content)[:5000])
    rows = table([[short], [good], [broken], [zipped], [short], [good], [tmp_path]], [middle] * 7)
    outcomes = list(read_survey_images(rows, Request(("r",))))
    reasons = [None if isinstance(outcome, Cutout) else outcome.reason for outcome in outcomes]
    assert reasons == ["truncated", None, "truncated", "truncated", "truncated", None, "missing"]
    for outcome in outcomes:
        assert isinstance(outcome, Cutout) or str(tmp_path) not in outcome.detail
    missing = answer([good, tmp_path / "none.fits"], middle, bands=("g", "r"))
    assert isinstance(missing, Refusal)
    assert missing == Refusal("missing", "band r: there is no such file")


def test_every_damaged_header_is_answered(tmp_path: Path) -> None:
    content = image(tmp_path / "a.fits").read_bytes()
    random = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(content)
        for place_of in random.integers(0, 1600, 3):
            damaged[place_of] = int(random.integers(32, 127))
        path = tmp_path / f"{number}.fits"
        path.write_bytes(bytes(damaged))
        assert isinstance(answer(path, place(49.7, 39.7)), Cutout | Refusal)


def test_compressed_and_gzipped_images_give_the_same_pixels(tmp_path: Path) -> None:
    plain = image(tmp_path / "a.fits")
    zipped = tmp_path / "b.fits.gz"
    with gzip.open(zipped, "wb") as file:
        file.write(plain.read_bytes())
    lossless = fits.CompImageHDU(IMAGE, HEADER, **LOSSLESS, tile_shape=(32, 32))
    tiled = surveys.write(tmp_path / "c.fits.fz", lossless)
    for where in (place(49.7, 39.7), place(1.7, 88.2)):
        expected = cut(plain, where)
        for path in (zipped, tiled):
            found = cut(path, where)
            np.testing.assert_array_equal(found.pixels, expected.pixels)
            assert found.nuisance["sky_sigma"] == pytest.approx(expected.nuisance["sky_sigma"])


def test_gzipped_images_are_read_below_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MAX_INFLATED", 30_000)
    zipped = tmp_path / "b.fits.gz"
    zipped.write_bytes(gzip.compress(image(tmp_path / "a.fits").read_bytes()))
    outcome = answer(zipped, place(49.7, 39.7))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "too_large"
    assert "gunzip" in outcome.detail


def test_a_shared_file_is_opened_once_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    real = image_files.ImageFile._open

    def counting(self: Any) -> None:
        opened[self.path.name] += 1
        real(self)

    monkeypatch.setattr(image_files.ImageFile, "_open", counting)
    paths = [image(tmp_path / f"{band}.fits", surveys.sky(n, SHAPE)) for n, band in enumerate("gr")]
    rows = table([paths[:1], paths[1:]] * 30, [place(10 + n, 40) for n in range(60)])
    assert sum(isinstance(outcome, Cutout) for outcome in read_survey_images(rows, Request(("r",)))) == 60
    assert opened == {"g.fits": 1, "r.fits": 1}

    def held() -> list[str]:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        return [line for line in (*maps.splitlines(), *links) if str(tmp_path) in line]

    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not list open files")
    reading = read_survey_images(rows, Request(("r",)))
    cutout = next(reading)
    assert held()
    reading.close()
    assert isinstance(cutout, Cutout)  # still alive, and holds no file
    assert not held()


def test_at_most_some_files_stay_open(tmp_path: Path) -> None:
    paths = [image(tmp_path / f"{n}.fits") for n in range(5)]
    with image_files.OpenFiles(limit=2) as files:
        kept = [files.get(path) for path in paths]
        assert [bool(file.hdus) for file in kept] == [False, False, False, True, True]
        assert files.get(paths[3]) is kept[3]
        assert files.get(paths[0]) is not kept[0]
        assert [bool(file.hdus) for file in kept] == [False, False, False, True, False]


def test_only_a_section_comes_into_memory(tmp_path: Path) -> None:
    """A file whose data were never written takes no room on the disk, and reading all of it would take 4 GB."""
    side = 32_768
    header = surveys.tan((side, side), SCALE)
    start = fits.PrimaryHDU(np.zeros((2, 2), np.float32), header).header
    start["NAXIS1"] = start["NAXIS2"] = side
    path = tmp_path / "a.fits"
    path.write_bytes(start.tostring().encode())
    os.truncate(path, path.stat().st_size + 4 * side * side)
    values = surveys.sky(0, (side,))
    with path.open("r+b") as file:
        for row in range(20_000, 20_020):
            file.seek(len(start.tostring()) + 4 * side * row)
            file.write(values.astype(">f4").tobytes())
    found = cut(path, place(24_999.7, 20_009.7, header), arcsec=16 * SCALE)
    np.testing.assert_array_equal(found.pixels[0], np.tile(values[24_992:25_008], (16, 1)))
    shutil.rmtree(tmp_path)


def test_rubin_planes_are_taken_by_name(tmp_path: Path) -> None:
    variance = np.full(SHAPE, 4.0, np.float32)
    flagged = {name: np.zeros(SHAPE, bool) for name in surveys.RUBIN_PLANES}
    for column, name in enumerate(surveys.RUBIN_PLANES):
        flagged[name][40, 46 + column] = True
    orders = [surveys.RUBIN_PLANES, surveys.RUBIN_PLANES[::-1], (*surveys.RUBIN_PLANES[3:], *surveys.RUBIN_PLANES[:3])]
    found = [
        cut(surveys.rubin(tmp_path / f"{n}.fits", IMAGE, flagged, variance, HEADER, planes, compressed=n == 2), middle)
        for n, planes in enumerate(orders)
        for middle in [place(49.7, 39.7)]
    ]
    for one in found:
        np.testing.assert_array_equal(one.pixels, found[0].pixels)
        assert one.variance is not None
        np.testing.assert_array_equal(np.isnan(one.variance), np.isnan(one.pixels))
        assert np.nanmin(one.variance) == np.nanmax(one.variance) == 4
        assert one.nuisance["sky_sigma"].tolist() == [2.0]
        assert one.unit == "nJy"
        assert one.flags == ()
    lost = [name for column, name in enumerate(surveys.RUBIN_PLANES) if np.isnan(found[0].pixels[0, 8, 4 + column])]
    assert lost == ["BAD", "SAT", "CR", "NO_DATA"]
    assert np.isnan(found[0].pixels).sum() == 4
    unknown = surveys.rubin(tmp_path / "x.fits", IMAGE, {}, variance, HEADER, planes=())
    assert UNREAD_MASK in cut(unknown, place(49.7, 39.7)).flags


def test_euclid_legacy_panstarrs_and_space_telescopes(tmp_path: Path) -> None:
    flag = np.zeros(SHAPE, np.int32)
    flag[40, 50] = 1 << 8
    rms = np.full(SHAPE, 3.0, np.float32)
    middle, njy = place(49.7, 39.7), 3631e9 * 10 ** (-0.4 * 23.9)
    for path in (
        surveys.euclid(tmp_path, IMAGE, rms, flag, HEADER),
        surveys.euclid_in_one(tmp_path / "one.fits", IMAGE, rms, flag, HEADER),
    ):
        found = cut(path, middle)
        assert found.unit == "nJy"
        expected = IMAGE[32:48, 42:58] * njy
        expected[8, 8] = np.nan
        np.testing.assert_allclose(found.pixels[0], expected, rtol=1e-5)
        assert found.nuisance["sky_sigma"] == pytest.approx([3 * njy], rel=1e-5)

    linear, variance = IMAGE * 50 + 7, np.full(SHAPE, 9.0, np.float32)
    flag[40, 50:52] = 4, 32  # saturated; a star's core, which stays
    found = cut(surveys.pan_starrs(tmp_path, linear, variance, flag, HEADER), middle)
    factor = 3631e9 * 10 ** (-0.4 * 25) / 600
    expected = linear[32:48, 42:58] * factor
    expected[8, 8] = np.nan
    np.testing.assert_allclose(found.pixels[0], expected, rtol=1e-4, atol=1e-3)
    assert found.nuisance["sky_sigma"] == pytest.approx([3 * factor], rel=1e-4)

    flag[40, 50:52] = 1, 4
    found = cut(surveys.space(tmp_path / "j.fits", "JWST", IMAGE, rms, flag, HEADER), middle)
    assert np.isnan(found.pixels[0, 8]).nonzero()[0].tolist() == [8]


def test_legacy_masks_are_of_one_band(tmp_path: Path) -> None:
    maskbits = np.zeros(SHAPE, np.int32)
    maskbits[40, 50:53] = 1 << 2, 1 << 3, 1 << 12  # saturated in g; in r; a large galaxy
    cube = surveys.sky(3, (3, *SHAPE))
    ivar = np.full(cube.shape, 0.25, np.float32)
    ivar[2, 40, 53] = 0
    header = surveys.tan(SHAPE, 0.262)
    path = surveys.legacy_cutout(tmp_path / "a.fits", cube, ivar, maskbits, header)
    found = cut(path, place(49.7, 39.7, header), bands=("r", "g", "z"), arcsec=16 * 0.262)
    lost = [np.isnan(found.pixels[band, 8, 8:12]).tolist() for band in range(3)]
    assert lost == [[False, True, False, False], [True, False, False, False], [False, False, False, True]]
    assert np.isnan(found.pixels).sum() == 3
    assert found.variance is not None
    unit = 3631.0 if found.unit == "nJy" else 1.0
    np.testing.assert_allclose(found.pixels[1, 0], cube[0, 32, 42:58] * unit, rtol=1e-5)
    assert found.nuisance["sky_sigma"] == pytest.approx([2 * unit] * 3, rel=1e-5)
    bricks = [surveys.legacy_brick(tmp_path, band, cube[n], ivar[n], maskbits, header) for n, band in enumerate("grz")]
    again = cut(bricks, place(49.7, 39.7, header), bands=("g", "r", "z"), arcsec=16 * 0.262)
    np.testing.assert_allclose(again.pixels, found.pixels[[1, 0, 2]], rtol=1e-5)
    assert again.variance is not None
    np.testing.assert_allclose(again.variance, found.variance[[1, 0, 2]], rtol=1e-5)


def test_a_broken_or_ill_fitting_companion_is_told(tmp_path: Path) -> None:
    path = surveys.euclid(tmp_path, IMAGE, np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32), HEADER)
    rms = next(tmp_path.glob("*-RMS_*"))
    fits.writeto(rms, np.ones((5, 5), np.float32), overwrite=True)
    assert reason(path, place(49.7, 39.7)) == "shape"
    rms.write_bytes(b"SIMPLE")
    assert reason(path, place(49.7, 39.7)) in ("truncated", "format")


@pytest.mark.parametrize("compressed", [False, True])
def test_sky_sigma_of_an_image_without_noise_layer_is_the_parents(tmp_path: Path, compressed: bool) -> None:
    shape = (600, 700)
    pixels, header = surveys.sky(0, shape, 2.5), surveys.tan(shape, SCALE)
    y, x = np.indices(shape)
    pixels += (500 * np.exp(-np.hypot(x - 300, y - 300) / 10)).astype(np.float32)  # fills the cutout
    pixels[:, :40] = 0
    hdu = fits.CompImageHDU(pixels, header, **LOSSLESS) if compressed else fits.PrimaryHDU(pixels, header)
    found = cut(surveys.write(tmp_path / "a.fits", hdu), place(300, 300, header), arcsec=32 * SCALE)
    assert found.variance is None
    assert found.nuisance["sky_sigma"] == pytest.approx([2.5], rel=0.05)


def test_bands_of_one_file_and_of_several(tmp_path: Path) -> None:
    cube, middle = surveys.sky(5, (3, *SHAPE)), place(49.7, 39.7)
    named = surveys.with_cards(HEADER, BANDS="grz")
    whole = surveys.write(tmp_path / "a.fits", fits.PrimaryHDU(cube, named))
    apart = surveys.write(
        tmp_path / "b.fits", *[fits.ImageHDU(cube[n], HEADER, name=band) for n, band in enumerate("grz")]
    )
    last = surveys.write(tmp_path / "c.fits", fits.PrimaryHDU(np.ascontiguousarray(cube.transpose(1, 2, 0)), None))
    with fits.open(last, "update") as hdus:
        third = surveys.with_cards(HEADER, CTYPE3="RA---TAN", CTYPE2="DEC--TAN", CTYPE1="BAND", BANDS="grz")
        del third["CD*"], third["CRPIX*"], third["CRVAL*"]
        third.update({"CRPIX3": 55.5, "CRPIX2": 45.5, "CRVAL3": 150.1, "CRVAL2": 2.2, "CRPIX1": 1.0, "CRVAL1": 1.0})
        third.update({"CDELT3": -SCALE / 3600, "CDELT2": SCALE / 3600, "CDELT1": 1.0})
        hdus[0].header.update(third)
    for path in (whole, apart):
        found = cut(path, middle, bands=("z", "g"))
        np.testing.assert_array_equal(found.pixels, cube[[2, 0], 32:48, 42:58])
    files = [image(tmp_path / f"{band}.fits", cube[n]) for n, band in enumerate("grz")]
    np.testing.assert_array_equal(cut(files, middle, bands=("g", "r", "z")).pixels, cube[:, 32:48, 42:58])
    calibrated = image(tmp_path / "n.fits", cube[0], surveys.with_cards(HEADER, BUNIT="nJy"))
    mixed = cut([calibrated, files[1]], middle, bands=("g", "r"))
    assert mixed.unit == ""
    assert MIXED_UNITS in mixed.flags


def test_grids_that_differ_are_refused(tmp_path: Path) -> None:
    first = image(tmp_path / "a.fits")
    moved = image(tmp_path / "b.fits", header=surveys.with_cards(HEADER, CRPIX1=57.0))
    larger = image(tmp_path / "c.fits", surveys.sky(1, (91, 110)))
    for other in (moved, larger):
        outcome = answer([first, other], place(49.7, 39.7), bands=("g", "r"))
        assert isinstance(outcome, Refusal)
        assert outcome.reason == "grids"
        assert "reproject" in outcome.detail


def test_bands_of_two_scales_are_brought_to_the_finer_grid(tmp_path: Path) -> None:
    fine, coarse = surveys.tan((160, 160), 0.1, angle=10.0), surveys.tan((100, 100), 0.2, angle=-25.0)

    def blob(header: fits.Header, shape: tuple[int, int], scale: float) -> np.ndarray:
        y, x = np.indices(shape)
        x0, y0 = WCS(header).all_world2pix([[150.1001, 2.2001]], 0)[0]
        width = 0.8 / scale
        flux = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2)) / (2 * np.pi * width**2)
        return (1000 * flux).astype(np.float32)

    paths = [tmp_path / "fine.fits", tmp_path / "coarse.fits"]
    surveys.rubin(paths[0], blob(fine, (160, 160), 0.1), {}, np.full((160, 160), 4.0, np.float32), fine)
    surveys.rubin(paths[1], blob(coarse, (100, 100), 0.2), {}, np.full((100, 100), 4.0, np.float32), coarse)
    assert reason(paths, (150.1001, 2.2001), bands=("f", "c"), arcsec=8.0) == "grids"
    found = cut(paths, (150.1001, 2.2001), bands=("f", "c"), arcsec=8.0, reproject=True)
    assert found.pixels.shape == (2, 80, 80)
    assert found.pixel_scale == pytest.approx(0.1)
    assert found.pixels.sum(axis=(1, 2)) == pytest.approx([1000, 1000], rel=0.01)
    np.testing.assert_allclose(found.pixels[1], found.pixels[0], atol=0.02 * found.pixels.max())
    assert found.variance is not None
    assert np.isfinite(found.variance).all()
    assert found.nuisance["sky_sigma"][0] == 2.0
    assert found.nuisance["sky_sigma"][1] < 0.6  # a quarter of the area, and smoothed
    assert reason(paths, (150.5, 2.2), bands=("f", "c"), arcsec=8.0, reproject=True) == "outside"
