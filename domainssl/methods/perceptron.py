"""The heads that contrastive and teacher-student methods put on an encoder, and throw away."""

from torch import nn

from domainssl.processes import GatheredBatchNorm1d


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """One hidden layer with batch norm and ReLU, of projectors and predictors.

    Without the batch norm rows keep the large offset that all features have in common, and in a short training the
    heads learn nothing else.
    """
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        GatheredBatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, outputs, bias=False),
    )
