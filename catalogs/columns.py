"""Which columns of a table hold what: usual names, words for what is missing, cells as text."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalogs.errors import CatalogError

# Recognised without configuration, whatever their case, the first that a table has.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("object_id", "objectid", "objid", "obj_id", "id_str", "source_id", "sourceid", "coadd_object_id", "ls_id"),
        *("dr7objid", "dr8objid", "dr12objid", "iauname", "targetid", "specobjid", "main_id", "image_id", "id"),
    ),
    "file": ("file", "filename", "file_name", "file_loc", "file_path", "filepath", "path", "image", "image_path"),
    "group": ("group", "group_id", "patient", "patient_id", "patientid", "subject_id"),
    "issuer": ("issuer", "issuer_of_patient_id", "issuerofpatientid"),
    "item": ("item",),
    "study": ("study", "study_id", "studyid", "study_uid", "study_instance_uid", "studyinstanceuid"),
    "split": ("split",),
    "view": ("view", "view_position", "viewposition", "view position"),
    "sex": ("sex", "patient_sex", "patientsex", "patient sex", "gender", "patient gender"),
    "age": ("age", "patient_age", "patientage", "patient age"),
    "scanner": ("scanner",),  # "device" may be one that is implanted
    "site": ("site", "hospital", "institution", "center", "centre"),
    # Beside text in hours, SIMBAD and VizieR give degrees as RA_d and _RAJ2000: these come first.
    "ra": (
        *("ra_d", "_raj2000", "ra", "ra_deg", "radeg", "ra_icrs", "raj2000", "ra_j2000", "right_ascension"),
        *("coord_ra", "ramean", "alphawin_j2000", "alpha_j2000"),
    ),
    "dec": (
        *("dec_d", "_dej2000", "dec", "dec_deg", "decdeg", "dedeg", "de_icrs", "dej2000", "dec_j2000", "declination"),
        *("coord_dec", "decmean", "deltawin_j2000", "delta_j2000", "decl"),
    ),
    "redshift": ("redshift", "z_spec", "zspec", "specz", "spec_z", "z_redshift", "rvz_redshift"),
    "ebv": ("ebv", "e_bv", "ebmv", "ebv_sfd", "ebv_sfd98", "gal_ebv"),
}


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; None: looked for under the usual names.

    `issuer` says who gave the group its id (the hospital of a patient's number), where several may give the same;
    `study` which images were taken together; `item` which object of a file of many (a row, an HDU).
    `file` is one column, or a column per band. `psf_fwhm_px` is one column for all bands, or a pattern with "{band}".
    """

    id: str | None = None
    file: str | Mapping[str, str] | None = None
    item: str | None = None
    group: str | None = None
    issuer: str | None = None
    study: str | None = None
    split: str | None = None
    ra: str | None = None
    dec: str | None = None
    redshift: str | None = None
    ebv: str | None = None
    psf_fwhm_px: str | None = None


def texts(values: "pd.Series[Any]") -> list[str | None]:
    """Each value as text, None where missing or empty; whole floats as integers (1.0, from a column with gaps, is "1").

    Text is stripped of surrounding blanks.
    """
    if pd.api.types.is_float_dtype(values.dtype):
        plain = values.to_numpy(np.float64, na_value=np.nan) if values.dtype != np.float32 else values.to_numpy()
        return [None if np.isnan(v) else str(int(v)) if np.isfinite(v) and v == int(v) else str(v) for v in plain]
    return [None if missing else str(v).strip() or None for v, missing in zip(values, values.isna(), strict=True)]


def usual_column(key: str, columns: Iterable[str]) -> str | None:
    """The first column that bears a usual name of `key` ("id", "file", "ra"...) in any case; None if there is none."""
    by_lower: dict[str, str] = {}
    for column in columns:
        by_lower.setdefault(str(column).lower(), column)
    return next((by_lower[name] for name in USUAL_NAMES.get(key, ()) if name in by_lower), None)


def missing_column(name: str, key: str, columns: Iterable[str]) -> CatalogError:
    """The error for a column that a table lacks: names a likely one, and all there are."""
    names = [str(column) for column in columns]
    lower = {column.lower(): column for column in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[close[0]]!r}?" if close else "."
    shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return CatalogError(
        "{key}: the table has no column {name!r}{hint} It has: {shown}",
        {"hint": hint, "shown": shown},
        key=key,
        name=name,
    )
