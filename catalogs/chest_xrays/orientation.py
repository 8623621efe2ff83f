"""Radiographs upright: the patient's head above and, in frontal views, the right side on the left of the image."""

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset

from catalogs.chest_xrays.headers import silence

TURNED = "turned as PatientOrientation says"
ODD = "unusable patient orientation"
FLIPPED = "flipped on the detector, orientation not given"


def upright(
    pixels: Float32[np.ndarray, "y x"], dataset: Dataset
) -> tuple[Float32[np.ndarray, "row column"], tuple[str, ...]]:
    """The pixels as they are hung, and flags, by PatientOrientation (0020,0020; PS3.3 C.7.6.1.1.1): rows run to the
    patient's left, columns to the feet; where rows run to front or back (lateral views), that stays.

    It is what the pixels show after any FieldOfViewHorizontalFlip (0018,7034; PS3.3 C.8.11.4), which therefore changes
    nothing; where the flip is declared and the orientation is not, the image stays as it is, with a flag. An
    orientation that names one axis twice, or none, changes nothing either.
    """
    along, down = _directions(dataset)
    if not along and not down:
        flipped = str(dataset.get("FieldOfViewHorizontalFlip") or "").strip().upper() == "YES"
        return pixels, (FLIPPED,) if flipped else ()
    transposed = along in ("H", "F")
    if transposed:
        along, down = down, along
    if along not in ("L", "R", "A", "P") or down not in ("H", "F"):
        return pixels, (ODD,)
    if not transposed and along != "R" and down == "F":
        return pixels, ()
    found = pixels.T if transposed else pixels
    found = found[:: -1 if down == "H" else 1, :: -1 if along == "R" else 1]
    return np.ascontiguousarray(found), (TURNED,)


def _directions(dataset: Dataset) -> tuple[str, str]:
    """Where rows and columns run to: the first letter of each, "" where not given, "?" where it cannot be read."""
    with silence():
        try:
            value = dataset.get("PatientOrientation")
        except Exception:  # noqa: BLE001 - a damaged element is found out when it is asked for
            return "?", "?"
    if value is None or isinstance(value, str) or len(value) != 2:
        return ("", "") if not value else ("?", "?")
    first, second = (str(part).strip().upper()[:1] for part in value)
    return first, second
