"""What a reader gives for each row of a catalog: pixels, or a reason why there are none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

Radiometry = Literal["linear", "display"]
# How radiographs become grey: by the window that each file declares, by percentiles of its pixels, or by either.
WindowPolicy = Literal["declared", "percentiles", "either"]
# View positions of radiographs (PS3.3 C.8.1.1.1), the lateral of unknown side, any other, and what is not told.
VIEWS = ("PA", "AP", "LL", "RL", "LATERAL", "OTHER", "UNKNOWN")


@dataclass(frozen=True)
class Cutout:
    """One object's image as its source delivered it.

    `pixels` are float32 of shape (band, y, x), NaN where invalid. `radiometry` is "linear" for flux, and "display"
    for pictures, whose values lie in 0..1 and on which no physics (reddening, sky noise) is defined.
    `nuisance` holds per-band values such as sky_sigma (units of the pixels), psf_fwhm_px, ebv; NaN means unknown.
    `flags` are short notes on what is unusual about the file ("secondary capture"); they never name anybody.
    `variance` is that of `pixels`, NaN where unknown; `unit` that of the pixels ("nJy"), "" where the source does not
    say; `pixel_scale` in arcsec, NaN unknown; `wcs` the celestial astropy.wcs.WCS of the pixels, None unknown.
    """

    pixels: Float[np.ndarray, "band y x"]
    bands: tuple[str, ...]
    radiometry: Radiometry
    nuisance: Mapping[str, Float[np.ndarray, " band"]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    variance: Float[np.ndarray, "band y x"] | None = None
    unit: str = ""
    pixel_scale: float = float("nan")
    wcs: Any = None


def spread(cutout: Cutout, bands: tuple[str, ...]) -> Cutout:
    """The cutout in `bands`, which hold all of its own: NaN in those that it lacks."""
    if cutout.bands == bands:
        return cutout
    places = [bands.index(band) for band in cutout.bands]

    def wider(values: np.ndarray) -> np.ndarray:
        filled = np.full((len(bands), *values.shape[1:]), np.nan, np.float32)
        filled[places] = values
        return filled

    variance = None if cutout.variance is None else wider(cutout.variance)
    nuisance = {name: wider(values) for name, values in cutout.nuisance.items()}
    return replace(cutout, pixels=wider(cutout.pixels), bands=bands, nuisance=nuisance, variance=variance)


@dataclass(frozen=True)
class Refusal:
    """Why a row has no pixels: `reason` is a short code that can be counted, `detail` one sentence for a person."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Request:
    """What readers are asked for: the object's image in `bands`, in this order.

    No bands at all ask a file of many objects for those that it names. `white` is the value shown as white in pictures
    whose format does not say. `missing`: whether an object that lacks a band is refused, or has NaN there. `reproject`:
    bands on different grids are brought to one, in place of a refusal. `wcs`: whether the cutout's WCS is wanted, which
    may take longer than its pixels; without it readers may give None. `window` and `views` are for radiographs: how
    stored values become grey, and which views are taken, all where none is named.

    Raises ValueError where `white` is not positive.
    """

    bands: tuple[str, ...]
    white: float | int | None = None
    missing: Literal["refuse", "mask"] = "refuse"
    reproject: bool = False
    wcs: bool = True
    window: WindowPolicy = "either"
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.white is not None and not self.white > 0:
            raise ValueError(f"white is {self.white}; it is the value shown as white, so a positive number")


@runtime_checkable
class Reader(Protocol):
    """Turns rows of a catalog into cutouts, in order, one answer a row; never raises for a bad file.

    `rows` has the columns object_id (str), paths (tuple of str: one file, or one a band) and optional ones: nuisance;
    `item` (str or None), which object of a file that holds several (an HDU, a row); ra, dec and `cutout_arcsec`, where
    the file is a survey image to cut from. Many rows at once, so that a file that holds several objects is opened once.
    """

    def __call__(self, rows: pd.DataFrame, request: Request) -> Iterator[Cutout | Refusal]: ...
