"""What files tell besides their image: formats in our own words, whatever they hold; coarse numbers are few."""

import zipfile
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from astropy.io import fits
from dicom_files import radiograph, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

from catalogs.file_facts import coarse, file_facts, format_of

GREY = np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)


def told(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    facts = file_facts([str(path)], (40, 30))
    assert facts.bytes == len(content)
    assert (facts.rows, facts.columns) == (40, 30)
    return facts.format


def test_formats_and_number_formats_are_told_apart(tmp_path: Path) -> None:
    colour = np.stack([GREY] * 3, axis=2)
    assert told(tmp_path / "a", imagecodecs.jpeg_encode(GREY)) == "JPEG grey"
    assert told(tmp_path / "a", imagecodecs.jpeg_encode(colour)) == "JPEG colour"
    assert told(tmp_path / "a", imagecodecs.png_encode(GREY)) == "PNG 8 bits grey"
    assert told(tmp_path / "a", imagecodecs.png_encode(GREY.astype(np.uint16))) == "PNG 16 bits grey"
    assert told(tmp_path / "a", imagecodecs.png_encode(np.concatenate([colour, colour[:, :, :1]], 2))) == (
        "PNG 8 bits colour and alpha"
    )
    assert told(tmp_path / "a", b"GIF89a") == "other"
    fits.PrimaryHDU(GREY.astype(np.float32)).writeto(tmp_path / "b.fits")
    assert told(tmp_path / "b.fits", (tmp_path / "b.fits").read_bytes()) == "FITS -32"
    dataset = radiograph(GREY.astype(np.uint16))
    plain = write(dataset, tmp_path / "c.dcm").read_bytes()
    assert told(tmp_path / "c.dcm", plain) == "DICOM native"
    dataset.compress(RLELossless)
    assert told(tmp_path / "c.dcm", write(dataset, tmp_path / "c.dcm").read_bytes()) == "DICOM RLE"
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("c.dcm", plain)
    member = file_facts([str(tmp_path / "d.zip" / "c.dcm")], (40, 30))
    assert (member.format, member.bytes) == ("DICOM native", len(plain))


def test_bytes_are_of_files_of_one_image_alone_and_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    for name in ("g", "r"):
        (tmp_path / name).write_bytes(b"\x89HDF" + bytes(96))
    both = [str(tmp_path / "g"), str(tmp_path / "r")]
    assert file_facts(both, (5, 5)).bytes == 200
    assert np.isnan(file_facts(both, (5, 5), alone=False).bytes)
    assert file_facts(both, (5, 5), alone=False).format == "HDF5"
    gone = file_facts([str(tmp_path / "gone")], (5, 5))
    assert np.isnan(gone.bytes)
    assert gone.format == ""
    assert file_facts([], (5, 5)).format == ""


@settings(deadline=None)
@given(st.floats(1, 1e12))
def test_coarse_numbers_are_near_and_four_an_octave(value: float) -> None:
    near = coarse(value)
    assert abs(near - value) <= max(0.1 * value, 0.5)
    assert near == float(int(near))
    assert len({coarse(value * 2**share) for share in np.linspace(0, 1, 50)}) <= 6


def test_coarse_numbers_of_patients_files_name_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(123_457))
    facts = file_facts([str(tmp_path / "a")], (2022, 1777), coarse_numbers=True)
    assert (facts.bytes, facts.rows, facts.columns) == (131_072, 2048, 1722)
    assert np.isnan(coarse(float("nan")))


@pytest.mark.parametrize("start", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(128) + b"DICM", b"SIMPLE  ="])
@settings(deadline=None)
@given(rest=st.binary(max_size=64))
def test_no_word_of_a_file_is_repeated(start: bytes, rest: bytes) -> None:
    words = {"", "other", "JPEG", "JPEG grey", "JPEG colour", "PNG", "FITS", "DICOM other", "DICOM native"}
    words |= {"TIFF", "HDF5", "NumPy", "Parquet", "gzip"}
    found = format_of(start + rest)
    assert found in words or found.startswith(("PNG 8 bits", "PNG 1", "PNG 2 bits", "PNG 4 bits", "PNG other bits"))
    assert len(found) < 40
