"""What an image's file, catalog and pixels tell beside its label: the attributes that an audit asks about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from domainssl.evaluation.audit import Attribute, of_numbers, of_words
from domainssl.evaluation.image_measures import image_measures
from domainssl.evaluation.place_measures import place_measures
from domainssl.shards import FACT
from pipelines.domains import DOMAINS
from pipelines.marks import unpacked
from pipelines.number_ranges import RANGE
from pipelines.objects import Objects

# Columns that tell how, where or of whom an image was made; those that the catalog has are asked about.
WORDS = ("catalog", "site", "scanner", "modality", "view", "laterality", "photometric", "burned_in", "sex")
NUMBERS = (RANGE, "bits", "pixel_mm", "age", "redshift")
# The same under usual names of surveys, in any case, the first that the catalog has.
USUAL_NUMBERS: Mapping[str, tuple[str, ...]] = {
    "magnitude": (
        *("mag_r", "petromag_r", "modelmag_r", "cmodelmag_r", "mag_auto_r", "rmag", "r_mag", "magr", "mag_auto", "mag"),
        *("mag_i", "mag_g", "btot", "btc"),
    ),
    "radius_arcsec": (
        *("petror50_r", "petro_r50", "petro_theta", "shape_r", "r50", "petror90_r", "effrad_r", "logd25", "d25"),
    ),
    "depth": ("galdepth_r", "psfdepth_r", "depth_r", "galdepth_g", "psfdepth_g", "depth", "maglim"),
    "seeing": ("psfsize_r", "seeing_r", "psf_fwhm_r", "psfsize_g", "seeing", "psf_fwhm"),
}
MOST_WORDS = 12  # of a column; the rarer ones count as one
OTHER = "other"
MARK = "found_mark"


@final
@dataclass(frozen=True)
class Attributes:
    """Of the evaluated rows: what catalog and file tell without a look at the image, and plain numbers of the image.

    `fine` are some of the first in finer levels, which have too few groups each to be asked about one by one.
    """

    told: tuple[Attribute, ...]
    measured: tuple[Attribute, ...]
    fine: tuple[Attribute, ...] = ()


def attributes(objects: Objects, rows: Int64[np.ndarray, " n"], domain: str, labels: set[str]) -> Attributes:
    """The attributes of these rows, as far as the run knows them; columns that are labels are none."""
    if not len(rows):
        return Attributes((), ())
    train = objects.train[rows]
    frame, facts = objects.frame.iloc[rows], objects.store.facts.iloc[rows]
    told = [_words(name, frame[name]) for name in WORDS if _has(frame, name, labels)]
    told += [of_numbers(name, _numbers(frame[name]), train) for name in NUMBERS if _has(frame, name, labels)]
    for name, usual in USUAL_NUMBERS.items():
        by_lower = {str(column).lower(): str(column) for column in frame}
        found = next((by_lower[one] for one in usual if one in by_lower), None)
        if found is not None and _has(frame, found, labels):
            told.append(of_numbers(name, _numbers(frame[found]), train))
    told += _sky(frame, train)
    for name in ("bytes", "rows", "columns"):
        if f"{FACT}{name}" in facts:
            told.append(of_numbers(f"{FACT}{name}", _numbers(facts[f"{FACT}{name}"]), train))
    if f"{FACT}format" in facts:
        told.append(_words(f"{FACT}format", facts[f"{FACT}format"]))
    measures: dict[str, np.ndarray] = dict(image_measures(objects.store, rows))
    measures |= place_measures(objects.store, rows, sources=DOMAINS[domain].sky)
    for name, values in objects.store.nuisance.items():
        known = np.isfinite(values[rows])
        total = np.where(known, values[rows], 0).sum(axis=1)
        measures[name] = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
    found_marks = _marks(facts["marks"], objects.store.size, train) if "marks" in facts else []
    numbers = [of_numbers(name, values.astype(np.float64), train) for name, values in measures.items()]
    fine = [_words(RANGE, frame[RANGE])] if _has(frame, RANGE, labels) else []
    return Attributes(tuple(told), (*found_marks, *numbers), tuple(fine))


def _has(frame: pd.DataFrame, name: str, labels: set[str]) -> bool:
    return name in frame and name not in labels and not frame[name].isna().all()


def _numbers(values: "pd.Series[float]") -> Float64[np.ndarray, " n"]:
    numbers: Float64[np.ndarray, " n"] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    return numbers


def _words(name: str, values: "pd.Series[str]") -> Attribute:
    words = values.astype(object).where(values.notna(), None)
    frequent = words.value_counts().index[: MOST_WORDS - 1]
    return of_words(name, words.where(words.isna() | words.isin(frequent), OTHER).tolist())


def _sky(frame: pd.DataFrame, train: Bool[np.ndarray, " n"]) -> list[Attribute]:
    """Nine cells of the sky: thirds of right ascension, counted from the widest gap, by thirds of declination."""
    ra, dec = (frame[name].to_numpy(np.float64) for name in ("ra", "dec"))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not (known & train).any():
        return []
    places = np.sort(ra[known & train])
    gaps = np.diff(places, append=places[0] + 360)
    start = places[(int(gaps.argmax()) + 1) % len(places)]
    across = of_numbers("ra", np.where(known, (ra - start) % 360, np.nan), train)
    along = of_numbers("dec", np.where(known, dec, np.nan), train)
    cells = [
        f"ra {across.names[x]}, dec {along.names[y]}" if x >= 0 and y >= 0 else ""
        for x, y in zip(across.level, along.level, strict=True)
    ]
    return [of_words("sky", cells)]


def _marks(packed: "pd.Series[bytes]", side: int, train: Bool[np.ndarray, " n"]) -> list[Attribute]:
    """In which half of the image letters, clips or cables were found near the borders, whether hidden since or not, and
    how much of the frame they cover; nothing where nobody found any."""
    packs = [data if isinstance(data, bytes) else b"" for data in packed]
    if not any(packs):
        return []
    where, share = [], np.zeros(len(packs))
    for row, data in enumerate(packs):
        marks = unpacked(data, side) if data else np.zeros((1, 2), bool)
        left, right = (bool(half.any()) for half in np.array_split(marks, 2, axis=1))
        where.append(("both" if right else "left") if left else ("right" if right else "none"))
        share[row] = marks.mean()
    return [of_words(MARK, where), of_numbers("mark_share", share, train)]
