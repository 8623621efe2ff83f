"""The part of a recipe that makes a run small: a tiny network from random weights, a few steps, few resamples."""

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
