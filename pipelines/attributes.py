"""What an image's file, catalog and pixels tell beside its label: the attributes that an audit asks about."""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from domainssl.evaluation.audit import Attribute, of_numbers, of_words
from domainssl.evaluation.image_measures import image_measures
from domainssl.evaluation.place_measures import place_measures
from domainssl.shards import FACT
from pipelines.domains import DOMAINS
from pipelines.marks import unpacked
from pipelines.number_ranges import RANGE
from pipelines.objects import Objects
from pipelines.usual_columns import numbers, usual_column, words

# Columns that tell how, where or of whom an image was made; those that the catalog has are asked about.
WORDS = ("catalog", "site", "scanner", "modality", "view", "laterality", "photometric", "burned_in", "sex")
NUMBERS = (RANGE, "bits", "pixel_mm", "age", "redshift")
SURVEYS = ("magnitude", "radius_arcsec", "depth", "seeing")  # of the first usual column each
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
    told = [words(name, frame[name]) for name in WORDS if _has(frame, name, labels)]
    told += [of_numbers(name, numbers(frame[name]), train) for name in NUMBERS if _has(frame, name, labels)]
    usual = {what: usual_column(frame, what, labels) for what in SURVEYS}
    told += [of_numbers(what, column[1], train) for what, column in usual.items() if column is not None]
    told += _sky(frame, train)
    for name in ("bytes", "rows", "columns"):
        if f"{FACT}{name}" in facts:
            told.append(of_numbers(f"{FACT}{name}", numbers(facts[f"{FACT}{name}"]), train))
    if f"{FACT}format" in facts:
        told.append(words(f"{FACT}format", facts[f"{FACT}format"]))
    measures: dict[str, np.ndarray] = dict(image_measures(objects.store, rows))
    measures |= place_measures(objects.store, rows, sources=DOMAINS[domain].sky)
    for name, values in objects.store.nuisance.items():
        known = np.isfinite(values[rows])
        total = np.where(known, values[rows], 0).sum(axis=1)
        measures[name] = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
    found_marks = _marks(facts["marks"], objects.store.size, train) if "marks" in facts else []
    measured = [of_numbers(name, values.astype(np.float64), train) for name, values in measures.items()]
    fine = [words(RANGE, frame[RANGE])] if _has(frame, RANGE, labels) else []
    return Attributes(tuple(told), (*found_marks, *measured), tuple(fine))


def _has(frame: pd.DataFrame, name: str, labels: set[str]) -> bool:
    return name in frame and name not in labels and not frame[name].isna().all()


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
