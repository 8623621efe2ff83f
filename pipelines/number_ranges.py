"""In which tenth of its catalog's numbers a patient or object lies: what is left of the number where it is forgotten.

Numbers are given in the order of admission, or of a survey, so they can tell a label: in NIH ChestX-ray14 those of one
finding lie together.
"""

import numpy as np
import pandas as pd

RANGE = "number_range"
RANGES = tuple(f"{place:02d}" for place in range(1, 11))
FEWEST = 10  # groups a range at least, so that it stands for nobody
_SHARE = 0.5  # of a catalog's groups that are numbered alike, or their numbers are nothing to go by


def number_ranges(frame: pd.DataFrame) -> "pd.Series[str]":
    """One of RANGES a row, "01" for the lowest numbers, by the rank of the row's group among those of its catalog and
    issuer: tenths, or fewer and wider ranges, so that each holds FEWEST groups or more.

    A group's number is what stands between the letters that most groups share ("nih_00001280", "SIM000017", "4711").
    None where the group has none, and in catalogs where fewer than half have one or that are too small for two ranges.
    """
    found = pd.Series(None, index=frame.index, dtype=object)
    parts = frame["group"].astype(str).str.extract(r"^(\D*)(\d{1,18})(\D*)$")
    issuer = frame["issuer"].fillna("") if "issuer" in frame else pd.Series("", index=frame.index)
    for _, rows in frame.groupby([frame["catalog"], issuer], sort=False).groups.items():
        own = parts.loc[rows]
        first = ~frame.loc[rows, "group"].duplicated()
        frame_of = own[0] + "\0" + own[2]
        counts = frame_of[first].value_counts()
        if counts.empty or counts.iloc[0] < _SHARE * int(first.sum()):
            continue
        alike = frame_of == counts.index[0]
        numbers = own.loc[alike, 1].astype(np.int64)
        distinct = np.unique(numbers)
        several = min(len(RANGES), len(distinct) // FEWEST)
        if several >= 2:
            rank = np.searchsorted(distinct, numbers)
            found.loc[numbers.index] = [RANGES[place] for place in rank * several // len(distinct)]
    return found
