"""Chest radiographs, from de-identified pictures: upright, sides that mean something, exposure that does not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from catalogs.pictures import read_pictures
from catalogs.reading import Cutout, Radiometry, Refusal
from pipelines.domains.domain import Domain
from pipelines.domains.rendering import render

if TYPE_CHECKING:
    from domainssl.views.operation import Policy


def read(rows: pd.DataFrame, *, bands: tuple[str, ...], white: float | None) -> Iterator[Cutout | Refusal]:
    """Pictures only; DICOM is refused ("format"): reading it without its privacy rules would leak identities."""
    return read_pictures(rows, bands=bands, white=white)


def views(radiometry: Radiometry, bands: tuple[str, ...], size: int) -> "Policy":
    """Small rotations and crops, no mirror images (the heart lies left), brightness, contrast, blur and noise."""
    from domainssl.views.affine_crop import AffineCrop
    from domainssl.views.blur_to import BlurTo
    from domainssl.views.brightness import Brightness
    from domainssl.views.noise_to import PictureNoise

    frame = AffineCrop(size, rotation=7.0, field=(0.7, 1.0), shift=0.05)
    return frame, Brightness(0.1, 0.2), BlurTo(1.5, chance=0.5), PictureNoise(0.03)


NOTICE = (
    "Research use only; not a medical device; not for diagnosis. Scores are not probabilities unless calibrated; "
    "an anomaly is not a disease."
)
CHEST_XRAYS = Domain("chest_xrays", "Chest radiographs", (NOTICE,), 1, read, views, render)
