"""Inspection: counts that agree with the files, band names from headers, and no torch."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from catalogs.errors import CatalogError
from catalogs.inspection import Inspection, Refused, inspect
from catalogs.scanning import ANY_SUFFIX


def cube(path: Path, bands: int = 3, **cards: str) -> None:
    pixels = np.random.default_rng(0).normal(size=(bands, 12, 14)).astype(np.float32)
    fits.PrimaryHDU(pixels, header=fits.Header(cards)).writeto(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    cube(tmp_path / "a.fits", BANDS="grz")
    cube(tmp_path / "b.fits", BANDS="grz")
    cube(tmp_path / "sub" / "c.fits", bands=5)
    (tmp_path / "broken.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:3000])
    (tmp_path / "empty.fits").touch()
    (tmp_path / "zero.fits").touch()
    (tmp_path / "labels.csv").write_text("file,label\n")
    return tmp_path


def test_counts_of_a_folder(folder: Path) -> None:
    found = inspect(folder)
    assert (found.files, found.tried, found.readable) == (6, 6, 3)
    assert found.kinds == {".fits": 6, ".csv": 1}
    assert found.shapes == {"3 x 12 x 14": 2, "5 x 12 x 14": 1}
    assert found.bands == {3: 2, 5: 1}
    assert found.dtypes == {"float32": 3}
    assert found.radiometry == {"linear": 3}
    assert found.suggested_bands == ("g", "r", "z")
    assert found.refusals["empty"] == Refused(2, "empty.fits", "the file has 0 bytes")
    assert found.refusals["truncated"].example == "broken.fits"
    assert found.notes == ("the files differ in their number of bands (3 (2), 5 (1)); a recipe reads one",)
    assert json.loads(json.dumps(found.as_dict()))["refusals"]["empty"]["count"] == 2


def test_the_text_answers_each_question(folder: Path) -> None:
    text = inspect(folder).text()
    for part in ("3 of 6 files read", ".fits (6), .csv (1)", "3 x 12 x 14 (2)", 'bands = ["g", "r", "z"]', "empty: 2"):
        assert part in text


def test_a_limit_is_spread_over_the_names(tmp_path: Path) -> None:
    for n in range(9):
        cube(tmp_path / f"{n}.fits", bands=2 if n < 6 else 3)
    found = inspect(tmp_path, limit=3)
    assert (found.files, found.tried) == (9, 3)
    assert found.bands == {2: 2, 3: 1}
    with pytest.raises(ValueError, match="limit is 0"):
        inspect(tmp_path, limit=0)


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (10, 12, 3)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg")
    Image.fromarray(array).convert("RGBA").save(tmp_path / "b.png")
    Image.fromarray(array).convert("P").save(tmp_path / "c.png")
    tifffile.imwrite(tmp_path / "d.tif", array)
    found = inspect(tmp_path)
    assert found.shapes == {"3 x 10 x 12": 4}
    assert found.suggested_bands == ("r", "g", "b")
    assert found.radiometry == {"display": 4}
    Image.fromarray(array[..., 0]).save(tmp_path / "e.png")
    tifffile.imwrite(tmp_path / "f.tif", np.moveaxis(array, 2, 0).astype(np.float32)[:2], photometric="minisblack")
    assert inspect(tmp_path / "e.png").shapes == {"1 x 10 x 12": 1}
    assert inspect(tmp_path / "f.tif").shapes == {"2 x 10 x 12": 1}
    assert inspect(tmp_path / "f.tif").dtypes == {"float32": 1}


def test_an_hdu_or_a_file_a_band_suggests_their_names(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).normal(size=(2, 9, 9))
    hdus = [fits.ImageHDU(plane, name=name) for name, plane in zip(("G", "R"), planes, strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    assert inspect(tmp_path / "a.fits").suggested_bands == ("G", "R")
    (tmp_path / "b").mkdir()
    for band in ("F606W", "F814W"):
        fits.PrimaryHDU(planes[0], header=fits.Header({"FILTER": band})).writeto(tmp_path / "b" / f"{band}.fits")
    assert inspect(tmp_path / "b").suggested_bands == ("F606W", "F814W")


def test_files_of_many_objects_suggest_the_bands_that_they_name(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(4, 3, 12, 14)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=images, filters=np.array(["LSST_r", "LSST_i", "LSST_z"]))
    np.save(tmp_path / "b.npy", images)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["images"] = images
        file["images"].attrs["bands"] = ["LSST_r", "LSST_i", "LSST_z"]
    found = inspect(tmp_path)
    assert (found.readable, found.refusals) == (3, {})
    assert found.suggested_bands == ("LSST_r", "LSST_i", "LSST_z")
    assert found.bands == {3: 3}


def test_several_images_of_different_shapes_are_noted(tmp_path: Path) -> None:
    images = [fits.ImageHDU(np.random.default_rng(n).normal(size=(9, 9 + n))) for n in range(3)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "a.fits")
    found = inspect(tmp_path)
    assert found.shapes == {"1 x 9 x 9": 1}
    (note,) = found.notes
    assert note.startswith("1 file(s) hold several images of different shapes, of which one is read")


def test_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        inspect(tmp_path / "nope")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="none of 1 files ends in"):
        inspect(tmp_path)
    with pytest.raises(ValueError, match="none of 1 files"):
        inspect(tmp_path, suffixes=ANY_SUFFIX)
    (tmp_path / "1.2.840").touch()
    assert inspect(tmp_path, suffixes=ANY_SUFFIX).refusals.keys() == {"empty"}


def test_private_names_are_withheld(tmp_path: Path) -> None:
    (tmp_path / "Doe_John.png").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.2.Doe").write_bytes(b"Doe")
    found = inspect(tmp_path, suffixes=ANY_SUFFIX, private=True)
    assert (found.readable, found.tried) == (0, 2)
    for said in (found.text(), json.dumps(found.as_dict())):
        assert "Doe" not in said.replace("doe", "Doe")
        assert tmp_path.name not in said
    assert found.refusals["empty"].example == "file 1"
    with pytest.raises(CatalogError) as error:
        inspect(tmp_path / "Doe_Jane.png", private=True)
    assert error.value.public == "(withheld): no such file or folder"


def test_the_hostile_folder_ends_well(shared_data: Path) -> None:
    found = inspect(shared_data / "hostile" / "fits" / "derived")
    assert found.tried == 34
    assert found.readable + sum(refused.count for refused in found.refusals.values()) == 34
    assert found.readable >= 19
    text = found.text()
    assert "Traceback" not in text


def test_real_cubes(shared_data: Path) -> None:
    found: Inspection = inspect(shared_data / "galaxies" / "multiband" / "decals_grz")
    assert found.readable == 5
    assert found.suggested_bands == ("g", "r", "z")


def test_neither_torch_nor_matplotlib_is_imported() -> None:
    heavy = "{'torch', 'matplotlib', 'sklearn', 'umap'}"
    code = f"import sys, catalogs.inspection; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
