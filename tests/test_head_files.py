"""Heads written to files and read again, and what is refused."""

from dataclasses import dataclass, fields
from typing import final

import numpy as np
import pytest
from jaxtyping import Float, Float64
from safetensors.numpy import save_file

from domainssl.heads.dirichlet import fit_dirichlet
from domainssl.heads.files import FITTED, load_head, save_head
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.knn import fit_knn
from domainssl.heads.lda import fit_lda
from domainssl.heads.linear import fit_linear_at
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.ordinal import fit_ordinal_at
from domainssl.heads.propagation import fit_propagation
from domainssl.heads.prototype import fit_prototype
from domainssl.heads.ridge import fit_ridge


def heads() -> dict[str, tuple[FittedHead, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6)).astype(np.float32)
    half, rows, y = TrainingHalf(x, np.arange(30)), np.arange(0, 30, 2), (np.arange(15) % 2)[:, None].astype(float)
    made: dict[str, FittedHead] = {
        fit.__name__: fit(half, rows, y, 3, rng) for fit in (fit_knn, fit_lda, fit_propagation, fit_prototype)
    }
    made["fit_linear"] = fit_linear_at(half, rows, y, 3, 0.01)
    made["fit_ordinal"] = fit_ordinal_at(half, rows, y, 3, 0.01)
    made["fit_multilabel"] = fit_multilabel(half, rows, np.hstack([y, 1 - y, y]), 3, rng)
    made["fit_dirichlet"] = fit_dirichlet(half, rows, np.hstack([y, 2 - y, y]), 3, rng)
    made["fit_ridge"] = fit_ridge(half, rows, y, 1, rng)
    return {name: (head, x) for name, head in made.items()}


HEADS = heads()


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_head_gives_the_same_bits_and_refuses_other_features(name, tmp_path):
    head, x = HEADS[name]
    path = tmp_path / "head.safetensors"
    outputs = ("smooth", "disk", "künstlich")
    save_head(head, path, features_id="encoder:abc", outputs=outputs, kind="classes", name=name)
    again, *said = load_head(path, "encoder:abc")
    assert type(again) is type(head)
    assert said == [outputs, "classes", name]
    for field in fields(head):
        here, there = getattr(head, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(there, here)
        assert (there.dtype, there.shape) == (here.dtype, here.shape)
    np.testing.assert_array_equal(again.predict(x), head.predict(x))
    assert [p.name for p in tmp_path.iterdir()] == ["head.safetensors"]
    with pytest.raises(ValueError, match="reads features 'encoder:abc', not 'encoder:xyz'; fit it again"):
        load_head(path, "encoder:xyz")


def test_every_class_of_heads_is_saved_here():
    assert {type(head) for head, _ in HEADS.values()} == set(FITTED.values())


def test_other_files_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"weight": np.zeros(3)}, other, metadata={"classes": "[]"})
    with pytest.raises(ValueError, match="not a head of format"):
        load_head(other, "encoder:abc")
    other.write_text("no tensors")
    with pytest.raises(ValueError, match="not a head"):
        load_head(other, "encoder:abc")
    with pytest.raises(FileNotFoundError):
        load_head(tmp_path / "missing.safetensors", "encoder:abc")


def test_a_file_with_other_arrays_is_refused(tmp_path):
    path = tmp_path / "odd.safetensors"
    said = {
        "format": "domainssl.head.1",
        "class": "linear",
        "features_id": "a",
        "outputs": "[]",
        "kind": "",
        "name": "",
    }
    save_file({"weight": np.zeros(3)}, path, metadata=said)
    with pytest.raises(ValueError, match=r"arrays \['weight'\] where a linear head has"):
        load_head(path, "a")


def test_a_head_of_unknown_class_is_not_written(tmp_path):
    @final
    @dataclass(frozen=True)
    class OtherHead(FittedHead):
        def predict(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n k"]:
            return np.zeros((len(x), 1))

    with pytest.raises(ValueError, match="a OtherHead cannot be saved"):
        save_head(OtherHead(), tmp_path / "x", features_id="a", outputs=(), kind="real", name="other")
    assert not list(tmp_path.iterdir())
