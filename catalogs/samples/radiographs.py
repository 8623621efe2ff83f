"""A simulated cohort of chest radiographs as DICOM files and a table: the sample of `domainssl demo chest`.

SIMULATED: every header and every row says so. Thoraxes, findings, names, dates, sites and devices are invented. What a
method scores here shows that the program works, and is no measure of its performance on patients, nor of any device's.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32

from catalogs.samples.radiograph_anatomy import Anatomy, Sex, View, children, draw_anatomy
from catalogs.samples.radiograph_cohort import FINDINGS, SITES, Site, file_rng, plan_cohort
from catalogs.samples.radiograph_exposures import Exposure, draw_exposure, frontal
from catalogs.samples.radiograph_files import draw_encoding, stored_values, write_dicom
from catalogs.samples.radiograph_findings import RARE, Findings, Rare
from catalogs.samples.radiograph_lateral import lateral
from catalogs.samples.radiograph_marks import marker
from catalogs.samples.radiograph_orientation import laid
from catalogs.samples.radiograph_processing import collimated, developed, empty_picture, tight_field
from catalogs.samples.radiograph_scanners import SCANNERS, Scanner

Mark = Literal["burned", "none"]
Facts = dict[str, Any]
_LARGEST = 1_000_000
_COLUMNS = [
    *("image_id", "file", "patient_id", "issuer", "study_id", "view", "view_said", "sex", "age", "site", "scanner"),
    *FINDINGS,
    *(f"{name}_severity" for name in FINDINGS),
    *("effusion_side", "opacity_side", "device", "exposure", "collimated", "cropped", "orientation"),
    *("truth", "trouble", "mark", "simulated"),
]


def write_radiographs(
    folder: Path,
    count: int,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    size: int = 320,
    mark: Mark = "burned",
    *,
    sites: Sequence[Site] = SITES,
    lateral_share: float = 0.03,
    disoriented_share: float = 0.04,
    cropped_share: float = 0.05,
) -> Path:
    """Writes `count` simulated radiographs and their table, and returns the table's path, `folder/labels.csv`.

    Images are `folder/images/<patient>/<study>/<image>.dcm` (a tenth without suffix): CR and DX for presentation, 10
    to 16 bits, MONOCHROME1 and 2, with and without window and padding, native, deflated and losslessly compressed;
    the longer side has `size` pixels, 128 to 1024, less where cropped. A patient has one site and 1 to 4 studies of
    one image each, but that a lateral after a PA belongs to the PA's study.

    By default effusion is commoner at site B (0.6) than at A (0.2), B mostly uses another scanner, and B's images carry
    a side marker: shortcuts. `sites` changes that (`SAME_SCANNERS` leaves the mark alone, `INDEPENDENT` makes site and
    label independent too); with mark = "none" nobody's images are marked. `lateral_share` of the ordinary images are
    left lateral views, `cropped_share` of the ordinary frontal ones lack an apex, a costophrenic angle or a flank, and
    `disoriented_share` of all without trouble are stored mirrored or turned, as their PatientOrientation says. Every
    such switch has random numbers of its own: what it is not about stays the same, pixel for pixel.

    Columns of the table. Identity: image_id, file (relative to `images`), patient_id (the group), issuer, study_id,
    sex, age, site, scanner (its model). View: view (PA, AP, LL), view_said (where the header says it: position, code,
    both, none). Labels: effusion, opacity, cardiomegaly (0, 1; all empty for 40 percent, laterals, the rare kinds and
    input trouble). As simulated: effusion_severity, opacity_severity, cardiomegaly_severity (0 to 3; 0 in the rare
    kinds and input trouble); effusion_side, opacity_side (the patient's: L, R; empty where there is none); truth, one
    word: the trouble, else the rare kind (dextrocardia, metal, white_out; 0.8 percent each and at least 3 of each from
    300 images on), else lateral, else the worst finding, or normal; trouble (inverted, rotated, cut, empty, else
    nothing; 0.6 percent each and at least 2 of each from 300 images on). The image: device (pacemaker, cables, tube,
    line joined by "+", or none), exposure (stops above or below the dose aimed at), collimated, cropped (0, 1),
    orientation (where rows and columns run to: LF is upright, PF in a lateral; trouble "rotated" claims it falsely),
    mark (1 where a marker's pixels are in the image), simulated.

    The same arguments give the same files, whatever the `workers` (processes), with one version of the encoders.
    `progress` is called in this process with the number of images written so far. The table comes last, so where it
    stands all is written. Raises ValueError for a count, size, mark, share, site or number of workers out of range, or
    a negative seed.
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
    rows = plan_cohort(
        count,
        seed,
        sites=sites,
        lateral_share=lateral_share,
        disoriented_share=disoriented_share,
        cropped_share=cropped_share,
    )
    path, unfinished = folder / "labels.csv", folder / "labels.csv.part"
    path.unlink(missing_ok=True)
    images = folder / "images"
    for row in rows:
        (images / row["file"]).parent.mkdir(parents=True, exist_ok=True)
    facts: list[Facts] = []
    for seen in _written(rows, partial(_write_image, images, seed, size, mark), workers):
        facts.append(seen)
        if progress is not None:
            progress(len(facts))
    table = pd.DataFrame([row | seen for row, seen in zip(rows, facts, strict=True)]).assign(simulated="true")
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
    scanner: Scanner = SCANNERS[0],
) -> tuple[Float32[np.ndarray, "y x"], Anatomy, Exposure]:
    """Image `index` as it would be displayed, 0 (black) to 1 (white, bone), and the patient and exposure drawn for it.

    A function of its arguments alone: the whole field, upright; neither borders nor crop, marker or input trouble are
    in it. `age` is the patient's at the first study. The findings change the tissue only, the scanner the spacing and
    the processing; everything else about the image stays. Lateral views show no rare kind.
    """
    anatomy = _patient(seed, patient, sex, age)
    exposure_seed = children(np.random.SeedSequence(seed, spawn_key=(2, index)), 1)[0]
    exposure = draw_exposure(anatomy, view, size, scanner, exposure_seed)
    return expose(anatomy, findings or Findings(), view, rare, exposure, seed, index), anatomy, exposure


def expose(
    anatomy: Anatomy, findings: Findings, view: View, rare: Rare | None, exposure: Exposure, seed: int, index: int
) -> Float32[np.ndarray, "y x"]:
    """The picture that `simulate` gives, of an exposure that may have been changed."""
    tissue_seed, grain_seed = children(np.random.SeedSequence(seed, spawn_key=(2, index)), 3)[1:]
    if view == "LL":
        dense = lateral(anatomy, findings, exposure, tissue_seed)
    else:
        dense = frontal(anatomy, findings, view, rare, exposure, tissue_seed)
    return developed(dense, exposure, np.random.default_rng(grain_seed))


@lru_cache(maxsize=4)  # a patient's studies follow each other
def _patient(seed: int, patient: int, sex: Sex, age: int) -> Anatomy:
    return draw_anatomy(sex, age, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, patient))))


