"""Columns of surveys' catalogs under their usual names, and what in a column is a number or a word."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from domainssl.evaluation.audit import Attribute, of_words

MOST_WORDS = 12  # of a column; the rarer ones count as one
OTHER = "other"


@final
@dataclass(frozen=True)
class Usual:
    """Names of one quantity, in lower case, the most telling first, and between what its values lie: beyond stand -99,
    99 and their like."""

    names: tuple[str, ...]
    low: float = 0.0
    high: float = np.inf


USUAL: Mapping[str, Usual] = {
    "magnitude": Usual(
        (
            *("mag_r", "r_mag", "rmag", "magr", "mag_auto_r", "petromag_r", "modelmag_r", "cmodelmag_r", "dered_r"),
            *("dered_mag_r", "mag_g", "mag_i", "mag_z", "mag_auto", "magnitude", "mag", "btot", "btc"),
        ),
        high=50.0,
    ),
    "radius_arcsec": Usual(
        (
            *("petror50_r", "petro_r50", "petro_th50", "petror90_r", "petro_theta", "petrorad_r", "shape_r"),
            *("half_light_radius", "hlr", "r_eff", "effrad_r", "re", "r50", "flux_radius", "radius", "logd25", "d25"),
        )
    ),
    "depth": Usual(("galdepth_r", "psfdepth_r", "depth_r", "galdepth_g", "psfdepth_g", "depth", "maglim")),
    "seeing": Usual(("psfsize_r", "seeing_r", "psf_fwhm_r", "psfsize_g", "seeing", "psf_fwhm")),
    "redshift": Usual(("redshift",), low=-0.01, high=20.0),
}


def usual_column(
    frame: pd.DataFrame, what: str, labels: Collection[str]
) -> tuple[str, Float64[np.ndarray, " n"]] | None:
    """The first column, in any letter case, that holds `what` of USUAL, and its values, NaN where out of range.

    None where the catalog has none, or it is one of the `labels`.
    """
    usual = USUAL[what]
    lower = {str(name).lower(): str(name) for name in reversed(frame.columns)}
    name = next((lower[one] for one in usual.names if one in lower and lower[one] not in labels), None)
    if name is None:
        return None
    values = numbers(frame[name])
    return name, np.where((values > usual.low) & (values < usual.high), values, np.nan)


def numbers(column: "pd.Series[Any]") -> Float64[np.ndarray, " n"]:
    """A column as numbers, NaN for what is none."""
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


def words(name: str, column: "pd.Series[Any]") -> Attribute:
    """A column as levels: its MOST_WORDS - 1 most frequent words and OTHER."""
    known = column.astype(object).where(column.notna(), None)
    frequent = known.value_counts().index[: MOST_WORDS - 1]
    return of_words(name, known.where(known.isna() | known.isin(frequent), OTHER).tolist())
