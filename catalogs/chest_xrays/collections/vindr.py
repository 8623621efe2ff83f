"""VinDr-CXR 1.0.0 (Nguyen et al. 2022, doi:10.1038/s41597-022-01498-w)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from catalogs.chest_xrays.collections.layout import (
    Collection,
    canonical,
    find_table,
    image_files,
    located,
    needed_table,
    once,
    read_columns,
    states,
)

FINDINGS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
    *("Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
    *("Other diseases", "No finding"),
)
TITLE = "VinDr-CXR"
_COLUMNS: Mapping[str, Sequence[str]] = {
    "id": ("image_id",),
    **{name: (name,) for name in FINDINGS},
    "Other diseases": ("Other diseases", "Other disease"),  # of the training and of the test images
}
_STATES = np.array(["0", "-1", "1", None], dtype=object)  # by the sign of the vote, and for no vote at all


def read(root: Path) -> pd.DataFrame:
    """annotations/image_labels_train.csv and image_labels_test.csv, or one of them, see `canonical`.

    Of several readers the majority counts, a tie is uncertain ("-1"), and the share of those who see a finding stands
    in the further column "share:<finding>" (float64, 0..1, NaN for the test images, of which only the consensus is
    published). All images are PA by the authors' selection. Patients are nowhere told; sex and age are left to the
    headers. Raises MissingFileError where there is neither table, CatalogError for one that is not as published.
    """
    needed_table(root, TITLE, "annotations/image_labels_train.csv", "annotations/image_labels_test.csv")
    parts = []
    for half in ("train", "test"):
        if (path := find_table(root, f"annotations/image_labels_{half}.csv")) is not None:
            votes = read_columns(path, TITLE, _COLUMNS, {"reader": ("rad_id",)})
            parts.append(_agreed(votes).assign(split=half))
    table = once(pd.concat(parts, ignore_index=True), ["id"], TITLE)
    there = image_files(root, [root / "train", root / "test"])
    shares = [f"share:{name}" for name in FINDINGS]
    return canonical(
        table[list(FINDINGS)].join(table[shares].astype(np.float64)),
        id=table["id"],
        file=located(table["id"], there, table["split"] + "/" + table["id"] + ".dicom"),
        view="PA",
        split=table["split"],
    )


def _agreed(votes: pd.DataFrame) -> pd.DataFrame:
    """One row an image: what most of its readers say, and the share who see each finding."""
    several = bool(votes["reader"].notna().any())
    votes = once(votes, ["id", "reader"] if several else ["id"], TITLE)
    codes, ids = pd.factorize(votes["id"])
    said = states(votes, FINDINGS, TITLE)
    yes, no = ((said == vote).groupby(codes).sum().to_numpy(np.float64) for vote in ("1", "0"))
    with np.errstate(invalid="ignore"):  # 0 of 0: nobody says anything
        share = yes / (yes + no)
    agreed = _STATES[np.where(np.isnan(share), 3, np.sign(yes - no) + 1).astype(np.int64)]
    table = pd.DataFrame(agreed, columns=list(FINDINGS), dtype=object)
    shown = share if several else np.full_like(share, np.nan)
    return table.join(pd.DataFrame(shown, columns=[f"share:{name}" for name in FINDINGS])).assign(id=ids)


VINDR = Collection(
    TITLE,
    "train: majority of three radiologists, a tie being uncertain; test: consensus of five radiologists",
    "image",
    "unknown",
    FINDINGS,
    read,
)
