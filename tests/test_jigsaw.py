"""Jigsaw: permutations far from one another, patches without their own brightness, and structure that is found."""

import numpy as np
import pytest
import torch
from tiny_methods import batch_of
from tiny_pretexts import mean_of, tiny, train

from domainssl.method_options import JigsawOptions
from domainssl.methods.jigsaw import Jigsaw
from domainssl.methods.permutations import unlike_permutations


def least_distance(permutations: np.ndarray) -> int:
    unlike = (permutations[:, None] != permutations).sum(axis=2)
    return int(unlike[~np.eye(len(permutations), dtype=bool)].min())


def by_search(count: int, seed: int, tries: int = 3000) -> np.ndarray:
    """Each permutation the farthest of many random ones from those before."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(9)]
    while len(chosen) < count:
        tried = rng.permuted(np.tile(np.arange(9), (tries, 1)), axis=1)
        nearest = (tried[:, None] != np.array(chosen)).sum(axis=2).min(axis=1)
        chosen.append(tried[nearest.argmax()])
    return np.array(chosen)


@pytest.fixture(scope="module")
def permutations() -> np.ndarray:
    return unlike_permutations(64)


def test_permutations_are_distinct_and_as_far_apart_as_a_search_finds(permutations):
    assert np.array_equal(np.sort(permutations, axis=1), np.tile(np.arange(9), (64, 1)))
    assert len(np.unique(permutations, axis=0)) == 64
    assert least_distance(permutations) == 7 >= max(least_distance(by_search(64, seed)) for seed in range(3))
    # The first nine differ in every place: a Latin square, which no set can better.
    assert least_distance(permutations[:9]) == 9


def test_permutations_are_always_the_same_and_the_shorter_list_begins_the_longer(permutations):
    assert np.array_equal(unlike_permutations(5), permutations[:5])
    assert permutations[0].tolist() == list(range(9))


@pytest.mark.parametrize("count", [0, 1, 362881])
def test_a_count_that_makes_no_question_is_refused(count):
    with pytest.raises(ValueError, match=f"pretrain.jigsaw.permutations: {count} of nine patches; give 2 to 362880"):
        unlike_permutations(count)


def jigsaw(bands: int = 2, count: int = 8, size: int = 64, encoder: str = "test_resnet") -> Jigsaw:
    method = tiny("jigsaw", bands, size, encoder, jigsaw=JigsawOptions(permutations=count))
    assert isinstance(method, Jigsaw)
    return method


def test_patches_are_shuffled_as_the_class_says_each_with_its_own_contrast():
    method = jigsaw()
    # One band says by its slope where a patch was; brightness and contrast differ much between places.
    across = torch.linspace(0, 1, 64)
    images = torch.stack([torch.exp(4 * across)[:, None] * torch.rand(64, 64), across.square().expand(64, 64)])
    view = batch_of(images.expand(32, 2, 64, 64).contiguous())
    method.options = JigsawOptions(permutations=8, jitter=0.0)
    patches, classes, counted = method.puzzles(view, torch.Generator().manual_seed(3))
    torch.testing.assert_close(patches.mean(dim=(3, 4)), torch.zeros(32, 9, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.square().mean(dim=(3, 4)), torch.ones(32, 9, 2))
    assert len(classes.unique()) > 5
    assert counted.all()
    back = torch.stack(
        [shuffled[method.permutations[number].argsort()] for shuffled, number in zip(patches, classes, strict=True)]
    )
    torch.testing.assert_close(back, back[:1].expand_as(back))
    assert not torch.allclose(patches, patches[:1].expand_as(patches))


def structured(bands: int, generator: torch.Generator) -> torch.Tensor:
    """Stripes whose direction and width depend on the place, of random phase, in noise: 8 images of 64 pixels."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    phase = 6.3 * torch.rand(8, 1, 1, generator=generator)
    waves = torch.sin((0.2 + y / 64) * x + phase) + torch.sin((0.2 + x / 64) * y + phase)
    return waves[:, None] + 0.1 * torch.randn(8, bands, 64, 64, generator=generator)


@pytest.mark.parametrize("bands", [1, 5])
def test_structure_is_found(bands):
    generator = torch.Generator().manual_seed(0)
    steps = train(jigsaw(bands), lambda _: (batch_of(structured(bands, generator)),), 12)
    assert mean_of(steps[-4:], "accuracy") > 0.6
    assert steps[-1].losses["model"] < steps[0].losses["model"]


def test_textures_without_places_stay_at_chance():
    generator = torch.Generator().manual_seed(0)
    steps = train(jigsaw(), lambda _: (batch_of(torch.randn(8, 2, 64, 64, generator=generator)),), 30)
    assert mean_of(steps, "accuracy") < 0.22  # 240 questions; chance is 1/8 +- .021


def test_images_that_are_mostly_invalid_have_no_say():
    method = jigsaw().eval()
    images = torch.rand(4, 2, 64, 64)
    valid = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    valid[0, :, :50] = False
    changed = images.clone()
    changed[0] = torch.rand(2, 64, 64)
    losses = [
        method((batch_of(x, valid),), torch.Generator().manual_seed(0)).losses["model"] for x in (images, changed)
    ]
    assert torch.equal(*losses)
    corner = torch.ones_like(valid)
    corner[:, :, :20, :20] = False  # a corner that the store hides leaves eight patches
    assert method.puzzles(batch_of(images, corner), torch.Generator())[2].all()
    (panel,) = method.panels((batch_of(images),), torch.Generator())
    assert panel.values.shape[:3] == (4, 9, 2)
