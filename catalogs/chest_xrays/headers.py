"""DICOM headers: everything that can be asked of a file before one of its pixels is decoded.

No sentence made here repeats what a file holds, numbers of pixels apart: nearly every tag can name a patient. UIDs are
given by their names in the standard's registry, and exceptions, whose texts quote values, by their types.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, UID_dictionary

from catalogs.checks import refuse_size
from catalogs.chest_xrays.archives import MAX_BYTES, MAX_PIXELS, DamagedMemberError, open_source
from catalogs.chest_xrays.streams import stream_size
from catalogs.reading import Refusal

# The SOP classes that are read (PS3.4 B.5), each with what is unusual about it.
RADIOGRAPHS: dict[str, str | None] = {
    "1.2.840.10008.5.1.4.1.1.1": None,  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1": None,  # Digital X-Ray, for presentation
    "1.2.840.10008.5.1.4.1.1.1.1.1": "for processing",  # Digital X-Ray, for processing
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
}

# PS3.3 C.7.6.3.1.2, retired values included: the only ones that may be quoted.
_COLOUR = (
    *("PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"),
    *("YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"),
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_INFLATED = 8  # times its deflated size that a data set usually has at most


def read_header(path: Path) -> Dataset | Refusal:
    """The data set of one grey single-frame radiograph, its pixels as yet encoded, or why the file is none.

    The classes of `RADIOGRAPHS` are taken. Refusals in the order asked: missing, empty, too_large (the file, or what a
    deflated one inflates to), not_dicom, no_file_meta (a data set without PS3.10's preamble and file meta information,
    so that its encoding is unknown), no_transfer_syntax, no_pixels, not_image, not_radiograph, multi_frame, colour,
    bad_header, too_large (Rows x Columns), undecodable (no decoder for the transfer syntax, or no frame), truncated
    (uncompressed pixels fewer than declared), shape (a compressed image of another size than Rows x Columns, or of
    several components). Never raises for a bad file; warnings and logs of pydicom are kept silent.
    """
    with silence():
        try:
            source = open_source(path)
            if isinstance(source, Refusal):
                return source
            with source as file:
                dataset = _read(file)
            return dataset if isinstance(dataset, Refusal) else _refuse_data_set(dataset) or dataset
        except MemoryError:
            return Refusal("too_large", "the file needs more memory than there is")
        except DamagedMemberError as error:
            return error.refusal
        except Exception as error:  # noqa: BLE001 - one bad file must not end a run over a million
            return Refusal("bad_header", f"the header cannot be read ({error_kind(error)})")


def header_flags(dataset: Dataset) -> tuple[str, ...]:
    """What is unusual in a data set that `read_header` gave: its class, and a NumberOfFrames of 0."""
    with silence():
        flags = [RADIOGRAPHS[sop_class(dataset)]]
        if _integer(dataset, "NumberOfFrames") == 0:
            flags.append("0 frames declared")
    return tuple(flag for flag in flags if flag)


def refuse_form(file: BinaryIO) -> Refusal | None:
    """Refusal where an open file is not in PS3.10's format or inflates beyond bounds, else None; left at its start.

    Reasons: not_dicom, no_file_meta, too_large. A deflated data set is inflated in pieces that are not kept, since
    pydicom inflates it whole, however large it becomes. Raises what zlib and reading raise for damaged files.
    """
    syntax = _syntax(file)
    refusal = syntax if isinstance(syntax, Refusal) else None
    if syntax == DeflatedExplicitVRLittleEndian:
        refusal = _inflate(file, None)
    if not refusal:
        file.seek(0)
    return refusal


@contextmanager
def silence() -> Iterator[None]:
    """Keep the warnings and logs of pydicom and its decoders to themselves: they quote what files hold."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "pylibjpeg", "openjpeg", "rle")]
    spoken = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, spoken, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def error_kind(error: BaseException) -> str:
    """The name of a built-in exception's type; other types may be named by anybody."""
    return type(error).__name__ if type(error).__module__ == "builtins" else "an error of the decoder's own"


