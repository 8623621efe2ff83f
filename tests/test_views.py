"""Views: physics measured on the pixels, geometry against torchvision, and what every operation owes its input."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as torchvision

from domainssl.store import Batch
from domainssl.views import affine_crop, reddening
from domainssl.views.affine_crop import AffineCrop, whole_frame
from domainssl.views.blur_to import FWHM_PER_SIGMA, BlurTo, gaussian_blur
from domainssl.views.brightness import Brightness
from domainssl.views.noise_to import NoiseTo, PictureNoise
from domainssl.views.operation import Operation, apply_policy, uniform
from domainssl.views.reddening import Reddening

GRZ = (3.303, 2.285, 1.263)  # SDSS g r z, magnitudes of extinction per E(B-V)
OPERATIONS = {
    "affine": AffineCrop(24, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05),
    "affine, zeros": AffineCrop(24, rotation=180.0, flip=0.5, field=(0.7, 1.3), shift=0.05, outside="zeros"),
    "affine, shrinking": AffineCrop(8, rotation=30.0, field=(0.9, 1.0)),
    "blur": BlurTo(2.0, chance=0.7),
    "noise": NoiseTo(2.0),
    "reddening": Reddening(GRZ, 0.5),
    "brightness": Brightness(0.2, 0.3),
    "picture noise": PictureNoise(0.1),
}
IDENTITIES = {
    "affine": AffineCrop(32),
    "blur": BlurTo(1.0),
    "blur by chance": BlurTo(3.0, chance=0.0),
    "noise": NoiseTo(1.0),
    "reddening": Reddening(GRZ, 0.0),
    "brightness": Brightness(0.0, 0.0),
    "picture noise": PictureNoise(0.0),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(images: torch.Tensor, valid: torch.Tensor | None = None, **nuisance: torch.Tensor) -> Batch:
    count, _, height, width = images.shape
    if valid is None:
        valid = torch.ones(count, 1, height, width, dtype=torch.bool)
    return Batch(images * valid, valid, nuisance, torch.arange(count))


def example(count: int = 6, size: int = 32, holes: bool = True) -> Batch:
    """Values in 0..1 of three bands, with a hole and a missing edge, and everything that a view may want to know."""
    images = torch.rand(count, 3, size, size, generator=generator(1))
    valid = torch.ones(count, 1, size, size, dtype=torch.bool)
    if holes:
        valid[:, :, 5:9, 12:15] = False
        valid[::2, :, :, -3:] = False
    return batch_of(
        images,
        valid,
        sky_sigma=torch.full((count, 3), 0.05),
        psf_fwhm_px=torch.tensor([[3.0, 2.5, math.nan]]).repeat(count, 1),
        ebv=torch.zeros(count, 3),
    )


def star(size: int, sigma: float, x: float = 0.0, y: float = 0.0, bands: int = 1) -> torch.Tensor:
    """A Gaussian of peak 1, (x, y) pixels from the centre of the frame."""
    row, column = torch.meshgrid(*(torch.arange(size) - (size - 1) / 2,) * 2, indexing="ij")
    image = torch.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / sigma**2)
    return image.expand(1, bands, size, size).clone()


def moments(image: torch.Tensor) -> tuple[float, float, float]:
    """Centroid from the frame's centre and width sigma of a source on empty sky."""
    image = image.double()
    row, column = torch.meshgrid(*(torch.arange(len(image)) - (len(image) - 1) / 2,) * 2, indexing="ij")
    total = image.sum()
    x, y = float((image * column).sum() / total), float((image * row).sum() / total)
    spread = (image * ((column - x) ** 2 + (row - y) ** 2)).sum() / total
    return x, y, math.sqrt(float(spread) / 2)


def snapshot(batch: Batch) -> dict[str, torch.Tensor]:
    named = {"images": batch.images, "valid": batch.valid, "rows": batch.rows, **batch.nuisance}
    return {name: value.clone() for name, value in named.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[k].nan_to_num(-1.0), second[k].nan_to_num(-1.0)) for k in first
    )


