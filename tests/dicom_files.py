"""DICOM files made for tests: a computed radiograph without a patient, to which tests add what they need."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CR = "1.2.840.10008.5.1.4.1.1.1"


def radiograph(
    stored: Integer[np.ndarray, "y x"], bits: int | None = None, syntax: str = ExplicitVRLittleEndian, **tags: Any
) -> FileDataset:
    """A MONOCHROME2 computed radiograph of these stored values; `tags` are set last, those given as None removed."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = tags.get("SOPClassUID") or CR
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    little, implicit = meta.TransferSyntaxUID.is_little_endian, meta.TransferSyntaxUID.is_implicit_VR
    dataset = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little)
    dataset.SOPClassUID = CR
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    raw = stored.astype(stored.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def lut(entries: list[int], first: int, bits: int, packed: bool = True) -> Dataset:
    """An item of a Modality or VOI LUT Sequence, as words (OW) or as a list of US."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW" if packed else "US", np.asarray(entries, "<u2").tobytes() if packed else entries)
    item.ModalityLUTType = "US"
    return item


def write(dataset: FileDataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path
