"""CheXpert (Irvin et al. 2019, arXiv:1901.07031), v1.0 and v1.0-small, with its test set."""

from pathlib import Path

import pandas as pd

from catalogs.chest_xrays.collections.layout import (
    Collection,
    ages,
    canonical,
    find_table,
    needed_table,
    once,
    read_columns,
    sexes,
    states,
    views,
)
from catalogs.errors import CatalogError

FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
TITLE = "CheXpert"
TABLES = ("train.csv", "valid.csv", "test.csv", "test_labels.csv")
# CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg, the first part in some copies only.
_PATH = (
    r"^(?P<above>(?:.*/)?)(?P<file>(?P<part>train|valid|test)/(?P<patient_id>patient\d+)/(?P<study>study\d+)"
    r"/view\d+_(?P<side>frontal|lateral))(?P<suffix>\.\w+)$"
)


def read(root: Path) -> pd.DataFrame:
    """Of train.csv, valid.csv, test.csv and test_labels.csv those that there are, see `canonical`.

    Patient, study and lateral views are told by the paths; a frontal image is "PA" or "AP" where its row says so.
    Raises MissingFileError where there is none of the tables, CatalogError for one that is not as published.
    """
    needed_table(root, TITLE, *TABLES)
    known = {"Path": ("Path",)}
    findings = {name: (name,) for name in FINDINGS}
    more = {"sex": ("Sex",), "age": ("Age",), "view": ("AP/PA",)}
    parts = []
    for name in TABLES:
        if (path := find_table(root, name)) is not None:
            labelled = name != "test.csv"  # its labels may stand in test_labels.csv
            parts.append(
                read_columns(path, TITLE, known | findings, more)
                if labelled
                else read_columns(path, TITLE, known, findings | more)
            )
    table = pd.concat(parts, ignore_index=True)
    told = table["Path"].str.extract(_PATH)
    if strange := int(told["file"].isna().sum()):
        raise CatalogError(
            "{title}: {count} row(s) have a Path unlike train/patient00001/study1/view1_frontal.jpg; "
            "give the tables as they were published",
            title=TITLE,
            count=strange,
        )
    table = once(table.assign(id=told["file"]).drop(columns="Path"), ["id"], TITLE)
    told = told.loc[table.index]
    frontal = told["side"] == "frontal"
    return canonical(
        states(table, FINDINGS, TITLE),
        id=table["id"],
        file=_folders(root, told) + told["file"] + told["suffix"],
        patient_id=told["patient_id"],
        study_id=told["patient_id"] + "/" + told["study"],
        view=views(table["view"].where(frontal, "LATERAL")).where(~frontal | table["view"].isin(["PA", "AP"]), None),
        sex=sexes(table["sex"]),
        age=ages(table["age"]),
        split=told["part"].map({"train": "train", "valid": "train", "test": "test"}),
    )


def _folders(root: Path, told: pd.DataFrame) -> "pd.Series[str]":
    """What stands above train, valid and test on the disk: as much of each path's first part as there is."""
    found = {}
    for above, part in told[["above", "part"]].drop_duplicates().itertuples(index=False):
        steps = Path(above).parts
        endings = ["/".join((*steps[n:], "")) for n in range(len(steps) + 1)]
        found[above, part] = next((ending for ending in endings if (root / ending / part).is_dir()), "")
    pairs = zip(told["above"], told["part"], strict=True)
    return pd.Series([found[pair] for pair in pairs], index=told.index, dtype=object)


CHEXPERT = Collection(
    TITLE,
    "train: text mining of reports (CheXpert labeler); valid: majority of three radiologists; "
    "test: majority of five radiologists",
    "study",
    "known",
    FINDINGS,
    read,
)
