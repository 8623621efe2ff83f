"""NIH ChestX-ray14 (Wang et al. 2017, arXiv:1705.02315), tables of 2017 and of 2020."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.chest_xrays.collections.layout import (
    Collection,
    ages,
    canonical,
    find_table,
    image_files,
    located,
    needed_table,
    once,
    read_columns,
    read_text,
    sexes,
    views,
)
from catalogs.errors import CatalogError

FINDINGS = (
    *("No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis"),
    *("Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
TITLE = "NIH ChestX-ray14"
_COLUMNS = {
    "image": ("Image Index",),
    "findings": ("Finding Labels",),
    "patient_id": ("Patient ID",),
    "view": ("View Position",),
    "sex": ("Patient Gender", "Patient Sex"),
    "age": ("Patient Age",),
}


def read(root: Path) -> pd.DataFrame:
    """Data_Entry_2017_v2020.csv, else Data_Entry_2017.csv, see `canonical`.

    The findings named are "1" and all others "0"; an empty cell leaves all unknown. Images are looked for in images/
    and images_001/images/ and so on, by their names without suffix. Patients bear their numbers without leading zeros,
    as in `catalogs.chest_xrays.collections.rsna`. No study is told: Follow-up # numbers a patient's images. The split
    is that of train_val_list.txt and test_list.txt, where they are. Raises MissingFileError without a table,
    CatalogError for one that is not as published.
    """
    path = needed_table(root, TITLE, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
    table = read_columns(path, TITLE, _COLUMNS)
    table["id"] = table["image"].str.rsplit(".", n=1).str[0]
    table = once(table, ["id"], TITLE)
    there = image_files(root, _folders(root))
    return canonical(
        _findings(table["findings"]),
        id=table["id"],
        file=located(table["id"], there, "images/" + table["image"]),
        patient_id=table["patient_id"].str.lstrip("0"),
        view=views(table["view"]),
        sex=sexes(table["sex"]),
        age=ages(table["age"]),
        split=_split(root, table["image"]),
    )


def _findings(cells: "pd.Series[str]") -> pd.DataFrame:
    """ "1" or "0" for every finding, from "Edema|Mass"."""
    codes, distinct = pd.factorize(cells)
    states = np.full((len(distinct) + 1, len(FINDINGS)), None, dtype=object)
    unknown = np.zeros(len(distinct) + 1, dtype=bool)
    for place, cell in enumerate(distinct):
        named = {word.strip() for word in cell.split("|")}
        unknown[place] = not named <= set(FINDINGS)
        states[place] = ["1" if finding in named else "0" for finding in FINDINGS]
    if unknown.any():
        raise CatalogError(
            "{title}: {count} row(s) name a finding that is none of {findings}; give the table as it was published",
            title=TITLE,
            count=int(unknown[codes].sum()),
            findings=", ".join(FINDINGS),
        )
    return pd.DataFrame(states[codes], index=cells.index, columns=list(FINDINGS), dtype=object)


def _folders(root: Path) -> list[Path]:
    parts = sorted(path for path in root.glob("images_*") if re.fullmatch(r"images_\d+", path.name))
    return [root / "images", *(path / "images" for path in parts)]


def _split(root: Path, images: "pd.Series[str]") -> "pd.Series[str]":
    split = pd.Series("", index=images.index, dtype=object)
    for name, half in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        if (path := find_table(root, name)) is None:
            continue
        listed = images.isin({line.strip() for line in read_text(path, TITLE).splitlines()})
        if both := int((listed & (split != "")).sum()):
            raise CatalogError(
                "{title}: {count} image(s) stand in train_val_list.txt and in test_list.txt; "
                "give the lists as they were published",
                title=TITLE,
                count=both,
            )
        split[listed] = half
    return split


NIH = Collection(
    TITLE,
    "text mining of reports; a finding that is not named counts as absent",
    "image",
    "known",
    FINDINGS,
    read,
)
