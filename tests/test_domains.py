"""What each domain lets views change."""

from functools import partial

import numpy as np
import pytest

from catalogs.galaxies.extinction import GENERAL
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo
from domainssl.views.reddening import Reddening
from pipelines.domains import DOMAINS


def only(policy: tuple[object, ...], kind: type) -> list[object]:
    return [operation for operation in policy if isinstance(operation, kind)]


def test_galaxies_turn_by_any_angle_and_stay_in_the_frame() -> None:
    for radiometry, bands in (("linear", ("g", "r", "z")), ("display", ("red", "green", "blue"))):
        (frame,) = only(DOMAINS["galaxies"].views(radiometry, bands, 64, sided=False), AffineCrop)
        assert isinstance(frame, AffineCrop)
        assert frame.rotation == 180.0
        assert frame.flip == 0.5
        assert frame.field[0] - 2 * frame.shift > 0.5  # an object of half the frame is never cut


def test_radiographs_are_hardly_turned() -> None:
    (frame,) = only(DOMAINS["chest_xrays"].views("display", ("grey",), 64, sided=False), AffineCrop)
    assert isinstance(frame, AffineCrop)
    assert frame.rotation <= 10.0
    assert DOMAINS["chest_xrays"].upright
    assert not DOMAINS["galaxies"].upright


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_a_label_that_tells_left_from_right_forbids_mirror_images(domain: str) -> None:
    for sided, flip in ((True, 0.0), (False, 0.5)):
        (frame,) = only(DOMAINS[domain].views("display", ("grey",), 64, sided=sided), AffineCrop)
        assert isinstance(frame, AffineCrop)
        assert frame.flip == flip


def test_radiographs_look_as_a_window_shows_them_and_padding_is_black() -> None:
    pixels = np.full((1, 1, 16, 16), np.nan, np.float32)
    pixels[0, 0, 4:12, 4:12] = np.linspace(0.4, 0.6, 64).reshape(8, 8)
    picture = DOMAINS["chest_xrays"].render(pixels, ("grey",), None)
    assert (picture[0, :4] == 0).all()
    assert picture.max() == 255  # each image's own window, however narrow its values


def test_only_the_private_domain_withholds_and_every_page_of_it_says_so() -> None:
    chest = DOMAINS["chest_xrays"]
    assert chest.private
    assert not DOMAINS["galaxies"].private
    said = " ".join((*chest.notices, *chest.image_notices))
    for words in (
        *("Research use only", "not a medical device", "not for diagnosis", "not probabilities unless calibrated"),
        *("saliency is not localisation", "an anomaly is not a disease"),
        *("contains pseudonymised patient images", "not anonymous", "do not share outside the approved project"),
    ):
        assert words.lower() in said.lower()


@pytest.mark.parametrize(("bands", "known"), [(("u", "g", "r", "i", "z"), True), (("g", "f814w"), False)])
def test_only_linear_bands_of_known_extinction_are_reddened(bands: tuple[str, ...], known: bool) -> None:
    views = partial(DOMAINS["galaxies"].views, sided=False)
    linear = views("linear", bands, 64)
    assert len(only(linear, Reddening)) == known
    assert len(only(linear, NoiseTo)) == 1
    if known:
        assert only(linear, Reddening) == [Reddening(tuple(GENERAL[band] for band in bands))]
    assert not only(views("display", bands, 64), Reddening)
    assert not only(views("display", bands, 64), NoiseTo)
