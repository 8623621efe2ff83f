"""Rotation: at chance where nothing has a direction, above where something has; hidden pixels and views give none."""

import dataclasses

import pytest
import torch
from tiny_methods import batch_of
from tiny_pretexts import mean_of, tiny, train

from domainssl.methods.rotation import Rotation, four_ways
from domainssl.store import Batch
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.operation import apply_policy

POLICY = (AffineCrop(32, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.1),)


def fields(count: int, bands: int, size: int, seed: int, stretch: float = 1.0) -> torch.Tensor:
    """Gaussian random fields correlated over some pixels, `stretch` times as far along x as along y."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(size)
    wave = frequency[:, None].square() + (stretch * frequency).square()
    white = torch.randn(count, bands, size, size, generator=generator)
    smooth = torch.fft.ifft2(torch.fft.fft2(white) * torch.exp(-60 * wave)).real
    return smooth / smooth.std()


def viewed(method: Rotation, batch: Batch, seed: int) -> tuple[Batch, ...]:
    """The method's own views of a stored batch."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(apply_policy(policy, batch, generator) for policy in method.policies(POLICY))


def rotation(bands: int = 2) -> Rotation:
    method = tiny("rotation", bands, 32, "test_resnet")
    assert isinstance(method, Rotation)
    return method


@pytest.mark.parametrize("hidden", [False, True])
def test_fields_without_a_direction_stay_at_chance(hidden):
    """New images each step; 240 of them in four rotations: chance is .25 +- .028."""
    method = rotation()
    valid = torch.ones(8, 1, 40, 40, dtype=torch.bool)
    if hidden:  # in every image, as the store hides a mark, and a border as letterboxing leaves
        valid[:, :, :12, :9] = False
        valid[:, :, :, 36:] = False
    steps = train(
        method, lambda k: viewed(method, batch_of(fields(8, 2, 40, k) * valid, valid, first=10 * k + 1), k), 30
    )
    assert mean_of(steps, "accuracy") == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("bands", [1, 5])
def test_a_planted_direction_is_found(bands):
    method = rotation(bands)
    ramp = torch.linspace(-2, 2, 40)[:, None]
    steps = train(method, lambda k: viewed(method, batch_of(fields(4, bands, 40, k) + ramp, first=10 * k + 1), k), 20)
    assert mean_of(steps[-5:], "accuracy") > 0.6
    assert steps[-1].losses["model"] < steps[0].losses["model"]


def test_a_correlation_along_rows_is_found():
    """Half of the answer: a field looks the same from above and from below."""
    method = rotation()
    steps = train(method, lambda k: (batch_of(fields(8, 2, 32, k, stretch=2.0), first=10 * k + 1),), 30)
    assert mean_of(steps[-15:], "accuracy") > 0.38


def test_images_known_by_heart_say_nothing_and_those_kept_apart_do():
    """The same 16 fields again and again: their rotations are learnt, of those that are kept apart are not."""
    method = rotation()
    rows = torch.tensor([*range(1, 5), *range(10, 130, 10)])  # 4 to learn from, 12 kept apart
    both = dataclasses.replace(batch_of(fields(16, 2, 32, 0)), rows=rows)
    steps = train(method, lambda _: (both,), 25)
    assert mean_of(steps[-3:], "accuracy") > 0.9
    assert mean_of(steps[-10:], "accuracy_unseen") < 0.5


def test_rows_kept_apart_are_not_learnt_from():
    method = rotation()
    batch = batch_of(torch.rand(4, 2, 32, 32, generator=torch.Generator().manual_seed(0)))
    kept = dataclasses.replace(batch, rows=torch.tensor([0, 10, 20, 100]))
    step = method.eval()((kept,), torch.Generator())
    assert step.losses["model"] == 0
    assert list(step.measures) == ["accuracy_unseen"]
    assert list(method((dataclasses.replace(batch, rows=batch.rows + 1),), torch.Generator()).measures) == ["accuracy"]


def test_pixels_are_moved_and_none_is_invented():
    images = torch.rand(3, 2, 8, 8)
    valid = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    turned = four_ways(images, valid).view(4, 3, 2, 8, 8)
    assert torch.equal(turned[0], images)
    assert torch.equal(turned[1], images.transpose(2, 3).flip(2))
    assert torch.equal(turned[2], images.flip(2, 3))
    assert torch.equal(turned[3], images.transpose(2, 3).flip(3))
    valid[0, 0, 0, 1] = False
    turned = four_ways(images, valid).view(4, 3, 2, 8, 8)
    for y, x in ((0, 1), (6, 0), (7, 6), (1, 7)):
        assert (turned[:, 0, :, y, x] == 0).all()
    assert torch.count_nonzero(turned[:, 0]) == 4 * 2 * 60
    assert torch.equal(turned[0, 1:], images[1:])
    assert torch.equal(turned, torch.stack([torch.rot90(turned[0], k, (2, 3)) for k in range(4)]))


def test_the_classes_are_the_rotations(monkeypatch):
    """A feature that is 1 in the corner where the top left has come to."""
    method = rotation().eval()
    images = torch.zeros(3, 2, 32, 32)
    images[:, :, 0, 0] = 1
    corners = [(0, 0), (31, 0), (31, 31), (0, 31)]
    method.classifier = torch.nn.Identity()
    monkeypatch.setattr(
        type(method.encoder), "pooled", lambda _, x: torch.stack([x[:, 0, y, x_] for y, x_ in corners], dim=1)
    )
    assert method((batch_of(images, first=1),), torch.Generator()).measures == {"accuracy": 1.0}
