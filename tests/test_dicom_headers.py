"""What is asked of a DICOM file before its pixels are decoded, and what may be said of it."""

import logging
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dicom_files import CR, lut, radiograph, write
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from catalogs.chest_xrays import archives, headers
from catalogs.chest_xrays.headers import header_flags, read_header
from catalogs.chest_xrays.pixels import decode
from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.chest_xrays.streams import stream_size
from catalogs.chest_xrays.survey import survey
from catalogs.reading import Cutout, Refusal, Request

RAMP = np.arange(0, 1024, dtype=np.uint16).reshape(32, 32)
TOKEN = "ZQXTOKEN"


def answer(path: Path, *more: Path, bands: tuple[str, ...] = ("grey",), white: float | None = None) -> Cutout | Refusal:
    paths = tuple(str(p) for p in (path, *more))
    (outcome,) = read_chest_xrays(pd.DataFrame({"object_id": ["a"], "paths": [paths]}), Request(bands, white))
    return outcome


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no rows": ("bad_header", {"Rows": None}),
    "rows 0": ("bad_header", {"Rows": 0}),
    "no columns": ("bad_header", {"Columns": None}),
    "huge": ("too_large", {"Rows": 65535, "Columns": 65535}),
    "longer than its pixels": ("truncated", {"Rows": 33}),
    "frames": ("multi_frame", {"NumberOfFrames": 2}),
    "negative frames": ("bad_header", {"NumberOfFrames": -1}),
    "RGB": ("colour", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
    "palette": ("colour", {"PhotometricInterpretation": "PALETTE COLOR"}),
    "two samples": ("colour", {"SamplesPerPixel": 2}),
    "no samples": ("bad_header", {"SamplesPerPixel": None}),
    "strange interpretation": ("bad_header", {"PhotometricInterpretation": TOKEN}),
    "no interpretation": ("bad_header", {"PhotometricInterpretation": None}),
    "no bits": ("bad_header", {"BitsAllocated": None}),
    "32 bits": ("bad_header", {"BitsAllocated": 32}),
    "bits stored": ("bad_header", {"BitsStored": 17}),
    "high bit": ("bad_header", {"BitsStored": 10, "HighBit": 15}),
    "representation": ("bad_header", {"PixelRepresentation": 2}),
    "no pixels": ("no_pixels", {"PixelData": None}),
    "MR": ("not_radiograph", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}),
    "private class": ("not_radiograph", {"SOPClassUID": "1.2.3.4.5.6.7"}),
    "PDF": ("not_image", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "PixelData": None}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_headers_are_refused_for_what_is_wrong(case: str, tmp_path: Path) -> None:
    reason, tags = REFUSED[case]
    outcome = read_header(write(radiograph(RAMP, **tags), tmp_path / "a.dcm"))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == reason
    assert TOKEN not in outcome.detail
    assert "1.2.3.4" not in outcome.detail


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    good = write(radiograph(RAMP), tmp_path / "good.dcm").read_bytes()
    contents = {
        "empty": b"",
        "not_dicom": b"<html>" * 100,
        "no_file_meta": good[132 + 12 + int.from_bytes(good[140:144], "little") :],
        "no_transfer_syntax": good[:132] + good[132 + 12 + int.from_bytes(good[140:144], "little") :],
    }
    for reason, content in contents.items():
        path = tmp_path / reason
        path.write_bytes(content)
        outcome = answer(path)
        assert isinstance(outcome, Refusal)
        assert outcome.reason == reason
        assert survey(path) is None
    missing = answer(tmp_path / "absent")
    assert isinstance(missing, Refusal)
    assert missing.reason == "missing"
    (nothing,) = read_chest_xrays(pd.DataFrame({"object_id": ["a"], "paths": [()]}), Request(("grey",)))
    assert isinstance(nothing, Refusal)
    assert nothing.reason == "missing"