def _written(rows: list[dict[str, Any]], write: Callable[[dict[str, Any]], Facts], workers: int) -> Iterator[Facts]:
    if workers == 1:
        yield from map(write, rows)
        return
    # Spawned rather than forked: a fork of a process that has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(write, rows, chunksize=min(16, -(-len(rows) // workers)))


def _write_image(images: Path, seed: int, size: int, mark: Mark, row: dict[str, Any]) -> Facts:
    """Writes one file, and returns the columns that only the image can tell."""
    findings = Findings(*(row[f"{name}_severity"] for name in FINDINGS))
    rare = row["truth"] if row["truth"] in RARE else None
    scanner, view = SCANNERS[row["scanner"]], row["view"]
    picture, anatomy, exposure = simulate(
        *(row["patient"], row["index"], seed, size),
        **{"sex": row["sex"], "age": row["first_age"], "view": view, "findings": findings, "rare": rare},
        scanner=scanner,
    )
    encoding_rng = file_rng(seed, row["index"])
    encoding = draw_encoding(encoding_rng, scanner)
    mark_rng, trouble_rng, crop_rng = encoding_rng.spawn(3)
    outside, devices = collimated(exposure), exposure.devices
    if row["trouble"] == "empty":
        picture, outside, devices = empty_picture(exposure.shape, trouble_rng), np.zeros(exposure.shape, bool), ()
    if row["cropped"]:
        field = tight_field(anatomy, exposure, crop_rng)
        picture, outside = picture[field], outside[field]
    padded = outside & (encoding.border == "padding")
    picture = np.where(outside, np.float32(encoding.border == "white"), picture)
    shape = (picture.shape[0], picture.shape[1])
    burned = marker(shape, mark_rng, view == "LL") & (row["marks"] and mark == "burned")
    picture = np.where(burned, np.float32(1.0), picture)
    has_padding = bool(padded.any())  # a marker over the whole border would not change the header
    picture, burned, padded = _troubled(row["trouble"], picture, burned, padded & ~burned, trouble_rng)
    picture, padded = (laid(plane, view, row["orientation"]) for plane in (picture, padded))
    write_dicom(
        images / row["file"],
        stored_values(picture, padded, encoding),
        encoding,
        row,
        exposure=exposure,
        padded=has_padding,
        burned_in=bool(burned.any()),
        wrong_polarity=row["trouble"] == "inverted",
    )
    return {
        "scanner": scanner.model,
        "effusion_side": _side(anatomy.effusion_side) if findings.effusion else "",
        "opacity_side": _side(anatomy.opacity_side) if findings.opacity else "",
        "device": "+".join(devices) or "none",
        "exposure": exposure.dose,
        "collimated": int(outside.any()),
        "mark": int(burned.any()),
    }


def _side(sign: int) -> str:
    return "L" if sign > 0 else "R"


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