def force(monkeypatch, module, *values: list[float]) -> None:
    """Make the module's uniform draws these, call by call; draws that are not named keep the middle of their range."""
    given_values = itertools.chain(values, itertools.repeat(None))

    def forced(generator, count, low, high):
        value = next(given_values)
        return torch.full((count,), (low + high) / 2) if value is None else torch.tensor(value, dtype=torch.float32)

    monkeypatch.setattr(module, "uniform", forced)


# What every operation owes


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_an_operation_leaves_its_input_and_the_global_generator_alone(operation):
    batch = example()
    before, state = snapshot(batch), torch.get_rng_state()
    first = snapshot(operation(batch, generator(3)))
    assert same(snapshot(batch), before)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(11)
    assert same(snapshot(operation(batch, generator(3))), first)
    assert not torch.equal(operation(batch, generator(4)).images, first["images"])


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_invalid_pixels_stay_invalid_and_zero(operation):
    result = operation(example(), generator(5))
    assert not result.valid.all()
    assert (result.images * ~result.valid == 0).all()
    assert torch.isfinite(result.images).all()
    if not isinstance(operation, AffineCrop):
        assert torch.equal(result.valid, example().valid)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_every_image_has_its_own_draw(operation):
    one = example(1, holes=False)
    many = batch_of(one.images.repeat(20, 1, 1, 1), **{k: v.repeat(20, 1) for k, v in one.nuisance.items()})
    if isinstance(operation, BlurTo):
        operation = dataclasses.replace(operation, chance=1.0)
    images = operation(many, generator(6)).images.flatten(1)
    assert (torch.cdist(images, images) + torch.eye(20) > 1e-3).all()


@pytest.mark.parametrize("operation", IDENTITIES.values(), ids=IDENTITIES.keys())
@pytest.mark.parametrize("holes", [False, True])
def test_no_change_is_the_identity(operation, holes):
    batch = example(holes=holes)
    result = operation(batch, generator(7))
    torch.testing.assert_close(result.images, batch.images, rtol=0, atol=1e-5)
    assert torch.equal(result.valid, batch.valid)
    for name, value in batch.nuisance.items():
        known = ~torch.isnan(value)
        torch.testing.assert_close(result.nuisance[name][known], value[known])


def test_a_policy_applies_its_operations_in_order():
    first, second = OPERATIONS["affine"], OPERATIONS["noise"]
    together, shared = generator(1), generator(1)
    expected = second(first(example(), shared), shared)
    assert same(snapshot(apply_policy((first, second), example(), together)), snapshot(expected))
    assert apply_policy((), example(), generator()).images.shape == (6, 3, 32, 32)


@settings(deadline=None)
@given(st.floats(-100, 100), st.floats(0, 100), st.integers(0, 2**31))
def test_uniform_stays_in_its_range(low, width, seed):
    drawn = uniform(generator(seed), 50, low, low + width)
    slack = 1e-4 * max(1, abs(low), abs(low + width))
    assert (drawn >= low - slack).all()
    assert (drawn <= low + width + slack).all()


# Geometry


