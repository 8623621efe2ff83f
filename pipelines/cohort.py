"""What a reader of a clinical page must know of its cohort: halves, views, windows, resolution, marks, labels."""

from typing import Any

import numpy as np
import pandas as pd

from catalogs.chest_xrays.collections import COLLECTIONS
from domainssl.options import Kind
from pipelines.domains import DOMAINS
from pipelines.objects import Objects
from pipelines.recipe import LabelEntry, Recipe
from pipelines.run_folder import RunFolder
from pipelines.targets import unsettled

# Nodules of 3 to 6 mm are reported: with pixels larger than this they are a handful, and edges of a pleura are lost.
FINE_MM = 0.5
_CLASSED: tuple[Kind, ...] = ("classes", "yes_no", "ordered")


def cohort_sentences(recipe: Recipe, objects: Objects, run: RunFolder) -> list[str]:
    """One sentence a question, in domains whose headers are surveyed; else none."""
    if DOMAINS[recipe.domain].survey is None:
        return []
    frame, prepared = objects.frame, run.record("prepare")
    said = [_halves(frame), *_balance(frame, recipe), *_views(frame), _window(prepared.get("preparation", ""))]
    said += [*_resolution(frame, recipe), *_marks(prepared.get("counts", {}).get("marks"), len(frame))]
    said += [sentence for label, entry in recipe.labels.items() for sentence in _labels(frame, label, entry)]
    for entry in recipe.catalog:
        if entry.layout is not None:
            collection = COLLECTIONS[entry.layout]
            level = "each image carries the label of its study" if collection.level == "study" else "one label an image"
            said.append(f"Labels of {collection.title}: {collection.source}; {level}.")
    if recipe.encoder.weights.endswith(".safetensors"):
        said.append("The encoder started from a file: whether its training saw patients of the test half is not known.")
    return said


def _halves(frame: pd.DataFrame) -> str:
    counts = frame.groupby("half")["group"].agg(["nunique", "size"]).reindex(["train", "test"], fill_value=0)
    parts = [f"{row['nunique']:,} patients with {row['size']:,} images" for _, row in counts.iterrows()]
    return f"Training half: {parts[0]}; test half: {parts[1]}; no patient is in both."


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


def _window(preparation: str) -> str:
    if "declared windows" in preparation:
        return "Every DICOM image is shown by the window that its file declares."
    return (
        "Every DICOM image is windowed between percentiles 0.5 and 99.5 of its pixels; declared windows are not used."
    )


def _resolution(frame: pd.DataFrame, recipe: Recipe) -> list[str]:
    known = frame["pixel_mm"].dropna().to_numpy(float) if "pixel_mm" in frame else np.empty(0)
    if not len(known):
        return ["No file says how large its pixels are: what is too small to be seen at this resolution is not known."]
    low, middle, high = np.quantile(known, [0.0, 0.5, 1.0]) * recipe.store.size / recipe.encoder.size
    small = "; nodules and a small pneumothorax are not assessable at this resolution" if middle > FINE_MM else ""
    return [
        f"A pixel of the network's input is {middle:.1f} mm at the detector ({low:.1f} to {high:.1f}; known for "
        f"{len(known):,} of {len(frame):,} images){small}."
    ]


def _marks(counts: dict[str, Any] | None, images: int) -> list[str]:
    if counts is None:
        return ["Burned-in marks are not hidden (store.marks): a score may rest on them."]
    sentence = (
        f"Marks burned in near the borders (detector {counts['version']}) were found in "
        f"{counts['images with marks']:,} of {images:,} images. Where they are frequent, all images are hidden "
        f"({100 * counts['hidden share']:.1f} % of the frame); in {counts['painted over elsewhere']:,} images a mark "
        "elsewhere is painted over. Faint marks are missed."
    )
    if counts["to be looked at"]:
        sentence += f" A person has to look at {counts['to be looked at']:,} images (review.csv)."
    return [sentence]


def _labels(frame: pd.DataFrame, label: str, entry: LabelEntry) -> list[str]:
    said = []
    if entry.kind == "yes_no" or (entry.kind == "multilabel" and entry.columns):
        uncertain, blank = unsettled(frame, label, entry)
        counts = {"ignore": "are left out", "zero": "count as no", "one": "count as yes"}
        policy = f"{uncertain:,} uncertain values {counts[entry.uncertain]}; " if entry.uncertain is not None else ""
        said.append(
            f"{label}: {policy}{blank:,} empty ones {'count as no' if entry.blank == 'zero' else 'are unknown'}."
        )
    origin = entry.provenance or "not stated (labels.*.provenance)"
    return [*said, f"{label}: origin of the labels: {origin}."]
