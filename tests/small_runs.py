"""The part of a recipe that makes a run small: a tiny network from random weights, a few steps, few resamples."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from domainssl.precision import CANDIDATES

SMALL = """\
[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 1
projector_epochs = 1
batch_size = 8

[classify]
labels_per_class = [2]
starts = ["random", "continued"]
heads = ["linear"]
resamples = 50
"""


@contextmanager
def calm() -> Iterator[None]:
    """One thread, and the default number format without timing it, so that runs of one machine agree to the last bit.

    The map's library gives torch its own number of threads in passing.
    """
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.starts.time_training_step", lambda *_, **__: dict.fromkeys(CANDIDATES, 1.0))
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(before)