def test_quarter_turns_and_mirror_images_are_exact(monkeypatch):
    batch = example(8)
    turned = {0.0: 0, 90.0: 1, 180.0: 2, -90.0: 3}
    for angle, turns in turned.items():
        force(monkeypatch, affine_crop, [angle] * 8, [1.0] * 8, [0.0] * 16)
        # x right, y down: a positive angle moves what was at the right to the top
        result = AffineCrop(32)(batch, generator())
        torch.testing.assert_close(result.images, torch.rot90(batch.images, turns, (2, 3)), rtol=0, atol=1e-4)
        assert torch.equal(result.valid, torch.rot90(batch.valid, turns, (2, 3)))
        force(monkeypatch, affine_crop, [angle] * 8, [1.0] * 8, [0.0] * 16)
        result = AffineCrop(32, flip=1.0)(batch, generator())
        mirrored = torch.rot90(batch.images, turns, (2, 3)).flip(3)
        torch.testing.assert_close(result.images, mirrored, rtol=0, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    angle=st.floats(-180, 180),
    field=st.floats(0.5, 1.5),
    x=st.floats(-0.2, 0.2),
    y=st.floats(-0.2, 0.2),
    mirror=st.booleans(),
)
def test_an_affine_view_equals_torchvisions(angle, field, x, y, mirror):
    batch = example(1, 33, holes=False)
    with pytest.MonkeyPatch.context() as patch:
        force(patch, affine_crop, [angle], [field], [2 * x, 2 * y])
        crop = AffineCrop(33, flip=float(mirror), outside="zeros")
        result = crop(batch, generator())
    # Ours takes output to input; torchvision gives the way from input to output, x' = R x / field + t, clockwise.
    turn = math.radians(angle)
    shift = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]) @ torch.tensor([x, y])
    translate = (-33 * shift / field).tolist()

    def transformed(image: torch.Tensor) -> torch.Tensor:
        moved = torchvision.affine(
            image, -angle, translate, 1 / field, [0.0, 0.0], interpolation=torchvision.InterpolationMode.BILINEAR
        )
        return moved.flip(-1) if mirror else moved

    inside = transformed(torch.ones(1, 1, 33, 33))
    whole = (inside > 1 - 1e-5).expand_as(result.images)
    torch.testing.assert_close(result.images[whole], transformed(batch.images)[whole], rtol=0, atol=2e-4)
    sure = (inside - 0.5).abs() > 1e-3
    assert torch.equal(result.valid[sure], (inside > 0.5)[sure])


def test_a_whole_frame_is_bilinear_resizing():
    batch = example(2, 128, holes=False)
    expected = torch.nn.functional.interpolate(batch.images, size=96, mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole_frame(96)(batch, generator()).images, expected, rtol=0, atol=1e-4)


