"""What a reader of a clinical page must know of its cohort: halves, views, windows, resolution, marks, labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from catalogs.chest_xrays.collections import COLLECTIONS
from catalogs.chest_xrays.marks import FEWEST_PIXELS
from domainssl.options import Kind
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.recipe import LabelEntry, Recipe
from pipelines.run_folder import RunFolder
from pipelines.targets import is_finding, unsettled

# Nodules of 3 to 6 mm are reported: with pixels larger than this they are a handful, and edges of a pleura are lost.
FINE_MM = 0.5
_CLASSED: tuple[Kind, ...] = ("classes", "yes_no", "ordered")


def cohort_sentences(recipe: Recipe, objects: Objects, run: RunFolder, *, applied: bool = False) -> list[str]:
    """One sentence a question, in domains whose headers are surveyed; else none. `applied`: to a finished run's model,
    so that nothing was split and no label read."""
    if DOMAINS[recipe.domain].survey is None:
        return []
    said = image_sentences(recipe, objects, run, applied=applied)
    return said if applied else [*said, *label_sentences(recipe, objects)]


def image_sentences(recipe: Recipe, objects: Objects, run: RunFolder, *, applied: bool = False) -> list[str]:
    """Those about patients and images: halves, views, windows, resolution, marks."""
    frame, prepared = objects.frame, run.record("prepare")
    counts = prepared.get("counts", {})
    said = [] if applied or not recipe.labels else [*_halves(frame, recipe, counts), *_balance(frame, recipe)]
    said += [*_unknown_patients(counts), *_views(frame), *_window(frame, prepared.get("preparation", ""))]
    return [*said, *_resolution(frame, recipe), *_marks(counts, len(frame), recipe.store.size, applied=applied)]


def label_sentences(recipe: Recipe, objects: Objects) -> list[str]:
    """Those about labels, in any domain: what uncertain and empty cells count as, and the labels' origin."""
    collections = [COLLECTIONS[entry.layout] for entry in recipe.catalog if entry.layout is not None]
    told = bool(collections)
    said = [s for label, entry in recipe.labels.items() for s in _labels(objects.frame, label, entry, told=told)]
    for collection in collections if recipe.labels else ():
        level = "each image carries the label of its study" if collection.level == "study" else "one label an image"
        said.append(f"Labels of {collection.title}: {collection.source}; {level}.")
    if recipe.labels and recipe.encoder.weights.endswith(".safetensors"):
        whom = "patients" if DOMAINS[recipe.domain].private else "objects"
        said.append(f"The encoder started from a file: whether its training saw {whom} of the test half is not known.")
    return said


def _halves(frame: pd.DataFrame, recipe: Recipe, prepared: Mapping[str, Any]) -> list[str]:
    counts = frame.groupby("half")["group"].agg(["nunique", "size"]).reindex(["train", "test"], fill_value=0)
    how = "dealt by labels and site" if recipe.split == "stratified" else "by a hash of the patient"
    if prepared.get("patient unknown"):
        sizes = counts["size"]
        said = f"Training half: {sizes['train']:,} images; test half: {sizes['test']:,} images ({how})."
    else:
        parts = [f"{row['nunique']:,} patients with {row['size']:,} images" for _, row in counts.iterrows()]
        said = f"Training half: {parts[0]}; test half: {parts[1]} ({how}); no patient's number is in both."
    if torn := prepared.get("patients in both halves by headers"):
        said += f" By their headers {torn:,} patients are in both, since the table has them in several groups."
    if torn := prepared.get("duplicates in both halves"):
        said += f" Of {torn:,} identical images both halves have one, which flatters every figure (duplicates.csv)."
    return [said]


def _unknown_patients(prepared: Mapping[str, Any]) -> list[str]:
    unknown = prepared.get("patient unknown", 0)
    what = "each counts as a patient of its own, and one patient may stand in both halves"
    return [f"Of {unknown:,} images it is not known whose they are: {what}."] if unknown else []


