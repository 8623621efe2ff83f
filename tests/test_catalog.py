"""The catalogs of a recipe as one frame: matches, cut sizes, groups on the sky, files of many objects, other bands."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from catalogs.errors import CatalogError
from domainssl.store import Store
from pipelines.catalog import read_catalogs
from pipelines.cli import main
from pipelines.duplicates import leaks
from pipelines.recipe import Recipe, parse_recipe

GRZ = ("g", "r", "z")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Recipe]:
    return lambda text: parse_recipe(f'domain = "galaxies"\n{text}', tmp_path)


def header(scale: float, bands: str, **cards: object) -> fits.Header:
    values = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 1.0, "CRPIX2": 1.0}
    return fits.Header(
        [*values.items(), ("CDELT1", -scale / 3600), ("CDELT2", scale / 3600), ("BANDS", bands), *cards.items()]
    )


def galaxy(size: int, width: float, flux: tuple[float, ...], seed: int = 0) -> np.ndarray:
    """A Gaussian of this width in pixels and these total fluxes, on noise."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    blob = np.exp(-(x**2 + y**2) / (2 * width**2)) / (2 * np.pi * width**2)
    noise = np.random.default_rng(seed).normal(0, 1e-3, (len(flux), size, size))
    return (np.array(flux)[:, None, None] * blob + noise).astype(np.float32)


def test_labels_of_another_table_come_by_position(tmp_path: Path, recipe: Callable[[str], Recipe]) -> None:
    (tmp_path / "survey.csv").write_text("objid,file,ra,dec\n1,a,10.0,5.0\n2,b,10.1,5.0\n3,c,10.2,5.0\n")
    (tmp_path / "zoo.csv").write_text("ra,dec,shape,size\n10.00001,5.0,spiral,3\n10.2,5.00001,smooth,4\n50,5,odd,5\n")
    frame, notes = read_catalogs(
        recipe(
            '[[catalog]]\nname = "s"\ntable = "survey.csv"\nbands = ["g"]\n'
            'match = [{ table = "zoo.csv", columns = ["shape", "size"] }]\n[labels.shape]\nkind = "classes"\n'
        )
    )
    assert frame["shape"].tolist() == ["spiral", None, "smooth"]
    assert frame["size"].tolist()[::2] == [3, 4]
    assert "2 of 3 rows have a match by position among 3" in notes[0]
    assert any("left over" in note for note in notes)


def test_labels_of_another_table_come_by_id(tmp_path: Path, recipe: Callable[[str], Recipe]) -> None:
    (tmp_path / "survey.csv").write_text("objid,file\n1,a\n2,b\n")
    (tmp_path / "zoo.csv").write_text("dr7objid,shape\n2,ring\n9,odd\n")
    text = '[[catalog]]\nname = "s"\ntable = "survey.csv"\nbands = ["g"]\n'
    frame, _ = read_catalogs(recipe(text + 'match = [{ table = "zoo.csv", columns = ["shape"], by = "id" }]\n'))
    assert frame["shape"].tolist() == [None, "ring"]
    with pytest.raises(CatalogError, match="'shap'; did you mean 'shape'"):
        read_catalogs(recipe(text + 'match = [{ table = "zoo.csv", columns = ["shap"], by = "id" }]\n'))


def test_sizes_are_given_or_a_multiple_of_a_radius(tmp_path: Path, recipe: Callable[[str], Recipe]) -> None:
    (tmp_path / "survey.csv").write_text("objid,file,ra,dec,r50\n1,a,10,5,2.5\n2,b,10.1,5,\n")
    text = '[[catalog]]\nname = "s"\ntable = "survey.csv"\nbands = ["g"]\n'
    fixed, _ = read_catalogs(recipe(text + "cutout = { arcsec = 12.0 }\n"))
    assert fixed["cutout_arcsec"].tolist() == [12.0, 12.0]
    scaled, _ = read_catalogs(recipe(text + 'cutout = { column = "r50", times = 4.0 }\n'))
    assert scaled["cutout_arcsec"].tolist() == [10.0, 0.0], "unknown: refused by the reader, not read as a cutout"
    with pytest.raises(CatalogError, match="'r5'; did you mean 'r50'"):
        read_catalogs(recipe(text + 'cutout = { column = "r5", times = 4.0 }\n'))


def run(tmp_path: Path, text: str, out: str = "run") -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(f'domain = "galaxies"\n{text}[encoder]\nsize = 32\n')
    assert main(["prepare", str(path), "--out", str(tmp_path / out), "--device", "cpu", "--quiet"]) == 0
    return tmp_path / out


def test_two_surveys_of_other_bands_and_pixels_come_to_one_grid(tmp_path: Path) -> None:
    for name, scale, bands, size in (("wide", 0.4, "grz", 50), ("deep", 0.2, "riz", 120)):
        (tmp_path / name).mkdir()
        flux = {"g": 5.0, "r": 10.0, "i": 15.0, "z": 20.0}
        pixels = galaxy(size, 1.6 / scale, tuple(flux[band] for band in bands))
        fits.PrimaryHDU(pixels, header(scale, bands, BUNIT="nJy")).writeto(tmp_path / name / f"{name}.fits")
    one = '[[catalog]]\nname = "{0}"\nimages = "{0}"\nbands = {1}\nmissing_band = "mask"\n'
    text = one.format("wide", '["g", "r", "z"]') + one.format("deep", '["r", "i", "z"]')
    store = Store(run(tmp_path, text + "[store]\nsize = 40\narcsec = 16.0\n") / "store")
    assert store.bands == ("g", "r", "z", "i")
    batch = store.batch(np.arange(2))
    images = batch.images.numpy()
    assert np.isfinite(images).all(), "NaN reached a tensor"
    assert batch.valid.all()
    wide, deep = images[store.object_ids.index("wide")], images[store.object_ids.index("deep")]
    assert not wide[3].any(), "i is missing in one"
    assert not deep[0].any(), "and g in the other"
    # 0.4 arcsec a pixel in both, and nJy per stored pixel
    assert wide[1].sum() == pytest.approx(10, rel=0.02)
    assert deep[1].sum() == pytest.approx(10, rel=0.02)
    assert np.abs(wide[1] - deep[1]).max() < 0.1 * wide[1].max()


