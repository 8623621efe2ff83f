"""A survey that tells one tag more than it may, for test_privacy.py; of its own since reading processes import it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread

from catalogs.chest_xrays.survey import survey


def telling(path: Path) -> Mapping[str, Any] | None:
    """What the survey tells, and InstitutionName as it is written."""
    found = survey(path)
    if found is None:
        return None
    return {**found, "institution": str(dcmread(path, stop_before_pixels=True).get("InstitutionName"))}
