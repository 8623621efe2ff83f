"""The sentence about an orientation leak: silent by chance, and with too few images."""

import numpy as np
import pytest
from scipy.stats import binom

from domainssl.methods.orientation_leak import orientation_leak


def test_chance_and_less_are_silent():
    assert orientation_leak(0.25, 1000) is None
    assert orientation_leak(0.1, 1000) is None
    assert orientation_leak(1.0, 0) is None


def test_the_sentence_names_accuracy_and_images():
    sentence = orientation_leak(0.52, 200)
    assert sentence.startswith(
        "Rotations of unseen images were told with an accuracy of 0.52, above the chance of 0.25"
    )
    assert "200 images, p = " in sentence
    assert "orientation leak" in sentence


@pytest.mark.parametrize("images", [10, 100, 1000])
def test_the_threshold_is_the_binomial_one_at_1_percent(images):
    first = next(right for right in range(images + 1) if binom.sf(right - 1, images, 0.25) < 0.01)
    assert orientation_leak(first / images, images) is not None
    assert orientation_leak((first - 1) / images, images) is None


def test_false_alarms_are_rare_though_the_four_answers_hang_together():
    """Answers of one image all right or all wrong, which spreads the accuracy as far as it can."""
    right = np.random.default_rng(0).random((2000, 300)) < 0.25
    alarms = sum(orientation_leak(float(share), 300) is not None for share in right.mean(axis=1))
    assert alarms / 2000 < 0.015
