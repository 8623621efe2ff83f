"""Which HDU of a survey's FITS file, or which file beside it, is the science image, which its mask, which its noise."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer

from catalogs.galaxies.fits_files import COMPANIONS
from catalogs.galaxies.plain_fits import Header

NoiseKind = Literal["variance", "rms", "ivar"]


@dataclass(frozen=True)
class Layout:
    """How a survey names the HDUs of its files, and which planes of its mask make a pixel useless.

    `header` gives the cards (name, pattern) that the first or the science header must have; `science` names, "" for
    any image that is no companion; `bad` the mask planes ("{band}" stands for the band's capital), which the mask's
    header numbers (`plane_bits`), or else `planes`.
    """

    science: tuple[str, ...]
    mask: tuple[str, ...] = ()
    noise: Mapping[str, NoiseKind] = field(default_factory=dict)
    bad: tuple[str, ...] = ()
    planes: Mapping[str, int] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CompanionFiles:
    """A layout that keeps mask and noise in files of their own: a science file's name, and glob patterns for theirs."""

    layout: str
    science: str
    mask: str
    noise: str
    kind: NoiseKind


@dataclass(frozen=True)
class Layers:
    """Indices of the HDUs; None where there is none. `bad_bits`: a pixel with any of these bits in the mask is bad."""

    science: int
    mask: int | None
    noise: int | None
    noise_kind: NoiseKind
    bad_bits: int
    layout: str


@dataclass(frozen=True)
class Companions:
    """Files of a science image's mask and noise, each in its first image HDU; None where there is none."""

    mask: Path | None
    noise: Path | None
    noise_kind: NoiseKind
    layout: str


def _bits(*names: str) -> Mapping[str, int]:
    return MappingProxyType({name: 1 << bit for bit, name in enumerate(names) if name})


# The first that fits is taken. What merely tells where objects are (DETECTED, GALAXY) or what was corrected (INTRP) or
# not searched (EDGE of a coadd's patch) is good data, and masking it would cut galaxies out.
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        # Rubin and HSC (afw.image.Exposure): mask planes are numbered anew in every file, by MP_* cards.
        "rubin": Layout(("IMAGE",), ("MASK",), {"VARIANCE": "variance"}, ("BAD", "SAT", "NO_DATA", "CR")),
        # jwst.datamodels.dqflags. The WHT of i2d files is relative, so ERR alone is noise.
        "jwst": Layout(
            ("SCI",), ("DQ",), {"ERR": "rms"}, ("DO_NOT_USE",), _bits("DO_NOT_USE"), header={"TELESCOP": "JWST"}
        ),
        # HST handbooks: bits 5, 6 and 10 (warm pixels, unstable blemishes, charge traps) are usable. WHT is exposure
        # time unless somebody asked drizzling for another weight, so it is no noise.
        "hst": Layout(
            ("SCI",),
            ("DQ",),
            {"ERR": "rms"},
            ("LOST", "FILL", "DETECTOR", "OCCULTED", "HOT", "BIAS", "FULL_WELL", "REFERENCE", "A_TO_D", "CR", "CR2"),
            _bits(
                *("LOST", "FILL", "DETECTOR", "OCCULTED", "HOT", "", "", "BIAS", "FULL_WELL", "REFERENCE", ""),
                *("A_TO_D", "CR", "CR2"),
            ),
            {"TELESCOP": "HST"},
        ),
        # https://www.legacysurvey.org/dr10/bitmasks: one mask for all bands, some planes of which speak of one band.
        "legacy": Layout(
            ("",),
            ("MASKBITS",),
            {"INVVAR": "ivar"},
            ("SATUR_{band}", "ALLMASK_{band}"),
            _bits(
                *("NPRIMARY", "BRIGHT", "SATUR_G", "SATUR_R", "SATUR_Z", "ALLMASK_G", "ALLMASK_R", "ALLMASK_Z"),
                *("WISEM1", "WISEM2", "BAILOUT", "MEDIUM", "GALAXY", "CLUSTER", "SATUR_I", "ALLMASK_I"),
            ),
        ),
        # Flags of OU-VIS and OU-NIR as the open tool azulero reads them; the mosaics of other telescopes have others.
        "euclid-vis": Layout(
            ("SCI", "SCIENCE", "IMAGE", ""),
            ("FLAG", "FLG"),
            {"RMS": "rms"},
            ("HOT", "COLD", "SATURATED", "BAD"),
            _bits("HOT", "COLD", "SATURATED", "", "", "", "", "", "BAD"),
            {"INSTRUME": "VIS"},
        ),
        "euclid-nisp": Layout(
            ("SCI", "SCIENCE", "IMAGE", ""),
            ("FLAG", "FLG"),
            {"RMS": "rms"},
            ("INVALID", "DISCONNECTED", "ZERO_QE", "SUPER_QE", "HOT", "SNOWBALL", "SATURATED", "NL_SATURATED"),
            _bits(
                *("", "INVALID", "DISCONNECTED", "ZERO_QE", "", "", "SUPER_QE", "HOT", "", "SNOWBALL", "SATURATED"),
                *("", "NL_SATURATED"),
            ),
            {"INSTRUME": "NI"},
        ),
        # The planes of IPP's own MASK.VALUE (8575): cores, spikes and ghosts of stars stay (Waters et al. 2020).
        "panstarrs": Layout(
            ("",),
            ("MASK",),
            {"WT": "variance"},
            ("DETECTOR", "FLAT", "DARK", "BLANK", "CTE", "SAT", "LOW", "CR", "CONV.BAD"),
            _bits(
                *("DETECTOR", "FLAT", "DARK", "BLANK", "CTE", "SAT", "LOW", "SUSPECT", "CR", "SPIKE", "GHOST"),
                *("STREAK", "STARCORE", "CONV.BAD", "CONV.POOR", "MARK"),
            ),
            {"PSCAMERA": ""},
        ),
        # A mask of unknown meaning is not read: nonzero may mark the very galaxy.
        "generic": Layout(
            ("SCI", "SCIENCE", "IMAGE", ""),
            noise={
                **{"ERR": "rms", "ERROR": "rms", "RMS": "rms", "VARIANCE": "variance", "VAR": "variance"},
                **{"IVAR": "ivar", "INVVAR": "ivar", "WHT": "ivar", "WEIGHT": "ivar", "WGT": "ivar"},
            },
        ),
    }
)

