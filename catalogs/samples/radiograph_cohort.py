"""Who is in a simulated cohort: patients, studies, sites, findings, oddities and labels, without pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from catalogs.samples.radiograph_files import draw_encoding
from catalogs.samples.radiograph_findings import RARE
from catalogs.samples.radiograph_orientation import orientations
from catalogs.samples.radiograph_scanners import SCANNERS

Trouble = Literal["inverted", "rotated", "cut", "empty"]
TROUBLE: tuple[Trouble, ...] = get_args(Trouble)
FINDINGS = ("effusion", "opacity", "cardiomegaly")
_OPACITY_SHARE, _CARDIOMEGALY_SHARE = 0.22, 0.20
_AP_SHARE = {False: 0.2, True: 0.5}  # without and with a finding
_SEVERITIES = (0.35, 0.35, 0.30)  # of severity 1, 2, 3 where there is a finding
_STUDIES = (0.35, 0.33, 0.20, 0.12)  # of patients with 1 to 4 studies
_RARE_SHARE, _TROUBLE_SHARE = 0.008, 0.006  # of each kind
_UNLABELLED_SHARE = 0.4
_LYING = (0.5, 0.2, 0.15, 0.15)  # of what is not upright: mirrored, turned once, twice, three times
# Where a file says its view: in ViewPosition, ViewCodeSequence, both, neither. DX demands the code.
_SAID = {True: {"both": 0.8, "code": 0.16, "none": 0.04}, False: {"position": 0.8, "both": 0.1, "none": 0.1}}


@dataclass(frozen=True)
class Site:
    """A hospital of the cohort; patients are as many at each."""

    name: str
    effusion: float  # share of images with an effusion
    scanners: tuple[float, float, float]  # share of images by each of `SCANNERS`
    marks: bool  # whether it burns side markers in

    def __post_init__(self) -> None:
        if not (self.name.isascii() and self.name.isalnum()):
            raise ValueError(f"site {self.name!r}: give letters and digits")
        if not 0 <= self.effusion <= 0.85:
            raise ValueError(f"effusion = {self.effusion} at site {self.name}: give a share from 0 to 0.85")
        if len(self.scanners) != len(SCANNERS) or min(self.scanners) < 0 or abs(sum(self.scanners) - 1) > 1e-6:
            raise ValueError(f"scanners = {self.scanners} at site {self.name}: give {len(SCANNERS)} shares of sum 1")


# As in life, the sites differ in whom they treat, by which devices, and in their habits: three shortcuts.
SITES = (Site("A", 0.2, (0.55, 0.3, 0.15), False), Site("B", 0.6, (0.15, 0.3, 0.55), True))
_THIRDS = (1 / 3, 1 / 3, 1 / 3)
SAME_SCANNERS = (Site("A", 0.2, _THIRDS, False), Site("B", 0.6, _THIRDS, True))
INDEPENDENT = (Site("A", 0.4, _THIRDS, False), Site("B", 0.4, _THIRDS, True))


def plan_cohort(
    count: int,
    seed: int,
    *,
    sites: Sequence[Site] = SITES,
    lateral_share: float = 0.03,
    disoriented_share: float = 0.04,
    cropped_share: float = 0.05,
) -> list[dict[str, Any]]:
    """Which images the cohort has: identity, view, findings, oddity and label of each, without pixels.

    The arguments are those of `catalogs.samples.radiographs.write_radiographs`; each of them changes only the rows and
    columns that it is about. Raises ValueError for a share outside 0..1, no site, or two of one name.
    """
    shares = {"lateral_share": lateral_share, "disoriented_share": disoriented_share, "cropped_share": cropped_share}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} = {share}: give a share from 0 to 1")
    if not sites or len({site.name for site in sites}) < len(sites):
        raise ValueError(f"sites = {[site.name for site in sites]}: give at least one, and each a name of its own")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    rows: list[dict[str, Any]] = []
    patient = 0
    while len(rows) < count:
        rows += _studies(patient, len(rows), seed, sites, rng)
        patient += 1
    rows = rows[:count]
    _make_odd(rows, rng)
    ordinary = rng.permutation([row["index"] for row in rows if row["truth"] in ("normal", *FINDINGS)])
    for index in ordinary[round(_UNLABELLED_SHARE * len(ordinary)) :].tolist():
        rows[index] |= {name: str(int(rows[index][f"{name}_severity"] > 0)) for name in FINDINGS}
    _make_lateral(rows, seed, lateral_share)
    for row in rows:
        _store(row, seed, disoriented_share, cropped_share)
    return rows


def _make_lateral(rows: list[dict[str, Any]], seed: int, share: float) -> None:
    """Makes some images lateral; one that follows a patient's PA shows the same chest and joins its study."""
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        if row["truth"] not in ("normal", *FINDINGS) or _stream(seed, 0, row["index"]).random() >= share:
            continue
        row |= {"view": "LL", "truth": "lateral", **dict.fromkeys(FINDINGS, "")}
        same_patient = before is not None and before["patient"] == row["patient"]
        if before is not None and same_patient and before["view"] == "PA" and before["truth"] in ("normal", *FINDINGS):
            same = ("study_id", "date", "age", *(f"{name}_severity" for name in FINDINGS))
            row |= {name: before[name] for name in same}


