"""The linear probe against scikit-learn, and what it does with few rows, dead features, missing classes and files."""

import json
import time

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domainssl.heads.linear import LinearHead, fit_linear, standardisation


def blobs(n: int, d: int, k: int, seed: int = 0, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    centres = rng.normal(size=(k, d)) * shift
    return (centres[y] + 3 * rng.normal(size=(n, d)) + 5).astype(np.float32), y


@pytest.mark.parametrize("n", [12, 30, 300])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_equals_scikit_learn_in_full_dimension(n, k, c):
    x, y = blobs(n + 50, 80, k)
    x, new, y = x[:n], x[n:], y[:n]
    # with two classes scikit-learn has one weight vector, the difference of ours, so its penalty is twice as strong
    oracle = LogisticRegression(C=2 * c if k == 2 else c, tol=1e-10, max_iter=10_000)
    oracle = make_pipeline(StandardScaler(), oracle).fit(x.astype(np.float64), y)
    got = fit_linear(x, y, k, c=c).probabilities(new)
    np.testing.assert_allclose(got, oracle.predict_proba(new.astype(np.float64)), atol=1e-4)


def test_probabilities_are_probabilities_and_absent_classes_have_none():
    x, y = blobs(40, 20, 2)
    head = fit_linear(x, 2 * y + 1, 5, classes=["a", "b", "c", "d", "e"])
    p = head.probabilities(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p[:, [0, 2, 4]] == 0).all()
    assert (p.argmax(axis=1) == 2 * y + 1).mean() > 0.75
    assert head.probabilities(x[:0]).shape == (0, 5)


def test_a_row_with_nan_gives_nan_and_no_other_row():
    x, y = blobs(40, 20, 3)
    head = fit_linear(x, y, 3)
    broken = x.copy()
    broken[3, 2], broken[5, 0] = np.nan, np.inf
    p = head.probabilities(broken)
    assert np.isnan(p[[3, 5]]).all()
    keep = np.setdiff1d(np.arange(40), [3, 5])
    np.testing.assert_array_equal(p[keep], head.probabilities(x)[keep])


def test_dead_and_nearly_dead_features_do_no_harm():
    x, y = blobs(60, 20, 3)
    dead = np.zeros((60, 3), dtype=np.float32)
    dead[:, 1] = 7.3  # its float32 mean differs from it
    dead[0, 2] = 1e-7
    with_dead = np.concatenate([x, dead], axis=1)
    mean, scale = standardisation(with_dead)
    assert scale.min() >= 0.01 * np.median(x.std(axis=0)) * 0.9
    head = fit_linear(with_dead, y, 3, mean=mean, scale=scale)
    np.testing.assert_allclose(head.probabilities(with_dead), fit_linear(x, y, 3).probabilities(x), atol=1e-4)
    constant = standardisation(np.full((4, 2), 0.1, dtype=np.float32))
    np.testing.assert_array_equal(constant[1], 1.0)


def test_scale_and_offset_of_a_feature_do_not_matter():
    x, y = blobs(60, 30, 3)
    gain = np.geomspace(1e-2, 10, 30)
    there = fit_linear(x, y, 3).probabilities(x)
    moved = x.astype(np.float64) * gain + 3
    mean, scale = moved.mean(axis=0), moved.std(axis=0)
    np.testing.assert_allclose(fit_linear(moved, y, 3, mean=mean, scale=scale).probabilities(moved), there, atol=1e-5)


def test_separable_rows_converge_without_a_warning_over_many_strengths():
    x, y = blobs(30, 1280, 6, shift=20.0)
    for c in (1e-5, 0.01, 1.0, 100.0):
        assert (fit_linear(x, y, 6, c=c).probabilities(x).argmax(axis=1) == y).all()


def test_a_saved_head_gives_the_same_bits_and_refuses_other_features(tmp_path):
    x, y = blobs(40, 20, 2)
    head = fit_linear(x, y, 3, classes=("smooth", "disk", "künstlich"))
    path = tmp_path / "head.safetensors"
    head.save(path, "encoder:abc")
    again = LinearHead.load(path, "encoder:abc")
    np.testing.assert_array_equal(again.probabilities(x), head.probabilities(x))
    assert again.classes == ("smooth", "disk", "künstlich")
    assert [p.name for p in tmp_path.iterdir()] == ["head.safetensors"]
    with pytest.raises(ValueError, match="reads features 'encoder:abc', not 'encoder:xyz'"):
        LinearHead.load(path, "encoder:xyz")
    other = tmp_path / "other.safetensors"
    save_file({"weight": np.zeros(3)}, other, metadata={"classes": json.dumps([])})
    with pytest.raises(ValueError, match="not a linear head"):
        LinearHead.load(other, "encoder:abc")


def test_errors_name_what_is_wrong():
    x, y = blobs(10, 4, 2)
    with pytest.raises(ValueError, match="1 class"):
        fit_linear(x, np.zeros_like(y), 2)
    with pytest.raises(ValueError, match=r"labels: -1\.\.1"):
        fit_linear(x, np.where(y == 0, -1, 1), 2)
    with pytest.raises(ValueError, match="1 of 10 rows hold NaN"):
        fit_linear(np.where(np.arange(10)[:, None] == 3, np.float32(np.nan), x), y, 2)
    with pytest.raises(ValueError, match="3 names for 2 classes"):
        fit_linear(x, y, 2, classes=("a", "b", "c"))
    with pytest.raises(ValueError, match="no rows"):
        standardisation(x[:0])


@pytest.mark.slow
def test_speed_at_600_rows_of_1280_features():
    x, y = blobs(600, 1280, 6)
    fit_linear(x[:30], y[:30], 6)
    start = time.perf_counter()
    fit_linear(x, y, 6)
    assert time.perf_counter() - start < 3  # about 0.2 s; the rest is for a busy machine
