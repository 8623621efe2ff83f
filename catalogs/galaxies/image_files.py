"""Large FITS images held open, of which only the sections asked for are read."""

import gzip
import io
import warnings
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
from jaxtyping import Shaped

from catalogs.checks import MAX_PIXELS
from catalogs.galaxies.fits_files import refuse_bytes, refuse_error
from catalogs.galaxies.plain_fits import Header
from catalogs.reading import Refusal

_GZIP = b"\x1f\x8b"
# What a gzipped file may hold: it lies in memory as a whole, since it can only be read from its start.
_MAX_INFLATED = 4 * MAX_PIXELS
_CHUNK = 1 << 20


class RefusedError(Exception):
    """Carries a refusal from where it is found to the reader, which answers the row with it."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.reason)


@final
class ImageFile:
    """A FITS file held open: its headers, and sections of its images by memory map or tile by tile.

    Raises RefusedError where the file cannot be opened: missing, empty, format, bad_header, truncated, too_large.
    """

    def __init__(self, path: Path) -> None:
        if refusal := refuse_bytes(path):
            raise RefusedError(refusal)
        self.path = path
        self.inflated = 0
        self._maps: dict[int, tuple[Shaped[np.ndarray, "*axes"], tuple[float, float, int | None]]] = {}
        self._hdus: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy warns of what is refused below, or does not matter
                self._open()
        except RefusedError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise RefusedError(refuse_error(error, path)) from error

    def _open(self) -> None:
        with self.path.open("rb") as file:
            start = file.read(6)
        from astropy.io import fits

        if start == b"SIMPLE":
            self._bytes = np.asarray(np.memmap(self.path, np.uint8, "r"))
            self._hdus = fits.open(self.path, memmap=True, uint=False, lazy_load_hdus=True)
        elif start.startswith(_GZIP):
            content = _inflated(self.path)
            self.inflated = content.getbuffer().nbytes
            self._bytes = np.frombuffer(content.getbuffer(), np.uint8)
            self._hdus = fits.open(content, memmap=False, uint=False)
        else:
            raise RefusedError(Refusal("format", "the file is compressed as a whole, not by gzip; decompress it first"))
        self.hdus = list(self._hdus)  # reads all headers
        for index, hdu in enumerate(self.hdus):
            if not hasattr(hdu, "fileinfo") or not isinstance(hdu.header, fits.Header):
                raise RefusedError(Refusal("bad_header", f"HDU {index} is no standard FITS"))

    def read(self, index: int, section: tuple[slice | int, ...]) -> Shaped[np.ndarray, "*axes"]:
        """The section of an image, BSCALE, BZERO and BLANK applied (BLANK gives NaN); integers without these stay such.

        Raises RefusedError ("truncated" and others) where it cannot be read.
        """
        hdu = self.hdus[index]
        try:
            from astropy.io.fits import CompImageHDU

            if not isinstance(hdu, CompImageHDU):
                if index not in self._maps:
                    self._maps[index] = self._array(index), _scaling(hdu.header)
                array, scaling = self._maps[index]
                return _scaled(array[section], *scaling)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._require_whole(hdu)
                return np.asarray(hdu.section[section])
        except RefusedError:
            raise
        except Exception as error:
            raise RefusedError(refuse_error(error, self.path)) from error

    def _array(self, index: int) -> Shaped[np.ndarray, "*axes"]:
        """The whole image as it is in the file, unread."""
        header, start = self.hdus[index].header, int(self.hdus[index].fileinfo()["datLoc"])
        dtype = np.dtype({8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[header["BITPIX"]])
        shape = image_shape(header)
        end = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if end > len(self._bytes):  # reading a map beyond the file's end would end the process
            held = f"the header promises {end:,} bytes and the file has {len(self._bytes):,}"
            raise RefusedError(Refusal("truncated", held))
        return self._bytes[start:end].view(dtype).reshape(shape)

    def _require_whole(self, hdu: Any) -> None:
        """Refuses a compressed image of which tiles are lost, though those asked for may be there."""
        info = hdu.fileinfo()
        if (begun := int(info["datLoc"]) + int(info["datSpan"]) - 2880) >= len(self._bytes):  # some leave padding out
            held = f"the header promises more than {begun:,} bytes and the file has {len(self._bytes):,}"
            raise RefusedError(Refusal("truncated", held))

    def close(self) -> None:
        """Lets go of the file; the memory map goes with its last section."""
        self._bytes = np.empty(0, np.uint8)
        self.hdus = []
        self._maps = {}
        if self._hdus is not None:
            self._hdus.close()
            self._hdus = None


@final
class OpenFiles:
    """The files used last, held open up to a number of them; what cannot be opened is remembered as well."""

    def __init__(self, limit: int = 64) -> None:
        self.limit = limit
        self._files: OrderedDict[Path, ImageFile | Refusal] = OrderedDict()

    def get(self, path: Path) -> ImageFile:
        """The open file. Raises RefusedError where it cannot be opened."""
        if path not in self._files:
            try:
                self._files[path] = ImageFile(path)
            except RefusedError as refused:
                self._files[path] = refused.refusal
        self._files.move_to_end(path)
        inflated = sum(file.inflated for file in self._files.values() if isinstance(file, ImageFile))
        while len(self._files) > self.limit or (inflated > _MAX_INFLATED and len(self._files) > 1):
            _, oldest = self._files.popitem(last=False)
            if isinstance(oldest, ImageFile):
                inflated -= oldest.inflated
                oldest.close()
        found = self._files[path]
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return found

    def __enter__(self) -> "OpenFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            if isinstance(file, ImageFile):
                file.close()
        self._files.clear()


def image_shape(header: Header) -> tuple[int, ...]:
    """The shape that a header declares, in numpy's order."""
    return tuple(int(header[f"NAXIS{axis}"]) for axis in range(int(header.get("NAXIS", 0)), 0, -1))


def _inflated(path: Path) -> io.BytesIO:
    content = io.BytesIO()
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK):
            content.write(chunk)
            if content.tell() > _MAX_INFLATED:
                size = f"{_MAX_INFLATED / 1e6:.0f} MB"
                remedy = "decompress the file (gunzip), so that sections of it can be read"
                raise RefusedError(Refusal("too_large", f"gzipped, it holds more than {size}; {remedy}"))
    content.seek(0)
    return content


def _scaling(header: Header) -> tuple[float, float, int | None]:
    """BSCALE, BZERO and BLANK, which is defined for integers alone."""
    blank = header.get("BLANK") if header["BITPIX"] > 0 else None
    return float(header.get("BSCALE", 1)), float(header.get("BZERO", 0)), None if blank is None else int(blank)


def _scaled(
    raw: Shaped[np.ndarray, "*axes"], scale: float, zero: float, blank: int | None
) -> Shaped[np.ndarray, "*axes"]:
    """As astropy computes it (float32 of 8 and 16 bits, else float64), with BLANK = 0 too, which it passes over."""
    native = raw.dtype.newbyteorder("=")
    if scale == 1 and zero == 0 and blank is None:
        return raw.astype(native)
    values = raw.astype(native if native.kind == "f" else np.float64 if native.itemsize > 2 else np.float32)
    if scale != 1:
        values *= scale
    if zero != 0:
        values += zero
    if blank is not None:
        values[raw == blank] = np.nan
    return values