def test_objects_are_cut_from_survey_images_by_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mosaic = rng.normal(0, 1, (3, 300, 300)).astype(np.float32)
    places = [(60, 80), (200, 150), (290, 290)]
    for x, y in places:
        mosaic[:, y - 2 : y + 3, x - 2 : x + 3] += 50
    fits.PrimaryHDU(mosaic, header(1.0, "grz")).writeto(tmp_path / "tile.fits")
    ra, dec = [150 - x / 3600 / np.cos(np.radians(2)) for x, _ in places], [2 + y / 3600 for _, y in places]
    table = pd.DataFrame({"objid": [1, 2, 3], "tile": "tile.fits", "ra": [*ra[:2], 10.0], "dec": dec})
    table.to_csv(tmp_path / "objects.csv", index=False)
    text = '[[catalog]]\nname = "s"\ntable = "objects.csv"\nfile_pattern = "{tile}"\nbands = ["g", "r", "z"]\n'
    out = run(tmp_path, text + "cutout = { arcsec = 41.0 }\n[store]\nsize = 41\n")
    store = Store(out / "store")
    images = store.batch(np.arange(2)).images.numpy()
    assert store.object_ids == ["1", "2"]
    assert (images[:, :, 18:23, 18:23] > 40).all(), "the object is in the middle"
    refused = pd.read_csv(out / "quarantine.csv")
    assert refused[["object_id", "reason"]].values.tolist() == [[3, "outside"]]


def test_objects_that_overlap_on_the_sky_share_a_group(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    ra, dec = 150 + rng.uniform(0, 3, 60), 2 + rng.uniform(0, 3, 60)
    ra[1], dec[1] = ra[0] + 5 / 3600, dec[0]
    rows = []
    for number in range(60):
        np.save(tmp_path / f"{number}.npy", galaxy(32, 3, (5.0, 5.0, 5.0), number))
        rows.append((number, f"{number}.npy", ra[number], dec[number]))
    pd.DataFrame(rows, columns=["objid", "file", "ra", "dec"]).to_csv(tmp_path / "t.csv", index=False)
    catalog = '[[catalog]]\nname = "s"\ntable = "t.csv"\nbands = ["g", "r", "z"]\n'
    out = run(tmp_path, catalog + "[store]\nsize = 32\n")
    found = pd.read_parquet(out / "catalog.parquet").set_index("object_id")
    assert found.loc["0", "group"] == found.loc["1", "group"]
    assert found["group"].nunique() > 20
    assert found.groupby("group")["half"].nunique().eq(1).all()


def test_files_of_many_objects_are_rows_of_their_items(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    stack = np.stack([galaxy(32, 3, (5.0, 5.0, 5.0), number) for number in range(4)])
    np.save(tmp_path / "images" / "stack.npy", stack)
    hdus = [fits.ImageHDU(stack[number, 0], name=f"GAL{number}") for number in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "images" / "each.fits")
    one = '[[catalog]]\nname = "s"\nimages = "images"\nbands = {}\n'
    stored = Store(run(tmp_path, one.format('["g", "r", "z"]') + "[store]\nsize = 32\n") / "store")
    assert stored.object_ids == ["stack/0", "stack/1", "stack/2", "stack/3"]
    np.testing.assert_allclose(stored.batch(np.array([2])).images[0].numpy(), stack[2], atol=2e-3)
    (tmp_path / "images" / "stack.npy").unlink()
    text = one.format('["i"]') + "object_per_hdu = true\n[store]\nsize = 32\n"
    assert Store(run(tmp_path, text, "hdus") / "store").object_ids == ["each/1", "each/2"]


def test_objects_that_stand_there_twice_are_reported(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", galaxy(32, 2 + number / 4, (5.0, 5.0, 5.0), 0 if number == 5 else number))
        rows.append((number, f"{number}.npy", 150 + number / 10, 2.0, "train" if number < 3 else "test", str(number)))
    rows.append((7, "0.npy", 150.0, 2.0, "test", "other"))
    names = ["objid", "file", "ra", "dec", "split", "group"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "t.csv", index=False)
    catalog = '[[catalog]]\nname = "s"\ntable = "t.csv"\nbands = ["g", "r", "z"]\n'
    out = run(tmp_path, catalog + "[store]\nsize = 32\n")
    found = pd.read_csv(out / "duplicates.csv", dtype={"object_id": str})
    assert sorted(found["by"].unique()) == ["image", "position"]
    assert found.groupby("by")["object_id"].agg(sorted).tolist() == [["0", "7"], ["0", "7"]]
    assert leaks(found) == 2
    off = run(tmp_path, catalog + "[store]\nsize = 32\nduplicates = false\n", "off")
    assert pd.read_csv(off / "duplicates.csv")["by"].unique().tolist() == ["position"]