def test_a_field_of_the_views_size_is_a_centre_crop():
    batch = example(2, 128, holes=False)
    result = AffineCrop(96, field=(0.75, 0.75))(batch, generator())
    torch.testing.assert_close(result.images, batch.images[..., 16:112, 16:112], rtol=0, atol=1e-4)
    result = AffineCrop(64, field=(0.25, 0.25))(batch, generator())  # magnified twice
    expected = torch.nn.functional.interpolate(batch.images[..., 48:80, 48:80], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(result.images[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("stored", "size"), [(128, 32), (200, 64), (129, 40), (255, 60)])
def test_shrinking_averages_and_keeps_the_centre(stored, size):
    """Also where the stored side is no multiple of the box: the object stays where it was, and noise averages out."""
    sigma = stored / 12
    result = whole_frame(size)(batch_of(star(stored, sigma, x=stored / 8)), generator())
    x, y, width = moments(result.images[0, 0])
    assert x == pytest.approx(size / 8, abs=0.03)
    assert y == pytest.approx(0, abs=0.03)
    assert width == pytest.approx(sigma * size / stored, rel=0.03)
    noise = batch_of(torch.randn(4, 1, stored, stored, generator=generator(2)))
    assert whole_frame(size)(noise, generator()).images.std() < 1.05 / (stored // size)


def test_a_round_source_looks_the_same_from_every_angle():
    batch = batch_of(star(48, 4.0).repeat(50, 1, 1, 1))
    images = AffineCrop(48, rotation=180.0, flip=0.5)(batch, generator(8)).images
    # Halfway between four pixels bilinear interpolation flattens a Gaussian's peak by 1 / (4 sigma^2).
    assert (images - batch.images).abs().max() < 1 / (4 * 4.0**2)
    assert AffineCrop(48, rotation=180.0)(batch, generator(8)).images.std(0).max() > 1e-4, "nothing was turned"


def test_orientations_are_uniform_and_half_are_mirrored():
    # Two sources a right angle apart: the bright one tells the angle, the order of both whether it was mirrored.
    image = star(24, 1.5, x=6.0) + 0.4 * star(24, 1.5, y=6.0)
    views = AffineCrop(24, rotation=180.0, flip=0.5)(batch_of(image.repeat(3000, 1, 1, 1)), generator(9)).images[:, 0]
    row, column = torch.meshgrid(*(torch.arange(24) - 11.5,) * 2, indexing="ij")
    bright = (views > 0.55).float()
    x, y = (bright * column).sum((1, 2)), (bright * row).sum((1, 2))
    angle = torch.atan2(y, x) / (2 * math.pi) + 0.5
    assert scipy.stats.kstest(angle.numpy(), "uniform").pvalue > 0.01
    faint = ((views > 0.2) & (views < 0.45)).float()
    side = x * (faint * row).sum((1, 2)) - y * (faint * column).sum((1, 2))
    assert (side < 0).float().mean() == pytest.approx(0.5, abs=0.03)


def test_an_object_of_half_the_frame_stays_inside_the_view():
    """The galaxies' policy: a centred disk of half the stored side is never cut."""
    size = 64
    row, column = torch.meshgrid(*(torch.arange(size) - (size - 1) / 2,) * 2, indexing="ij")
    disk = (row**2 + column**2 <= (size / 4) ** 2).float().expand(400, 1, size, size)
    crop = AffineCrop(48, rotation=180.0, flip=0.5, field=(0.7, 1.0), shift=0.05)
    views = crop(batch_of(disk), generator(10)).images[:, 0]
    edge = torch.ones(48, 48, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert (views[:, edge] == 0).all()
    area, areas = math.pi * 12**2, views.sum((1, 2))  # of the disk where all of the frame is shown
    assert areas.min() == pytest.approx(area, rel=0.02)
    assert areas.max() == pytest.approx(area / 0.7**2, rel=0.02)
    centres = torch.tensor([moments(view)[:2] for view in views])
    distance = centres.norm(dim=1)
    assert distance.max() <= math.sqrt(2) * 0.05 * 48 / 0.7 + 0.1
    assert distance.max() > 0.05 * 48


@pytest.mark.parametrize("outside", ["reflection", "zeros"])
def test_outside_the_frame(outside):
    batch = batch_of(torch.ones(3, 2, 32, 32))
    result = AffineCrop(32, rotation=180.0, field=(1.4, 1.4), outside=outside)(batch, generator(11))
    if outside == "reflection":
        assert result.valid.all()
        torch.testing.assert_close(result.images, torch.ones_like(result.images))
    else:
        assert result.valid.float().mean() == pytest.approx(1 / 1.4**2, abs=0.03)
        torch.testing.assert_close(result.images, result.valid.float().expand_as(result.images))


@pytest.mark.parametrize(
    "operation",
    [AffineCrop(24, rotation=180.0, field=(0.7, 1.0)), AffineCrop(10), BlurTo(3.0)],
    ids=["affine", "shrinking", "blur"],
)
def test_invalid_pixels_do_not_darken_their_neighbours(operation):
    batch = example()
    flat = batch_of(torch.full_like(batch.images, 0.7), batch.valid, **batch.nuisance)
    result = operation(flat, generator(12))
    torch.testing.assert_close(result.images, 0.7 * result.valid.expand_as(result.images), rtol=0, atol=1e-4)


# PSF


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 4), min_size=4, max_size=4), st.integers(0, 1000))
def test_blur_equals_torchvisions(sigmas, seed):
    images = torch.rand(2, 2, 24, 24, generator=generator(seed))
    sigma = torch.tensor(sigmas).view(2, 2)
    result = gaussian_blur(images, sigma)
    reach = min(max(math.ceil(3 * float(sigma.max())), 1), 15)
    for image, band in itertools.product(range(2), range(2)):
        width = float(sigma[image, band])
        plane = images[image, band][None]
        expected = torchvision.gaussian_blur(plane, [2 * reach + 1] * 2, [width] * 2) if width > 0.05 else plane
        torch.testing.assert_close(result[image, band][None], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 5.0])
def test_blur_conserves_flux_and_adds_its_variance(sigma):
    image = star(64, 3.0)
    blurred = gaussian_blur(image, torch.tensor([[sigma]]))
    assert blurred.sum() == pytest.approx(float(image.sum()), rel=1e-5)
    assert moments(blurred[0, 0])[2] == pytest.approx(math.hypot(3.0, sigma), rel=0.02)