def _syntax(file: BinaryIO) -> str | Refusal:
    """The transfer syntax of an open file, left at the first byte after its file meta information."""
    start = file.read(132)
    if start[128:] == b"DICM":
        return _skip_file_meta(file)
    # Groups 0002 and 0008 come first in every data set, in either byte order.
    if start[:2] in (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08") and len(start) > 8:
        return Refusal("no_file_meta", "a data set without preamble and file meta: its encoding is unknown")
    return Refusal("not_dicom", "the file lacks the prefix DICM")


def _read(file: BinaryIO) -> Dataset | Refusal:
    """What dcmread reads, but not beyond bounds, nor inflated twice to see to that."""
    syntax = _syntax(file)
    if isinstance(syntax, Refusal):
        return syntax
    meta = file.tell()
    if syntax != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return dcmread(file)
    # The same data set, not deflated: its UID is followed by zeros, as the standard lets it be.
    file.seek(0)
    uid, plain_uid = (syntax.encode() for syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian))
    start = file.read(meta).replace(uid, plain_uid.ljust(len(uid), b"\0"))
    content = _inflated_at_once(file.read(MAX_BYTES // _INFLATED + 1))
    plain = io.BytesIO(start + content)
    if not content:
        file.seek(meta)
        plain.seek(len(start))
        if refusal := _inflate(file, plain):
            return refusal
        plain.seek(0)
    dataset = dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return dataset


def _refuse_data_set(dataset: Dataset) -> Refusal | None:
    return _refuse_class(dataset) or _refuse_shape(dataset) or _refuse_values(dataset) or _refuse_encoding(dataset)


def _refuse_class(dataset: Dataset) -> Refusal | None:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not isinstance(syntax, UID) or not syntax:
        return Refusal("no_transfer_syntax", "the file does not say how it is encoded")
    uid = sop_class(dataset)
    name = registered(uid, "an unknown SOP class")
    if not dataset.get("PixelData"):
        if not uid:
            return Refusal("no_pixels", "the file holds no pixels and names no SOP class")
        if uid in RADIOGRAPHS or "Image" in name:
            return Refusal("no_pixels", f"the file is {name}, but holds no pixels")
        return Refusal("not_image", f"the file is {name}")
    if not uid:
        return Refusal("bad_header", "the file names no SOP class")
    if uid not in RADIOGRAPHS:
        return Refusal("not_radiograph", f"the image is {name}")
    return None


def _refuse_shape(dataset: Dataset) -> Refusal | None:
    frames = _integer(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        return Refusal("multi_frame", f"the file holds {frames} frames; one is read")
    if (frames is not None and frames < 0) or (frames is None and dataset.get("NumberOfFrames")):
        return Refusal("bad_header", "Number of Frames is impossible")
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip()
    samples = _integer(dataset, "SamplesPerPixel")
    if photometric in _COLOUR:
        return Refusal("colour", f"the pixels are {photometric}; grey is read")
    if samples is None or samples < 1:
        return Refusal("bad_header", "Samples per Pixel is missing or impossible")
    if samples > 1:
        return Refusal("colour", f"the pixels have {samples} samples; grey is read")
    if photometric not in _GREY:
        return Refusal("bad_header", "Photometric Interpretation is missing or unknown")
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        return Refusal("bad_header", "Rows or Columns is missing or impossible")
    return refuse_size((rows, columns), MAX_PIXELS)


def _refuse_values(dataset: Dataset) -> Refusal | None:
    """Refuse what no radiograph has (PS3.3 C.8.1.1.1, C.8.11.3), and what pydicom would misread."""
    allocated, stored = _integer(dataset, "BitsAllocated"), _integer(dataset, "BitsStored")
    if allocated is None or stored is None:
        return Refusal("bad_header", "Bits Allocated or Bits Stored is missing")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        return Refusal("bad_header", f"{stored} bits stored in {allocated}; at most 16 are read, in 8 or 16")
    high = _integer(dataset, "HighBit")
    if high is not None and high != stored - 1:
        return Refusal("bad_header", f"High Bit is {high} with {stored} bits stored; {stored - 1} is read")
    if _integer(dataset, "PixelRepresentation") not in (0, 1):
        return Refusal("bad_header", "Pixel Representation is missing or impossible")
    return None


def _refuse_encoding(dataset: Dataset) -> Refusal | None:
    syntax = dataset.file_meta.TransferSyntaxUID
    name = registered(syntax, "an unknown transfer syntax")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return Refusal("undecodable", f"there is no decoder for {name}")
    if not decoder.is_available:
        return Refusal("undecodable", f"the decoder for {name} is not installed")
    if not syntax.is_encapsulated:
        declared = dataset.Rows * dataset.Columns * (dataset.BitsAllocated // 8)
        held = len(dataset.PixelData)
        if held < declared:
            return Refusal("truncated", f"{held} bytes of pixels where the header declares {declared}")
        return None
    try:
        size = stream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    except (ValueError, struct.error):
        return Refusal("undecodable", "the compressed pixels are not in the form of DICOM fragments")
    if size is None:
        if syntax == RLELossless:  # which declares none
            return None
        return Refusal("undecodable", "the compressed image does not say how large it is")
    if size[:2] != (dataset.Rows, dataset.Columns):
        declared_size = f"{dataset.Rows} x {dataset.Columns}"
        return Refusal("shape", f"the compressed image has {size[0]} x {size[1]} pixels, the header {declared_size}")
    if size[2] != 1:
        return Refusal("shape", f"the compressed image has {size[2]} components, the header 1 sample a pixel")
    return None


def sop_class(dataset: Dataset) -> str:
    """The SOP class, from the file meta where the data set has none; "" where neither is one UID."""
    for value in (dataset.get("SOPClassUID"), dataset.file_meta.get("MediaStorageSOPClassUID")):
        if isinstance(value, UID) and value:
            return str(value)
    return ""


def registered(uid: str, unknown: str) -> str:
    """The name of a UID in PS3.6's registry; an unknown UID is not repeated, since private ones can name a site."""
    return str(UID_dictionary[uid][0]) if uid in UID_dictionary else unknown


def _integer(dataset: Dataset, keyword: str) -> int | None:
    """An element's value where it is one integer, else None."""
    value: Any = dataset.get(keyword)
    return int(value) if isinstance(value, int) else None


def _skip_file_meta(file: BinaryIO) -> str:
    """Leave the file at the first byte after group 0002, which is explicit little endian (PS3.10 7.1), and return the
    transfer syntax (0002,0010), "" where there is none."""
    syntax = b""
    while header := file.read(8):
        if header[:2] != b"\x02\0":
            file.seek(-len(header), 1)
            break
        length = int.from_bytes(header[6:], "little")
        if header[4:6] in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            length = int.from_bytes(file.read(4), "little")
        end = file.tell() + length
        if header[2:4] == b"\x10\0":
            syntax = file.read(min(length, 64))
        file.seek(end)
    return syntax.rstrip(b"\0 ").decode("ascii", "replace")


def _inflated_at_once(deflated: bytes) -> bytes:
    """What the rest of a file inflates to, in half of zlib's time; nothing where it is damaged or grows by more than
    `_INFLATED`, for which there is `_inflate`."""
    if len(deflated) * _INFLATED > MAX_BYTES:
        return b""
    try:
        return bytes(imagecodecs.deflate_decode(deflated, raw=True, out=len(deflated) * _INFLATED))
    except imagecodecs.DeflateError:
        return b""


def _inflate(file: BinaryIO, into: io.BytesIO | None) -> Refusal | None:
    """Write what the rest of a file inflates to, in pieces, so that no more than `MAX_BYTES` are made."""
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflater.eof:
        deflated = inflater.unconsumed_tail or file.read(2**16)
        inflated = inflater.decompress(deflated, 2**20) if deflated else inflater.flush()
        size += len(inflated)
        if size > MAX_BYTES:
            return Refusal("too_large", f"the deflated data set has more than {MAX_BYTES:,} bytes")
        if into is not None:
            into.write(inflated)
        if not deflated and not inflater.eof:
            raise zlib.error("the stream ends before its last block")
    return None
