"""What a trained network's raw outputs mean for each kind of label: the loss, and the way to predictions.

Targets and predictions are those of `domainssl.heads.head`, except that real targets are standardised: who calls
subtracts the mean of the labelled rows and divides by their deviation, and undoes it on the predictions.
Axes: b row of a batch, n row, t target, o raw output, k prediction.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn import functional

from domainssl.options import Kind

# The least concentration of an answer, and by how much the largest is above it.
LEAST_CONCENTRATION, CONCENTRATIONS = 1.0, 100.0
# (b o) raw outputs and (b t) targets with NaN for unknown to the mean over what is known; 0, without a gradient, where
# nothing is.
Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(outputs: Float[Tensor, "b o"], targets: Float[Tensor, "b 1"]) -> Float[Tensor, ""]:
    """Multinomial cross-entropy; targets are class indices, outputs one a class."""
    known = ~torch.isnan(targets[:, 0])
    if not known.any():
        return outputs.sum() * 0
    return functional.cross_entropy(outputs[known], targets[known, 0].long())


def masked_binary(outputs: Float[Tensor, "b o"], targets: Float[Tensor, "b o"]) -> Float[Tensor, ""]:
    """Binary cross-entropy, the mean over all known answers (0 or 1) of all rows; unknown ones carry no gradient."""
    known = ~torch.isnan(targets)
    each = functional.binary_cross_entropy_with_logits(outputs, torch.where(known, targets, 0.0), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)


def continuation(outputs: Float[Tensor, "b o"], targets: Float[Tensor, "b 1"]) -> Float[Tensor, ""]:
    """Minus the log-likelihood of ordered levels 0..o: output j is the logit of going beyond level j having reached it.

    Continuation-ratio logits (Fienberg 1980; as a network's loss Shi, Cao and Raschka 2023, CORN): level probabilities
    are never negative, which separate cumulative logits do not promise.
    """
    known = ~torch.isnan(targets[:, 0])
    level = torch.where(known, targets[:, 0], 0.0)[:, None]
    step = torch.arange(outputs.shape[1], device=outputs.device)
    asked = (step <= level) & known[:, None]  # whether level `step` was reached, so that going on was a question
    went_on = (step < level).to(outputs.dtype)
    each = functional.binary_cross_entropy_with_logits(outputs, went_on, reduction="none")
    return (each * asked).sum() / known.sum().clamp_min(1)


def squared_error(outputs: Float[Tensor, "b 1"], targets: Float[Tensor, "b 1"]) -> Float[Tensor, ""]:
    """Mean squared error of standardised targets."""
    known = ~torch.isnan(targets)
    return ((outputs - torch.where(known, targets, outputs.detach())) ** 2).sum() / known.sum().clamp_min(1)


def votes_dirichlet_multinomial(outputs: Float[Tensor, "b o"], targets: Float[Tensor, "b o"]) -> Float[Tensor, ""]:
    """Minus the log-likelihood of the counts as Dirichlet-multinomial, the mean over votes (Walmsley et al. 2022).

    The concentrations are 1 + 100 sigmoid(output), as in Zoobot: neither can an answer be ruled out, nor can the
    likelihood be raised without bound. Rows with an unknown answer, or without votes, give exactly 0 and no gradient.
    """
    asked = (torch.nan_to_num(targets).sum(1) > 0) & ~torch.isnan(targets).any(1)
    votes = torch.where(asked[:, None], targets, 0.0)
    alpha = LEAST_CONCENTRATION + CONCENTRATIONS * torch.sigmoid(outputs)
    given, total = votes.sum(1), alpha.sum(1)
    orders = torch.lgamma(votes + 1).sum(1) - torch.lgamma(given + 1)
    rising = (torch.lgamma(votes + alpha) - torch.lgamma(alpha)).sum(1)
    each = orders - rising + torch.lgamma(total + given) - torch.lgamma(total)
    return torch.where(asked, each, 0.0).sum() / given.sum().clamp_min(1)


LOSSES: dict[Kind, Loss] = {
    "classes": cross_entropy,
    "yes_no": cross_entropy,
    "multilabel": masked_binary,
    "ordered": continuation,
    "real": squared_error,
    "votes": votes_dirichlet_multinomial,
}


def raw_outputs(kind: Kind, predictions: int) -> int:
    """How many raw outputs give so many predictions a row: one fewer for ordered levels, else as many."""
    return predictions - 1 if kind == "ordered" else predictions


def softmax(raw: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n o"]:
    """Probabilities; NaN rows give NaN."""
    odds: Float64[np.ndarray, "n o"] = np.exp(raw - raw.max(axis=1, keepdims=True))
    shares: Float64[np.ndarray, "n o"] = odds / odds.sum(axis=1, keepdims=True)
    return shares


def sigmoid(raw: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n o"]:
    """A probability an output, without overflow; NaN gives NaN."""
    probability: Float64[np.ndarray, "n o"] = 0.5 * (1 + np.tanh(raw / 2))
    return probability


def levels(raw: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    """Probabilities of levels 0..o from continuation logits: reached, and not gone beyond; NaN rows give NaN."""
    beyond = np.cumprod(sigmoid(raw), axis=1)
    reached = np.concatenate([np.ones((len(raw), 1)), beyond], axis=1)
    stayed = np.concatenate([sigmoid(-raw), np.ones((len(raw), 1))], axis=1)
    return np.where(np.isnan(raw).any(axis=1, keepdims=True), np.nan, reached * stayed)


def as_they_are(raw: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n o"]:
    """Real values, standardised as the targets were."""
    return raw


def expected_shares(raw: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n o"]:
    """The shares of votes that are expected by the concentrations of the raw outputs; NaN rows give NaN."""
    alpha = LEAST_CONCENTRATION + CONCENTRATIONS * sigmoid(raw)
    shares: Float64[np.ndarray, "n o"] = alpha / alpha.sum(axis=1, keepdims=True)
    return shares


PREDICTIONS: dict[Kind, Callable[[Float64[np.ndarray, "n o"]], Float64[np.ndarray, "n k"]]] = {
    "classes": softmax,
    "yes_no": softmax,
    "multilabel": sigmoid,
    "ordered": levels,
    "real": as_they_are,
    "votes": expected_shares,
}


def without_absent(
    probabilities: Float64[np.ndarray, "n k"], present: Bool[np.ndarray, " k"]
) -> Float64[np.ndarray, "n k"]:
    """Probabilities of classes or levels with 0 for those that no labelled row had, the others summing to 1."""
    kept = np.where(present, probabilities, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    shares: Float64[np.ndarray, "n k"] = np.where(
        total > 0, kept / np.where(total > 0, total, 1.0), present / present.sum()
    )
    return np.where(np.isnan(probabilities).any(axis=1, keepdims=True), np.nan, shares)