_MER = r"EUC_MER_BGSUB-MOSAIC-(?P<filter>{})_TILE(?P<tile>\w+?)-.+"
_MER_MASK, _MER_NOISE = (f"EUC_MER_MOSAIC-{{filter}}-{layer}_TILE{{tile}}-*" for layer in ("FLAG", "RMS"))
COMPANION_FILES: tuple[CompanionFiles, ...] = (
    CompanionFiles(
        layout="legacy",
        science=r"(?P<brick>.+)-image-(?P<band>\w+)(?P<end>\.fits(\.fz|\.gz)?)",
        mask="{brick}-maskbits{end}",
        noise="{brick}-invvar-{band}{end}",
        kind="ivar",
    ),
    CompanionFiles(
        layout="panstarrs",
        science=r"(?P<stack>.+\.unconv)(?P<end>\.fits(\.fz|\.gz)?)",
        mask="{stack}.mask{end}",
        noise="{stack}.wt{end}",
        kind="variance",
    ),
    CompanionFiles("euclid-vis", _MER.format("VIS"), _MER_MASK, _MER_NOISE, "rms"),
    CompanionFiles("euclid-nisp", _MER.format("NIR-[YJH]"), _MER_MASK, _MER_NOISE, "rms"),
    CompanionFiles("generic", _MER.format(".+"), _MER_MASK, _MER_NOISE, "rms"),  # other telescopes' in Euclid's tiles
)


def find_layers(hdus: Sequence[Any], band: str = "") -> Layers | None:
    """The layers of the first of `LAYOUTS` that fits, from the headers of all HDUs alone; None where none does.

    A layout fits with its science image and at least its mask or its noise, of one height and width. Several sets in
    one file (an exposure a detector) are not told apart: the first of each name is taken. `band` chooses the planes of
    masks that all bands share. A mask whose planes neither header nor layout number is None: it is not guessed at.
    """
    headers = [hdu.header for hdu in hdus]
    images = [(index, _name(header)) for index, header in enumerate(headers) if _shape(header)]
    for name, layout in LAYOUTS.items():
        science = _first(images, layout.science, (*layout.mask, *layout.noise))
        if science is None or not _fits(layout, (headers[0], headers[science])):
            continue
        same = [
            (index, label) for index, label in images if _shape(headers[index])[-2:] == _shape(headers[science])[-2:]
        ]
        mask, noise = _first(same, layout.mask), _first(same, layout.noise)
        if mask is None and noise is None:
            if layout.header:
                return None  # the survey is known: what it calls otherwise is not taken for what it sounds like
            continue
        bits = 0 if mask is None else bad_bits(headers[mask], name, band)
        kind = "variance" if noise is None else layout.noise[dict(images)[noise]]
        return Layers(science, mask if bits else None, noise, kind, bits, name)
    return None


