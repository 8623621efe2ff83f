"""Exemplar: one class an image, one place a row, where gradients are; distortions within their ranges."""

import numpy as np
import pytest
import torch
from tiny_methods import batch_of
from tiny_pretexts import mean_of, tiny, train

from domainssl.method_options import ExemplarOptions
from domainssl.methods.exemplar import ANGLE, SCALE, SHIFT, Exemplar, coloured, gradient_places
from domainssl.methods.method import Cohort
from domainssl.store import Batch


def exemplar(bands: int = 2, count: int = 4, size: int = 64, **options) -> Exemplar:
    method = tiny("exemplar", bands, size, "test_resnet", exemplar=ExemplarOptions(classes=count, **options))
    assert isinstance(method, Exemplar)
    return method


def everything(images: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_no_more_images_than_classes_are_taken_from_all_over_the_cohort():
    rows = np.arange(100, 1100)
    method = exemplar(count=50)
    kept = method.begin(Cohort(rows, rows % 7)).rows
    assert len(set(kept)) == 50
    assert set(kept) <= set(rows)
    assert np.histogram(kept, bins=5, range=(100, 1100))[0].tolist() == [10] * 5
    assert method.classifier.out_features == 50
    assert np.array_equal(method.begin(Cohort(rows)).rows, kept)
    assert np.array_equal(method.begin(Cohort(rows, rows % 7)).classes, kept % 7)
    few = exemplar(count=50).begin(Cohort(rows[:20]))
    assert np.array_equal(few.rows, rows[:20])


def test_the_global_seed_has_no_say_in_the_classifier():
    weights = []
    for seed in (0, 1):
        method = exemplar()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        method.begin(Cohort(np.arange(4)))
        weights.append(method.classifier.weight.detach().clone())
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*weights)


def test_an_images_class_is_its_own_in_any_batch(monkeypatch):
    """A projection that says which image a patch is from, and a classifier that passes it on."""
    method = exemplar(count=5)
    method.begin(Cohort(np.array([40, 3, 8, 77, 5])))
    images = method.encoder.source_values(torch.arange(5.0)[:, None, None, None].expand(5, 2, 64, 64))
    rows = torch.tensor([3, 5, 8, 40, 77])
    method.projector = torch.nn.Identity()
    method.classifier = torch.nn.Identity()
    monkeypatch.setattr(
        "domainssl.methods.exemplar.encoded",
        lambda encoder, patches, side: torch.nn.functional.one_hot(patches[:, :, 0, 9, 9].round().long(), 5).float(),
    )
    for order in ([0, 1, 2, 3, 4], [4, 2], [1, 3, 0]):
        view = Batch(images[order], everything(images[order]), {}, rows[order])
        assert method((view,), torch.Generator()).measures == {"accuracy": 1.0}


def test_a_rows_place_is_always_the_same():
    images = noise(20, 2, 40, 40)
    places = gradient_places(images, everything(images), torch.arange(20), 0.4)
    assert torch.equal(places[[7]], gradient_places(images[[7]], everything(images[[7]]), torch.tensor([7]), 0.4))
    assert len(places.unique(dim=0)) > 15
    assert places.min() >= 0.2
    assert places.max() <= 0.8


def test_places_are_drawn_by_gradient_energy():
    """Left of the middle noise of sigma 1, right of it of sigma 2: one in five patches is from the left."""
    images = noise(600, 1, 48, 48)
    images[:, :, :, 24:] *= 2
    x = gradient_places(images, everything(images), torch.arange(600), 1 / 6)[:, 0]
    assert (x < 0.5 - 1 / 12).float().mean() == pytest.approx(0.2 * 0.9, abs=0.05)  # without those across the middle
    flat = torch.zeros(600, 1, 48, 48)
    x = gradient_places(flat, everything(flat), torch.arange(600), 1 / 6)[:, 0]
    assert (x < 0.5).float().mean() == pytest.approx(0.5, abs=0.06)


def test_gradients_at_invalid_pixels_do_not_count():
    images = 0.01 * noise(50, 1, 48, 48)
    valid = everything(images)
    valid[:, :, :, 24:] = False
    images[:, :, :, 24:] = 100 * noise(50, 1, 48, 24)
    x = gradient_places(images, valid, torch.arange(50), 1 / 4)[:, 0]
    assert x.max() < 0.5 + 1 / 8


