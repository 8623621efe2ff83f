"""Patches: cut without interpolation, apart from one another, and without what would tell their places."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_pretexts import tiny

from domainssl.methods.patches import FEWEST, encoded, nine_patches, one_band, own_contrast, patch_side, resampled


def places(count: int, size: int) -> torch.Tensor:
    """Images whose pixels say in which row (band 0) and column (band 1) they are."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([row, column]).float().expand(count, 2, size, size)


def everything(images: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(24, 120),
    gap=st.floats(0, 1),
    jitter=st.floats(0, 0.5),
    seed=st.integers(0, 2**31),
)
def test_patches_are_whole_squares_in_reading_order_apart_by_the_gap_less_the_jitter(size, gap, jitter, seed):
    images = places(6, size)
    patches, counted = nine_patches(images, everything(images), gap, jitter * gap, torch.Generator().manual_seed(seed))
    side = patches.shape[-1]
    rows, columns = patches[:, :, 0], patches[:, :, 1]
    steps = torch.arange(side)
    assert torch.equal(rows, (rows[:, :, :1, :1] + steps[:, None]).expand_as(rows))
    assert torch.equal(columns, (columns[:, :, :1, :1] + steps).expand_as(columns))
    top, left = (plane[:, :, 0, 0].view(-1, 3, 3) for plane in (rows, columns))
    space = round(gap * side)
    least = space - 2 * min(round(jitter * gap * side), space // 2)
    assert least >= 0
    assert (top.amin(2)[:, 1:] - top.amax(2)[:, :-1] - side).min() >= least
    assert (left.amin(1)[:, 1:] - left.amax(1)[:, :-1] - side).min() >= least
    assert counted.all()


def test_the_grid_is_central_and_jitter_is_drawn_for_each_patch():
    images = places(400, 96)
    patches, _ = nine_patches(images, everything(images), 0.5, 0.2, torch.Generator().manual_seed(0))
    side, moved = patches.shape[-1], round(0.2 * patches.shape[-1])
    top, left = patches[:, :, 0, 0, 0], patches[:, :, 1, 0, 0]
    for corner in (top, left):
        assert torch.equal(corner.amax(0) - corner.amin(0), torch.full((9,), 2.0 * moved))
        assert abs(corner[:, 4].mean() + side / 2 - 48) < 1
    assert torch.corrcoef(torch.cat([top, left], 1).T).fill_diagonal_(0).abs().max() < 0.25
    again, _ = nine_patches(images, everything(images), 0.5, 0.2, torch.Generator().manual_seed(0))
    assert torch.equal(patches, again)


def test_what_could_overlap_or_is_too_small_is_refused():
    images = places(1, 96)
    with pytest.raises(ValueError, match=r"jitter of 0.3 lets patches with a gap of 0.5 overlap; give at most half"):
        nine_patches(images, everything(images), 0.5, 0.3, torch.Generator())
    small = places(1, 10)
    with pytest.raises(ValueError, match=r"images of 10 px give patches of 2 px; give a larger encoder.size"):
        nine_patches(small, everything(small), 0.5, 0.0, torch.Generator())


def test_a_patch_of_mostly_invalid_pixels_does_not_count():
    images = places(2, 64)
    valid = everything(images)
    valid[1, :, :20, :20] = False
    _, counted = nine_patches(images, valid, 0.0, 0.0, torch.Generator())
    assert counted[0].all()
    assert counted[1].tolist() == [False] + [True] * 8


def test_half_of_the_patches_are_resampled_to_100_pixels_or_more():
    """A patch of noise has as many independent columns as it has pixels a side, before it is enlarged again."""
    patches = noise(300, 1, 24, 24).double()
    done = resampled(patches, torch.Generator().manual_seed(1))
    ranks = torch.linalg.matrix_rank(done[:, 0], rtol=1e-9)
    untouched = (done == patches).flatten(1).all(dim=1)
    assert 0.4 < untouched.float().mean() < 0.6
    assert torch.equal(ranks == 24, untouched)
    assert set(ranks.tolist()) == set(range(FEWEST, 25))
    assert FEWEST**2 == 100
    small = noise(8, 2, 8, 8)
    assert torch.equal(resampled(small, torch.Generator()), small)


def test_a_patch_keeps_one_band_and_any_of_them():
    patches = noise(100, 5, 8, 8)
    kept = one_band(patches, torch.Generator().manual_seed(2))
    assert kept.shape == patches.shape
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    which = (kept == patches).flatten(2).all(dim=2)
    assert which.sum(dim=1).tolist() == [1] * 100
    assert (which.sum(dim=0) > 8).all()


def test_contrast_and_brightness_of_a_band_are_taken_away():
    patches = noise(10, 3, 8, 8)
    own = own_contrast(patches)
    torch.testing.assert_close(own.mean(dim=(2, 3)), torch.zeros(10, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(own.square().mean(dim=(2, 3)), torch.ones(10, 3))
    gain = torch.tensor([0.1, 1.0, 30.0]).view(3, 1, 1)
    torch.testing.assert_close(own_contrast(gain * patches + 5 * gain), own, atol=1e-4, rtol=1e-3)
    assert torch.equal(own_contrast(torch.full((2, 3, 8, 8), 7.0)), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("encoder", "size", "side"),
    [
        ("test_efficientnet", 96, 48),
        ("test_efficientnet", 48, 32),
        ("vit_tiny_patch16_224", 64, 64),
        ("dense_8", 96, 96),
    ],
)
def test_encoders_of_one_size_get_patches_of_that_size(encoder, size, side):
    method = tiny("relative_patch", 2, size, encoder)
    assert patch_side(method.encoder) == side == method.side
    patches = noise(2, 9, 2, 16, 16)
    assert encoded(method.encoder, patches, side).shape == (2, 9, method.encoder.width)


def test_a_patch_is_encoded_as_an_image_would_be():
    encoder = tiny("relative_patch").encoder
    images = torch.rand(3, 2, 32, 32)
    with torch.no_grad():
        found = encoded(encoder, encoder.normalised(images)[:, None], 32)
        torch.testing.assert_close(found[:, 0], encoder.pooled(images))
