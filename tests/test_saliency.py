"""Maps of what an answer comes from: found where it was planted, of the head's own numbers, turned back, never of what
is hidden."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.features import SYMMETRIES
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.linear import LinearHead, fit_linear
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.prototype import fit_prototype
from domainssl.saliency import maps
from domainssl.saliency.applies import not_applicable
from domainssl.saliency.check import agreement, rank_correlation, verdict
from domainssl.saliency.maps import Pictured, occlusion, saliency
from domainssl.saliency.randomised import permuted_head, random_encoder, random_head
from domainssl.saliency.scores import GridScores, Scores
from domainssl.saliency.views import Shifted, Turned, map_views

SIZE, COUNT, CORNER = 224, 48, 60
ONCE = (Shifted(0, 0),)
WHOLE = torch.ones(1, SIZE, SIZE, dtype=torch.bool)


@final
@dataclass(frozen=True)
class Planted:
    """Dim noise, half of it with a bright square in the upper left, and what tells them apart.

    All have other things elsewhere, which say nothing: a dark square, stripes of two kinds, or checks.
    """

    images: Tensor
    yes: np.ndarray
    encoder: TimmEncoder
    half: TrainingHalf
    head: LinearHead

    def shown(self, number: int = 0) -> Pictured:
        """One of the images with the square."""
        return Pictured(self.images[np.flatnonzero(self.yes)[number]], WHOLE, "display")


def encoder_of(size: int, sample: Tensor, name: str = "test_efficientnet") -> TimmEncoder:
    return create_encoder(
        name, "none", bands=("grey",), size=size, sample=sample, sky_sigma=None, preparation="p", seed=0
    )


@pytest.fixture(scope="module")
def planted() -> Planted:
    rng = np.random.default_rng(0)
    pixels = (0.3 + 0.02 * rng.normal(size=(COUNT, 1, SIZE, SIZE))).astype(np.float32)
    yes = np.arange(COUNT) % 2 == 1
    pixels[yes, :, 12:CORNER, 12:CORNER] += 0.3
    side = CORNER - 12
    y, x = np.mgrid[:side, :side]
    things = [-0.25 + 0 * y, 0.25 * (y // 6 % 2), 0.25 * (x // 6 % 2), 0.3 * ((y // 8 + x // 8) % 2)]
    for image in pixels[:, 0]:
        for cell in rng.permutation(np.arange(1, 9))[:4]:
            top, left = 12 + 72 * (cell // 3), 12 + 72 * (cell % 3)
            image[top : top + side, left : left + side] += things[rng.integers(4)]
    images = torch.from_numpy(pixels)
    encoder = encoder_of(SIZE, images)
    with torch.no_grad():
        features = encoder.pooled(images).numpy()
    half = TrainingHalf(features, np.arange(COUNT))
    return Planted(images, yes, encoder, half, fit_linear(half, np.arange(COUNT), yes[:, None] * 1.0, 2, rng))


def test_scores_are_the_heads_own_predictions(planted: Planted) -> None:
    rng = np.random.default_rng(1)
    rows, images = np.arange(COUNT), planted.images[:6]
    three = rng.integers(3, size=(COUNT, 1)) * 1.0
    several = rng.integers(2, size=(COUNT, 3)) * 1.0
    heads = [fit_linear(planted.half, rows, three, 3, rng) for _ in range(2)]
    heads[1] = replace(heads[1], weight=rng.normal(size=heads[1].weight.shape))
    findings = [fit_multilabel(planted.half, rows, several, 3, rng)]
    for group in (heads, findings):
        for output in range(3):
            scores = Scores(planted.encoder, group, output)
            with torch.no_grad():
                features = planted.encoder.pooled(images).numpy()
                found = [scores(images), GridScores(scores)(planted.encoder.grid(images))]
            expected = np.stack([head.predict(features)[:, output] for head in group], axis=1)
            for log_odds in found:
                np.testing.assert_allclose(torch.sigmoid(log_odds).numpy(), expected, atol=1e-4)


def test_heads_that_have_no_gradient_and_answers_without_a_label_are_refused(planted: Planted) -> None:
    rows = np.arange(COUNT)
    prototypes = fit_prototype(planted.half, rows, planted.yes[:, None] * 1.0, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="a PrototypeHead is not linear; give classify"):
        Scores(planted.encoder, [prototypes], 1)
    two_of_three = fit_linear(planted.half, rows, planted.yes[:, None] * 2.0, 3, np.random.default_rng(0))
    with pytest.raises(ValueError, match="answer 1 had no labelled row"):
        Scores(planted.encoder, [two_of_three], 1)


@pytest.mark.parametrize("method", ["grad_cam", "occlusion"])
def test_what_decides_is_found_where_it_was_planted(planted: Planted, method: Any) -> None:
    found = saliency(method, planted.encoder, [planted.head], 1, planted.shown(), ONCE)[0]
    assert found.shape == (SIZE, SIZE)
    assert found.min() == 0
    assert found.max() == 1
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert max(y, x) < CORNER + SIZE // 7
    assert found[: 2 * CORNER, : 2 * CORNER].sum() > 0.6 * found.sum()
    assert not planted.encoder.training  # MONAI sets modes by itself
    assert all(weight.grad is None for weight in planted.encoder.parameters())


def test_an_answer_without_evidence_has_an_empty_map(planted: Planted) -> None:
    blind = replace(planted.head, weight=np.zeros_like(planted.head.weight))
    assert not saliency("grad_cam", planted.encoder, [blind], 1, planted.shown(), ONCE).any()


def test_nothing_is_shown_where_pixels_are_hidden(planted: Planted) -> None:
    valid = WHOLE.clone()
    valid[:, :, 90:] = False
    shown = planted.shown()
    half = Pictured(torch.where(valid, shown.image, 0.0), valid, "display")
    found = saliency("grad_cam", planted.encoder, [planted.head], 1, half, map_views("none", SIZE))[0]
    assert np.isnan(found[:, 90:]).all()
    assert np.isfinite(found[:, :90]).all()
    assert np.nanmax(found) == 1


def test_the_background_is_sky_or_the_border_and_leaves_hidden_pixels(planted: Planted) -> None:
    image = torch.full((2, 32, 32), 0.9)
    image[0, :4], image[1, :4] = 0.2, 0.4
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    valid[:, :, 8:24] = True
    valid[:, 28:] = False
    image = torch.where(valid, image, 0.0)
    found = Pictured(image, valid, "display").background()
    torch.testing.assert_close(found[:, :, 10].amax(1), torch.tensor([0.2, 0.4]))
    assert not found[:, ~valid[0]].any()
    assert not Pictured(image, valid, "linear").background().any()
    inner = torch.zeros(1, 32, 32, dtype=torch.bool)
    inner[:, 10:20, 10:20] = True
    assert (Pictured(image, inner, "display").background()[:, inner[0]] == image[0, 15, 15]).all()


def test_too_coarse_maps_are_refused_with_a_remedy(planted: Planted) -> None:
    small = encoder_of(96, planted.images[:4, :, :96, :96])
    shown = Pictured(planted.images[0, :, :96, :96], WHOLE[:, :96, :96], "display")
    with pytest.raises(
        ValueError, match=r"makes a 3x3 grid of 96 px.* give encoder.size = 224 or more, or .*occlusion"
    ):
        saliency("grad_cam", small, [planted.head], 1, shown, ONCE)
    with pytest.raises(ValueError, match="a mask of 48 px has 4x4 places on 96 px"):
        occlusion(small, [planted.head], 1, shown.image[None], shown.image[None], 48)
    with pytest.raises(ValueError, match="'attention' is of vision transformers"):
        saliency("attention", small, [planted.head], 1, shown, ONCE)


def test_attention_is_the_mean_over_heads_and_needs_seven_patches(planted: Planted) -> None:
    images = planted.images[:2, :, :112, :112].contiguous()
    encoder = encoder_of(112, images, "test_vit")
    shown = Pictured(images[1], WHOLE[:, :112, :112], "display")
    found = saliency("attention", encoder, [], 1, shown, ONCE)
    with torch.no_grad():
        expected = maps.Tokens(encoder).attention(images[1:]).mean(1)[0]
    assert found.shape == (1, 112, 112)
    centres = found[0, 8::16, 8::16] + found[0, 7::16, 7::16]  # the cells' middles lie between pixels
    assert np.corrcoef(centres.ravel(), expected.numpy().ravel())[0, 1] > 0.95
    with pytest.raises(ValueError, match=r"makes a 6x6 grid of 96 px.* give encoder.size = 112 or more"):
        saliency("attention", encoder_of(96, images[:, :, :96, :96], "test_vit"), [], 1, shown, ONCE)


@pytest.mark.parametrize(
    ("method", "encoder", "size", "words"),
    [
        ("grad_cam", "tf_efficientnet_lite0", 96, "3x3 grid"),
        ("grad_cam", "tf_efficientnet_lite0", 192, "6x6 grid"),
        ("grad_cam", "tf_efficientnet_lite0", 224, None),
        ("grad_cam", "vit_tiny_patch16_224", 224, "gives tokens"),
        ("grad_cam", "dense_32", 224, "one dense layer"),
        ("grad_cam", "some_network", 32, None),
        ("attention", "vit_tiny_patch16_224", 96, "6x6 grid"),
        ("attention", "vit_tiny_patch16_224", 112, None),
        ("attention", "resnet18", 224, "is none"),
        ("occlusion", "resnet18", 96, None),
    ],
)
def test_what_cannot_work_is_known_by_name(method: Any, encoder: str, size: int, words: str | None) -> None:
    found = not_applicable(method, encoder, size)
    assert (found is None) if words is None else (words in str(found))
    assert not_applicable("grad_cam", "some_network", 32, stride=16) is not None


@pytest.mark.parametrize("view", [*map_views("dihedral", 48), *map_views("mirror", 48)])
def test_views_are_turned_back(view: Turned | Shifted) -> None:
    image = torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(0))
    back = view.back(view.there(image))
    seen = back.isfinite()
    torch.testing.assert_close(back[seen], image[seen], rtol=0, atol=0)
    assert seen.float().mean() > 0.9
    assert isinstance(view, Shifted) or seen.all()


def test_radiographs_are_shifted_and_never_mirrored() -> None:
    views = map_views("mirror", 96)
    assert set(views) == {Shifted(*by) for by in ((0, 0), (4, 0), (-4, 0), (0, 4), (0, -4))}
    assert map_views("none", 96) == views
    assert {view.transformation for view in map_views("dihedral", 96) if isinstance(view, Turned)} == set(
        SYMMETRIES["dihedral"]
    )


def test_a_turned_image_has_the_turned_map(planted: Planted) -> None:
    shown, views = planted.shown(), map_views("dihedral", SIZE)
    map_ = saliency("grad_cam", planted.encoder, [planted.head], 1, shown, views)
    for transformation in SYMMETRIES["dihedral"][1::3]:
        turned = Turned(transformation)
        other = replace(shown, image=turned.there(shown.image))
        found = saliency("grad_cam", planted.encoder, [planted.head], 1, other, views)
        np.testing.assert_allclose(found, turned.there(torch.from_numpy(map_)).numpy(), atol=1e-3)


def checked(planted: Planted, method: Any, objects: int, encoders: int, heads: int) -> tuple[Any, Any]:
    """Both agreements of maps of the first objects with those of randomised weights."""
    rng = np.random.default_rng(3)
    sample, rows = planted.images[:16], np.arange(COUNT)
    others = [random_encoder(planted.encoder, sample, rng) for _ in range(encoders)]
    random = [(other, random_head(planted.head, other, sample, rng)) for other in others]
    y = planted.yes[:, None] * 1.0
    permuted: list[FittedHead] = [permuted_head(fit_linear, planted.half, rows, y, 2, rng) for _ in range(heads)]
    by_encoder, by_labels = [], []
    for number in range(objects):
        shown = planted.shown(number)
        own, *others_ = saliency(method, planted.encoder, [planted.head, *permuted], 1, shown, ONCE)
        drawn = [saliency(method, other, [its], 1, shown, ONCE)[0] for other, its in random]
        by_encoder.append([rank_correlation(own, other) for other in drawn])
        by_labels.append([rank_correlation(own, other) for other in others_])
    return agreement(np.array(by_encoder), rng), agreement(np.array(by_labels), rng)


def test_maps_that_any_network_gives_are_found_out(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def edges(encoder: Any, heads: Any, output: int, views: Float[Tensor, "b c h w"], fill: Any) -> Tensor:
        steps = views.diff(dim=3, append=views[..., -1:]).abs().sum(1)
        return steps.expand(len(heads), *steps.shape)

    monkeypatch.setitem(maps.SALIENCY, "grad_cam", edges)  # type: ignore[arg-type]
    found = checked(planted, "grad_cam", 10, 2, 2)
    assert verdict(found) == "image"
    assert min(one.value for one in found) > 0.99


def test_maps_of_what_was_learnt_pass(planted: Planted) -> None:
    found = checked(planted, "grad_cam", 10, 3, 20)
    assert verdict(found) == "passed", found


def test_random_encoders_are_of_the_same_input_and_differ(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    first, second = (random_encoder(planted.encoder, planted.images[:32], rng) for _ in range(2))
    assert first.input == planted.encoder.input
    with torch.no_grad():
        features = [one.pooled(planted.images[:8]) for one in (first, second, planted.encoder)]
    assert not torch.allclose(features[0], features[1])
    assert float(features[0].std(0).mean()) > 0.05 * float(features[0].abs().mean())  # it still sees the images
    again = random_encoder(planted.encoder, planted.images[:32], np.random.default_rng(0))
    with torch.no_grad():
        torch.testing.assert_close(again.pooled(planted.images[:8]), features[0])
    head = random_head(planted.head, first, planted.images[:32], rng)
    np.testing.assert_array_equal(np.sort(head.weight, axis=1), np.sort(planted.head.weight, axis=1))
    assert not np.array_equal(head.weight, planted.head.weight)
