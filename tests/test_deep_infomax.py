"""Deep InfoMax: both objectives against sums written out and torch's cross-entropy; negatives are other images."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_methods import SMALL, assert_grouped_and_trained, batch_of, convolutional, made, transformer
from torch.nn import functional

from domainssl.method_options import InfoMaxOptions
from domainssl.methods.deep_infomax import DeepInfoMax, jensen_shannon
from domainssl.methods.places import valid_places


def infomax(**weights: float) -> DeepInfoMax:
    options = dataclasses.replace(SMALL, deep_infomax=InfoMaxOptions(**weights))
    return made("deep_infomax", convolutional(), options)


def images_of(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 2, 64, 64, generator=torch.Generator().manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 5),
    places=st.integers(1, 6),
    dim=st.integers(1, 8),
    scale=st.floats(0.1, 10),
    share=st.sampled_from([0.0, 0.6, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_the_loss_written_out(count, places, dim, scale, share, seed):
    generator = torch.Generator().manual_seed(seed)
    local = scale * torch.randn(count, places, dim, generator=generator)
    pooled = torch.randn(count, dim, generator=generator)
    counted = torch.rand(count, places, generator=generator) < share
    attract, repel = [], []
    for image, place in counted.nonzero().tolist():
        for other in range(count):
            score = float(local[image, place].double() @ pooled[other].double()) / math.sqrt(dim)
            if other == image:
                attract.append(math.log1p(math.exp(-abs(score))) + max(-score, 0))
            else:
                repel.append(math.log1p(math.exp(-abs(score))) + max(score, 0))
    expected = sum(attract) / len(attract) + sum(repel) / len(repel) if attract else 0.0
    assert float(jensen_shannon(local, pooled, counted)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_it_is_torchs_cross_entropy_of_own_against_others():
    local, pooled = torch.randn(4, 3, 8), torch.randn(4, 8)
    scores = (local @ pooled.T).permute(0, 2, 1) / math.sqrt(8)  # image, other, place
    own = torch.eye(4, dtype=torch.bool)
    expected = functional.binary_cross_entropy_with_logits(
        scores[own], torch.ones(4, 3)
    ) + functional.binary_cross_entropy_with_logits(scores[~own], torch.zeros(12, 3))
    found = jensen_shannon(local, pooled, torch.ones(4, 3, dtype=torch.bool))
    torch.testing.assert_close(found, expected)
    nothing = jensen_shannon(torch.zeros(4, 3, 8), pooled, torch.ones(4, 3, dtype=torch.bool))
    assert float(nothing) == pytest.approx(2 * math.log(2))


def test_one_image_has_no_negatives():
    with pytest.raises(ValueError, match="at least 2 images a batch for negatives, got 1"):
        jensen_shannon(torch.ones(1, 3, 8), torch.ones(1, 8), torch.ones(1, 3, dtype=torch.bool))


@pytest.mark.parametrize(("local", "whole"), [(1.0, 0.5), (2.0, 0.0), (0.0, 1.0)])
def test_a_step_is_the_weighted_sum_of_both_objectives(local, whole):
    method = infomax(local_weight=local, global_weight=whole).eval()
    images = images_of()
    step = method((batch_of(images),), torch.Generator())
    with torch.no_grad():
        pooled = method.pooled_head(method.encoder.pooled(images))
        maps = method.encoder.grid(images)
        places = torch.stack([method.place_head(maps[:, :, y, x]) for y in range(2) for x in range(2)], dim=1)
        everything = method.map_head(places.flatten(1))
        counted = torch.ones(4, 4, dtype=torch.bool)
        local_loss = jensen_shannon(places, pooled, counted)
        whole_loss = jensen_shannon(everything[:, None], pooled, counted[:, :1])
    torch.testing.assert_close(step.losses["model"], local * local_loss + whole * whole_loss)
    assert step.measures == pytest.approx({"local_loss": local_loss.item(), "global_loss": whole_loss.item()})
    assert step.monitor.shape == (4, 8)
    assert not step.monitor.requires_grad
    assert len(method.policies(())) == 1


def test_every_parameter_has_one_player_and_gets_a_gradient():
    method = infomax().train()
    assert_grouped_and_trained(method, method((batch_of(images_of()),), torch.Generator()).losses["model"])
    assert method.exported() is method.encoder


def test_invalid_places_take_no_part():
    method = infomax(local_weight=1.0, global_weight=0.0).eval()
    images, valid = images_of(), torch.ones(4, 1, 64, 64, dtype=torch.bool)
    valid[0, :, :32] = False
    counted = torch.tensor([[False, False, True, True], *[[True] * 4] * 3])
    assert torch.equal(valid_places(valid, 2, 2), counted)
    step = method((batch_of(images, valid),), torch.Generator())
    with torch.no_grad():
        maps = method.encoder.grid(images).flatten(2)
        places = torch.stack([method.place_head(maps[:, :, place]) for place in range(4)], dim=1)
        expected = jensen_shannon(places, method.pooled_head(method.encoder.pooled(images)), counted)
    torch.testing.assert_close(step.losses["model"], expected)


def test_tokens_are_no_feature_map():
    with pytest.raises(ValueError, match="test_vit gives tokens, not a feature map"):
        made("deep_infomax", transformer(), SMALL)


def test_scores_in_full_precision_within_autocast():
    local, pooled, counted = torch.randn(4, 3, 8), torch.randn(4, 8), torch.ones(4, 3, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        inside = jensen_shannon(local, pooled, counted)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, jensen_shannon(local, pooled, counted))
