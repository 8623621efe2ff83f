"""RSNA Pneumonia Detection Challenge, stage 2 (Shih et al. 2019, doi:10.1148/ryai.2019180041)."""

import json
import re
from pathlib import Path

import pandas as pd

from catalogs.chest_xrays.collections.layout import (
    Collection,
    among,
    canonical,
    find_table,
    image_files,
    located,
    needed_table,
    once,
    read_columns,
    read_text,
    states,
)
from catalogs.errors import CatalogError

FINDINGS = ("Lung Opacity", "Normal")
TITLE = "RSNA Pneumonia Detection Challenge"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_CLASSES = {"Normal": "1", "No Lung Opacity / Not Normal": "0", "Lung Opacity": "0"}
_NIH_IMAGE = re.compile(r"0*(\d+)_\d+\.png")


def read(root: Path) -> pd.DataFrame:
    """stage_2_train_labels.csv with the patients of RSNA's mapping to the images of NIH, see `canonical`.

    "Lung Opacity" is Target: an opacity suspicious for pneumonia. "Normal" is told by stage_2_detailed_class_info.csv,
    and unknown without it. A table's rows are boxes, which are not read. "patientId" numbers images, in the tables and
    also in the DICOM headers: a split by it would not be one by patient. So RSNA's mapping file is needed; it gives
    each image's NIH patient, whose number is the one that `catalogs.chest_xrays.collections.nih` gives. View, sex and
    age are left to the headers. Raises MissingFileError for a missing table or mapping, CatalogError for what is not
    as published.
    """
    labels = needed_table(root, TITLE, "stage_2_train_labels.csv")
    mapping = needed_table(root, TITLE, MAPPING)
    table = read_columns(labels, TITLE, {"id": ("patientId",), "Lung Opacity": ("Target",)})
    table["Lung Opacity"] = states(table, ["Lung Opacity"], TITLE)["Lung Opacity"]
    table = once(table, ["id"], TITLE)
    patients = table["id"].map(_patients(mapping))
    if strange := int(patients.isna().sum()):
        raise CatalogError(
            "{title}: {count} image(s) are not in {mapping}; their patients are unknown",
            title=TITLE,
            count=strange,
            mapping=MAPPING,
        )
    there = image_files(root, [root / "stage_2_train_images"])
    return canonical(
        table[["Lung Opacity"]].assign(Normal=_normal(root, table["id"])),
        id=table["id"],
        file=located(table["id"], there, "stage_2_train_images/" + table["id"] + ".dcm"),
        patient_id=patients,
    )


def _normal(root: Path, ids: "pd.Series[str]") -> "pd.Series[str]":
    """Whether each image is normal, None where that is not told."""
    if (path := find_table(root, "stage_2_detailed_class_info.csv")) is None:
        return pd.Series([None] * len(ids), index=ids.index, dtype=object)
    table = read_columns(path, TITLE, {"id": ("patientId",), "class": ("class",)})
    table["class"] = among(table["class"], _CLASSES, "cell(s) of 'class'", TITLE)
    return ids.map(once(table, ["id"], TITLE).set_index("id")["class"])


def _patients(path: Path) -> dict[str, str]:
    """The number of the NIH patient whom each image shows."""
    text = read_text(path, TITLE)
    try:
        images = json.loads(text)
        found = {str(image["subset_img_id"]): _NIH_IMAGE.fullmatch(image["img_id"]) for image in images}
        return {image: match[1] for image, match in found.items() if match}
    except (ValueError, LookupError, TypeError):
        raise CatalogError(
            "{title}: {path} is not RSNA's mapping of its images to NIH's; fetch it again", {"path": path}, title=TITLE
        ) from None


RSNA = Collection(
    TITLE,
    "radiologists' boxes around opacities suspicious for pneumonia: one reader for most images, three for some",
    "image",
    "known",
    FINDINGS,
    read,
)
