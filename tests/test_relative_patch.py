"""Relative position: chromatic aberration tells the place without the guards, and nothing does with them."""

import pytest
import torch
from tiny_methods import batch_of
from tiny_pretexts import mean_of, tiny, train
from torch.nn import functional

from domainssl.method_options import RelativePatchOptions
from domainssl.methods import relative_patch
from domainssl.methods.relative_patch import RelativePatch
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo

GUARDED, OPEN = RelativePatchOptions(), RelativePatchOptions(guards=False)


def textures(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Noise of one band, correlated over about two pixels alike at every place; standard deviation 1."""
    kernel = torch.exp(-0.5 * torch.arange(-4, 5).float().square())
    white = functional.pad(torch.randn(count, 1, size, size, generator=generator), (4,) * 4, mode="circular")
    smooth = functional.conv2d(white, (kernel[:, None] * kernel)[None, None])
    return smooth / smooth.std()


def aberrated(band: torch.Tensor, zoom: float) -> torch.Tensor:
    """The band, and beside it the same one displaced from the centre outward, the more so the farther off."""
    theta = torch.tensor([[zoom, 0.0, 0.0], [0.0, zoom, 0.0]]).expand(len(band), 2, 3)
    grid = functional.affine_grid(theta, list(band.shape), align_corners=False)
    return torch.cat([band, functional.grid_sample(band, grid, align_corners=False)], dim=1)


def last_accuracy(options: RelativePatchOptions, zoom: float) -> float:
    """Over the last 15 of 60 steps on 4 new images each: 480 questions, so that chance is 1/8 +- .015."""
    generator = torch.Generator().manual_seed(1)
    method = tiny("relative_patch", 2, 64, "test_resnet", relative_patch=options)
    steps = train(method, lambda _: (batch_of(aberrated(textures(4, 64, generator), zoom)),), 60)
    return mean_of(steps[-15:], "accuracy")


def test_chromatic_aberration_is_used_without_the_guards():
    assert last_accuracy(OPEN, 0.85) > 0.4


def test_chromatic_aberration_is_not_used_with_them():
    assert last_accuracy(GUARDED, 0.85) < 0.19


def test_each_neighbour_is_asked_for_beside_the_centre(monkeypatch):
    """With patches in place of features, so that one sees which of them a class stands for."""
    monkeypatch.setattr(relative_patch, "encoded", lambda encoder, patches, side: patches[:, :, :, 0, 0])
    method = tiny("relative_patch", 2, 64, relative_patch=RelativePatchOptions(jitter=0.0, guards=False))
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = method.encoder.source_values(torch.stack([row, column])[None])
    patches, _ = method.patches(batch_of(images), torch.Generator())
    towards = (method.pairs(patches)[0, :, 2:] - method.pairs(patches)[0, :, :2]).sign().tolist()
    assert towards == [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]]


@pytest.mark.parametrize("bands", [1, 5])
def test_guards_leave_one_band_and_the_places_are_learnt_from_what_is_there(bands):
    method = tiny("relative_patch", bands, 64, "test_resnet")
    assert isinstance(method, RelativePatch)
    ramp = torch.linspace(0, 1, 64)
    images = ((ramp[:, None] + 2 * ramp) / 3).expand(4, bands, 64, 64).contiguous()
    patches, valid = method.patches(batch_of(images), torch.Generator().manual_seed(0))
    assert torch.equal(patches, patches[:, :, :1].expand_as(patches))
    assert valid.all()
    steps = train(method, lambda _: (batch_of(images),), 25)
    assert mean_of(steps[-5:], "accuracy") > 0.5
    assert steps[-1].losses["model"] < steps[0].losses["model"]


def test_invalid_patches_have_no_say():
    method = tiny("relative_patch", 2, 64, relative_patch=RelativePatchOptions(jitter=0.0, guards=False)).eval()
    images = torch.rand(3, 2, 64, 64)
    valid = torch.ones(3, 1, 64, 64, dtype=torch.bool)
    valid[:, :, :24, :24] = False  # the first patch
    changed = images.clone()
    changed[:, :, :24, :24] = 9.0
    losses = [method((batch_of(x, valid),), torch.Generator()).losses["model"] for x in (images, changed)]
    assert torch.equal(*losses)
    assert method((batch_of(changed),), torch.Generator()).losses["model"] != losses[0]
    nothing = method((batch_of(images, torch.zeros_like(valid)),), torch.Generator())
    assert nothing.losses["model"] == 0
    assert nothing.measures == {}


def test_views_are_upright_and_pictures_show_what_is_asked():
    method = tiny("relative_patch", 2, 64)
    policy = (AffineCrop(64, rotation=180.0, flip=0.5, field=(0.8, 1.0)), NoiseTo(2.0))
    ((frame, noise),) = method.policies(policy)
    assert (frame.rotation, frame.flip, frame.field) == (0.0, 0.0, (0.8, 1.0))
    assert noise == policy[1]
    (panel,) = method.panels((batch_of(torch.rand(3, 2, 64, 64)),), torch.Generator())
    assert panel.values.shape[:3] == (3, 9, 2)
    assert len(panel.columns) == 9
