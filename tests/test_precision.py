"""Precision: a choice by timing that needs a clear gain, formats that agree, weights that timing leaves alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.precision import CANDIDATES, CLEARLY_FASTER, Precision, choose, time_training_step

DEFAULT = CANDIDATES[0]


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    return create_encoder(
        "test_efficientnet",
        "none",
        bands=("g", "r", "z"),
        size=32,
        sample=torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        sky_sigma=np.ones(3, np.float32),
        preparation="p",
        seed=0,
    )


def images(count: int = 6) -> torch.Tensor:
    return 20 * torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_default_is_float32_channels_last():
    assert Precision("float32", True) == DEFAULT == Precision()
    assert len(set(CANDIDATES)) == len(CANDIDATES) == 3


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((1.0, 1.0, 1.0), 0), ((1.0, 0.9, 0.8), 0), ((1.0, 0.5, 0.8), 1), ((1.0, 2.0, 0.7), 2), ((1.0, 0.6, 0.5), 2)],
)
def test_another_format_must_be_clearly_faster(seconds, chosen):
    assert choose(dict(zip(CANDIDATES, seconds, strict=True))) == CANDIDATES[chosen]


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3))
def test_the_choice_is_never_slower_than_the_default(seconds):
    timed = dict(zip(CANDIDATES, seconds, strict=True))
    chosen = choose(timed)
    assert timed[chosen] <= timed[DEFAULT]
    assert chosen == DEFAULT or timed[chosen] * CLEARLY_FASTER < timed[DEFAULT]


def test_all_formats_give_close_features(encoder):
    features = {}
    with torch.inference_mode():
        for precision in CANDIDATES:
            precision.arrange(encoder)
            stem = encoder.network.conv_stem.weight
            assert stem.is_contiguous(memory_format=torch.channels_last) == precision.channels_last
            assert encoder._network_input(images()).is_contiguous() != precision.channels_last
            with precision.autocast("cpu"):
                features[precision] = encoder.pooled(images())
    expected = features[DEFAULT]
    size = float(expected.abs().max())
    for precision, found in features.items():
        if precision.dtype == "float32":
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * size)
        else:
            assert not torch.equal(found.float(), expected), "autocast is not on"
            similarity = torch.nn.functional.cosine_similarity(found.float(), expected)
            assert similarity.min() > 0.99


def test_arranging_changes_the_layout_only(encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    parameters = [id(p) for p in encoder.parameters()]
    for precision in CANDIDATES:
        precision.arrange(encoder)
        assert [id(p) for p in encoder.parameters()] == parameters
        assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("training", [False, True])
def test_timing_gives_every_candidate_and_leaves_the_weights(encoder, training):
    encoder.train(training)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    seconds = time_training_step(encoder, batch=2, repeats=2)
    assert list(seconds) == list(CANDIDATES)
    assert all(0 < value < 60 for value in seconds.values())
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert choose(seconds) in CANDIDATES
