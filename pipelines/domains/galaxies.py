"""Galaxy cutouts: no preferred orientation, colours that mean something, noise and PSF that do not."""

from typing import TYPE_CHECKING

from catalogs.galaxies.reader import read_galaxies
from catalogs.reading import Radiometry
from pipelines.domains.domain import Domain
from pipelines.domains.rendering import render

if TYPE_CHECKING:
    from domainssl.views.operation import Policy

# Extinction in magnitudes per E(B-V): SDSS ugriz (Hayat et al. 2021), LSST y (Schlafly & Finkbeiner 2011).
EXTINCTION = {"u": 4.239, "g": 3.303, "r": 2.285, "i": 1.698, "z": 1.263, "y": 1.088}


def views(radiometry: Radiometry, bands: tuple[str, ...], size: int, *, sided: bool) -> "Policy":
    """Any angle, mirror images unless `sided`, a crop that keeps the object in the frame; then sky and telescope.

    Linear images are reddened (where each band's extinction is known), blurred and made noisier from the object's own
    values; pictures get a little brightness, blur and noise. Colours are never jittered.
    """
    from domainssl.views.affine_crop import AffineCrop
    from domainssl.views.blur_to import BlurTo
    from domainssl.views.brightness import Brightness
    from domainssl.views.noise_to import NoiseTo, PictureNoise
    from domainssl.views.reddening import Reddening

    frame = AffineCrop(size, rotation=180.0, flip=0.0 if sided else 0.5, field=(0.7, 1.0), shift=0.05)
    if radiometry == "display":
        return frame, Brightness(0.1, 0.2), BlurTo(1.5, chance=0.5), PictureNoise(0.03)
    known = all(band in EXTINCTION for band in bands)
    reddening = (Reddening(tuple(EXTINCTION[band] for band in bands)),) if known else ()
    return (*reddening, frame, BlurTo(1.5, chance=0.5), NoiseTo(2.0))


GALAXIES = Domain("galaxies", "Galaxies", (), 1, read_galaxies, views, render, upright=False, symmetry="dihedral")