def _balance(frame: pd.DataFrame, recipe: Recipe) -> list[str]:
    """Shares of sites and label values in the two halves, where they differ most."""
    columns = [name for name, entry in recipe.labels.items() if entry.kind in _CLASSED and name in frame]
    columns += [name for name in ("site", "scanner", "view") if name in frame and frame[name].nunique() > 1]
    said = []
    for name in columns:
        shares = frame.groupby("half")[name].value_counts(normalize=True).unstack(level=0).fillna(0.0)
        if {"train", "test"} <= set(shares):
            apart = float((shares["train"] - shares["test"]).abs().max())
            said.append(f"{name} {100 * apart:.0f}")
    return [f"Shares differ between the halves by at most (percentage points): {', '.join(said)}."] if said else []


def _views(frame: pd.DataFrame) -> list[str]:
    if "view" not in frame:
        return []
    counts = frame["view"].fillna("UNKNOWN").value_counts()
    return [f"Views: {', '.join(f'{view} {count:,}' for view, count in counts.items())}."]


def _window(frame: pd.DataFrame, preparation: str) -> list[str]:
    if "photometric" not in frame or frame["photometric"].isna().all():
        return []  # pictures, which are windowed already
    pictures = int(frame["photometric"].isna().sum())
    said = [
        "Every DICOM image is windowed between percentiles 0.5 and 99.5 of its pixels; declared windows are not used."
    ]
    if "declared windows" in preparation:
        said = ["Every DICOM image is shown by the window that its file declares."]
    mixed = f"{pictures:,} images are pictures, whose windows are not known: that alone may tell where they come from."
    return [*said, mixed] if pictures else said


def _resolution(frame: pd.DataFrame, recipe: Recipe) -> list[str]:
    known = frame["pixel_mm"].dropna().to_numpy(float) if "pixel_mm" in frame else np.empty(0)
    if not len(known):
        return ["No file says how large its pixels are: what is too small to be seen at this resolution is not known."]
    enlarged = max(1.0, recipe.store.size / recipe.encoder.size)  # a smaller store is no finer for being blown up
    low, middle, high = np.quantile(known, [0.0, 0.5, 1.0]) * enlarged
    small = "; nodules and a small pneumothorax are not assessable at this resolution" if middle > FINE_MM else ""
    return [
        f"A pixel of the network's input is {middle:.1f} mm by the headers ({low:.1f} to {high:.1f}; known for "
        f"{len(known):,} of {len(frame):,} images){small}."
    ]


def _marks(prepared: Mapping[str, Any], images: int, side: int, *, applied: bool) -> list[str]:
    looked = prepared.get("to be looked at", 0)
    person = [f"A person has to look at {looked:,} images for text that is burned in (review.csv)."] if looked else []
    counts = prepared.get("marks")
    if counts is None:
        return ["Burned-in marks are not hidden (store.marks): a score may rest on them.", *person]
    if side < FEWEST_PIXELS:
        return [f"Burned-in marks are hardly found in images of {side} pixels: a score may rest on them.", *person]
    found, share = counts["images with marks"], 100 * counts["hidden share"]
    said = (
        f"Marks burned in near the borders (detector {counts['version']}) were found in {found:,} of {images:,} images."
    )
    if share:
        where = "marks were frequent where the run was trained" if applied else "they are frequent"
        said += f" The region where {where}, {share:.1f} % of the frame, is hidden in every image."
    if counts["painted over elsewhere"]:
        said += f" In {counts['painted over elsewhere']:,} images a mark elsewhere is painted over."
    said += " Faint marks, and text away from the borders, are missed."
    return [said, *person]


def _labels(frame: pd.DataFrame, label: str, entry: LabelEntry, *, told: bool) -> list[str]:
    """How uncertain and empty cells count, and the origin of the labels; `told`: a collection says that of itself."""
    said = []
    if is_finding(entry):
        uncertain, blank = unsettled(frame, label, entry)
        counts = {"ignore": "are left out", "zero": "count as no", "one": "count as yes"}
        policy = f"{uncertain:,} uncertain values {counts[entry.uncertain]}; " if entry.uncertain is not None else ""
        empty = f"{blank:,} empty ones {'count as no' if entry.blank == 'zero' else 'are unknown'}"
        said.append(f"{label}: {policy}{empty if blank else 'no value is empty'}.")
    if entry.provenance is not None or not told:
        said.append(f"{label}: origin of the labels: {entry.provenance or 'not stated (labels.*.provenance)'}.")
    return said
