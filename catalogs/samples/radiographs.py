"""A simulated cohort of chest radiographs as DICOM files and a table: the sample of `domainssl demo chest`.

SIMULATED: every header and every row says so. Thoraxes, findings, names, dates and sites are invented. What a method
scores here shows that the program works, and is no measure of its performance on patients, nor of any device's.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

from catalogs.samples.radiograph_anatomy import Anatomy, Sex, View, draw_anatomy
from catalogs.samples.radiograph_exposures import Exposure, collimated, draw_exposure, empty_picture, expose
from catalogs.samples.radiograph_files import draw_encoding, stored_values, write_dicom
from catalogs.samples.radiograph_findings import RARE, Findings, Rare
from catalogs.samples.radiograph_marks import marker

Trouble = Literal["inverted", "rotated", "cut", "empty"]
TROUBLE: tuple[Trouble, ...] = get_args(Trouble)
Mark = Literal["burned", "none"]
FINDINGS = ("effusion", "opacity", "cardiomegaly")
EFFUSION_SHARE = {"A": 0.2, "B": 0.6}  # the only difference between the sites but the mark
_OPACITY_SHARE, _CARDIOMEGALY_SHARE = 0.22, 0.20
_AP_SHARE = {False: 0.2, True: 0.5}  # without and with a finding
_SEVERITIES = (0.35, 0.35, 0.30)  # of severity 1, 2, 3 where there is a finding
_STUDIES = (0.35, 0.33, 0.20, 0.12)  # of patients with 1 to 4 studies
_RARE_SHARE, _TROUBLE_SHARE = 0.008, 0.006  # of each kind
_UNLABELLED_SHARE = 0.4
_LARGEST = 1_000_000
_COLUMNS = [
    *("image_id", "file", "patient_id", "issuer", "study_id", "view", "sex", "age", "site", "effusion"),
    *("effusion_severity", "opacity", "cardiomegaly", "truth", "trouble", "mark", "simulated"),
]


def write_radiographs(
    folder: Path,
    count: int,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    size: int = 320,
    mark: Mark = "burned",
) -> Path:
    """Writes `count` simulated radiographs and their table, and returns the table's path, `folder/labels.csv`.

    Images are `folder/images/<patient>/<study>/<image>.dcm` (a tenth without suffix): CR and DX for presentation, 10
    to 16 bits, MONOCHROME1 and 2, with and without window and padding, native, deflated and losslessly compressed;
    the longer side has `size` pixels, 128 to 1024. A patient has 1 to 4 studies of one image each, and one site.
    Effusion is commoner at site B (0.6) than at A (0.2), and with mark = "burned" B's images carry a side marker: a
    shortcut. With mark = "none" nobody's do, and all other pixels are the same.

    Columns of the table: image_id, file (relative to `images`), patient_id (the group), issuer, study_id, view (PA,
    AP), sex, age, site (A, B), effusion (0, 1; empty for 40 percent, the rare kinds and input trouble);
    effusion_severity, opacity, cardiomegaly (0 to 3, as simulated; 0 in the rare kinds and input trouble); truth, one
    word: the trouble, else the rare kind (dextrocardia, metal, white_out; 0.8 percent each and at least 3 of each
    from 300 images on), else the worst finding, or normal; trouble (inverted, rotated, cut, empty, else nothing; 0.6
    percent each and at least 2 of each from 300 images on); mark (1 where a marker's pixels are in the image),
    simulated.

    The same count, seed, size and mark give the same files, whatever the `workers` (processes), with one version of
    the encoders. `progress` is called in this process with the number of images written so far. The table comes
    last, so where it stands all is written. Raises ValueError for a count, size, mark or number of workers out of
    range, or a negative seed.
    """
    if not 1 <= count <= _LARGEST:
        raise ValueError(f"count = {count}: a simulated cohort has 1 to {_LARGEST} images")
    if not 128 <= size <= 1024:
        raise ValueError(f"size = {size}: simulated radiographs are 128 to 1024 pixels on their longer side")
    if workers < 1:
        raise ValueError(f"workers = {workers}: give 1 for this process alone, or more")
    if seed < 0:
        raise ValueError(f"seed = {seed}: give 0 or a positive integer")
    if mark not in get_args(Mark):
        raise ValueError(f"mark = {mark!r}: give 'burned' or 'none'")
    path, unfinished = folder / "labels.csv", folder / "labels.csv.part"
    path.unlink(missing_ok=True)
    rows = plan_cohort(count, seed)
    images = folder / "images"
    for row in rows:
        (images / row["file"]).parent.mkdir(parents=True, exist_ok=True)
    marked = []
    for shown in _written(rows, partial(_write_image, images, seed, size, mark), workers):
        marked.append(int(shown))
        if progress is not None:
            progress(len(marked))
    table = pd.DataFrame(rows).assign(mark=marked, simulated="true")
    table[_COLUMNS].to_csv(unfinished, index=False)
    unfinished.replace(path)
    return path


def simulate(
    patient: int,
    index: int,
    seed: int,
    size: int = 320,
    *,
    sex: Sex = "M",
    age: int = 50,
    view: View = "PA",
    findings: Findings | None = None,
    rare: Rare | None = None,
) -> tuple[Float32[np.ndarray, "y x"], Anatomy, Exposure]:
    """Image `index` as it would be displayed, 0 (black) to 1 (white, bone), and the patient and exposure drawn for it.

    A function of its arguments alone: neither borders nor marker nor input trouble are in it. `age` is the patient's
    at the first study. The findings change the tissue only; everything else about the image stays.
    """
    anatomy = _patient(seed, patient, sex, age)
    image_seed = np.random.SeedSequence(seed, spawn_key=(2, index))
    exposure_seed, tissue_seed = image_seed.spawn(2)
    exposure = draw_exposure(anatomy, view, size, np.random.default_rng(exposure_seed))
    return expose(anatomy, findings or Findings(), view, rare, exposure, tissue_seed), anatomy, exposure


@lru_cache(maxsize=4)  # a patient's studies follow each other
def _patient(seed: int, patient: int, sex: Sex, age: int) -> Anatomy:
    return draw_anatomy(sex, age, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, patient))))


def plan_cohort(count: int, seed: int) -> list[dict[str, Any]]:
    """Which images the cohort has: identity, view, findings, oddity and label of each, without pixels."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    rows: list[dict[str, Any]] = []
    patient = 0
    while len(rows) < count:
        rows += _studies(patient, len(rows), seed, rng)
        patient += 1
    rows = rows[:count]
    _make_odd(rows, rng)
    ordinary = rng.permutation([row["index"] for row in rows if row["truth"] in ("normal", *FINDINGS)])
    for index in ordinary[round(_UNLABELLED_SHARE * len(ordinary)) :].tolist():
        rows[index]["effusion"] = str(int(rows[index]["effusion_severity"] > 0))
    return rows


def _studies(patient: int, first: int, seed: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One patient's images. An effusion mostly stays or comes back; an enlarged heart stays."""
    site = "AB"[int(rng.integers(2))]
    sex, age = str(rng.choice(["F", "M"])), int(rng.integers(20, 86))
    share = EFFUSION_SHARE[site]
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
        patient_id, study_id, image_id = f"SIM{patient:06d}", f"ST{index:06d}", f"IM{index:06d}"
        suffix = draw_encoding(_file_rng(seed, index)).suffix
        rows.append(
            {
                "index": index,
                "seed": seed,
                "patient": patient,
                "first_age": age,
                "date": f"{year + study}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}",
                "image_id": image_id,
                "file": f"{patient_id}/{study_id}/{image_id}{suffix}",
                "patient_id": patient_id,
                "issuer": f"SIMULATED-{site}",
                "study_id": study_id,
                "view": "AP" if rng.random() < _AP_SHARE[any(found.values())] else "PA",
                "sex": sex,
                "age": age + study,
                "site": site,
                "effusion": "",
                "effusion_severity": found["effusion"],
                "opacity": found["opacity"],
                "cardiomegaly": found["cardiomegaly"],
                "truth": worst if found[worst] else "normal",
                "trouble": "",
            }
        )
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
        rows[index] |= {"effusion_severity": 0, "opacity": 0, "cardiomegaly": 0, "truth": kind}
        rows[index]["trouble"] = kind if kind in TROUBLE else ""


def _file_rng(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, index)))


