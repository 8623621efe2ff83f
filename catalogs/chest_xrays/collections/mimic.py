"""MIMIC-CXR with the labels of MIMIC-CXR-JPG 2.0.0 and 2.1.0 (Johnson et al. 2019, arXiv:1901.07042)."""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from catalogs.chest_xrays.collections.chexpert import FINDINGS
from catalogs.chest_xrays.collections.layout import (
    IMAGE_SUFFIXES,
    Collection,
    among,
    canonical,
    find_table,
    needed_table,
    once,
    read_columns,
    states,
    views,
)

TITLE = "MIMIC-CXR"
_TABLE = "mimic-cxr-2.0.0-{}.csv"
_HALVES = {"train": "train", "validate": "train", "test": "test"}


def read(labeler: str, root: Path) -> pd.DataFrame:
    """The images of mimic-cxr-2.0.0-metadata.csv with the labels of one labeler ("chexpert", "negbio").

    See `canonical`. Each image has its study's labels; of a study without a row, all are unknown. The split is that of
    mimic-cxr-2.0.0-split.csv, where it is. Sex and age stand in MIMIC-IV and are unknown here. Files are looked for
    under files/p10/p10000032/s50414267/, all with the suffix of the first one there is. Raises MissingFileError without
    metadata or labels, CatalogError for tables that are not as published.
    """
    metadata = needed_table(root, TITLE, _TABLE.format("metadata"))
    labels = needed_table(root, TITLE, _TABLE.format(labeler))
    columns = {"id": ("dicom_id",), "patient_id": ("subject_id",), "study_id": ("study_id",)}
    table = once(read_columns(metadata, TITLE, columns, {"view": ("ViewPosition",)}), ["id"], TITLE)
    found = read_columns(labels, TITLE, {"study_id": ("study_id",)} | {name: (name,) for name in FINDINGS})
    studies = states(found, FINDINGS, TITLE).assign(study_id=found["study_id"])
    studies = once(studies, ["study_id"], TITLE).set_index("study_id")
    patient, study = table["patient_id"], table["study_id"]
    return canonical(
        studies.reindex(study).set_axis(table.index),
        id=table["id"],
        file="files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + table["id"] + _suffix(root / "files"),
        patient_id=patient,
        study_id=study,
        view=views(table["view"]),
        split=_split(root, table["id"]),
    )


def _split(root: Path, ids: "pd.Series[str]") -> "pd.Series[str]":
    if (path := find_table(root, _TABLE.format("split"))) is None:
        return pd.Series("", index=ids.index, dtype=object)
    table = read_columns(path, TITLE, {"id": ("dicom_id",), "split": ("split",)})
    table["split"] = among(table["split"], _HALVES, "cell(s) of 'split'", TITLE)
    found = ids.map(once(table, ["id"], TITLE).set_index("id")["split"])
    return found.where(found.notna(), "")


def _suffix(folder: Path) -> str:
    """Of the first image below a folder; that of MIMIC-CXR-JPG where there is none."""
    for _, _, names in os.walk(folder):
        for suffix in IMAGE_SUFFIXES:
            if any(name.endswith(suffix) for name in names):
                return suffix
    return ".jpg"


MIMIC = Collection(
    TITLE, "text mining of reports (CheXpert labeler)", "study", "known", FINDINGS, partial(read, "chexpert")
)
MIMIC_NEGBIO = Collection(
    TITLE, "text mining of reports (NegBio labeler)", "study", "known", FINDINGS, partial(read, "negbio")
)
