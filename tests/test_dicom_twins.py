"""One radiograph in two polarities or in any lossless transfer syntax is one picture, through the reader."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pandas as pd
import pytest
from dicom_files import radiograph, write
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Integer, UInt16
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.reading import Cutout, Refusal, Request
from catalogs.samples.radiographs import simulate, write_radiographs

EXPLICIT = "1.2.840.10008.1.2.1"


def read(path: Path) -> Cutout | Refusal:
    (answer,) = read_chest_xrays(pd.DataFrame({"object_id": ["a"], "paths": [(str(path),)]}), Request(("grey",)))
    return answer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twins")


@dataclass(frozen=True)
class Window:
    """What both twins declare; numbers are multiples of a quarter, so that decimal strings hold them and sums exactly.

    `centre` lies in the modality's values of the upright twin, and mirrors about the middle of their range.
    """

    function: str | None
    centre: float
    width: float

    def tags(self, mirror: float | None) -> dict[str, Any]:
        """Those of one twin; `mirror` is the sum of a value and its mirrored one. LINEAR is centred on c - 0.5."""
        centre = self.centre
        if mirror is not None:
            centre = mirror - centre + (1 if self.function in (None, "LINEAR") else 0)
        tags = {"WindowCenter": centre, "WindowWidth": self.width}
        return tags if self.function is None else tags | {"VOILUTFunction": self.function}


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_monochrome1_file_and_its_inverted_monochrome2_twin_are_equal(data: st.DataObject, folder: Path) -> None:
    bits = data.draw(st.integers(8, 16), label="bits")
    signed = bits > 8 and data.draw(st.booleans(), label="signed")
    lowest = -(2 ** (bits - 1)) if signed else 0
    highest = lowest + 2**bits - 1
    dtype = np.dtype(np.int16 if signed else np.uint8 if bits == 8 else np.uint16)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    values = rng.integers(lowest, highest, (13, 17), endpoint=True)
    slope = data.draw(st.sampled_from([None, 1.0, 0.25, 2.0, -1.5]), label="slope")
    intercept = data.draw(st.integers(-2000, 2000), label="intercept")
    tags: dict[str, Any] = {}
    if slope is not None:
        tags = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    factor, offset = (1.0, 0) if slope is None else (slope, intercept)
    mirrored = dict(tags)
    if data.draw(st.booleans(), label="window"):
        centre = factor * int(rng.integers(lowest, highest)) + offset
        width = data.draw(st.integers(2, 2**bits)) + data.draw(st.sampled_from([0.0, 0.25, 0.5]))
        window = Window(data.draw(st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])), centre, width)
        tags |= window.tags(None)
        mirrored |= window.tags(factor * (lowest + highest) + 2 * offset)
    padding = data.draw(st.sampled_from(["none", "value", "range"]), label="padding")
    upright, inverted = (values.astype(dtype), (lowest + highest - values).astype(dtype))
    shape = data.draw(st.sampled_from([None, "IDENTITY"]), label="shape of MONOCHROME2")
    one = radiograph(upright, bits, **tags, **_shape(shape))
    # MONOCHROME1 says it alone, with the shape that goes with it, or the shape says it alone.
    how = data.draw(st.sampled_from([("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE")]))
    two = radiograph(inverted, bits, **mirrored, PhotometricInterpretation=how[0], **_shape(how[1]))
    if padding != "none":
        ends = sorted(int(value) for value in rng.integers(lowest, highest, 2, endpoint=True))
        for dataset, (first, last) in ((one, ends), (two, [lowest + highest - end for end in ends])):
            dataset.add_new("PixelPaddingValue", "SS" if signed else "US", first)
            if padding == "range":
                dataset.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", last)
    answers = [read(write(dataset, folder / f"{n}.dcm")) for n, dataset in enumerate((one, two))]
    if isinstance(answers[0], Refusal):
        assert isinstance(answers[1], Refusal)
        assert answers[0].reason == answers[1].reason in ("constant", "no_valid_pixels")
        return
    assert isinstance(answers[1], Cutout), answers[1]
    np.testing.assert_allclose(answers[1].pixels, answers[0].pixels, atol=1e-6, rtol=0)


def _shape(shape: str | None) -> dict[str, str]:
    return {} if shape is None else {"PresentationLUTShape": shape}


# Transfer syntax, and how pydicom encodes it; None where it need not.
LOSSLESS: dict[str, tuple[str, str | None]] = {
    "explicit": (EXPLICIT, None),
    "implicit": ("1.2.840.10008.1.2", None),
    "big endian": ("1.2.840.10008.1.2.2", None),
    "deflated": ("1.2.840.10008.1.2.1.99", None),
    "RLE": (RLELossless, "pylibjpeg"),
    "JPEG-LS": (JPEGLSLossless, "pyjpegls"),
    "JPEG 2000": (JPEG2000Lossless, "pylibjpeg"),
    "JPEG Lossless": (JPEGLosslessSV1, None),
    "JPEG Lossless, any predictor": (JPEGLossless, None),
}


def encoded(stored: Integer[np.ndarray, "y x"], bits: int, name: str, **tags: Any) -> FileDataset:
    """The stored values in one of the `LOSSLESS` transfer syntaxes."""
    syntax, encoder = LOSSLESS[name]
    lossless_jpeg = syntax in (JPEGLosslessSV1, JPEGLossless)
    dataset = radiograph(stored, bits, EXPLICIT if encoder else syntax, **tags)
    if lossless_jpeg:
        predictor = 1 if syntax == JPEGLosslessSV1 else 4
        stream = imagecodecs.jpeg8_encode(stored, lossless=True, predictor=predictor, bitspersample=bits)
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
    elif encoder:
        dataset.compress(syntax, encoding_plugin=encoder, generate_instance_uid=False)
    return dataset


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return simulate(0, 0, 1, 128)[0]


@pytest.mark.parametrize("bits", [8, 10, 15, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_radiograph_is_the_same_in_all_lossless_syntaxes(
    bits: int, photometric: str, picture: np.ndarray, tmp_path: Path
) -> None:
    stored = np.rint(picture * (2**bits - 2)).astype(np.uint8 if bits == 8 else np.uint16)
    stored[:, :5] = 2**bits - 1
    tags = {"PhotometricInterpretation": photometric, "WindowCenter": 2 ** (bits - 1), "WindowWidth": 0.8 * 2**bits}
    pictures = {}
    for name in LOSSLESS:
        dataset = encoded(stored, bits, name, **tags)
        dataset.add_new("PixelPaddingValue", "US", 2**bits - 1)
        answer = read(write(dataset, tmp_path / f"{len(pictures)}.dcm"))
        assert isinstance(answer, Cutout), (name, answer)
        pictures[name] = answer.pixels
    assert np.isnan(pictures["explicit"][0, :, :5]).all()
    for name, pixels in pictures.items():
        np.testing.assert_array_equal(pixels, pictures["explicit"], err_msg=name)


def test_simulated_files_are_read_as_pydicom_displays_them(tmp_path: Path) -> None:
    table = pd.read_csv(write_radiographs(tmp_path, 30, 7, size=128))
    compared = 0
    for file in table["file"]:
        dataset = dcmread(tmp_path / "images" / file)
        if "WindowCenter" not in dataset:
            continue
        stored: UInt16[np.ndarray, "y x"] = dataset.pixel_array
        values = apply_modality_lut(stored, dataset)
        shown = apply_voi_lut(values.astype(np.int32), dataset, index=0) / (2**dataset.BitsStored - 1)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            shown = 1 - shown
        answer = read(tmp_path / "images" / file)
        assert isinstance(answer, Cutout), answer
        valid = ~np.isnan(answer.pixels[0])
        if (padding := dataset.get("PixelPaddingValue")) is not None:
            np.testing.assert_array_equal(valid, stored != padding)
        np.testing.assert_allclose(answer.pixels[0][valid], shown[valid], atol=1e-6)
        compared += 1
    assert compared > 10
