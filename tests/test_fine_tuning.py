"""Fine-tuning: learns, stops at the best epoch, leaves the given encoder alone, and comes back from its file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from synthetic_stores import blobs, write_store

from domainssl.embedding import embed
from domainssl.encoders import TimmEncoder, create_encoder
from domainssl.evaluation.losses import LOSSES, PREDICTIONS
from domainssl.heads.fine_tuning import FLOAT32, FineTuned, fine_tune
from domainssl.heads.head import TrainingHalf
from domainssl.heads.held_out import classes_of, held_out_rows
from domainssl.options import FineTuneOptions
from domainssl.store import Store
from domainssl.views.affine_crop import AffineCrop
from domainssl.views.noise_to import NoiseTo

BANDS = ("g", "r")
COUNT, LABELLED = 72, 24
OPTIONS = FineTuneOptions(epochs=3, batch_size=8, encoder_rate=1e-3)
CLASS = np.arange(COUNT) % 2
Y = CLASS[:, None].astype(np.float64)
GROUPS = np.arange(COUNT) // 2
POLICY = (AffineCrop(32, flip=0.5), NoiseTo(1.5))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Sources of which every other one is lit from the left: an orientation, which colours do not tell."""
    images = blobs(COUNT, 2, 32, seed=1)
    ramp = np.linspace(-4, 4, 32, dtype=np.float32)
    images[1::2] += ramp[:, None]
    images[::2] += ramp[None, :]
    return write_store(tmp_path_factory.mktemp("store"), images, bands=BANDS)


@pytest.fixture(scope="module")
def encoder(store) -> TimmEncoder:
    return create_encoder(
        "test_efficientnet",
        "none",
        bands=BANDS,
        size=32,
        sample=store.batch(np.arange(16)).images,
        sky_sigma=np.ones(2, np.float32),
        preparation=store.preparation,
        seed=0,
    )


def tune(encoder: TimmEncoder, store: Store, **changes) -> FineTuned:
    settings: dict = {
        "rows": np.arange(LABELLED),
        "targets": Y[:LABELLED],
        "loss": LOSSES["classes"],
        "outputs": 2,
        "policy": (),
        "groups": GROUPS[:LABELLED],
        "options": OPTIONS,
        "precision": FLOAT32,
        "seed": 0,
    } | changes
    return fine_tune(encoder, store, **settings)


def test_it_learns_what_a_random_encoder_shows_and_leaves_the_given_one_untouched(store, encoder):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    steps: list = []
    tuned = tune(encoder, store, policy=POLICY, on_step=lambda *told: steps.append(told))
    p = PREDICTIONS["classes"](tuned.predict(store, np.arange(LABELLED, COUNT)))
    assert p.shape == (COUNT - LABELLED, 2)
    assert (p.argmax(axis=1) == CLASS[LABELLED:]).mean() > 0.85
    assert [told[0] for told in steps] == list(range(1, len(steps) + 1))
    assert steps[0][1] % OPTIONS.epochs == 0
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in encoder.parameters())
    assert not tuned.encoder.training


def test_the_encoder_moves_and_batch_norm_statistics_do_not(store, encoder):
    options = replace(OPTIONS, held_out=0.2, epochs=1)
    tuned = tune(encoder, store, options=options, rows=np.arange(2), targets=Y[:2], groups=GROUPS[:2])
    assert tuned.history == ()  # two rows: none to hold out
    assert tuned.epoch == options.epochs_without_choice
    moved = [k for k, v in tuned.encoder.state_dict().items() if not torch.equal(v, encoder.state_dict()[k])]
    assert "network.conv_stem.weight" in moved
    assert not [k for k in moved if "running" in k or "num_batches" in k]


