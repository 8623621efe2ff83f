"""A simulated radiograph as a DICOM object: CR or DX for presentation, in the encodings that archives hold.

Attributes follow DICOM PS3.3 A.2 (CR) and A.26 (DX). Every name, identifier and date is invented.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from catalogs.samples.radiograph_exposures import Exposure
from catalogs.samples.radiograph_orientation import field_of_view
from catalogs.samples.radiograph_scanners import Scanner

# Encoders by name: with another choice of pydicom's the same pixels would be other bytes.
_SYNTAXES: tuple[tuple[UID, float, str | None], ...] = (
    (ExplicitVRLittleEndian, 0.26, None),
    (ImplicitVRLittleEndian, 0.16, None),
    (JPEG2000Lossless, 0.16, "pylibjpeg"),
    (JPEGLSLossless, 0.16, "pyjpegls"),
    (RLELossless, 0.16, "pylibjpeg"),
    (DeflatedExplicitVRLittleEndian, 0.10, None),
)
# SNOMED CT codes of CID 4010, PS3.16.
_VIEWS = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
}
_TARGET = 400  # exposure index for which the devices are set
_NAMESPACE = "domainssl simulated radiographs"


@dataclass(frozen=True)
class Encoding:
    """How a picture becomes stored values."""

    digital: bool  # DX rather than CR
    bits: int
    monochrome: Literal["MONOCHROME1", "MONOCHROME2"]
    syntax: int  # index into the transfer syntaxes above
    low: float  # where in the range of stored values black and white lie
    high: float
    window: tuple[float, float] | None  # in the picture's units: centre, width
    border: Literal["padding", "black", "white"]
    says_burned_in: bool  # BurnedInAnnotation is given; DX demands it
    says_detector_spacing: bool  # ImagerPixelSpacing, rather than PixelSpacing; DX demands it
    suffix: Literal[".dcm", ""]


def draw_encoding(rng: np.random.Generator, scanner: Scanner) -> Encoding:
    """The encoding of one file. As many numbers are drawn for one scanner as for another, in the same order."""
    which, inverse, windowed, padded, white, says, suffix = rng.random(7)
    centre, width, low, high = rng.uniform((0.47, 0.94, 0.02, 0.80), (0.54, 1.08, 0.15, 0.98)).tolist()
    shares = [share for _, share, _ in _SYNTAXES]
    return Encoding(
        digital=scanner.digital,
        bits=scanner.bits[int(which < 0.4)],
        monochrome="MONOCHROME1" if inverse < scanner.inverse else "MONOCHROME2",
        syntax=int(rng.choice(len(_SYNTAXES), p=shares)),
        low=low,
        high=high,
        window=(centre, width) if windowed < 0.7 else None,
        border="padding" if padded < 0.6 else "black" if white < 0.6 else "white",
        says_burned_in=scanner.digital or bool(says < 0.6),
        says_detector_spacing=scanner.digital or bool(rng.random() < 0.6),
        suffix=".dcm" if suffix < 0.9 else "",
    )


def stored_values(
    picture: Float32[np.ndarray, "y x"], padded: Bool[np.ndarray, "y x"], encoding: Encoding
) -> UInt16[np.ndarray, "y x"]:
    """The picture (0 black .. 1 white) as integers of `bits` bits; padded pixels get the value that shows as black."""
    largest = 2**encoding.bits - 1
    shown = np.rint(largest * (encoding.low + np.clip(picture, 0, 1) * (encoding.high - encoding.low)))
    shown = np.where(padded, 0, shown).astype(np.uint16)
    return np.asarray(largest - shown if encoding.monochrome == "MONOCHROME1" else shown, np.uint16)


def write_dicom(
    path: Path,
    pixels: UInt16[np.ndarray, "y x"],
    encoding: Encoding,
    row: Mapping[str, Any],
    *,
    exposure: Exposure,
    padded: bool,
    burned_in: bool,
    wrong_polarity: bool,
) -> None:
    """Writes one object; `row` is the table's. `wrong_polarity` swaps what the header says of black and white."""
    dataset = Dataset()
    _patient_and_study(dataset, row)
    _series(dataset, encoding, exposure.scanner, row)
    monochrome: str = encoding.monochrome
    if wrong_polarity:
        monochrome = "MONOCHROME2" if monochrome == "MONOCHROME1" else "MONOCHROME1"
    _image(dataset, encoding, monochrome, exposure, row)
    if encoding.says_burned_in:
        dataset.BurnedInAnnotation = "YES" if burned_in else "NO"
    if encoding.window is not None:
        _window(dataset, encoding, encoding.window)
    syntax, _, encoder = _SYNTAXES[encoding.syntax]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if encoder else syntax
    dataset.set_pixel_data(pixels, monochrome, encoding.bits, generate_instance_uid=False)
    if padded:
        dataset.add_new("PixelPaddingValue", "US", 2**encoding.bits - 1 if encoding.monochrome == "MONOCHROME1" else 0)
    if encoder:
        dataset.compress(syntax, encoding_plugin=encoder, generate_instance_uid=False)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)


