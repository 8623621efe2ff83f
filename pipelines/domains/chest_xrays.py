"""Chest radiographs, from DICOM or pictures: upright, private, exposure that means nothing, sides that may."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from catalogs.chest_xrays.marks import MARKS_VERSION, find_marks
from catalogs.chest_xrays.reader import read_chest_xrays
from catalogs.chest_xrays.survey import survey, view_word
from catalogs.reading import VIEWS, Radiometry
from catalogs.scanning import ANY_SUFFIX
from pipelines.domains.domain import Domain, Kept
from pipelines.number_ranges import RANGE, RANGES

if TYPE_CHECKING:
    from domainssl.views.operation import Policy


def views(
    radiometry: Radiometry, bands: tuple[str, ...], size: int, *, sided: bool, survey: str | None = None
) -> "Policy":
    """Crops, small rotations, mirror images unless `sided`; brightness, contrast, blur, noise, an erased rectangle.

    The rotation is MoCo-CXR's, the crop is a little tighter than InnerEye's; both keep both lungs in most views.
    """
    from domainssl.views.affine_crop import AffineCrop
    from domainssl.views.blur_to import BlurTo
    from domainssl.views.brightness import Brightness
    from domainssl.views.erase import Erase
    from domainssl.views.noise_to import PictureNoise

    frame = AffineCrop(size, rotation=10.0, flip=0.0 if sided else 0.5, field=(0.65, 1.0), shift=0.05, outside="zeros")
    return frame, Brightness(0.15, 0.3), BlurTo(1.5, chance=0.5), PictureNoise(0.03), Erase(chance=0.3)


def render(
    pixels: Float[np.ndarray, "n c h w"], bands: tuple[str, ...], scale: Float[np.ndarray, " c"] | None
) -> UInt8[np.ndarray, "n h w 3"]:
    """Grey pictures by window and level, each image's own; linear values (floating-point TIFF) alike."""
    from reports.rendering import render_window

    return render_window(pixels)


NOTICES = (
    "Research use only; not a medical device; not for diagnosis. Scores are not probabilities unless calibrated; "
    "saliency is not localisation; an anomaly is not a disease.",
)
IMAGE_NOTICES = ("Contains pseudonymised patient images; not anonymous; do not share outside the approved project.",)
# Columns of tables and headers that tell about the image and not who is on it; `truth` and `trouble` are the
# simulation's words.
_TROUBLE = ("inverted", "rotated", "cut", "empty")
_KINDS = ("normal", "effusion", "opacity", "cardiomegaly", "dextrocardia", "metal", "white_out", "lateral", *_TROUBLE)
KEPT: dict[str, Kept] = {
    "view": VIEWS,
    "sex": ("M", "F", "O", "male", "female", "other"),
    "age": "number",
    "laterality": ("L", "R", "B", "U"),
    "modality": ("CR", "DX"),
    "photometric": ("MONOCHROME1", "MONOCHROME2"),
    "bits": "number",
    "pixel_mm": "number",
    "burned_in": ("YES", "NO"),
    "scanner": "pseudonym",
    "site": "pseudonym",
    "simulated": ("true", "false"),
    "truth": _KINDS,
    "trouble": _TROUBLE,
    "mark": "number",
    RANGE: RANGES,
}

CHEST_XRAYS = Domain(
    "chest_xrays",
    "Chest radiographs",
    NOTICES,
    3,
    read_chest_xrays,
    views,
    render,
    upright=True,
    image_notices=IMAGE_NOTICES,
    symmetry="mirror",
    suffixes=ANY_SUFFIX,
    private=True,
    kept=KEPT,
    survey=survey,
    taken_views=("PA", "AP", "UNKNOWN"),
    view_word=view_word,
    find_marks=find_marks,
    marks_version=MARKS_VERSION,
)
