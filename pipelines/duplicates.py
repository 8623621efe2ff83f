"""Objects that a run holds twice, by position or by image: written to duplicates.csv, and said where they leak."""

import numpy as np
import pandas as pd

from catalogs.duplicates import duplicate_images, duplicate_positions

RADIUS_ARCSEC = 1.0
COLUMNS = ("by", "number", "object_id", "group", "half")


def find_duplicates(frame: pd.DataFrame, fingerprints: "pd.Series[bytes]") -> pd.DataFrame:
    """One row for each object that is the same as others, those of one `number` together; empty where there is none.

    `frame` has object_id, group, half and perhaps ra and dec; `fingerprints` are `image_fingerprint` of each of these
    objects, empty where there are none.
    """
    found = {}
    if "ra" in frame and "dec" in frame:
        ra, dec = frame["ra"].to_numpy(np.float64), frame["dec"].to_numpy(np.float64)
        found["position"] = duplicate_positions(ra, dec, RADIUS_ARCSEC)
    if len(fingerprints) and fingerprints.map(len).all():
        found["image"] = duplicate_images(fingerprints.tolist())
    parts = [
        frame.iloc[rows][["object_id", "group", "half"]].assign(by=by, number=number)
        for by, groups in found.items()
        for number, rows in enumerate(groups)
    ]
    return pd.concat([pd.DataFrame(columns=list(COLUMNS)), *parts], ignore_index=True)[list(COLUMNS)]


def leaks(duplicates: pd.DataFrame) -> int:
    """How many sets of the same object have members in both halves."""
    return int((duplicates.groupby(["by", "number"])["half"].nunique() > 1).sum())
