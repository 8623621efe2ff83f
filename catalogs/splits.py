"""The one train and test split: by a hash of the raw group id, so that it is the same everywhere and for ever."""

import hashlib
from typing import Literal

import pandas as pd

from catalogs.errors import CatalogError

Half = Literal["train", "test"]


def half(group: str) -> Half:
    """The half in which a group (patient, tile, friends-of-friends group) lies.

    "test" where the first bit of the SHA-256 of the id's UTF-8 bytes is 1, else "train". It depends on nothing else,
    so a group keeps its half in every catalog and every run.
    """
    return "test" if _digest(group)[0] & 0x80 else "train"


def assign_halves(frame: pd.DataFrame, strata: "pd.Series[str] | None" = None) -> "pd.Series[str]":
    """The half of each row, from its columns `group` (str) and `split` ("train", "test", or "" where not given), and
    `issuer`, where there is one: who gave the group its id, so that the same id of two issuers may have two splits.

    A given split wins over the hash, for the whole group: rows of the group without one follow it. An empty frame gives
    an empty series. With `strata`, a word a row, the groups of each stratum (of its rows' most frequent word) are dealt
    to the halves by turns, in the order of their hashes: more alike, but a group's half then hangs on who else is in
    the catalog. Raises CatalogError where rows of one group are given on both sides, since that leaks.
    """
    keys = frame["group"] + "\0" + (frame["issuer"].fillna("") if "issuer" in frame else "")
    given = frame.assign(key=keys).loc[frame["split"] != "", ["key", "group", "split"]].drop_duplicates()
    leaking = given.loc[given["key"].duplicated(), "group"].unique()
    if len(leaking):
        shown = ", ".join(repr(str(group)) for group in leaking[:3])
        raise CatalogError(
            "split: {count} group(s) have rows in both train and test ({shown}); "
            "give each group one split, or leave the column empty",
            {"shown": shown},
            count=len(leaking),
        )
    chosen: dict[str, str] = dict(zip(given["key"], given["split"], strict=True))
    if strata is None:
        pairs = zip(keys, frame["group"], strict=True)
        chosen |= {key: half(group) for key, group in dict(pairs).items() if key not in chosen}
    else:
        chosen |= _dealt(strata[~keys.isin(chosen)], keys)
    return pd.Series([chosen[key] for key in keys], index=frame.index, name="half", dtype=object)


def _dealt(strata: "pd.Series[str]", groups: "pd.Series[str]") -> dict[str, str]:
    words = strata.groupby(groups.loc[strata.index]).agg(lambda words: words.mode().iloc[0])
    ordered = sorted(words.index, key=lambda group: (words[group], _digest(group)))
    return {group: ("test", "train")[place % 2] for place, group in enumerate(ordered)}


def _digest(group: str) -> bytes:
    return hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