def _store(row: dict[str, Any], seed: int, disoriented_share: float, cropped_share: float) -> None:
    """How an image lies in its file, and what the file says of its view."""
    lying, crop, said = (_stream(seed, concept, row["index"]) for concept in (1, 2, 3))
    upright, *others = orientations(row["view"])
    other = others[int(lying.choice(4, p=_LYING))]
    row["orientation"] = other if lying.random() < disoriented_share and not row["trouble"] else upright
    frontal = row["view"] != "LL"
    row["cropped"] = int(crop.random() < cropped_share and frontal and row["truth"] in ("normal", *FINDINGS))
    scanner = SCANNERS[row["scanner"]]
    ways = _SAID[scanner.digital]
    row["view_said"] = str(said.choice(list(ways), p=list(ways.values())))
    suffix = draw_encoding(file_rng(seed, row["index"]), scanner).suffix
    row["file"] = f"{row['patient_id']}/{row['study_id']}/{row['image_id']}{suffix}"


def _studies(
    patient: int, first: int, seed: int, sites: Sequence[Site], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """One patient's images. An effusion mostly stays or comes back; an enlarged heart stays."""
    site = sites[int(rng.random() * len(sites))]
    sex, age = str(rng.choice(["F", "M"])), int(rng.integers(20, 86))
    share = site.effusion
    # With 0.85 among those prone to it, the others' share keeps the site's as it is.
    prone = rng.random() < share
    effusion_share = 0.85 if prone else 0.15 * share / (1 - share)
    opacity_share = 0.6 if rng.random() < 0.25 else (_OPACITY_SHARE - 0.15) / 0.75
    large_heart = _severity(_CARDIOMEGALY_SHARE, rng)
    year, rows = int(rng.integers(2001, 2010)), []
    for study in range(1 + int(rng.choice(4, p=_STUDIES))):
        found = {
            "effusion": _severity(effusion_share, rng),
            "opacity": _severity(opacity_share, rng),
            "cardiomegaly": large_heart,
        }
        worst = max(FINDINGS, key=found.__getitem__)
        index = first + study
        row: dict[str, Any] = {
            "index": index,
            "seed": seed,
            "patient": patient,
            "first_age": age,
            "date": f"{year + study}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
            "image_id": f"IM{index:06d}",
            "patient_id": f"SIM{patient:06d}",
            "issuer": f"SIMULATED-{site.name}",
            "study_id": f"ST{index:06d}",
            "view": "AP" if rng.random() < _AP_SHARE[any(found.values())] else "PA",
            "sex": sex,
            "age": age + study,
            "site": site.name,
            "marks": site.marks,
            "scanner": int(_stream(seed, 4, index).choice(len(SCANNERS), p=site.scanners)),
            **dict.fromkeys(FINDINGS, ""),
            **{f"{name}_severity": severity for name, severity in found.items()},
            "truth": worst if found[worst] else "normal",
            "trouble": "",
        }
        rows.append(row)
    return rows


def _severity(share: float, rng: np.random.Generator) -> int:
    present, severity = rng.random() < share, 1 + int(rng.choice(3, p=_SEVERITIES))
    return severity if present else 0


def _make_odd(rows: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """Makes some images rare kinds and some input trouble; these show no findings."""
    count = len(rows)
    each_rare = max(round(_RARE_SHARE * count), 3 if count >= 300 else 0)
    each_trouble = max(round(_TROUBLE_SHARE * count), 2 if count >= 300 else 0)
    kinds = [kind for kind in (*RARE, *TROUBLE) for _ in range(each_rare if kind in RARE else each_trouble)]
    # A heart does not change sides between studies: patients with one study come first, as dextrocardia does.
    studies = pd.Series([row["patient"] for row in rows]).value_counts()
    shuffled = rng.permutation(count).tolist()
    singles_first = sorted(shuffled, key=lambda index: studies[rows[index]["patient"]] > 1)
    chosen = singles_first[:each_rare]
    chosen += [index for index in shuffled if index not in set(chosen)][: len(kinds) - each_rare]
    for index, kind in zip(chosen, kinds, strict=True):
        rows[index] |= {"truth": kind, **{f"{name}_severity": 0 for name in FINDINGS}}
        rows[index]["trouble"] = kind if kind in TROUBLE else ""


def file_rng(seed: int, index: int) -> np.random.Generator:
    """The stream of an image's encoding, with children for its marker and its trouble."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, index)))


def _stream(seed: int, concept: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(4, concept, index)))