def find_companions(path: Path) -> Companions | None:
    """The files of `COMPANION_FILES` that lie beside a science file; None where its name is none of the patterns.

    Of several products of one tile (reprocessings) the one whose name has the latest time is taken.
    """
    for files in COMPANION_FILES:
        if match := re.fullmatch(files.science, path.name):
            parts = {key: re.sub(r"([\[\]*?])", r"[\1]", value) for key, value in match.groupdict().items()}
            mask, noise = (
                max(
                    path.parent.glob(pattern.format(**parts)),
                    key=lambda found: found.name.split("_")[-2:],
                    default=None,
                )
                for pattern in (files.mask, files.noise)
            )
            return Companions(mask, noise, files.kind, files.layout)
    return None


def plane_bits(header: Header) -> dict[str, int]:
    """Each mask plane's value as a header names it: Rubin by MP_*, Pan-STARRS by MSKNAM00, Legacy Surveys by MBIT_0."""
    planes = {}
    for key in header:
        if key.startswith("MP_"):
            planes[key[3:]] = 1 << int(header[key])
        elif key.startswith("MSKNAM"):
            planes[str(header[key]).strip()] = int(header.get(f"MSKVAL{key[6:]}", 0))
        elif key.startswith("MBIT_"):
            planes[str(header[key]).strip()] = 1 << int(key[5:])
    return planes


def bad_bits(header: Header, layout: str, band: str = "") -> int:
    """The bits of a layout's bad planes together, numbered as the mask's header says; 0 where nothing numbers them."""
    known = plane_bits(header) or LAYOUTS[layout].planes
    bits = 0
    for plane in LAYOUTS[layout].bad:
        bits |= known.get(plane.format(band=band.upper()), 0)
    return bits


def apply_mask(
    pixels: Float[np.ndarray, "*band y x"], mask: Integer[np.ndarray, "*band y x"], bits: int
) -> Float[np.ndarray, "*band y x"]:
    """A copy of the pixels with NaN where the mask has any of `bits`."""
    masked: Float[np.ndarray, "*band y x"] = np.where(mask & bits, np.array(np.nan, pixels.dtype), pixels)
    return masked


def as_variance(noise: Float[np.ndarray, "..."], kind: NoiseKind) -> Float[np.ndarray, "..."]:
    """Variance from a variance, a standard deviation ("rms") or an inverse variance; NaN where that is no noise.

    Zero, negative, infinite and NaN entries are how surveys mark pixels without data: NaN, never 0 or infinity.
    """
    with np.errstate(all="ignore"):
        usable = np.isfinite(noise) & (noise > 0)
        valid = np.where(usable, noise, np.array(np.nan, noise.dtype))
        variance = valid if kind == "variance" else valid * valid if kind == "rms" else 1 / valid
        return np.where(np.isfinite(variance) & (variance > 0), variance, np.array(np.nan, noise.dtype))


def _name(header: Header) -> str:
    return str(header.get("EXTNAME", "")).strip().upper()


def _shape(header: Header) -> tuple[int, ...]:
    """In numpy's order; () for what is no image."""
    if str(header.get("XTENSION", "IMAGE")).strip() != "IMAGE":
        return ()
    return tuple(int(header.get(f"NAXIS{axis}", 0)) for axis in range(int(header.get("NAXIS", 0)), 0, -1))


def _first(images: Sequence[tuple[int, str]], names: Iterable[str], companions: Iterable[str] = ()) -> int | None:
    for name in names:
        for index, label in images:
            if label == name or (name == "" and label not in (*COMPANIONS, *companions)):
                return index
    return None


def _fits(layout: Layout, headers: tuple[Header, ...]) -> bool:
    return all(
        any(key in header and re.match(pattern, str(header[key]).strip()) for header in headers)
        for key, pattern in layout.header.items()
    )
