"""What each domain lets views change."""

import pytest

from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo
from domainssl.views.reddening import Reddening
from pipelines.domains import DOMAINS
from pipelines.domains.galaxies import EXTINCTION


def only(policy: tuple[object, ...], kind: type) -> list[object]:
    return [operation for operation in policy if isinstance(operation, kind)]


def test_galaxies_turn_by_any_angle_and_stay_in_the_frame() -> None:
    for radiometry, bands in (("linear", ("g", "r", "z")), ("display", ("red", "green", "blue"))):
        (frame,) = only(DOMAINS["galaxies"].views(radiometry, bands, 64), AffineCrop)
        assert isinstance(frame, AffineCrop)
        assert frame.rotation == 180.0
        assert frame.flip == 0.5
        assert frame.field[0] - 2 * frame.shift > 0.5  # an object of half the frame is never cut


def test_radiographs_are_never_mirrored_and_hardly_turned() -> None:
    (frame,) = only(DOMAINS["chest_xrays"].views("display", ("grey",), 64), AffineCrop)
    assert isinstance(frame, AffineCrop)
    assert frame.flip == 0.0
    assert frame.rotation <= 10.0


@pytest.mark.parametrize(("bands", "known"), [(("u", "g", "r", "i", "z"), True), (("g", "f814w"), False)])
def test_only_linear_bands_of_known_extinction_are_reddened(bands: tuple[str, ...], known: bool) -> None:
    linear = DOMAINS["galaxies"].views("linear", bands, 64)
    assert len(only(linear, Reddening)) == known
    assert len(only(linear, NoiseTo)) == 1
    if known:
        assert only(linear, Reddening) == [Reddening(tuple(EXTINCTION[band] for band in bands))]
    assert not only(DOMAINS["galaxies"].views("display", bands, 64), Reddening)
    assert not only(DOMAINS["galaxies"].views("display", bands, 64), NoiseTo)
