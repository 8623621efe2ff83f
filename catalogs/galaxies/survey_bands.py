"""What is known of survey images before their pixels are read: each band's science, mask and noise, place and scale."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from catalogs.galaxies.calibration import flux_calibration
from catalogs.galaxies.fits_bands import Plane, choose_planes
from catalogs.galaxies.fits_files import COMPANIONS, ImageHDU, is_image, plane_names
from catalogs.galaxies.image_files import OpenFiles, RefusedError, image_shape
from catalogs.galaxies.layers import (
    LAYOUTS,
    NoiseKind,
    bad_bits,
    find_companions,
    find_layers,
)
from catalogs.galaxies.plain_fits import Header
from catalogs.reading import Refusal
from catalogs.wcs import celestial, pixel_scale

UNREAD_MASK = "the mask is not applied: nothing says which of its bits are bad"
_MASK_NAMES = {name for layout in LAYOUTS.values() for name in layout.mask}


@dataclass(frozen=True, eq=False)
class Layer:
    """One plane of an HDU of a file."""

    path: Path
    hdu: int
    plane: Plane
    header: Header


@dataclass(frozen=True, eq=False)
class SurveyBand:
    """What is known of one band's survey image before any of its pixels is read; `shape` is (y, x)."""

    science: Layer
    mask: Layer | None
    bits: int
    noise: Layer | None
    noise_kind: NoiseKind
    shape: tuple[int, int]
    wcs: Any
    scale: float
    factor: float
    unit: str
    flags: tuple[str, ...] = ()


def refused_error(reason: str, detail: str) -> RefusedError:
    """The error that carries this refusal."""
    return RefusedError(Refusal(reason, detail))


def bands_of_file(files: OpenFiles, path: Path, bands: tuple[str, ...]) -> list[SurveyBand]:
    """Where each band lies in a file, with its layers and those of companion files; raises RefusedError."""
    hdus = files.get(path).hdus
    headers = [hdu.header for hdu in hdus]
    images = _images(hdus)
    if not images:
        raise refused_error("no_image", "no HDU holds an image")
    layers = find_layers(hdus)
    taken = () if layers is None else (layers.mask, layers.noise)
    science = [image for image in images if image.label.upper() not in COMPANIONS and image.index not in taken]
    if layers is not None and (len(bands) == 1 or len(image_shape(headers[layers.science])) == 3):
        science = [image for image in images if image.index == layers.science]
    planes = choose_planes(science or images, bands)
    if isinstance(planes, Refusal):
        raise RefusedError(planes)
    beside = find_companions(path)
    grids: dict[int, Any] = {}
    found = []
    for band, plane in zip(bands, planes, strict=True):
        assert plane is not None  # as missing bands are refused
        header = _inherited(headers, plane.hdu)
        if plane.hdu not in grids:
            grids[plane.hdu] = celestial(headers[plane.hdu]) or celestial(_inherited(headers, plane.hdu))
        wcs = grids[plane.hdu]
        if wcs is None:
            raise refused_error("wcs", "the header has no celestial WCS that can be used")
        shape = _flat_shape(headers[plane.hdu], plane)
        mask = noise = None
        bits, unread = 0, False
        kind: NoiseKind = "variance"
        layers = find_layers(hdus, band)
        if layers is not None and layers.science == plane.hdu:
            mask = _layer(path, headers, layers.mask, plane)
            noise = _layer(path, headers, layers.noise, plane)
            bits, kind = layers.bad_bits, layers.noise_kind
        if mask is None:
            unread = any(image.label.upper() in _MASK_NAMES for image in images)
        if beside is not None and mask is None and beside.mask is not None:
            mask = _first_image(files, beside.mask)
            bits = bad_bits(mask.header, beside.layout, band)
            mask, unread = (mask, False) if bits else (None, True)
        if beside is not None and noise is None and beside.noise is not None:
            noise, kind = _first_image(files, beside.noise), beside.noise_kind
        for name, layer in (("mask", mask), ("noise", noise)):
            if layer is not None and (other := _flat_shape(layer.header, layer.plane)) != shape:
                raise refused_error("shape", f"the image has the shape {shape}, its {name} {other}")
        factor, unit = flux_calibration(header)
        flags = (UNREAD_MASK,) if unread else ()
        layer = Layer(path, plane.hdu, plane, header)
        found.append(SurveyBand(layer, mask, bits, noise, kind, shape, wcs, pixel_scale(wcs), factor, unit, flags))
    return found


def _images(hdus: list[Any]) -> list[ImageHDU]:
    images = []
    for index, hdu in enumerate(hdus):
        if is_image(hdu):
            header = hdu.header
            shape = image_shape(header)
            if shape and min(shape) > 0:
                label = str(header.get("EXTNAME", "")).strip()
                images.append(ImageHDU(index, shape, int(header["BITPIX"]), label, plane_names(header, shape)))
    return images


def _inherited(headers: list[Any], hdu: int) -> Any:
    """An extension's astropy.io.fits.Header with what only the first one says: exposure time, telescope, zero point."""
    header = headers[hdu].copy()
    if hdu:
        header.extend(headers[0].copy(strip=True).cards, unique=True)
    return header


def _layer(path: Path, headers: list[Any], hdu: int | None, plane: Plane) -> Layer | None:
    """The layer of a science plane: the same plane of a cube, or the one plane that all bands share."""
    if hdu is None:
        return None
    same = replace(plane, hdu=hdu) if len(image_shape(headers[hdu])) == 3 else Plane(hdu, None, 0)
    return Layer(path, hdu, same, headers[hdu])


def _first_image(files: OpenFiles, path: Path) -> Layer:
    try:
        hdus = files.get(path).hdus
    except RefusedError as refused:
        raise refused_error(refused.refusal.reason, f"mask or noise file: {refused.refusal.detail}") from None
    for image in _images(hdus):
        if len(image.shape) == 2:
            return Layer(path, image.index, Plane(image.index, None, 0), hdus[image.index].header)
    raise refused_error("no_image", "mask or noise file: no HDU holds an image")


def _flat_shape(header: Header, plane: Plane) -> tuple[int, int]:
    height, width = (length for axis, length in enumerate(image_shape(header)) if axis != plane.axis)
    return height, width


def read_plane(files: OpenFiles, layer: Layer, section: tuple[slice, ...]) -> Shaped[np.ndarray, "y x"]:
    """A section (y, x) of one plane, as it is stored."""
    plane = layer.plane
    key: tuple[slice | int, ...] = section
    if plane.axis is not None:
        key = (plane.number, *section) if plane.axis == 0 else (*section, plane.number)
    return files.get(layer.path).read(layer.hdu, key)
