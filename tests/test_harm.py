"""The guard: candidates, the choice, the probe within the training half, and the score without labels."""

import numpy as np
import pytest
import torch
from synthetic_stores import blobs, write_store

from domainssl.encoders import create_encoder
from domainssl.evaluation.probe import Probe
from domainssl.harm import Candidate, checkpoint_epochs, choose, paired_gain
from domainssl.label_free import label_free_scores
from domainssl.methods.registry import METHODS
from domainssl.options import PretrainOptions
from domainssl.schedule import BY_SIZE, scheduled
from domainssl.views.affine_crop import AffineCrop


def test_the_best_is_chosen_and_the_earliest_of_equals():
    start, early, late = (
        Candidate(n, np.array(s)) for n, s in (("start", [0.5, 0.7]), ("a", [0.8, 0.6]), ("b", [0.7, 0.7]))
    )
    assert choose([start, early, late]) is early
    assert choose([start, Candidate("worse", np.array([0.5, 0.6]))]) is start
    assert choose([start, Candidate("same", np.array([0.7, 0.5]))]) is start
    gain, error = paired_gain(early, start)
    assert gain == pytest.approx(0.1)
    assert error == pytest.approx(np.std([0.3, -0.1], ddof=1) / np.sqrt(2))
    with pytest.raises(ValueError, match="no candidate has a score"):
        choose([Candidate("start", np.empty(0))])


@pytest.mark.parametrize(("epochs", "expected"), [(10, (2, 4, 6, 8, 10)), (3, (1, 2, 3)), (1, (1,)), (0, ())])
def test_candidates_are_spread_and_hold_the_last_epoch(epochs, expected):
    assert checkpoint_epochs(epochs) == expected


@pytest.mark.parametrize("kind", ["classes", "multilabel", "real", "votes", "ordered"])
def test_a_probe_prefers_features_that_know_the_label(kind):
    rng = np.random.default_rng(0)
    n, c = 240, rng.integers(0, 3, 240)
    y = {
        "classes": c[:, None],
        "ordered": c[:, None],
        "real": c[:, None] + 0.1 * rng.standard_normal((n, 1)),
        "multilabel": np.column_stack([c > 0, c > 1]),
        "votes": np.array([rng.multinomial(9, [0.8 if k == one else 0.1 for k in range(3)]) for one in c]),
    }[kind].astype(np.float64)
    probe = Probe(kind, y, {"multilabel": 2, "real": 1}.get(kind, 3), np.arange(n) // 2, 10, seed=0)
    noise = rng.standard_normal((n, 8)).astype(np.float32)
    knows = noise + 2 * np.eye(8, dtype=np.float32)[c]
    better, worse = probe.scores(knows), probe.scores(noise)
    assert better.shape == worse.shape
    assert better.mean() > worse.mean()
    np.testing.assert_array_equal(better, probe.scores(knows))


def test_a_probe_of_too_few_labels_has_no_score():
    one = Probe("classes", np.array([[0.0], [1.0]]), 2, np.array(["a", "b"]), 10, seed=0)
    assert len(one.scores(np.zeros((2, 3), np.float32))) == 0
    same = Probe("classes", np.zeros((9, 1)), 2, np.arange(9), 10, seed=0)
    assert len(same.scores(np.zeros((9, 3), np.float32))) == 0


def test_without_labels_images_are_told_apart(tmp_path):
    store = write_store(tmp_path / "store", blobs(40, 3, 32), bands=("g", "r", "z"))
    rows = np.arange(40)
    encoder = create_encoder(
        "test_efficientnet", "none", bands=store.bands, size=32, sample=store.batch(rows).images,
        sky_sigma=np.ones(3, np.float32),
        preparation=store.preparation, seed=0,
    )  # fmt: skip
    same = label_free_scores(encoder, store, rows, (AffineCrop(32),), 0)
    np.testing.assert_array_equal(same, 1)  # a view without randomness is its own nearest
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.zero_()
    assert label_free_scores(encoder, store, rows, (AffineCrop(32),), 0).mean() <= 1 / 20  # all alike: chance
    with pytest.raises(ValueError, match="1 image"):
        label_free_scores(encoder, store, rows[:1], (AffineCrop(32),), 0)


SGD = ["exemplar", "simclr", "moco", "deep_infomax"]


def test_the_schedule_goes_by_size_and_gives_way_to_the_recipe():
    small, large = scheduled(PretrainOptions(), 300), scheduled(PretrainOptions(), 10**6)
    assert small.batch_size < large.batch_size
    assert small.encoder_rate < large.encoder_rate
    assert scheduled(PretrainOptions(batch_size=7, epochs=0), 300).batch_size == 7
    assert scheduled(PretrainOptions(epochs=0), 300).epochs == 0
    assert scheduled(small, 10**6) == small
    assert BY_SIZE[-1][0] == float("inf")
    kinds = {name: scheduled(PretrainOptions(), 300, encoder=name).optimiser for name in ("resnet18", "vit_tiny", "")}
    assert kinds == {"resnet18": "sgd", "vit_tiny": "adamw", "": "sgd"}
    assert scheduled(PretrainOptions(method="autoencoder"), 300, encoder="resnet18").optimiser == "adamw"
    assert scheduled(PretrainOptions(optimiser="sgd"), 300, encoder="vit_tiny").optimiser == "sgd"
    methods = {name: scheduled(PretrainOptions(method=name), 300, encoder="resnet18").optimiser for name in METHODS}
    assert [name for name, how in methods.items() if how == "sgd" and name != "none"] == SGD
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        scheduled(PretrainOptions(), 1)