def test_blur_of_nothing_and_of_more_than_the_frame():
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(gaussian_blur(images, torch.zeros(2, 3)), images)
    wide = gaussian_blur(images, torch.full((2, 3), 50.0))
    assert torch.isfinite(wide).all()
    assert wide.std() < 0.5 * images.std()
    torch.testing.assert_close(gaussian_blur(torch.ones(1, 1, 8, 8), torch.tensor([[50.0]])), torch.ones(1, 1, 8, 8))


def test_a_star_gets_the_psf_that_its_nuisance_says():
    """Through magnification and blur, the width measured on the pixels is the one in the books, band by band."""
    own = torch.tensor([1.5, 2.0])
    images = torch.cat([star(96, float(sigma)) for sigma in own], 1).repeat(40, 1, 1, 1)
    batch = batch_of(images, psf_fwhm_px=(own * FWHM_PER_SIGMA).repeat(40, 1))
    policy: tuple[Operation, ...] = (AffineCrop(72, rotation=180.0, field=(0.6, 0.9)), BlurTo(2.0))
    result = apply_policy(policy, batch, generator(13))
    told = result.nuisance["psf_fwhm_px"] / FWHM_PER_SIGMA
    measured = torch.tensor([[moments(plane)[2] for plane in image] for image in result.images])
    np.testing.assert_allclose(measured, told, rtol=0.03)
    factor = told / (batch.nuisance["psf_fwhm_px"] / FWHM_PER_SIGMA)
    torch.testing.assert_close(factor[:, 0], factor[:, 1])  # one draw an image
    blurred = BlurTo(2.0)(batch, generator(14)).nuisance["psf_fwhm_px"] / batch.nuisance["psf_fwhm_px"]
    assert 1 <= blurred.min() < 1.1
    assert 1.9 < blurred.max() <= 2


def test_an_unknown_psf_is_taken_as_given():
    images = star(48, 1.5).repeat(30, 1, 1, 1)
    blurred = BlurTo(2.0, unknown_sigma=1.5)
    without = blurred(batch_of(images), generator(15))
    unknown = blurred(batch_of(images, psf_fwhm_px=torch.full((30, 1), math.nan)), generator(15))
    known = blurred(batch_of(images, psf_fwhm_px=torch.full((30, 1), 1.5 * FWHM_PER_SIGMA)), generator(15))
    torch.testing.assert_close(without.images, known.images)
    torch.testing.assert_close(unknown.images, known.images)
    assert torch.isfinite(without.nuisance["psf_fwhm_px"]).all()


def test_blur_happens_as_often_as_asked():
    batch = batch_of(torch.rand(400, 1, 8, 8, generator=generator(1)))
    result = BlurTo(3.0, chance=0.3)(batch, generator(16))
    changed = (result.images != batch.images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.07)


# Noise


def test_noise_reaches_the_level_it_says_from_the_objects_own_in_each_band():
    own = torch.tensor([[0.01, 1.0, 30.0], [0.3, 5.0, 0.002]])
    sky = torch.randn(2, 3, 256, 256, generator=generator(17)) * own[:, :, None, None]
    result = NoiseTo(3.0)(batch_of(sky, sky_sigma=own), generator(18))
    told = result.nuisance["sky_sigma"]
    torch.testing.assert_close(result.images.std((2, 3)), told, rtol=0.03, atol=0)
    factor = told / own
    torch.testing.assert_close(factor, factor[:, :1].expand(2, 3))
    assert factor.min() > 1.2, "a draw without noise proves nothing"
    added = (result.images - sky).flatten(2)
    for image in added:
        assert torch.corrcoef(image).fill_diagonal_(0).abs().max() < 0.02, "bands share their noise"
    kurtosis = scipy.stats.kurtosis(added.reshape(6, -1).numpy(), axis=1)
    assert np.abs(kurtosis).max() < 0.1


def test_factors_of_noise_fill_their_range():
    batch = batch_of(torch.zeros(2000, 1, 2, 2), sky_sigma=torch.ones(2000, 1))
    factor = NoiseTo(2.0)(batch, generator(19)).nuisance["sky_sigma"][:, 0]
    assert scipy.stats.kstest(factor.numpy(), "uniform", args=(1, 1)).pvalue > 0.01


