"""Losses and predictions of raw outputs: likelihoods of the same model, masked where targets are unknown."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import dirichlet_multinomial

from domainssl.evaluation.dirichlet_multinomial import log_likelihood
from domainssl.evaluation.losses import LOSSES, PREDICTIONS, raw_outputs, without_absent

CLASSES = 4
TARGETS = {
    "classes": [[0.0], [3.0], [2.0], [2.0], [1.0]],
    "yes_no": [[0.0], [1.0], [1.0], [0.0], [0.0]],
    "multilabel": [[0, 1, 1, 0], [1, 1, 0, np.nan], [0, 0, 0, 0], [np.nan, 1, 1, 0], [1, 0, 0, 1]],
    "ordered": [[0.0], [3.0], [2.0], [2.0], [1.0]],
    "real": [[-1.5], [0.2], [0.0], [1.3], [0.7]],
    "votes": [[3, 0, 1, 0], [0, 10, 2, 2], [1, 1, 1, 1], [0, 0, 0, 1], [7, 7, 0, 0]],
}
PREDICTED = {"classes": CLASSES, "yes_no": 2, "multilabel": CLASSES, "ordered": CLASSES, "real": 1, "votes": CLASSES}


def raw(kind: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2, size=(5, raw_outputs(kind, PREDICTED[kind])))


def loss_of(kind: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(LOSSES[kind](torch.from_numpy(outputs), torch.from_numpy(targets)))


@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_is_minus_the_log_likelihood_of_the_predictions(kind):
    outputs, targets = raw(kind), np.array(TARGETS[kind], dtype=np.float64)
    p = PREDICTIONS[kind](outputs)
    assert p.shape == (5, PREDICTED[kind])
    if kind in ("classes", "yes_no", "ordered"):
        expected = -np.log(p[np.arange(5), targets[:, 0].astype(int)]).mean()
    elif kind == "multilabel":
        expected = -np.nanmean(targets * np.log(p) + (1 - targets) * np.log1p(-p))
    elif kind == "real":
        expected = ((p - targets) ** 2).mean()
    else:
        alpha = 1 + 100 * expit(outputs)
        np.testing.assert_allclose(p, alpha / alpha.sum(axis=1, keepdims=True))
        each = [
            dirichlet_multinomial.logpmf(n.astype(int), a, int(n.sum())) for n, a in zip(targets, alpha, strict=True)
        ]
        assert loss_of(kind, outputs, targets) == pytest.approx(-log_likelihood(targets, alpha).sum() / targets.sum())
        expected = -sum(each) / targets.sum()
    assert loss_of(kind, outputs, targets) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
def test_unknown_targets_carry_no_gradient_and_change_nothing(kind):
    outputs, targets = torch.from_numpy(raw(kind)), torch.tensor(TARGETS[kind], dtype=torch.float64)
    targets[1] = torch.nan
    outputs.requires_grad_()
    value = LOSSES[kind](outputs, targets)
    value.backward()
    known = ~torch.isnan(targets) if kind == "multilabel" else ~torch.isnan(targets).any(1, keepdim=True)
    known = known.expand_as(outputs)
    assert (outputs.grad[~known] == 0).all()
    assert torch.isfinite(outputs.grad).all()
    assert (outputs.grad[~(~known).any(1)] != 0).any()
    others = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(LOSSES[kind](outputs[others], targets[others]), value)


@pytest.mark.parametrize("kind", LOSSES)
def test_where_nothing_is_known_the_loss_is_0_and_so_is_its_gradient(kind):
    outputs = torch.from_numpy(raw(kind)).requires_grad_()
    value = LOSSES[kind](outputs, torch.full((5, len(TARGETS[kind][0])), torch.nan, dtype=torch.float64))
    value.backward()
    assert value.item() == 0
    assert (outputs.grad == 0).all()


@given(st.lists(st.lists(st.floats(-800, 800), min_size=3, max_size=3), min_size=1, max_size=4))
def test_probabilities_are_probabilities_at_any_logits(rows):
    logits = np.array(rows)
    for kind in ("classes", "votes", "ordered"):
        p = PREDICTIONS[kind](logits)
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_allclose(PREDICTIONS["multilabel"](logits), expit(logits), atol=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_row_with_nan_gives_nan_there_only(kind):
    outputs = raw(kind)
    outputs[2] = np.nan
    found = PREDICTIONS[kind](outputs)
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(np.delete(found, 2, 0), PREDICTIONS[kind](np.delete(outputs, 2, 0)))


def test_absent_classes_get_0_and_the_others_their_share():
    p = np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [np.nan, 0.5, 0.5]])
    found = without_absent(p, np.array([True, False, True]))
    np.testing.assert_allclose(found[0], [2 / 7, 0, 5 / 7])
    np.testing.assert_allclose(found[1], [0.5, 0, 0.5])
    assert np.isnan(found[2]).all()


def test_a_row_without_votes_gives_exactly_0_and_no_gradient_in_float32():
    outputs = torch.tensor([[3.0, -700.0, 800.0], [0.1, 0.2, 0.3]], requires_grad=True)
    value = LOSSES["votes"](outputs, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    value.backward()
    alone = LOSSES["votes"](outputs[1:].detach(), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(value.detach(), alone, rtol=0, atol=0)
    assert (outputs.grad[0] == 0).all()
    assert (outputs.grad[1] != 0).all()
    nobody = LOSSES["votes"](outputs, torch.zeros(2, 3))
    assert nobody.item() == 0


def test_likelihood_is_torchs_gamma_functions():
    rng = np.random.default_rng(0)
    alpha, counts = rng.gamma(2.0, size=(50, 4)), rng.poisson(6, size=(50, 4)).astype(np.float64)
    a, c = torch.tensor(alpha), torch.tensor(counts)
    # from the posterior: p(votes) = multinomial(votes | shares) * prior(shares) / posterior(shares), at any shares
    shares = torch.tensor(rng.dirichlet(np.ones(4), size=50))
    prior = torch.distributions.Dirichlet(a).log_prob(shares)
    posterior = torch.distributions.Dirichlet(a + c).log_prob(shares)
    votes = [
        torch.distributions.Multinomial(int(n), probs=p).log_prob(row)
        for n, p, row in zip(c.sum(1), shares, c, strict=True)
    ]
    np.testing.assert_allclose(log_likelihood(counts, alpha), (torch.stack(votes) + prior - posterior), atol=1e-6)
