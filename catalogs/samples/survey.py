"""A simulated survey of any size: many objects from few rendered parents, with truth, on a sky where some overlap.

SIMULATED: what a method scores here shows that it works and how fast; it measures nothing about the real sky.

The sky is made of fields of 5 arcmin with four objects each. In some fields two to four of them lie within 11 arcsec of
each other: each is in the others' cutouts, with the same light and the same noise. A field takes its galaxies from one
block of ten parents, so the block is the group that must not be torn apart between training and test.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from catalogs.samples.survey_parents import BLOCK, Parents, SurveyOptions
from catalogs.samples.survey_perturbations import (
    add_shifted,
    companion,
    draw_votes,
    fault,
    turned,
)

PER_FIELD = 4
_FIELD_ARCSEC = 300.0
_QUADRANTS = np.array([[-75.0, -75.0], [75.0, -75.0], [-75.0, 75.0], [75.0, 75.0]])
_WIDEST_DEC = 42.7  # degrees; fields lie 7 arcmin apart in right ascension, 5.1 on the sky at this declination
_BITS, _REGIONS = 10, 3
LARGEST = PER_FIELD * _REGIONS * 4**_BITS
_BESIDE_ARCSEC = 40.0
_SHARES = {"bulge": 0.28, "disk": 0.25, "spiral": 0.26, "edge_on": 0.21}
_SHARES_UP_TO = tuple(zip(_SHARES, [*np.cumsum(list(_SHARES.values()))[:-1].tolist(), 1.0], strict=True))
_ANOMALIES = ("ring", "merger", "artifact")
_OF_KIND: dict[str, list[int]] = {kind: [n for n, other in enumerate(BLOCK) if other == kind] for kind in BLOCK}
_COMMON = sum(kind in _SHARES for kind in BLOCK)  # they come first
_FIELD, _OBJECT, _NOISE, _FAULT = 1, 2, 3, 4  # streams of random numbers; 0 is the parents'


@final
@dataclass(frozen=True)
class _Light:
    """A parent as an object or a companion shows it: where (arcsec right of and above the field's centre), in which of
    the square's symmetries, dimmed by how many magnitudes."""

    parent: int
    place: Float[np.ndarray, " 2"]
    turn: int
    dimmed: float


@final
@dataclass(frozen=True)
class _Object:
    """One object: its light, what is odd about it, what happens to lie beside it, what volunteers may draw from."""

    index: int
    light: _Light
    anomaly: str
    companions: tuple[_Light, ...]
    votes: np.random.Generator


@final
@dataclass(frozen=True)
class _Field:
    """Four objects under one sky, the first `close` of which lie together; a survey's sky sigma is times `noise`."""

    ra: float
    dec: float
    ebv: float
    noise: float
    block: int
    close: int
    objects: tuple[_Object, ...]


def survey(
    options: SurveyOptions, parents: Parents, start: int, stop: int, chunk: int = 256
) -> Iterator[tuple[pd.DataFrame, Float32[np.ndarray, "n band y x"]]]:
    """Objects start to stop: `truth` and pixels in nJy (AB zero point 31.4) of up to `chunk` objects at a time.

    Object i of a seed is the same whatever start, stop and chunk. Raises ValueError where stop is beyond `LARGEST`.
    """
    for begin in range(start, stop, chunk):
        end = min(begin + chunk, stop)
        fields = _fields(options, begin, end)
        pixels = np.empty((end - begin, len(options.bands), options.size, options.size), np.float32)
        for field in fields:
            for index, image in _images(options, parents, field, begin, end):
                pixels[index - begin] = image
        yield _table(options, parents.facts, fields, begin, end), pixels


def truth(options: SurveyOptions, facts: pd.DataFrame, start: int, stop: int) -> pd.DataFrame:
    """What is true of objects start to stop, one row each; `facts` are those of the parents.

    Columns: object_id; number; group (the block of parents); ra, dec (ICRS degrees, on the object); redshift; type
    (bulge, disk, spiral, edge_on; "" for rings and mergers); ttype (-5 to 7, NaN for these); anomaly (ring, merger,
    artifact, or ""); barred; arms (0 without); the counts of `VOTES`; mag_r (AB, before Galactic extinction); ebv;
    psf_fwhm_px_BAND; sky_sigma_BAND (nJy a pixel); parent; turn (of `turned`); neighbours (how many other objects lie
    close by); crval1, crval2, crpix1, crpix2 of the cutout's TAN projection; simulated (true).
    """
    return _table(options, facts, _fields(options, start, stop), start, stop)


def _table(options: SurveyOptions, facts: pd.DataFrame, fields: list[_Field], start: int, stop: int) -> pd.DataFrame:
    known: list[dict[str, Any]] = facts.to_dict("records")  # type: ignore[assignment]
    objects = ((field, one) for field in fields for one in field.objects if start <= one.index < stop)
    return pd.DataFrame([_row(options, known[one.light.parent], field, one) for field, one in objects])


def _fields(options: SurveyOptions, start: int, stop: int) -> list[_Field]:
    """The fields in which objects start to stop lie."""
    if not 0 <= start <= stop <= LARGEST:
        raise ValueError(f"objects {start} to {stop}: a simulated survey has up to {LARGEST:,}")
    return [_field(options, number) for number in range(start // PER_FIELD, -(-stop // PER_FIELD))]


def _field(options: SurveyOptions, number: int) -> _Field:
    rng = _rng(options.seed, _FIELD, number)
    region, within = divmod(number, 4**_BITS)
    column = sum(((within >> 2 * bit) & 1) << bit for bit in range(_BITS))  # Morton order: early fields lie together
    row = sum(((within >> 2 * bit + 1) & 1) << bit for bit in range(_BITS))
    block = int(rng.integers(options.parents // len(BLOCK)))
    ebv = options.dust * 0.04 * float(np.exp(0.67 * rng.normal()))
    noise = float(rng.uniform(0.8, 1.25))
    places = _QUADRANTS + rng.uniform(-30, 30, (PER_FIELD, 2))
    close = 1
    if rng.random() < options.overlap * PER_FIELD / 3:  # three of the four on average
        close = int(rng.integers(2, PER_FIELD + 1))
        places[:close] = _QUADRANTS[0] + rng.uniform(-22, 22, 2) + _close_places(rng)[:close]
    objects = [_object(options, block, number * PER_FIELD + member, places[member]) for member in range(PER_FIELD)]
    ra = (30.0 + 120.0 * region + column * 7 / 60) % 360
    dec = -_WIDEST_DEC + (row + 0.5) * _FIELD_ARCSEC / 3600
    return _Field(ra, dec, ebv, noise, block, close, tuple(objects))


def _close_places(rng: np.random.Generator) -> Float[np.ndarray, "4 2"]:
    """Places in a square of 11 arcsec around 0, none closer than 3.5 to another."""
    while True:
        places = rng.uniform(-5.5, 5.5, (PER_FIELD, 2))
        apart = np.hypot(*(places[:, None] - places[None]).T)
        if apart[np.triu_indices(PER_FIELD, 1)].min() > 3.5:
            return places


def _object(options: SurveyOptions, block: int, index: int, place: Float[np.ndarray, " 2"]) -> _Object:
    rng = _rng(options.seed, _OBJECT, index)
    is_odd, of_kind, how, which, flux = rng.random(5).tolist()
    anomaly = _ANOMALIES[int(len(_ANOMALIES) * how)] if is_odd < options.anomalies else ""
    kind = next(kind for kind, up_to in _SHARES_UP_TO if of_kind < up_to)
    alike = _OF_KIND[anomaly if anomaly in _OF_KIND else kind]
    first = block * len(BLOCK)
    parent = first + alike[int(len(alike) * which)]
    light = _Light(parent, place, int(rng.integers(8)), 0.8 * flux - 0.3)
    companions = []
    for other in rng.integers(_COMMON, size=rng.poisson(2.0)).tolist():
        x, y, faintness, turn = rng.random(4).tolist()
        beside = place + _BESIDE_ARCSEC * (np.array([x, y]) - 0.5)
        companions.append(_Light(first + other, beside, int(8 * turn), 3.0 + 2.5 * faintness))
    return _Object(index, light, anomaly, tuple(companions), rng)


def _row(options: SurveyOptions, facts: dict[str, Any], field: _Field, drawn: _Object) -> dict[str, object]:
    ra, dec = _deproject(field, drawn.light.place)
    corner = _corner(options, drawn.light.place)
    sigma, fwhm = field.noise * options.sky_sigma, options.fwhm / options.pixel_scale
    kind, barred, arms = facts["kind"], facts["barred"], facts["arms"]
    return {
        "object_id": _identifier(options, drawn.index),
        "number": drawn.index,
        "group": f"s{options.seed}-block{field.block:05d}",
        "ra": ra,
        "dec": dec,
        "redshift": round(facts["redshift"], 5),
        "type": kind if kind in _SHARES else "",
        "ttype": facts["ttype"],
        "anomaly": drawn.anomaly,
        "barred": barred,
        "arms": arms,
        **draw_votes(kind, barred, arms, drawn.anomaly == "artifact", drawn.votes),
        "mag_r": round(facts["mag_r"] + drawn.light.dimmed, 4),
        "ebv": field.ebv,
        **{f"psf_fwhm_px_{band}": value for band, value in zip(options.bands, fwhm.tolist(), strict=True)},
        **{f"sky_sigma_{band}": value for band, value in zip(options.bands, sigma.tolist(), strict=True)},
        "parent": drawn.light.parent,
        "turn": drawn.light.turn,
        "neighbours": field.close - 1 if drawn.index % PER_FIELD < field.close else 0,
        "crval1": field.ra,
        "crval2": field.dec,
        "crpix1": 1.0 - corner[0],
        "crpix2": 1.0 - corner[1],
        "simulated": True,
    }


def _images(
    options: SurveyOptions, parents: Parents, field: _Field, begin: int, end: int
) -> Iterator[tuple[int, Float32[np.ndarray, "band y x"]]]:
    """The cutouts of a field's objects begin to end: those that lie together are cut from one canvas."""
    together = (field.objects[: field.close], *((one,) for one in field.objects[field.close :]))
    for objects in together:
        wanted = [begin <= one.index < end for one in objects]
        if not any(wanted):
            continue
        corners = np.stack([_corner(options, one.light.place) for one in objects])
        low = corners.min(axis=0)
        canvas = _sky(options, field, objects[0].index, corners.max(axis=0) + options.size - low)
        cutouts = [canvas[:, y : y + options.size, x : x + options.size] for x, y in (corners - low).tolist()]
        for one, cutout in zip(objects, cutouts, strict=True):
            _shine(options, parents, field, canvas, one, low)
            if one.anomaly == "artifact":
                rng = _rng(options.seed, _FAULT, one.index)
                cutout += fault(field.noise * options.sky_sigma, options.size, rng)
        yield from ((one.index, cutout) for one, cutout, want in zip(objects, cutouts, wanted, strict=True) if want)


def _sky(options: SurveyOptions, field: _Field, index: int, shape: np.ndarray) -> Float32[np.ndarray, "band y x"]:
    """Sky noise; another survey of the same sky has noise of its own."""
    own = zlib.crc32(repr((options.bands, float(options.pixel_scale))).encode())
    rng = _rng(options.seed, _NOISE, index, own)
    noise = rng.standard_normal((len(options.bands), int(shape[1]), int(shape[0])), dtype=np.float32)
    noise *= (field.noise * options.sky_sigma).astype(np.float32)[:, None, None]
    return noise


def _shine(
    options: SurveyOptions,
    parents: Parents,
    field: _Field,
    canvas: Float32[np.ndarray, "band y x"],
    drawn: _Object,
    low: np.ndarray,
) -> None:
    """Adds an object and its companions to the canvas, whose first pixel is `low` (x, y) of the field's grid."""
    for light in (drawn.light, *drawn.companions):
        image = np.asarray(parents.pixels[light.parent])
        if light is not drawn.light:
            image = companion(image, options.pixel_scale)
        x, y = (light.place / options.pixel_scale - low).tolist()
        gain = 10 ** (-0.4 * (light.dimmed + options.extinction * field.ebv))
        add_shifted(canvas, turned(image, light.turn), (x, y), gain)


def _identifier(options: SurveyOptions, index: int) -> str:
    """An id that no other survey of the same sky has, as far as bands or pixel scale differ."""
    return f"s{options.seed}-{''.join(options.bands)}{round(1000 * options.pixel_scale)}-{index:08d}"


def _corner(options: SurveyOptions, place: Float[np.ndarray, " 2"]) -> np.ndarray:
    """The first pixel (x, y) of a cutout on the field's grid, whose pixel 0 lies on the field's centre."""
    return np.round(place / options.pixel_scale - (options.size - 1) / 2).astype(int)


def _deproject(field: _Field, place: Float[np.ndarray, " 2"]) -> tuple[float, float]:
    """ra, dec in degrees of a place in the field's tangential plane (TAN: Calabretta & Greisen 2002); east is left."""
    xi, eta = -np.deg2rad(place[0] / 3600), np.deg2rad(place[1] / 3600)
    dec0 = np.deg2rad(field.dec)
    below = np.cos(dec0) - eta * np.sin(dec0)
    ra = np.rad2deg(np.arctan2(xi, below))
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, below))
    return float((field.ra + ra) % 360), float(np.rad2deg(dec))


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))
