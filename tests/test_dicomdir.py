"""DICOMDIRs: the images that they name, in order, without a name in what is said; archives and discs as sources."""

import os
import random
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import radiograph
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid
from test_dicom_archives import FILES, TOKEN, packed, refused

from catalogs.canonical import CatalogSource
from catalogs.chest_xrays import dicomdir
from catalogs.chest_xrays.archives import is_medium, open_source
from catalogs.chest_xrays.dicomdir import FolderNames, dicomdir_files
from catalogs.columns import Columns
from catalogs.errors import CatalogError
from catalogs.inspection import inspect
from catalogs.reading import Cutout, Refusal, Request
from catalogs.scanning import ANY_SUFFIX, READABLE_SUFFIXES, is_source, root, scan
from catalogs.tables import read_catalog


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """The DICOMDIR of five radiographs of three patients, written by pydicom; their names and numbers are planted."""
    files = FileSet()
    for number in range(5):
        stored = np.full((16, 20), 100 + number, np.uint16)
        patient = f"{TOKEN}{number // 2}"
        files.add(
            radiograph(
                stored,
                SOPInstanceUID=generate_uid(entropy_srcs=[str(number)]),
                StudyInstanceUID=generate_uid(entropy_srcs=[patient]),
                SeriesInstanceUID=generate_uid(entropy_srcs=[patient, "series"]),
                **{"PatientID": patient, "PatientName": patient, "Modality": "CR", "InstanceNumber": number},
                **{"StudyDate": "20200101", "StudyTime": "1200", "StudyID": "1", "SeriesNumber": 1},
            )
        )
    files.write(tmp_path / "CD")
    files._stage["t"].cleanup()  # else its temporary folder is told about whenever it is collected
    return tmp_path / "CD" / "DICOMDIR"


