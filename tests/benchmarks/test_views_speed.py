"""Speed of the galaxies' views against torchvision's, sample by sample, in one run: ratios, since machines differ."""

import math

import pytest
import torch
from medians import medians
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from domainssl.store import Batch
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.blur_to import BlurTo
from domainssl.views.noise_to import NoiseTo
from domainssl.views.operation import Policy, apply_policy

COUNT, BANDS, STORED, SIZE = 128, 5, 128, 96
RUNS = 7
OURS: Policy = (
    AffineCrop(SIZE, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05),
    BlurTo(1.5),
    NoiseTo(2.0),
)


def sample_by_sample(images: torch.Tensor) -> torch.Tensor:
    """The same physics as a user would compose it from torchvision v2: one image at a time, as it must be for each
    image to get its own draw; blur with a sigma of 1 px grown by up to half, noise of sigma 1 grown up to twofold."""
    geometry = v2.Compose(
        [
            v2.RandomAffine(
                180.0, translate=(0.05, 0.05), scale=(1.0, 1 / 0.7), interpolation=v2.InterpolationMode.BILINEAR
            ),
            v2.RandomHorizontalFlip(),
            v2.Resize(SIZE, antialias=False),
        ]
    )
    views = []
    for image in images:
        factor = 1 + 0.5 * float(torch.rand(()))
        added = max(math.sqrt(factor**2 - 1), 1e-3)
        view = functional.gaussian_blur(geometry(image), [2 * math.ceil(3 * added) + 1] * 2, [added] * 2)
        level = math.sqrt((1 + float(torch.rand(()))) ** 2 - 1)
        views.append(view + level * torch.randn_like(view))
    return torch.stack(views)


@pytest.mark.slow
def test_views_are_no_slower_than_torchvision_sample_by_sample(capsys):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(COUNT, BANDS, STORED, STORED, generator=generator)
    own = torch.ones(COUNT, BANDS)
    valid = torch.ones(COUNT, 1, STORED, STORED, dtype=torch.bool)
    fwhm = 2.355 * own * STORED / SIZE
    batch = Batch(images, valid, {"sky_sigma": own, "psf_fwhm_px": fwhm}, torch.arange(COUNT))
    assert apply_policy(OURS, batch, generator).images.shape == sample_by_sample(images).shape

    parts = [lambda op=op: apply_policy((op,), batch, generator) for op in OURS]
    whole, peer, *each = medians(
        lambda: apply_policy(OURS, batch, generator), lambda: sample_by_sample(images), *parts, runs=RUNS
    )
    lines = [f"views {COUNT / whole:.0f} images/s, torchvision one by one {COUNT / peer:.0f}: {peer / whole:.2f}x"]
    lines += [f"{type(op).__name__:12s} {1e3 * ms:.0f} ms on {STORED} px" for op, ms in zip(OURS, each, strict=True)]
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert whole <= peer