def test_same_seed_same_numbers_whatever_the_global_generator(store, encoder):
    torch.manual_seed(1)
    first = tune(encoder, store, policy=POLICY, options=replace(OPTIONS, epochs=1))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = tune(encoder, store, policy=POLICY, options=replace(OPTIONS, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    other = tune(encoder, store, policy=POLICY, options=replace(OPTIONS, epochs=1), seed=1)
    rows = np.arange(COUNT)
    np.testing.assert_array_equal(first.predict(store, rows), second.predict(store, rows))
    assert first.history == second.history
    assert not np.array_equal(first.predict(store, rows), other.predict(store, rows))


def test_the_layer_alone_is_the_linear_probe(store, encoder):
    """Epoch 0 on the rows that are not held out has the optimum of the linear probe there."""
    options = replace(OPTIONS, epochs=0)
    tuned = tune(encoder, store, options=options)
    held = held_out_rows(CLASS[:LABELLED], GROUPS[:LABELLED], 0.2, np.random.default_rng([0, 12]))
    assert len(held) >= 2
    fit = np.setdiff1d(np.arange(LABELLED), held)
    features = embed(encoder, store, np.arange(COUNT), precision=FLOAT32)
    mean, scale = TrainingHalf(features[fit], fit).standardisation
    z = (features - mean) / scale
    probe = LogisticRegression(C=2 * options.head_c, tol=1e-8, max_iter=10_000)  # for two classes it has one weight
    expected = probe.fit(z[fit], CLASS[fit]).predict_proba(z)
    found = PREDICTIONS["classes"](tuned.predict(store, np.arange(COUNT)))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    loss = -np.log(expected[held, CLASS[held]]).mean()
    assert tuned.history == (pytest.approx(loss, rel=1e-2),)
    assert tuned.epoch == 0


def test_the_best_epoch_comes_back_and_waiting_ends(store, encoder):
    """A rate that wrecks the encoder: epoch 0 is the best, and training stops after `patience` more."""
    harmful = replace(OPTIONS, epochs=20, encoder_rate=0.3, head_rate=0.3, patience=2)
    tuned = tune(encoder, store, options=harmful)
    best = int(np.argmin(tuned.history))
    assert tuned.epoch == best
    assert len(tuned.history) == best + 3 < 21
    held = held_out_rows(CLASS[:LABELLED], GROUPS[:LABELLED], 0.2, np.random.default_rng([0, 12]))
    outputs = torch.from_numpy(tuned.predict(store, held))
    again = float(LOSSES["classes"](outputs, torch.from_numpy(Y[held])))
    assert again == pytest.approx(tuned.history[best], rel=1e-4)


def test_rows_and_answers_that_are_unknown_teach_nothing(store, encoder):
    targets = np.stack([Y[:LABELLED, 0], np.full(LABELLED, np.nan)], axis=1)
    settings: dict = {"loss": LOSSES["multilabel"], "options": replace(OPTIONS, epochs=1)}
    tuned = tune(encoder, store, targets=targets, **settings)
    np.testing.assert_array_equal(tuned.weight[1], 0)  # no gradient ever reached the unknown answer
    assert tuned.bias[1] == 0
    assert np.abs(tuned.weight[0]).max() > 0
    more = np.concatenate([targets, np.full((4, 2), np.nan)])
    other = tune(encoder, store, targets=more, rows=np.arange(28), groups=GROUPS[:28], **settings)
    np.testing.assert_array_equal(other.predict(store, np.arange(9)), tuned.predict(store, np.arange(9)))


@pytest.mark.parametrize("kind", ["ordered", "real", "votes"])
def test_other_kinds_of_label_train_too(store, encoder, kind):
    level = np.arange(LABELLED) % 2
    targets, outputs = {
        "ordered": (2.0 * level[:, None], 2),
        "real": (np.where(level, 1.0, -1.0)[:, None], 1),
        "votes": (np.stack([10 * level, 10 - 10 * level], 1).astype(np.float64), 2),
    }[kind]
    tuned = tune(encoder, store, targets=targets, outputs=outputs, loss=LOSSES[kind])
    found = PREDICTIONS[kind](tuned.predict(store, np.arange(LABELLED, COUNT)))
    score = {"ordered": found[:, -1], "real": found[:, 0], "votes": found[:, 0]}[kind]
    odd = CLASS[LABELLED:] == 1
    assert (score[odd][:, None] > score[~odd]).mean() > 0.8


def test_a_given_layer_is_where_it_begins(store, encoder):
    weight, bias = np.random.default_rng(0).normal(size=(2, encoder.width)), np.array([0.5, -0.5])
    tuned = tune(encoder, store, options=replace(OPTIONS, epochs=0), start=(weight, bias))
    np.testing.assert_allclose(tuned.weight, weight, rtol=1e-5)
    np.testing.assert_allclose(tuned.bias, bias, atol=1e-4)
    with pytest.raises(ValueError, match=r"the layer to start from has weights \(2, 256\), or infinite ones"):
        tune(encoder, store, start=(weight, np.array([0.0, -np.inf])))


def test_save_and_load(tmp_path, store, encoder):
    tuned = tune(encoder, store, options=replace(OPTIONS, epochs=1))
    path = tmp_path / "tuned.safetensors"
    tuned.save(path, {"seed": 0})
    again = FineTuned.load(path)
    np.testing.assert_array_equal(again.predict(store, np.arange(9)), tuned.predict(store, np.arange(9)))
    assert (again.history, again.epoch, again.encoder.input) == (tuned.history, tuned.epoch, tuned.encoder.input)
    assert [file.name for file in tmp_path.iterdir()] == ["tuned.safetensors"]
    save_file({"weight": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"format": "domainssl.encoder.1"})
    with pytest.raises(ValueError, match=r"x.safetensors is no fine-tuned network"):
        FineTuned.load(tmp_path / "x.safetensors")


def test_what_cannot_be_learnt_is_refused(store, encoder):
    with pytest.raises(ValueError, match="no row has a known target"):
        tune(encoder, store, targets=np.full((LABELLED, 1), np.nan))
    with pytest.raises(ValueError, match="one class among 24 rows"):
        tune(encoder, store, targets=np.zeros((LABELLED, 1)))
    with pytest.raises(ValueError, match=r"the loss became .* in epoch 1; lower fine_tune.encoder_rate"):
        tune(
            encoder,
            store,
            loss=lambda outputs, targets: outputs.sum() * torch.nan,
            start=(np.zeros((2, 256)), np.zeros(2)),
        )
    other = TimmEncoder(encoder.name, encoder.network, replace(encoder.input, preparation="q" * 64))
    with pytest.raises(ValueError, match="trained on preparation 'qqqq"):
        tune(other, store)


# Holding rows out


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    several=st.integers(1, 4),
    share=st.sampled_from([0.1, 0.2, 0.5]),
    seed=st.integers(0, 99),
)
def test_held_out_rows_are_whole_groups_of_every_class_and_leave_half(labels, several, share, seed):
    strata = np.array(labels, dtype=np.int64)
    groups = np.arange(len(labels)) // several
    held = held_out_rows(strata, groups, share, np.random.default_rng(seed))
    if len(held):
        inside = np.isin(np.arange(len(labels)), held)
        assert not np.intersect1d(groups[inside], groups[~inside]).size
        for label in np.unique(strata):
            of_class = inside[strata == label]
            assert 1 <= of_class.sum() <= len(of_class) / 2
    elif several == 1:
        assert min(np.unique(strata, return_counts=True)[1]) < 2


@given(count=st.integers(2, 40), classes=st.integers(1, 4), seed=st.integers(0, 9))
def test_without_groups_a_fifth_of_every_class_is_held_out(count, classes, seed):
    strata = np.repeat(np.arange(classes), count)
    held = held_out_rows(strata, np.arange(len(strata)), 0.2, np.random.default_rng(seed))
    assert np.bincount(strata[held], minlength=classes).tolist() == [max(1, round(0.2 * count))] * classes


def test_without_classes_a_fifth_is_held_out_from_five_rows_on():
    for count, expected in ((1, 0), (4, 0), (5, 1), (20, 4)):
        assert len(held_out_rows(None, np.arange(count), 0.2, np.random.default_rng(0))) == expected
    assert len(held_out_rows(None, np.zeros(20, np.int64), 0.2, np.random.default_rng(0))) == 0  # one patient only


def test_which_targets_are_classes():
    assert classes_of(np.array([[0.0], [2.0]]), 3).tolist() == [0, 2]
    assert classes_of(np.array([[0.0], [2.0]]), 2).tolist() == [0, 2]  # three ordered levels, two outputs
    assert classes_of(np.array([[0.3], [1.0]]), 1) is None
    assert classes_of(np.array([[0.0, 1.0]]), 2) is None
    assert classes_of(np.array([[-1.0], [1.0]]), 1) is None