def _uid(*parts: object) -> UID:
    """A UID under 2.25 (PS3.5 B.2) made from a hash: the same parts give the same UID."""
    text = "/".join([_NAMESPACE, *map(str, parts)])
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15])}")


def _patient_and_study(dataset: Dataset, row: Mapping[str, Any]) -> None:
    dataset.PatientName = f"Simulated^Patient {row['patient']:04d}"
    dataset.PatientID = row["patient_id"]
    dataset.IssuerOfPatientID = row["issuer"]
    dataset.PatientSex = row["sex"]
    dataset.PatientBirthDate = f"{int(row['date'][:4]) - row['age']:04d}0101"
    dataset.PatientAge = f"{row['age']:03d}Y"
    dataset.StudyInstanceUID = _uid(row["seed"], "study", row["study_id"])
    dataset.StudyDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.SeriesDate = row["date"]
    dataset.StudyTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.SeriesTime = "120000"
    dataset.StudyID = row["study_id"]
    dataset.AccessionNumber = f"SIM{row['index']:07d}"
    dataset.ReferringPhysicianName = "Simulated^Physician"
    dataset.StudyDescription = "SIMULATED chest radiograph"


def _series(dataset: Dataset, encoding: Encoding, scanner: Scanner, row: Mapping[str, Any]) -> None:
    dataset.Modality = "DX" if encoding.digital else "CR"
    dataset.SeriesInstanceUID = _uid(row["seed"], "series", row["image_id"])
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "SIMULATED"
    dataset.Laterality = ""
    dataset.BodyPartExamined = "CHEST"
    if row["view_said"] in ("position", "both"):
        dataset.ViewPosition = row["view"]
    elif not encoding.digital:
        dataset.ViewPosition = ""  # type 2 in CR
    if row["view_said"] in ("code", "both"):
        view = _code(*_VIEWS[row["view"]])
        view.ViewModifierCodeSequence = Sequence()
        dataset.ViewCodeSequence = Sequence([view])
    dataset.Manufacturer = "Simulated"
    dataset.ManufacturerModelName = scanner.model
    dataset.InstitutionName = f"Simulated Hospital {row['site']}"
    if encoding.digital:
        dataset.PresentationIntentType = "FOR PRESENTATION"


def _image(dataset: Dataset, encoding: Encoding, monochrome: str, exposure: Exposure, row: Mapping[str, Any]) -> None:
    dataset.SOPClassUID = (
        DigitalXRayImageStorageForPresentation if encoding.digital else ComputedRadiographyImageStorage
    )
    dataset.SOPInstanceUID = _uid(row["seed"], "image", row["image_id"])
    dataset.InstanceNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = "Simulated: no patient was exposed"
    dataset.ImageComments = "SIMULATED"
    dataset.PatientOrientation = list(row["orientation"])
    spacing = [f"{10 * exposure.pixel_cm:.5f}"] * 2
    if encoding.says_detector_spacing:
        dataset.ImagerPixelSpacing = spacing
    else:
        dataset.PixelSpacing = spacing
    if not encoding.digital:
        return
    dataset.PresentationLUTShape = "INVERSE" if monochrome == "MONOCHROME1" else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if monochrome == "MONOCHROME1" else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.LossyImageCompression = "00"
    dataset.ImageLaterality = "U"
    dataset.DetectorType = "DIRECT"
    dataset.PositionerType = ""
    dataset.AcquisitionContextSequence = Sequence()
    dataset.AnatomicRegionSequence = Sequence([_code("51185008", "Chest")])
    degrees, flipped = field_of_view(row["view"], row["orientation"])
    dataset.FieldOfViewRotation, dataset.FieldOfViewHorizontalFlip = str(degrees), "YES" if flipped else "NO"
    # IEC 62494-1: the deviation index is ten times the decadic logarithm of the dose over the target's.
    dataset.ExposureIndex, dataset.TargetExposureIndex = f"{_TARGET * 2**exposure.dose:.1f}", str(_TARGET)
    dataset.DeviationIndex = f"{10 * exposure.dose * math.log10(2):.1f}"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _window(dataset: Dataset, encoding: Encoding, window: tuple[float, float]) -> None:
    """VOI LUT by LINEAR window (PS3.3 C.11.2), over stored values."""
    largest, (centre, width) = 2**encoding.bits - 1, window
    middle = largest * (encoding.low + centre * (encoding.high - encoding.low))
    dataset.WindowCenter = f"{largest - middle if encoding.monochrome == 'MONOCHROME1' else middle:.1f}"
    dataset.WindowWidth = f"{max(largest * width * (encoding.high - encoding.low), 2.0):.1f}"
    dataset.VOILUTFunction = "LINEAR"