def edited(path: Path, ids: list[str] | str, place: int = 0) -> Path:
    dataset = pydicom.dcmread(path)
    images = [record for record in dataset.DirectoryRecordSequence if record.DirectoryRecordType == "IMAGE"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images[place].ReferencedFileID = ids
        dataset.save_as(path)
    return path


def test_a_dicomdir_names_its_images_in_order(disc: Path) -> None:
    files = dicomdir_files(disc)
    assert [pydicom.dcmread(file).InstanceNumber for file in files] == [0, 1, 2, 3, 4]
    oracle = FileSet(disc)
    assert files == [Path(instance.path) for instance in oracle]
    oracle._stage["t"].cleanup()
    found = scan(disc, None, ("grey",), ANY_SUFFIX)
    assert found["id"].tolist() == [file.relative_to(disc.parent).as_posix() for file in files]


def test_a_folder_with_a_dicomdir_is_searched_but_for_the_dicomdir(disc: Path) -> None:
    named = dicomdir_files(disc)
    (disc.parent / "EXTRA").write_bytes(b"not in the list")
    found = scan(disc.parent, None, ("grey",), ANY_SUFFIX)["file"].tolist()
    assert sorted(found) == sorted(["EXTRA", *(file.relative_to(disc.parent).as_posix() for file in named)])
    archive = Path(shutil.make_archive(str(disc.parent), "zip", disc.parent))
    assert sorted(scan(archive, None, ("grey",), ANY_SUFFIX)["file"]) == sorted(found)


def test_file_ids_are_found_in_any_case_of_letters(disc: Path) -> None:
    upper = [file.relative_to(disc.parent).as_posix() for file in dicomdir_files(disc)]
    for folder, folders, names in os.walk(disc.parent, topdown=False):
        for name in [*names, *folders]:
            if name != "DICOMDIR":
                (Path(folder) / name).rename(Path(folder) / name.lower())
    assert [file.relative_to(disc.parent).as_posix() for file in dicomdir_files(disc)] == [n.lower() for n in upper]
    assert all(file.is_file() for file in dicomdir_files(disc))
    table = disc.parent.parent / "labels.csv"
    rows = [upper[0], upper[1].replace("/", "\\"), upper[2].lower(), "NOPE/IM", str(disc.parent / upper[3].lower())]
    table.write_text("image_id,file\n" + "".join(f"{n},{name}\n" for n, name in enumerate(rows)))
    source = CatalogSource("cd", table, disc, Columns(), ("grey",), suffixes=ANY_SUFFIX)
    paths = [row[0] for row in read_catalog(source, ())["paths"]]
    assert paths == [str(disc.parent / name) for name in [*(n.lower() for n in upper[:3]), "NOPE/IM", upper[3].lower()]]


def test_the_exact_name_comes_before_one_in_another_case(tmp_path: Path) -> None:
    for name in ("im1", "IM1", "Im1"):
        (tmp_path / name).write_text(name)
    names = FolderNames(tmp_path)
    assert [names.find([name]).name for name in ("im1", "IM1", "Im1")] == ["im1", "IM1", "Im1"]
    assert names.find(["nope", "x"]) == tmp_path / "nope" / "x"


def test_absent_and_double_and_unused_records(disc: Path) -> None:
    files = dicomdir_files(disc)
    files[1].unlink()
    assert dicomdir_files(disc) == files
    assert refused(files[1]) == "missing"
    edited(disc, list(files[0].relative_to(disc.parent).parts), place=2)
    assert dicomdir_files(disc) == [files[0], files[1], files[3], files[4]]
    dataset = pydicom.dcmread(disc)
    record = next(r for r in dataset.DirectoryRecordSequence if r.DirectoryRecordType == "IMAGE")
    record.RecordInUseFlag = 0
    dataset.save_as(disc)
    assert dicomdir_files(disc) == [files[1], files[0], files[3], files[4]]


ESCAPES = {
    "up": ["..", f"{TOKEN}"],
    "up and down": ["IMAGES", "..", "..", TOKEN],
    "absolute": ["", "etc", "passwd"],
    "slash": f"/{TOKEN}",
    "slashes inside": ["..", "a/../../b"],
    "relative in one": f"../{TOKEN}",
    "drive": ["C:", TOKEN],
    "dot": [".", TOKEN],
}


@pytest.mark.parametrize("ids", ESCAPES.values(), ids=ESCAPES)
def test_records_that_lead_out_of_the_folder_are_refused(disc: Path, ids: list[str] | str) -> None:
    (disc.parent.parent / TOKEN).write_bytes(b"outside")
    with pytest.raises(CatalogError, match="names files outside of its folder; name its folder") as error:
        dicomdir_files(edited(disc, ids))
    assert TOKEN not in error.value.public
    assert str(disc.parent) not in error.value.public


def test_links_that_lead_out_of_the_folder_are_refused(disc: Path) -> None:
    outside = disc.parent.parent / "outside"
    files = dicomdir_files(disc)
    shutil.move(files[0], outside)
    files[0].symlink_to(outside)
    with pytest.raises(CatalogError, match="outside of its folder"):
        dicomdir_files(disc)
    files[0].unlink()
    files[0].symlink_to(files[1])
    assert dicomdir_files(disc) == files


@pytest.mark.parametrize("variant", ["", "-bigEnd", "-implicit", "-nooffset", "-nopatient", "-reordered"])
def test_dicomdirs_as_they_come(variant: str) -> None:
    path = get_testdata_file(f"DICOMDIR{variant}", download=False)
    assert isinstance(path, str)
    files = dicomdir_files(Path(path))
    assert len(files) == 31
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize("undefined_length", [False, True])
def test_damaged_dicomdirs_are_told_without_names(disc: Path, undefined_length: bool) -> None:
    dataset = pydicom.dcmread(disc)
    dataset["DirectoryRecordSequence"].is_undefined_length = undefined_length
    dataset.save_as(disc)
    whole = disc.read_bytes()
    images = len(dicomdir_files(disc))
    for cut in [0, 100, 132, 200, *range(300, len(whole), 37)]:
        disc.write_bytes(whole[:cut])
        with pytest.raises(CatalogError) as error:
            dicomdir_files(disc)
        assert "name its folder in place of it" in error.value.public
        assert not any(word in error.value.public.lower() for word in (TOKEN.lower(), str(disc.parent).lower()))
    rng = random.Random(0)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(8):
            data[rng.randrange(132, len(data))] = rng.randrange(256)
        disc.write_bytes(data)
        try:
            assert len(dicomdir_files(disc)) <= images
        except CatalogError as error:
            assert TOKEN not in error.public  # noqa: PT017 - some damage harms no record


def test_what_is_no_dicomdir(disc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = dicomdir_files(disc)[0]
    shutil.copy(image, tmp_path / "DICOMDIR")
    with pytest.raises(CatalogError, match="is none: its file meta"):
        dicomdir_files(tmp_path / "DICOMDIR")
    empty = get_testdata_file("DICOMDIR-empty.dcm", download=False)
    assert isinstance(empty, str)
    with pytest.raises(CatalogError, match="names no images"):
        dicomdir_files(Path(empty))
    monkeypatch.setattr(dicomdir, "MAX_BYTES", 1000)
    with pytest.raises(CatalogError, match="more than 1,000 bytes"):
        dicomdir_files(disc)
    monkeypatch.undo()
    dataset = pydicom.dcmread(disc)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(disc)
    with pytest.raises(CatalogError, match="is deflated"):
        dicomdir_files(disc)


def test_what_may_be_named_as_images(tmp_path: Path, disc: Path) -> None:
    archive = packed(tmp_path / "a.zip", FILES)
    for images in (archive, disc):
        assert is_medium(images)
        assert is_source(images, ANY_SUFFIX)
        assert not is_source(images, READABLE_SUFFIXES)  # galaxies
        with pytest.raises(FileNotFoundError, match="images: no folder"):
            read_catalog(CatalogSource("g", None, images, Columns(), ("g",)), ())
    assert (root(archive), root(disc), root(tmp_path)) == (archive, disc.parent, tmp_path)
    for images in (tmp_path / "nope.zip", tmp_path / "DICOMDIR", dicomdir_files(disc)[0]):
        assert not is_source(images, ANY_SUFFIX)
        with pytest.raises(FileNotFoundError, match="no folder, zip archive or DICOMDIR") as error:
            read_catalog(CatalogSource("c", None, images, Columns(), ("grey",), suffixes=ANY_SUFFIX), ())
        assert isinstance(error.value, CatalogError)
        assert str(tmp_path) not in error.value.public


def read_by_source(rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]:
    """As much of a reader as an inspection needs, for its processes."""
    for paths in rows["paths"]:
        source = open_source(paths[0])
        if isinstance(source, Refusal):
            yield source
            continue
        with source as file:
            pixels = pydicom.dcmread(file).pixel_array
        yield Cutout(pixels[None].astype(np.float32), request.bands, "display")


def test_inspection_of_an_archive_and_of_a_dicomdir(disc: Path) -> None:
    (disc.parent / f"{TOKEN}_none").touch()
    archive = Path(shutil.make_archive(str(disc.parent), "zip", disc.parent))
    for path, files in ((disc, 5), (archive, 6), (disc.parent, 6)):
        found = inspect(path, read_by_source, suffixes=ANY_SUFFIX, private=True)
        assert (found.files, found.readable) == (files, 5)
        assert found.shapes == {"1 x 16 x 20": 5}
        assert TOKEN not in found.text() + str(found.as_dict())
        assert set(found.refusals) == ({"empty"} if files == 6 else set())
    archive.write_bytes(archive.read_bytes()[:500])
    with pytest.raises(CatalogError, match="damaged, or not one whole zip archive"):
        inspect(archive, read_by_source, suffixes=ANY_SUFFIX, private=True)