def _written(rows: list[dict[str, Any]], write: Callable[[dict[str, Any]], bool], workers: int) -> Iterator[bool]:
    if workers == 1:
        yield from map(write, rows)
        return
    # Spawned rather than forked: a fork of a process that has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(write, rows, chunksize=min(16, -(-len(rows) // workers)))


def _write_image(images: Path, seed: int, size: int, mark: Mark, row: dict[str, Any]) -> bool:
    """Writes one file, and returns whether a marker is seen in it."""
    findings = Findings(row["effusion_severity"], row["opacity"], row["cardiomegaly"])
    rare = row["truth"] if row["truth"] in RARE else None
    picture, _, exposure = simulate(
        *(row["patient"], row["index"], seed, size),
        **{"sex": row["sex"], "age": row["first_age"], "view": row["view"], "findings": findings, "rare": rare},
    )
    encoding_rng = _file_rng(seed, row["index"])
    encoding = draw_encoding(encoding_rng)
    mark_rng, trouble_rng = encoding_rng.spawn(2)
    outside = collimated(exposure)
    if row["trouble"] == "empty":
        picture, outside = empty_picture(exposure.shape, trouble_rng), np.zeros(exposure.shape, bool)
    padded = outside & (encoding.border == "padding")
    picture = np.where(outside, np.float32(encoding.border == "white"), picture)
    burned = marker(exposure.shape, mark_rng) & (row["site"] == "B" and mark == "burned")
    picture = np.where(burned, np.float32(1.0), picture)
    has_padding = bool(padded.any())  # a marker over the whole border would not change the header
    picture, burned, padded = _troubled(row["trouble"], picture, burned, padded & ~burned, trouble_rng)
    write_dicom(
        images / row["file"],
        stored_values(picture, padded, encoding),
        encoding,
        row,
        pixel_cm=exposure.pixel_cm,
        padded=has_padding,
        burned_in=bool(burned.any()),
        wrong_polarity=row["trouble"] == "inverted",
    )
    return bool(burned.any())


def _troubled(
    trouble: str,
    picture: Float32[np.ndarray, "y x"],
    burned: Bool[np.ndarray, "y x"],
    padded: Bool[np.ndarray, "y x"],
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "row column"], Bool[np.ndarray, "row column"], Bool[np.ndarray, "row column"]]:
    """The planes turned by a right angle or two, or with one half black; else as they are."""
    turns, half = int(rng.integers(1, 4)), int(rng.integers(4))
    if trouble == "rotated":
        return np.rot90(picture, turns).copy(), np.rot90(burned, turns).copy(), np.rot90(padded, turns).copy()
    if trouble == "cut":
        rows, columns = picture.shape
        lost = np.zeros(picture.shape, bool)
        upper, left = slice(0, rows // 2), slice(0, columns // 2)
        lower, right = slice(rows // 2, rows), slice(columns // 2, columns)
        every = slice(None)
        lost[((upper, every), (lower, every), (every, left), (every, right))[half]] = True
        return np.where(lost, np.float32(0), picture), burned & ~lost, padded & ~lost
    return picture, burned, padded
