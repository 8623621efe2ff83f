"""How a picture lies in a file: upright, mirrored or turned, and what PatientOrientation says (PS3.3 C.7.6.1.1.1).

An orientation is two letters: whither a row runs (to the right of the image) and whither a column runs (down it).
"""

import numpy as np
from jaxtyping import Shaped

from catalogs.samples.radiograph_anatomy import View

UPRIGHT: dict[View, str] = {"PA": "LF", "AP": "LF", "LL": "PF"}
_OPPOSITE = dict(zip("LRAPHF", "RLPAFH", strict=True))


def orientations(view: View) -> tuple[str, ...]:
    """Upright, then mirrored, then turned counterclockwise by one, two and three right angles."""
    across, down = UPRIGHT[view][0], UPRIGHT[view][1]
    left, up = _OPPOSITE[across], _OPPOSITE[down]
    return across + down, left + down, down + left, left + up, up + across


def laid(plane: Shaped[np.ndarray, "y x"], view: View, orientation: str) -> Shaped[np.ndarray, "row column"]:
    """An upright picture of the view as a file of that orientation stores it."""
    number = orientations(view).index(orientation)
    return np.ascontiguousarray(plane[:, ::-1] if number == 1 else np.rot90(plane, max(number - 1, 0)))


def field_of_view(view: View, orientation: str) -> tuple[int, bool]:
    """Degrees clockwise and then whether a horizontal flip, by which the sensor's picture became the stored one.

    Sensors are read as seen from the tube (PS3.3 C.8.11.4 leaves it to the device): there PA and LL are mirror images.
    """
    number, behind = orientations(view).index(orientation), view != "AP"
    if number == 1:
        return 0, not behind
    turns = max(number - 1, 0)
    return 90 * (turns if behind else -turns % 4), behind
