"""MAE: exact counts, an encoder that sees the kept patches only, targets in which no band's noise rules."""

import copy
import math

import pytest
import torch
from lightly.models.utils import normalize_mean_var, patchify
from small_methods import PATCH, SIZE, assert_each_trained_by_its_player, small_encoder, small_method, view_of
from tiny_methods import drawing

from domainssl.imagenet import size_argument
from domainssl.method_options import MAEOptions
from domainssl.methods.registry import not_applicable
from domainssl.methods.token_decoder import TokenDecoder

GRID = SIZE // PATCH


def mae(bands: int = 5, **own):
    options = MAEOptions(**{"decoder_width": 32, "decoder_depth": 1, **own})
    return small_method("mae", small_encoder("test_vit", bands), mae=options)


def pixels_of(patches: torch.Tensor) -> torch.Tensor:
    """A mask of the pixels (b 1 h w) of these patches, counted in reading order."""
    found = torch.zeros(len(patches), 1, SIZE, SIZE, dtype=torch.bool)
    for image, numbers in enumerate(patches.tolist()):
        for number in numbers:
            y, x = (PATCH * part for part in divmod(number, GRID))
            found[image, 0, y : y + PATCH, x : x + PATCH] = True
    return found


# Masks


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.99])
def test_every_image_hides_exactly_its_share_of_patches(ratio):
    method = mae(mask_ratio=ratio)
    keep, masked = method.split(50, drawing())
    count = min(max(1, round(ratio * GRID**2)), GRID**2 - 1)
    assert masked.shape == (50, count)
    assert torch.equal(torch.cat([keep, masked], dim=1).sort(dim=1).values, torch.arange(GRID**2).expand(50, -1))
    assert (keep.diff(dim=1) > 0).all()
    assert len({tuple(row) for row in masked.tolist()}) > 8
    assert masked.unique().numel() == GRID**2


def test_masks_are_uniform_and_the_generators():
    method = mae()
    _, masked = method.split(4000, drawing())
    share = torch.bincount(masked.flatten(), minlength=GRID**2) / 4000
    assert (share - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 4000)
    assert torch.equal(masked, method.split(4000, drawing())[1])
    assert not torch.equal(masked, method.split(4000, drawing(1))[1])


@pytest.mark.parametrize("training", [True, False])
def test_before_the_decoder_hidden_patches_change_nothing(training):
    method, view = mae().train(training), view_of()
    keep, masked = method.split(4, drawing())
    images = view.images.requires_grad_()
    encoded = method.encoded(images, keep)
    assert encoded.shape[1] == method.tokens.prefix + GRID**2 // 4
    where = pixels_of(masked).expand_as(images)
    (gradient,) = torch.autograd.grad(encoded.square().sum(), images)
    assert not gradient[where].any()
    assert (gradient[~where] != 0).float().mean() > 0.99
    others = torch.where(where, view_of(seed=1).images, images)
    assert torch.equal(method.encoded(others, keep), encoded)
    assert torch.equal(method.encoded(torch.where(where, torch.nan, images), keep), encoded)


def test_the_decoder_gets_what_is_encoded_and_the_loss_asks_for_the_rest():
    method, view = mae(), view_of()
    calls: list[tuple[torch.Tensor, ...]] = []
    method.decoder.register_forward_hook(lambda layer, inputs, output: calls.append((*inputs, output)))
    step = method((view,), drawing(2))
    ((encoded, keep, outputs),) = calls
    expected, masked = method.split(4, drawing(2))
    assert torch.equal(keep, expected)
    torch.testing.assert_close(encoded, method.encoded(view.images, keep))
    torch.testing.assert_close(step.losses["model"], method.error(outputs, view, masked))
    assert step.monitor is None


# Targets


def test_patches_are_those_of_lightly_and_come_back_as_images():
    method, images = mae(), view_of().images
    patches = method.patches(images)  # b n c q
    torch.testing.assert_close(patches.permute(0, 1, 3, 2).flatten(2), patchify(images, PATCH))
    assert torch.equal(method.images(patches), images)


def test_of_one_band_far_above_the_noise_targets_are_those_of_the_paper():
    patches = 100 * torch.randn(2, GRID**2, 1, 64, generator=drawing())
    target, _, _ = mae(1).targets(patches, torch.ones_like(patches, dtype=torch.bool))
    unbiased = (64 / 63) ** 0.5  # lightly divides by n - 1
    torch.testing.assert_close(target[:, :, 0] / unbiased, normalize_mean_var(patches[:, :, 0]), rtol=1e-3, atol=1e-4)


