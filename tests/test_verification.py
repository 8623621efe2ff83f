"""Verification: the threshold against scikit-learn's ROC, and judged on other pairs than it was chosen on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_curve

from domainssl.methods.pairs import distances, same_image, verified
from domainssl.methods.verification import balanced_accuracy, verification_threshold


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40), st.floats(0.01, 100))
def test_no_threshold_does_better_and_ties_fall_on_one_side(pairs, scale):
    found = torch.tensor([distance * scale for distance, _ in pairs])
    same = torch.tensor([kind for _, kind in pairs])
    threshold = verification_threshold(found, same)
    if same.all() or not same.any():
        assert math.isnan(threshold)
        return
    false_alarms, hits, _ = roc_curve(same.numpy(), -found.numpy(), drop_intermediate=False)
    ours = balanced_accuracy(found, same, threshold)
    assert ours == pytest.approx(float(np.max(hits + 1 - false_alarms)) / 2)
    assert ours == pytest.approx(balanced_accuracy_score(same.numpy(), found.numpy() < threshold))


def test_known_thresholds():
    found = torch.tensor([0.1, 0.2, 0.6, 0.5, 0.9, 1.0])
    same = torch.tensor([True, True, True, False, False, False])
    assert verification_threshold(found, same) == pytest.approx(0.35)  # as good as .75, and lower
    assert balanced_accuracy(found, same, 0.35) == pytest.approx(5 / 6)
    # Same means d < T: a distance of T itself is another object.
    assert balanced_accuracy(torch.tensor([0.5, 1.0]), torch.tensor([True, False]), 1.0) == 1.0
    apart = verification_threshold(torch.tensor([1.0, 3.0]), torch.tensor([True, False]))
    assert apart == 2.0
    assert balanced_accuracy(torch.tensor([3.0, 1.0]), torch.tensor([True, False]), 2.0) == 0.0
    assert math.isnan(balanced_accuracy(found, torch.ones(6, dtype=torch.bool), 0.5))
    assert math.isnan(verification_threshold(torch.ones(0), torch.ones(0, dtype=torch.bool)))


def test_a_batch_chooses_on_half_of_its_images_and_judges_on_the_other():
    """The second half's views are ten times as far apart: the first half's threshold then calls all of them others."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 16, generator=generator)
    noise = 0.05 * torch.randn(8, 16, generator=generator)
    near = verified(distances(torch.cat([images, images + noise])))
    assert near["verification"] == 1.0
    spread = torch.tensor([1.0] * 4 + [1000.0] * 4)[:, None]
    far = verified(distances(torch.cat([images, images + spread * noise])))
    assert far["threshold"] == near["threshold"]
    assert far["verification"] < 0.6
    assert verified(distances(torch.randn(6, 4))) == {}  # 3 images are too few for two halves with others


def test_which_views_are_of_one_image():
    assert same_image(4, torch.device("cpu")).int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]


def test_distances_of_close_pairs_are_exact_and_have_gradients_at_0():
    rows = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    near = torch.cat([rows, rows + 1e-4]).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distances(near)
    assert found.dtype == torch.float32
    expected = (near.double()[:, None] - near.double()).norm(dim=2)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    alike = torch.ones(4, 8, requires_grad=True)
    distances(alike).sum().backward()
    assert torch.equal(alike.grad, torch.zeros(4, 8))
    assert torch.equal(found.diagonal(), torch.zeros(128))
