"""Which plane of which HDU of a FITS file is each band: by the names that headers give, otherwise by order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from catalogs.galaxies.band_names import place_bands
from catalogs.galaxies.fits_files import SCIENCE, ImageHDU
from catalogs.reading import Refusal


@dataclass(frozen=True)
class Plane:
    """One band: plane `number` along `axis` of an HDU; axis None where the HDU holds this band alone."""

    hdu: int
    axis: int | None
    number: int


def choose_planes(
    images: list[ImageHDU], bands: tuple[str, ...], missing: Literal["refuse", "mask"] = "refuse"
) -> list[Plane | None] | Refusal:
    """Which plane of which HDU is each band, in the order of `bands`; refusals "bands" and "shape".

    With `missing` "mask", None for a band that the headers do not name, if they name others.
    """
    recipe = f"the recipe names {len(bands)} ({', '.join(bands)})"
    flat = [image for image in images if len(image.shape) == 2]
    cubes = [image for image in images if len(image.shape) == 3]
    if not flat and not cubes:
        return Refusal("shape", f"the image has {len(images[0].shape)} axes; 2, or 3 with one for bands, are read")
    science = [image for image in images if image.label.upper() in SCIENCE]
    if cubes:
        named = [image for image in science if len(image.shape) == 3]
        if len(bands) > 1 or not flat:
            return _choose_of_cube((named or cubes)[0], bands, missing)
    if len(bands) == 1:
        return _one(flat, science, bands)
    labelled = [(name, image) for image in flat for name in image.names]
    order = _order(tuple(name for name, _ in labelled), bands, missing)
    if isinstance(order, Refusal):
        return order
    if order is not None:
        return [None if number is None else Plane(labelled[number][1].index, None, 0) for number in order]
    if len(flat) == len(bands):
        return [Plane(image.index, None, 0) for image in flat]
    return Refusal("bands", f"{len(flat)} found (one an image HDU); {recipe}")


def _order(names: tuple[str, ...], bands: tuple[str, ...], missing: str) -> list[int | None] | Refusal | None:
    """Where each band stands among the names; None where no name is a band's.

    Where only some are: a refusal, or None for each of the others.
    """
    places, several = place_bands(bands, names)
    absent = places.count(None)
    if absent == 0 or (absent < len(bands) and missing == "mask" and not several):
        return places
    if absent < len(bands):
        return Refusal("bands", f"the header names {', '.join(names)}; the recipe names {', '.join(bands)}")
    return None


def _one(flat: list[ImageHDU], science: list[ImageHDU], bands: tuple[str, ...]) -> list[Plane | None] | Refusal:
    """The single band: the HDU of that name, else SCI or IMAGE, else the first, unless several have other names."""
    named = [image for image in flat if bands[0].casefold() in (name.casefold() for name in image.names)]
    chosen = named or [image for image in science if image in flat]
    if not chosen and len(flat) > 1 and all(image.names for image in flat):
        names = ", ".join(image.names[0] for image in flat)
        return Refusal("bands", f"the headers name {names}; the recipe names {bands[0]}")
    return [Plane((chosen or flat)[0].index, None, 0)]


def _choose_of_cube(cube: ImageHDU, bands: tuple[str, ...], missing: str) -> list[Plane | None] | Refusal:
    first, _, last = cube.shape
    order = _order(cube.names, bands, missing) if cube.names else None
    if isinstance(order, Refusal):
        return order
    count = len(cube.names) if order is not None else len(bands)
    if count not in (first, last):
        return Refusal("bands", f"{min(first, last)} found; the recipe names {len(bands)} ({', '.join(bands)})")
    axis = 0 if count == first else 2
    places: Sequence[int | None] = order or range(len(bands))
    return [None if place is None else Plane(cube.index, axis, place) for place in places]