def galaxies() -> tuple[torch.Tensor, torch.Tensor]:
    """Flux of five bands (in units of each band's scale) of which the last is noise alone; the sky is one scale."""
    encoder = small_encoder("test_vit")
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    profile = torch.exp(-((y - 15.5) ** 2 + (x - 15.5) ** 2) / 60)
    noise = torch.randn(64, 5, SIZE, SIZE, generator=drawing())
    flux = noise + torch.tensor([10.0, 20.0, 40.0, 80.0, 0.0]).view(1, 5, 1, 1) * profile
    return flux * torch.tensor(encoder.input.scale).view(1, 5, 1, 1), profile


def test_a_band_of_noise_does_not_dominate():
    method = mae()
    images, _ = galaxies()
    patches = method.patches(method.encoder.normalised(images))
    target, _, _ = method.targets(patches, torch.ones_like(patches, dtype=torch.bool))
    variance = target.square().mean(dim=3)  # b n c
    objects, noise = variance[:, [5, 6, 9, 10], :4].mean(dim=(0, 1)), variance[..., 4].mean()
    assert noise < 0.45
    assert (objects > 0.8).all()
    assert (objects > 2 * noise).all()
    assert objects.max() / objects.min() < 1.25, "one band dominates the others"


def test_bands_of_different_spread_have_the_same_say():
    """Over all bands of a patch at once, the widest would have nearly all of the variance."""
    spread = torch.tensor([10.0, 50.0, 100.0, 500.0, 2000.0]).view(1, 1, 5, 1)
    encoder = small_encoder("test_vit", stretch="none")
    method = small_method("mae", encoder)
    patches = spread * torch.randn(8, GRID**2, 5, 64, generator=drawing()) + 3 * spread
    target, mean, found = method.targets(patches, torch.ones_like(patches, dtype=torch.bool))
    torch.testing.assert_close(target.square().mean(dim=3), torch.ones(8, GRID**2, 5), rtol=1e-3, atol=1e-3)
    assert target.mean(dim=3).abs().max() < 1e-4
    torch.testing.assert_close(target * found + mean, patches)


def test_targets_come_from_what_counts():
    method = mae(2)
    patches = torch.randn(2, GRID**2, 2, 64, generator=drawing())
    counted = torch.rand(2, GRID**2, 2, 64, generator=drawing()) > 0.3
    counted[1, 2, 1] = False
    target, mean, spread = method.targets(patches, counted)
    chosen = patches[0, 1, 0][counted[0, 1, 0]]
    assert float(mean[0, 1, 0]) == pytest.approx(float(chosen.mean()), abs=1e-6)
    noise = float(method.noise(mean)[0, 1, 0])
    assert float(spread[0, 1, 0]) == pytest.approx(math.hypot(float(chosen.std(correction=0)), noise), rel=1e-5)
    assert torch.isfinite(target).all()
    assert mean[1, 2, 1] == 0


@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
def test_the_noise_is_one_sky_sigma_or_one_grey_level(stretch):
    method = small_method("mae", small_encoder("test_vit", stretch=stretch))
    spec = method.encoder.input
    scale, mean, std = (torch.tensor(part) for part in (spec.scale, spec.mean, spec.std))
    sky = (-mean / std).view(1, 1, 5, 1)  # what 0 flux becomes
    if stretch == "linear":
        sky = sky.clamp(-2, 2)
    level = {"none": 1 / 255, "asinh": math.asinh(1), "linear": 1.0}[stretch]
    torch.testing.assert_close(method.noise(sky).flatten(), level / std, rtol=1e-4, atol=1e-5)
    bright = (method.encoder.normalised((100 * scale).view(1, 5, 1, 1))).transpose(1, 2)
    if stretch == "asinh":
        torch.testing.assert_close(method.noise(bright).flatten(), 0.01 / std, rtol=0.05, atol=1e-5)


@pytest.mark.parametrize("stretch", ["none", "asinh", "linear"])
def test_saturated_and_empty_patches_have_finite_targets(stretch):
    method = small_method("mae", small_encoder("test_vit", stretch=stretch))
    images = torch.zeros(2, 5, SIZE, SIZE)
    images[1] = 1.0 if stretch == "none" else 1e12
    patches = method.patches(method.encoder.normalised(images))
    target, _, _ = method.targets(patches, torch.ones_like(patches, dtype=torch.bool))
    assert torch.isfinite(target).all()
    assert target.abs().max() < 1e-1