def ramps(count: int, size: int) -> torch.Tensor:
    """Coordinates 0..1 of the frame: x in band 0, y in band 1."""
    place = (torch.arange(size) + 0.5) / size
    return torch.stack([place.expand(size, size), place[:, None].expand(size, size)]).expand(count, 2, size, size)


def test_distortions_are_moved_scaled_and_turned_within_their_ranges():
    """From patches of coordinates one reads what was done to them."""
    method = exemplar(count=8, size=96)
    images = method.encoder.source_values(ramps(8, 96))
    view = batch_of(images.contiguous())
    patches = method.distorted(view, 50, torch.Generator().manual_seed(0))
    assert patches.shape == (8, 50, 2, method.side, method.side)
    assert method.share == 32 / 96
    middles = gradient_places(ramps(8, 96), view.valid, view.rows, method.share)
    moved = (patches.mean(dim=(3, 4)) - middles[:, None]) / method.share
    central = patches[:, :, :, 8:-8, 8:-8]  # reflections at the frame's edges are elsewhere
    across = (central[..., -1] - central[..., 0]).median(dim=-1).values  # (x, y) along a row of the patch
    step = across.norm(dim=2) / (method.share * (method.side - 17) / method.side)
    angle = torch.rad2deg(torch.atan2(across[:, :, 1], across[:, :, 0]))
    inside = (patches.amin(dim=(2, 3, 4)) > 0.02) & (patches.amax(dim=(2, 3, 4)) < 0.98)
    assert inside.sum() > 50
    for found, low, high in (
        (moved[inside], -SHIFT, SHIFT),
        (step[inside], *SCALE),
        (angle[inside], -ANGLE, ANGLE),
    ):
        assert found.min() >= low - 0.02 * (high - low)
        assert found.max() <= high + 0.02 * (high - low)
        assert found.max() - found.min() > 0.7 * (high - low)


def test_colours_are_kept_unless_asked_for():
    images = noise(3, 1, 64, 64).expand(3, 2, 64, 64).contiguous()
    for options, alike in (({}, True), ({"colour": 1e-7}, True), ({"colour": 0.3}, False)):
        method = exemplar(count=3, **options)
        patches = method.distorted(batch_of(images), 2, torch.Generator().manual_seed(0))
        grey = method.encoder.normalised(images)
        assert torch.equal(grey[:, 0], grey[:, 1])
        assert torch.allclose(patches[:, :, 0], patches[:, :, 1], atol=1e-4) == alike
    patches = noise(50, 3, 8, 8)
    changed = coloured(patches, 0.2, torch.Generator().manual_seed(0))
    factor = changed.std(dim=(2, 3)) / patches.std(dim=(2, 3))
    offset = changed.mean(dim=(2, 3)) - patches.mean(dim=(2, 3))
    assert (factor.log().abs() <= 0.2001).all()
    assert (offset.abs() <= 0.2001 * patches.std(dim=(2, 3), correction=0)).all()
    assert factor.log().std() > 0.08


@pytest.mark.parametrize("bands", [1, 5])
def test_exemplars_are_learnt(bands):
    method = exemplar(bands, count=4, distortions=4)
    kept = method.begin(Cohort(np.arange(4)))
    images = torch.nn.functional.avg_pool2d(noise(4, bands, 70, 70), 7, stride=1)
    images = images * torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None, None, None]
    assert len(kept.rows) == 4
    steps = train(method, lambda _: (batch_of(images),), 20)
    assert mean_of(steps[-5:], "accuracy") > 0.6
    assert steps[-1].losses["model"] < steps[0].losses["model"]
    assert float(steps[0].losses["model"].detach()) == pytest.approx(np.log(4), rel=1e-4)
    grouped = [id(p) for group in method.players()["model"] for p in group.parameters]
    assert sorted(grouped) == sorted(map(id, method.parameters()))
    (panel,) = method.panels((batch_of(images),), torch.Generator())
    assert panel.values.shape[:3] == (4, 8, bands)
