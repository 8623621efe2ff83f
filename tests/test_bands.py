"""Which photograph channel each band stands in for: known surveys, unknown names, and the sums that keep grey grey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.bands import BLUE_BELOW_UM, RED_ABOVE_UM, WAVELENGTH_UM, rgb_mixing


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(sorted(WAVELENGTH_UM)), st.text(min_size=1)), min_size=1, unique_by=str.lower)
)
def test_every_channel_is_a_mean_of_bands(bands):
    mixing = rgb_mixing(tuple(bands))
    assert mixing.shape == (len(bands), 3)
    assert (mixing >= 0).all()
    np.testing.assert_allclose(mixing.sum(axis=0), 1, rtol=1e-12)
    assert (mixing.sum(axis=1) > 0).all(), "a band is lost"


@settings(deadline=None)
@given(st.permutations(sorted(WAVELENGTH_UM)), st.integers(2, len(WAVELENGTH_UM)))
def test_the_order_of_bands_does_not_matter_and_red_is_never_blueward_of_blue(names, count):
    bands = tuple(names[:count])
    mixing = rgb_mixing(bands)
    ordered = tuple(sorted(bands, key=lambda name: (WAVELENGTH_UM[name], bands.index(name))))
    np.testing.assert_array_equal(mixing[[bands.index(name) for name in ordered]], rgb_mixing(ordered))
    if {"red", "green", "blue"} != set(bands):
        red, green, blue = np.array([WAVELENGTH_UM[name] for name in bands]) @ mixing
        assert red >= green >= blue


@pytest.mark.parametrize(
    ("bands", "red", "green", "blue"),
    [
        ("ugriz", [0, 0, 0, 0.5, 0.5], [0, 0, 1, 0, 0], [0.5, 0.5, 0, 0, 0]),
        ("grz", [0, 0, 1], [0, 1, 0], [1, 0, 0]),
        ("zrg", [1, 0, 0], [0, 1, 0], [0, 0, 1]),
        ("gri", [0, 0, 1], [0, 1, 0], [1, 0, 0]),
        ("gr", [0, 1], [0.5, 0.5], [1, 0]),
        ("rg", [1, 0], [0.5, 0.5], [0, 1]),
        ("izy", [0, 0, 1], [0, 1, 0], [1, 0, 0]),  # all redward: shared out by rank
        ("grizy", [0, 0, 1 / 3, 1 / 3, 1 / 3], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0]),
    ],
)
def test_surveys(bands, red, green, blue):
    np.testing.assert_allclose(rgb_mixing(tuple(bands)).T, [red, green, blue])


def test_photographs_keep_their_channels_in_any_order_and_case():
    np.testing.assert_array_equal(rgb_mixing(("red", "green", "blue")), np.eye(3))
    np.testing.assert_array_equal(rgb_mixing(("Blue", "GREEN", "red")), np.eye(3)[::-1])


def test_one_band_feeds_all_channels():
    for band in ("intensity", "r", "z"):
        np.testing.assert_array_equal(rgb_mixing((band,)), np.ones((1, 3)))


def test_unknown_names_stand_from_blue_to_red():
    np.testing.assert_array_equal(rgb_mixing(("first", "second", "third")), np.eye(3)[::-1])
    np.testing.assert_array_equal(rgb_mixing(("first", "second")), [[0, 0.5, 1], [1, 0.5, 0]])
    # One unknown name among known ones: no wavelength is trusted.
    np.testing.assert_array_equal(rgb_mixing(("z", "strange", "g")), np.eye(3)[::-1])


@pytest.mark.parametrize("bands", [(), ("g", "r", "G"), ("red", "green", "blue", "red")])
def test_no_band_and_doubled_bands_are_refused(bands):
    with pytest.raises(ValueError, match="name at least one band, and each only once"):
        rgb_mixing(bands)


def test_the_limits_lie_between_g_r_and_i():
    assert WAVELENGTH_UM["g"] < BLUE_BELOW_UM <= WAVELENGTH_UM["r"] < RED_ABOVE_UM <= WAVELENGTH_UM["i"]