# The loss


def test_the_loss_counts_known_pixels_of_hidden_patches_only():
    method, view = mae(), view_of()
    view.valid[0, 0, :20] = False
    view.images[1, 2] = 0
    _, masked = method.split(4, drawing())
    outputs = torch.zeros(4, GRID**2, 5 * PATCH**2, requires_grad=True)
    loss = method.error(outputs, view, masked)
    (gradient,) = torch.autograd.grad(loss, outputs)
    counted = (pixels_of(masked) & view.valid).expand(-1, 5, -1, -1).clone()
    counted[1, 2] = False
    assert torch.equal(method.images(gradient.view(4, GRID**2, 5, PATCH**2)) != 0, counted)
    known = view.valid.expand_as(view.images).clone()
    known[1, 2] = False
    truth = method.patches(method.encoder.normalised(view.images))
    target = method.images(method.targets(truth, method.patches(known))[0])
    torch.testing.assert_close(loss, target[counted].square().mean())


def test_the_loss_is_float32_under_autocast():
    method, view = mae().train(), view_of()
    with torch.autocast("cpu", torch.bfloat16):
        step = method((view,), drawing())
        _, masked = method.split(4, drawing())
        outputs = torch.randn(4, GRID**2, 5 * PATCH**2, generator=drawing()).bfloat16()
        inside = method.error(outputs, view, masked)
    assert step.losses["model"].dtype == inside.dtype == torch.float32
    torch.testing.assert_close(inside, method.error(outputs.float(), view, masked), rtol=1e-6, atol=0)


def test_the_class_token_that_is_exported_is_trained():
    method, view = mae(), view_of()
    keep, masked = method.split(4, drawing())
    encoded = method.encoded(view.images, keep).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(method.error(method.decoder(encoded, keep), view, masked), encoded)
    assert gradient[:, 0].any(dim=1).all()


def test_kept_tokens_go_back_to_their_places_and_the_others_are_mask_tokens():
    decoder = TokenDecoder(6, 9, 4, 32, 0)
    encoded = torch.randn(2, 1 + 3, 6, generator=drawing())
    keep = torch.tensor([[0, 4, 8], [1, 2, 7]])
    found = decoder(encoded, keep)
    for image in range(2):
        for patch in range(9):
            place = keep[image].tolist().index(patch) if patch in keep[image] else None
            token = decoder.mask_token[0, 0] if place is None else decoder.enter(encoded[image, 1 + place])
            torch.testing.assert_close(found[image, patch], decoder.leave(token + decoder.pos_embed[0, patch]))
    with pytest.raises(ValueError, match="width is 48; give a multiple of 32"):
        TokenDecoder(6, 9, 4, 48, 1)


@pytest.mark.parametrize("bands", [1, 5])
def test_every_parameter_is_trained_and_the_encoder_exported(bands):
    method = mae(bands).train()
    step = method((view_of(bands=bands),), drawing())
    assert_each_trained_by_its_player(method, step.losses, set())
    assert method.exported() is method.encoder


def test_only_transformers():
    with pytest.raises(ValueError, match="gives no tokens"):
        small_method("mae", small_encoder())
    assert "vision transformer" in not_applicable("mae", "tf_efficientnet_lite0", 3)
    assert not_applicable("mae", "test_vit", 1) is None
    assert size_argument("test_vit", 32) == {"img_size": 32}


def test_the_panel_shows_image_mask_and_reconstruction():
    method, view = copy.deepcopy(mae()).eval(), view_of()
    (panel,) = method.panels((view,), drawing())
    image, seen, found = panel.values
    _, masked = method.split(4, drawing())
    where = pixels_of(masked).expand_as(image)
    assert torch.equal(image, view.images)
    assert method.encoder.normalised(seen)[where].abs().max() < 1e-5
    for shown in (seen, found):
        torch.testing.assert_close(shown[~where], image[~where])
    means = [method.patches(method.encoder.normalised(x)).mean(dim=3) for x in (image, found)]
    assert (means[0] - means[1]).abs().max() < 2  # of the images, but for the mean of the pattern
    assert not torch.isclose(found[where], image[where]).all()
