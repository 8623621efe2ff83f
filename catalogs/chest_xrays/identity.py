"""Who a radiograph is of: the raw identity, for grouping and for nothing else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.filereader import read_partial

from catalogs.chest_xrays.headers import refuse_form, silence

_ISSUER, _PATIENT, _CHARACTER_SET = 0x00100021, 0x00100020, 0x00080005


@dataclass(frozen=True)
class Identity:
    """A patient's number and who issued it ("" where unknown), as the file has them.

    Raw identity: it must never be written out, shown or logged, not even hashed without a secret (numbers can be
    tried one by one). It is to be turned into a group and forgotten; its repr is empty for that reason.
    """

    issuer: str = field(repr=False)
    patient: str = field(repr=False)


def read_identity(path: Path) -> Identity | None:
    """IssuerOfPatientID (0010,0021) and PatientID (0010,0020) without surrounding blanks, reading no further.

    None where the file is absent, is no DICOM file or is damaged before these tags, and where PatientID is absent or
    blank. Never raises for a bad file. See `Identity` for what may be done with the answer.
    """
    with silence():
        try:
            if refuse_form(path):
                return None
            with path.open("rb") as file:
                dataset = read_partial(
                    file,
                    stop_when=lambda tag, vr, length: tag > _ISSUER,
                    specific_tags=[_CHARACTER_SET, _PATIENT, _ISSUER],
                )
            issuer, patient = _text(dataset.get("IssuerOfPatientID")), _text(dataset.get("PatientID"))
        except Exception:  # noqa: BLE001 - a bad file has no identity
            return None
    return Identity(issuer, patient) if patient else None


def _text(value: Any) -> str:
    """One line of text; a backslash, which separates values, is put back where pydicom split at it."""
    if value is None:
        return ""
    return (value if isinstance(value, str) else "\\".join(map(str, value))).strip(" \0\t\r\n")