def test_a_band_of_unknown_noise_is_left_alone():
    batch = batch_of(torch.zeros(2, 2, 8, 8), sky_sigma=torch.tensor([[math.nan, 1.0]]).repeat(2, 1))
    result = NoiseTo(2.0)(batch, generator(20))
    assert (result.images[:, 0] == 0).all()
    assert result.images[:, 1].std() > 0.1
    assert torch.isnan(result.nuisance["sky_sigma"][:, 0]).all()


def test_pictures_stay_in_their_range():
    batch = example()
    for operation in (PictureNoise(0.5), Brightness(0.5, 0.9)):
        images = operation(batch, generator(21)).images
        assert images.min() >= 0
        assert images.max() <= 1
    noisy = PictureNoise(0.1)(batch_of(torch.full((200, 1, 16, 16), 0.5)), generator(22)).images
    assert noisy.std((1, 2, 3)).max() == pytest.approx(0.1, rel=0.1)
    assert noisy.std((1, 2, 3)).min() < 0.005


def test_brightness_changes_all_bands_alike(monkeypatch):
    from domainssl.views import brightness

    force(monkeypatch, brightness, [1.1, 0.8], [-0.05, 0.1])
    batch = batch_of(torch.tensor([0.2, 0.5, 0.99]).view(1, 3, 1, 1).repeat(2, 1, 2, 2))
    images = Brightness(0.1, 0.2)(batch, generator()).images[:, :, 0, 0]
    torch.testing.assert_close(images, torch.tensor([[0.17, 0.5, 1.0], [0.26, 0.5, 0.892]]))


# Reddening


def test_reddening_golden_numbers(monkeypatch):
    """From E(B-V) = 0.1 to 0.3 in g r z: 10^(-0.4 R 0.2), worked out by hand; back again it is undone."""
    force(monkeypatch, reddening, [0.3, 0.1], [0.1, 0.3])
    flux = torch.tensor([-2.0, 1.0, 300.0]).view(1, 3, 1, 1).repeat(2, 1, 4, 4)
    own = torch.tensor([0.1, 0.3])[:, None].expand(2, 3).clone()
    batch = batch_of(flux, ebv=own)
    redder = Reddening(GRZ)(batch, generator())
    transmission = torch.tensor([0.544202, 0.656448, 0.792428])
    ratio = (redder.images / flux)[:, :, 0, 0]
    torch.testing.assert_close(ratio[0], transmission, rtol=2e-5, atol=0)
    torch.testing.assert_close(ratio[1], 1 / transmission, rtol=2e-5, atol=0)
    torch.testing.assert_close(redder.nuisance["ebv"], own.flip(0))
    torch.testing.assert_close(Reddening(GRZ)(redder, generator()).images, flux)


def test_reddening_is_hayats_formula(monkeypatch):
    """f * 10^(-R E' / 2.5) on images that were dereddened, with their R for u g r i z."""
    ugriz = (4.239, 3.303, 2.285, 1.698, 1.263)
    force(monkeypatch, reddening, [0.5])
    result = Reddening(ugriz, 0.5)(batch_of(torch.ones(1, 5, 1, 1), ebv=torch.zeros(1, 5)), generator())
    np.testing.assert_allclose(result.images.flatten(), 10 ** (-np.array(ugriz) * 0.5 / 2.5), rtol=1e-5)
    assert result.images[0, 0] < result.images[0, -1], "blue light is dimmed most"


def test_unknown_reddening_follows_the_surveys_lognormal(monkeypatch):
    count = 4000
    force(monkeypatch, reddening, [0.0] * count)
    unknown = {"none": {}, "nan": {"ebv": torch.full((count, 1), math.nan)}}
    for nuisance in unknown.values():
        images = Reddening((1.0,))(batch_of(torch.ones(count, 1, 1, 1), **nuisance), generator(23)).images.flatten()
        ebv = torch.log10(images) / 0.4  # dereddened by its own, to 0
        law = scipy.stats.lognorm(0.67306, 0.001146, 0.03338)
        assert scipy.stats.kstest(ebv.double().numpy(), law.cdf).pvalue > 0.01
        force(monkeypatch, reddening, [0.0] * count)
