"""Random erasing: where, how much, by what value, and what every operation owes its input."""

import itertools
import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.store import Batch
from domainssl.views import erase
from domainssl.views.erase import Erase
from domainssl.views.operation import Operation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(count: int = 6, height: int = 32, width: int = 32, holes: bool = True) -> Batch:
    images = torch.randn(count, 3, height, width, generator=generator(1)) * 5 + 2
    valid = torch.ones(count, 1, height, width, dtype=torch.bool)
    if holes:
        valid[:, :, 5:9, 12:15] = False
        valid[::2, :, :, -3:] = False
    return Batch(images * valid, valid, {"sky_sigma": torch.ones(count, 3)}, torch.arange(count))


def changed(before: Batch, after: Batch) -> torch.Tensor:
    """b h w: where any band differs."""
    return (before.images != after.images).any(1)


def test_input_global_state_and_repeatability():
    batch = example()
    images, valid, state = batch.images.clone(), batch.valid.clone(), torch.get_rng_state()
    assert isinstance(Erase(), Operation)
    first = Erase(chance=1.0)(batch, generator(3))
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.valid, valid)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(11)
    assert torch.equal(Erase(chance=1.0)(batch, generator(3)).images, first.images)
    assert not torch.equal(Erase(chance=1.0)(batch, generator(4)).images, first.images)
    assert first.nuisance is batch.nuisance
    assert torch.equal(first.rows, batch.rows)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    low=st.floats(0.0, 1.0),
    high=st.floats(0.0, 1.0),
    flat=st.floats(0.05, 20),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_one_rectangle_of_the_drawn_area_takes_the_mean(seed, low, high, flat, shape):
    low, high = min(low, high), max(low, high)
    batch = example(5, *shape, holes=False)
    result = Erase(1.0, (low, high), (flat, flat))(batch, generator(seed))
    height, width = shape
    assert torch.isfinite(result.images).all()
    for before, after, erased in zip(batch.images, result.images, changed(batch, result), strict=True):
        rows, columns = erased.any(1), erased.any(0)
        tall, wide = int(rows.sum()), int(columns.sum())
        if height * width > 1:
            assert tall >= 1
            assert torch.equal(erased, rows[:, None] & columns[None, :])
            assert rows.int().diff().abs().sum() <= 2, "rows are torn apart"
            assert columns.int().diff().abs().sum() <= 2, "columns are torn apart"
            inside = (height * width * low * flat) ** 0.5 <= height and (height * width * high / flat) ** 0.5 <= width
            inside &= (height * width * high * flat) ** 0.5 <= height
            if inside:  # rounding moves each side by half a pixel
                assert tall <= (height * width * high * flat) ** 0.5 + 0.51 or tall == 1
                assert tall >= (height * width * low * flat) ** 0.5 - 0.51
                assert wide >= (height * width * low / flat) ** 0.5 - 0.51
        mean = before.mean((1, 2))
        torch.testing.assert_close(after[:, erased], mean[:, None].expand(-1, int(erased.sum())), rtol=1e-4, atol=1e-4)
        assert torch.equal(after[:, ~erased], before[:, ~erased])


def test_invalid_pixels_stay_and_count_for_nothing():
    batch = example()
    result = Erase(1.0, (0.5, 0.9))(batch, generator(5))
    assert torch.equal(result.valid, batch.valid)
    assert (result.images * ~result.valid == 0).all()
    flat = Batch(0.7 * batch.valid.expand_as(batch.images), batch.valid, {}, batch.rows)
    torch.testing.assert_close(Erase(1.0, (0.5, 0.9))(flat, generator(5)).images, flat.images)
    nothing = Batch(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.bool), {}, torch.arange(2))
    assert (Erase(1.0)(nothing, generator()).images == 0).all()


def test_the_chance_is_kept_and_every_image_has_its_own_draw():
    batch = example(1000, 24, 24, holes=False)
    erased = changed(batch, Erase(0.3)(batch, generator(6)))
    assert erased.any(2).any(1).float().mean() == pytest.approx(0.3, abs=0.04)
    assert len({tuple(mask.flatten().tolist()) for mask in erased if mask.any()}) > 150
    assert torch.equal(Erase(0.0)(batch, generator(6)).images, batch.images)


def test_areas_aspects_and_places_fill_their_ranges():
    batch = example(1000, 64, 64, holes=False)
    erased = changed(batch, Erase(1.0, (0.05, 0.1), (0.5, 2.0))(batch, generator(7)))
    tall, wide = erased.any(2).sum(1), erased.any(1).sum(1)
    share = (tall * wide / 64**2).double().numpy()
    assert scipy.stats.kstest(share, "uniform", args=(0.05, 0.05)).statistic < 0.06
    ratio = (torch.log(tall / wide) / math.log(2)).double().numpy()
    assert scipy.stats.kstest(ratio, "uniform", args=(-1, 2)).statistic < 0.06
    cover = erased.float().mean(0)
    assert cover[24:40, 24:40].std() < 0.1 * cover[32, 32], "places are not uniform"
    assert (cover[:2, :2].sum() > 0) & (cover[-2:, -2:].sum() > 0), "corners are never erased"


def test_a_rectangle_worked_out_by_hand(monkeypatch):
    """Half of 8 x 8 pixels at height 2 x width: 32 pixels, 8 high and 4 wide."""
    draws = itertools.chain([torch.full((1,), 0.5), torch.full((1,), math.log(2.0))])
    monkeypatch.setattr(erase, "uniform", lambda *_: next(draws))
    batch = example(1, 8, 8, holes=False)
    erased = changed(batch, Erase(1.0)(batch, generator(8)))[0]
    assert erased.any(1).sum() == 8
    assert erased.any(0).sum() == 4