@pytest.mark.parametrize(
    ("sop_class", "flags"),
    [
        (CR, ()),
        ("1.2.840.10008.5.1.4.1.1.1.1", ()),
        ("1.2.840.10008.5.1.4.1.1.1.1.1", ("for processing",)),
        ("1.2.840.10008.5.1.4.1.1.7", ("secondary capture",)),
    ],
)
def test_radiographs_are_taken_with_flags(sop_class: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    outcome = answer(write(radiograph(RAMP, SOPClassUID=sop_class), tmp_path / "a.dcm"))
    assert isinstance(outcome, Cutout)
    assert outcome.flags == (*flags, "no declared window")
    assert outcome.radiometry == "display"


def test_zero_frames_are_one_and_flagged(tmp_path: Path) -> None:
    window = {"WindowCenter": 512, "WindowWidth": 1024}
    outcome = answer(write(radiograph(RAMP, NumberOfFrames=0, **window), tmp_path / "a.dcm"))
    assert isinstance(outcome, Cutout)
    assert outcome.flags == ("0 frames declared",)
    assert outcome.pixels.shape == (1, 32, 32)


def test_grey_is_repeated_for_three_bands_and_for_no_other_number(tmp_path: Path) -> None:
    path = write(radiograph(RAMP), tmp_path / "a.dcm")
    outcome = answer(path, bands=("r", "g", "b"))
    assert isinstance(outcome, Cutout)
    assert outcome.pixels.shape == (3, 32, 32)
    np.testing.assert_array_equal(outcome.pixels[0], outcome.pixels[2])
    for refused in (answer(path, bands=("a", "b")), answer(path, path)):
        assert isinstance(refused, Refusal)
        assert refused.reason == "bands"


def test_pictures_are_read_as_pictures(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    Image.fromarray((RAMP // 4).astype(np.uint8)).save(tmp_path / "no_suffix", format="JPEG", quality=95)
    outcome = answer(tmp_path / "a.png", white=1023)
    assert isinstance(outcome, Cutout)
    np.testing.assert_allclose(outcome.pixels[0], RAMP / 1023, atol=1e-6)
    assert isinstance(answer(tmp_path / "no_suffix"), Cutout)
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    broken = answer(tmp_path / "broken.png")
    assert broken == Refusal("undecodable", "the picture cannot be decoded")


def test_a_tiff_in_the_preamble_does_not_make_a_picture(tmp_path: Path) -> None:
    content = write(radiograph(RAMP), tmp_path / "a.dcm").read_bytes()
    (tmp_path / "b.dcm").write_bytes(b"II*\0" + content[4:])
    assert isinstance(answer(tmp_path / "b.dcm"), Cutout)


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(radiograph(RAMP, syntax="1.2.840.10008.1.2.1.99"), tmp_path / "a.dcm")
    assert isinstance(answer(path), Cutout)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:start] + squeezed.compress(bytes(3_000_000)) + squeezed.flush())
    monkeypatch.setattr(headers, "MAX_BYTES", 1_000_000)
    outcome = answer(path)
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "too_large"
    assert survey(path) is None


@pytest.mark.parametrize("highest", [4096, 2])  # what shrinks much is inflated piece by piece
def test_a_deflated_data_set_is_read_as_pydicom_reads_it(tmp_path: Path, highest: int) -> None:
    noise = np.random.default_rng(0).integers(0, highest, (1100, 1000)).astype(np.uint16)  # of several pieces
    tags = {"SpecificCharacterSet": "ISO_IR 192", "ImageComments": "é", "WindowCenter": 2000, "WindowWidth": 4000}
    path = write(radiograph(noise, 12, DeflatedExplicitVRLittleEndian, **tags), tmp_path / "a.dcm")
    header, expected = read_header(path), dcmread(path)
    deflated = path.read_bytes()[144 + int.from_bytes(path.read_bytes()[140:144], "little") :]
    assert bool(headers._inflated_at_once(deflated)) == (highest > 2)
    assert header == expected
    assert header.file_meta == expected.file_meta
    np.testing.assert_array_equal(header.pixel_array, noise)
    content = path.read_bytes()
    (tmp_path / "padded.dcm").write_bytes(content + b"\0")
    assert read_header(tmp_path / "padded.dcm") == expected
    (tmp_path / "short.dcm").write_bytes(content[:-9])
    assert read_header(tmp_path / "short.dcm") == Refusal(
        "bad_header", "the header cannot be read (an error of the decoder's own)"
    )


def test_files_too_large_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(radiograph(RAMP), tmp_path / "a.dcm")
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    outcome = answer(path)
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "too_large"


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_of_another_size_than_its_header_is_not_decoded(syntax: str, tmp_path: Path) -> None:
    dataset = radiograph(RAMP)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.Rows = 31
    outcome = answer(write(dataset, tmp_path / "a.dcm"))
    assert outcome == Refusal("shape", "the compressed image has 32 x 32 pixels, the header 31 x 32")


def test_sizes_of_jpeg_streams(tmp_path: Path) -> None:
    Image.fromarray((RAMP[:20] // 4).astype(np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    assert stream_size(content) == (20, 32, 1)
    for n in range(len(content)):
        assert stream_size(content[:n]) in (None, (20, 32, 1))
    assert stream_size(b"") is None
    assert stream_size(b"\xff\xd8" + b"\xff" * 50) is None


def test_a_run_length_stream_that_holds_the_start_of_another_kind_is_read(tmp_path: Path) -> None:
    stored = RAMP.astype(np.uint16).copy()
    stored[3, :4] = [0xFF4F, 0xFF51, 0x0101, 0x0202]
    stored[:, 8:12] = np.array([0xFF, 0x4F, 0xFF, 0x51], np.uint16) << 8  # the high bytes, which are a segment
    dataset = radiograph(stored)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    assert b"\xff\x4f\xff\x51" in dataset.PixelData
    assert isinstance(answer(write(dataset, tmp_path / "a.dcm")), Cutout)


def test_a_run_length_stream_longer_than_its_header_is_refused(tmp_path: Path) -> None:
    dataset = radiograph(RAMP)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.Rows = 8
    outcome = answer(write(dataset, tmp_path / "a.dcm"))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "undecodable"


def test_a_damaged_jpeg_ls_stream_does_not_end_the_process(tmp_path: Path) -> None:
    dataset = radiograph(RAMP)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    content = bytearray(write(dataset, tmp_path / "a.dcm").read_bytes())
    start_of_frame = content.index(b"\xff\xf7")
    content[start_of_frame + 4] = 99  # bits per sample; GDCM's decoder throws through C at this
    (tmp_path / "a.dcm").write_bytes(content)
    outcome = answer(tmp_path / "a.dcm")
    said = "16-bit pixels in JPEG-LS Lossless Image Compression cannot be decoded (RuntimeError)"
    assert outcome == Refusal("undecodable", said)


def test_a_panic_of_a_decoder_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def raising(error: BaseException) -> Any:
        def pixel_array(*_: Any, **__: Any) -> None:
            raise error

        return pixel_array

    for error, reason in (
        (Panic(TOKEN), "undecodable"),
        (ValueError(TOKEN), "undecodable"),
        (MemoryError(), "too_large"),
    ):
        monkeypatch.setattr("catalogs.chest_xrays.pixels.pixel_array", raising(error))
        outcome = decode(radiograph(RAMP, syntax=ExplicitVRBigEndian))  # of which pydicom decodes the pixels
        assert isinstance(outcome, Refusal)
        assert outcome.reason == reason
        assert TOKEN not in outcome.detail
        assert "Panic" not in outcome.detail
    monkeypatch.setattr("catalogs.chest_xrays.pixels.pixel_array", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        decode(radiograph(RAMP, syntax=ExplicitVRBigEndian))


def test_every_truncation_and_many_flips_give_an_answer(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    path = tmp_path / "a.dcm"
    for syntax in (None, JPEG2000Lossless, JPEGLSLossless):
        dataset = radiograph(RAMP, PatientID="1", WindowCenter=500, WindowWidth=600)
        if syntax:
            dataset.compress(syntax, generate_instance_uid=False)
        content = write(dataset, path).read_bytes()
        for end in range(0, len(content), 23):
            path.write_bytes(content[:end])
            assert isinstance(answer(path), Cutout | Refusal)
            survey(path)
        for _ in range(60):
            damaged = bytearray(content)
            for position in random.integers(132, len(content), 4):
                damaged[position] = random.integers(256)
            path.write_bytes(damaged)
            assert isinstance(answer(path), Cutout | Refusal)
            survey(path)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    start = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    good = write(radiograph(RAMP), tmp_path / "a.dcm").read_bytes()
    path = tmp_path / "b.dcm"
    path.write_bytes(good[: 144 + int.from_bytes(good[140:144], "little")] + start * 5000)
    outcome = answer(path)
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "bad_header"


def every_text(dataset: Dataset) -> None:
    """A token in each tag that holds text, numbers' texts included, and in private tags."""
    for keyword in (
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientAddress", "OtherPatientIDs", "PatientComments"),
        *("InstitutionName", "ReferringPhysicianName", "OperatorsName", "DeviceSerialNumber", "StationName"),
        *("StudyDescription", "SeriesDescription", "ImageComments", "AccessionNumber", "StudyID", "ProtocolName"),
        *("BurnedInAnnotation", "BodyPartExamined", "ViewPosition", "Modality", "Manufacturer", "SoftwareVersions"),
        *(
            "WindowCenterWidthExplanation",
            "LossyImageCompressionMethod",
            "DerivationDescription",
            "SpecificCharacterSet",
        ),
    ):
        setattr(dataset, keyword, TOKEN)
    for keyword in ("StudyDate", "PatientBirthDate", "PatientAge", "StudyTime"):
        dataset.add_new(keyword, "LO", TOKEN)
    dataset.private_block(0x0009, TOKEN, create=True).add_new(1, "LO", TOKEN)


def planted(damage: str) -> FileDataset:
    """A radiograph with the token everywhere, and with it in the place of what `damage` names."""
    dataset = radiograph(RAMP, WindowCenter=500, WindowWidth=600)
    if damage in ("SOPClassUID", "TransferSyntaxUID"):
        setattr(dataset if damage == "SOPClassUID" else dataset.file_meta, damage, f"1.2.3.{TOKEN}")
    elif damage == "VOILUTSequence":
        dataset.VOILUTSequence = [lut([1, 2], 0, 12)]
        dataset.VOILUTSequence[0].add_new("LUTExplanation", "LO", TOKEN)
        dataset.VOILUTSequence[0].add_new("LUTDescriptor", "LO", TOKEN)
    elif damage == "PixelData":
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([TOKEN.encode()])
        dataset["PixelData"].VR = "OB"
    elif damage != "none":
        dataset.add_new(damage, "LO", TOKEN)
    every_text(dataset)
    return dataset


@pytest.mark.parametrize(
    "damage",
    [
        *("none", "PhotometricInterpretation", "NumberOfFrames", "Rows", "BitsStored", "SamplesPerPixel"),
        *("PresentationLUTShape", "VOILUTFunction", "WindowCenter", "RescaleSlope", "PixelPaddingValue", "SOPClassUID"),
        *("VOILUTSequence", "TransferSyntaxUID", "PixelData", "PixelRepresentation"),
    ],
)
def test_nothing_of_the_tags_is_repeated(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / TOKEN
    folder.mkdir()
    path = folder / f"{TOKEN}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(planted(damage), path)
    assert TOKEN.encode() in path.read_bytes()
    capfd.readouterr()
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        outcome = answer(path)
    said = repr(outcome.flags) if isinstance(outcome, Cutout) else repr(outcome)
    assert isinstance(outcome, Cutout) or damage != "none"
    captured = capfd.readouterr()
    for text in (said, caplog.text, captured.out, captured.err):
        assert TOKEN not in text
    assert str(folder) not in said


def test_a_good_header_keeps_what_decoding_needs(tmp_path: Path) -> None:
    path = write(radiograph(RAMP), tmp_path / "a.dcm")
    header = read_header(path)
    assert not isinstance(header, Refusal)
    assert header_flags(header) == ()
    assert header == dcmread(path)
    assert header.Rows * header.Columns < archives.MAX_PIXELS


def test_white_must_be_positive() -> None:
    with pytest.raises(ValueError, match="white is 0"):
        Request(("grey",), white=0)
