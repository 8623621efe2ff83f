"""Supervised learning: rows without a class are left out, and the classes are those of the rows that are seen."""

import dataclasses

import numpy as np
import pytest
import torch
from synthetic_stores import blobs, write_store
from tiny_methods import BANDS, SMALL, assert_grouped_and_trained, batch_of, convolutional, for_store, made, train
from torch.nn import functional

from domainssl.method_options import SupervisedOptions
from domainssl.methods.method import Cohort
from domainssl.methods.supervised import Supervised


def supervised() -> Supervised:
    options = dataclasses.replace(SMALL, supervised=SupervisedOptions(column="type"))
    return made("supervised", convolutional(size=32), options)


def test_rows_of_unknown_class_are_left_out():
    method = supervised()
    cohort = method.begin(Cohort(np.array([3, 9, 4, 7]), np.array([2, -1, 0, 0])))
    assert cohort.rows.tolist() == [3, 4, 7]
    assert cohort.classes.tolist() == [2, 0, 0]
    assert method.classifier.out_features == 3
    assert len(method.policies(())) == 1


def test_a_step_is_the_cross_entropy_of_the_rows_classes():
    method = supervised().eval()
    method.begin(Cohort(np.array([3, 9, 4, 7]), np.array([2, -1, 0, 1])))
    torch.nn.init.normal_(method.classifier.weight)
    images = torch.rand(3, 2, 32, 32)
    view = dataclasses.replace(batch_of(images), rows=torch.tensor([7, 3, 4]))
    step = method((view,), torch.Generator())
    with torch.no_grad():
        outputs = method.classifier(method.encoder.pooled(images))
    truth = torch.tensor([1, 2, 0])
    torch.testing.assert_close(step.losses["model"], functional.cross_entropy(outputs, truth))
    assert step.measures["accuracy"] == pytest.approx(float((outputs.argmax(1) == truth).float().mean()))
    assert step.monitor is None
    assert_grouped_and_trained(method, step.losses["model"])
    assert method.exported() is method.encoder


def test_the_classifier_hangs_on_no_random_state():
    method = supervised().eval()
    method.begin(Cohort(np.arange(4), np.array([0, 1, 2, 3])))
    step = method((batch_of(torch.rand(4, 2, 32, 32)),), torch.Generator())
    assert step.losses["model"].item() == pytest.approx(np.log(4))


@pytest.mark.parametrize("classes", [None, np.array([-1, -1, -1]), np.array([1, -1, 1])])
def test_two_classes_are_needed(classes):
    with pytest.raises(ValueError, match=r"pretrain.supervised.column: \d training images have a class of 'type'"):
        supervised().begin(Cohort(np.arange(3), classes))


def test_it_learns_the_classes_of_the_rows_it_sees(tmp_path):
    """Bright and faint images; those of unknown class have the wrong brightness for any class."""
    rng = np.random.default_rng(0)
    classes = rng.integers(-1, 2, size=48)
    images = blobs(48, 2, 36) * np.array([1.0, 10.0, 0.1])[classes][:, None, None, None]
    store = write_store(tmp_path / "store", images.astype(np.float32), bands=BANDS[:2])
    rates = {"optimiser": "adamw", "encoder_rate": 0.003, "projector_rate": 0.03, "frozen_batchnorm": False}
    options = dataclasses.replace(SMALL, method="supervised", epochs=4, projector_epochs=1, batch_size=8, **rates)
    method = made("supervised", for_store(store, 32), options)
    records = train(method, store, tmp_path, options, classes=classes)
    assert records[-1]["loss"] < 0.5 < records[0]["loss"]
    assert records[-1]["accuracy"] > 0.8
    assert method.class_of[: len(classes)].tolist() == classes[: len(method.class_of)].tolist()
