"""Galaxy cutouts: no preferred orientation, colours that mean something, noise and PSF that do not."""

from typing import TYPE_CHECKING

from catalogs.galaxies.extinction import coefficients
from catalogs.galaxies.reader import read_galaxies
from catalogs.reading import Radiometry
from pipelines.domains.domain import Domain
from pipelines.domains.rendering import render

if TYPE_CHECKING:
    from domainssl.views.operation import Policy


def views(
    radiometry: Radiometry, bands: tuple[str, ...], size: int, *, sided: bool, survey: str | None = None
) -> "Policy":
    """Any angle, mirror images unless `sided`, a crop that keeps the object in the frame; then sky and telescope.

    Linear images are reddened (where `survey` has each band's extinction), blurred and made noisier from the object's
    own values; pictures get a little brightness, blur and noise. Colours are never jittered.
    """
    from domainssl.views.affine_crop import AffineCrop
    from domainssl.views.blur_to import BlurTo
    from domainssl.views.brightness import Brightness
    from domainssl.views.noise_to import NoiseTo, PictureNoise
    from domainssl.views.reddening import Reddening

    frame = AffineCrop(size, rotation=180.0, flip=0.0 if sided else 0.5, field=(0.7, 1.0), shift=0.05)
    if radiometry == "display":
        return frame, Brightness(0.1, 0.2), BlurTo(1.5, chance=0.5), PictureNoise(0.03)
    extinction = coefficients(bands, survey)
    reddening = () if extinction is None else (Reddening(extinction),)
    return (*reddening, frame, BlurTo(1.5, chance=0.5), NoiseTo(2.0))


GALAXIES = Domain(
    "galaxies", "Galaxies", (), 2, read_galaxies, views, render, upright=False, symmetry="dihedral", sky=True
)
