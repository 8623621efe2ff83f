"""Cross-entropy and accuracy of what counts, in full precision, over all processes."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from domainssl.methods import classification
from domainssl.methods.classification import accuracy, cross_entropy


def questions(count: int = 30) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 4, generator=generator)
    return logits, torch.arange(count) % 4, torch.rand(count, generator=generator) < 0.6


def test_only_what_counts_is_counted():
    logits, classes, counted = questions()
    shares = logits.double().softmax(1)[counted].numpy()
    expected = log_loss(classes[counted].numpy(), shares, labels=range(4))
    assert float(cross_entropy(logits, classes, counted)) == pytest.approx(expected, rel=1e-5)
    right = accuracy_score(classes[counted].numpy(), logits.argmax(1)[counted].numpy())
    assert accuracy("a", logits, classes, counted)["a"] == pytest.approx(right)


def test_nothing_counted_is_a_loss_of_0_with_gradients_and_no_measure():
    logits, classes, _ = questions()
    logits.requires_grad_()
    nothing = torch.zeros(30, dtype=torch.bool)
    loss = cross_entropy(logits, classes, nothing)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert accuracy("a", logits, classes, nothing) == {}


def test_full_precision_under_autocast():
    logits, classes, counted = questions()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(logits, classes, counted)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cross_entropy(logits, classes, counted))


def test_the_loss_is_that_of_all_processes_rows(monkeypatch):
    logits, classes, counted = questions()
    whole = cross_entropy(logits, classes, counted)
    rest = iter([logits[10:], classes[10:], counted[10:]])
    monkeypatch.setattr(classification, "gathered", lambda rows: torch.cat([rows, next(rest)]))
    torch.testing.assert_close(cross_entropy(logits[:10], classes[:10], counted[:10]), whole)
