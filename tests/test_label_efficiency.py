"""Few-label evaluation: what must be chance, perfect, zero or certain, on data where the truth is known."""

import json
import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from domainssl.evaluation.draws import draw_labels
from domainssl.evaluation.label_efficiency import label_efficiency
from domainssl.heads.linear import DEFAULT_C, standardisation

CLASSES = ("smooth", "disk", "irregular")


def table(n: int = 600, k: int = 3, d: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Labels, halves and groups of 1 to 3 rows; one feature set that knows the label, one less, one not at all."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, n // 2, n))
    labels = rng.integers(0, k, n)
    test = np.isin(groups, rng.permutation(n // 2)[: n // 4])
    centres = rng.normal(size=(k, d))
    noise = rng.normal(size=(n, d))
    return {
        "labels": np.where(rng.random(n) < 0.1, -1, labels),
        "train": ~test,
        "test": test,
        "groups": np.array([f"tile{g:04}" for g in groups]),
        "perfect": (100 * centres[labels] + noise).astype(np.float32),
        "good": (0.6 * centres[labels] + noise).astype(np.float32),
        "poor": (0.2 * centres[labels] + noise).astype(np.float32),
        "random": noise.astype(np.float32),
    }


def measure(t: dict[str, np.ndarray], *starts: str, **changes) -> list[dict]:
    options = {"label": "kind", "labels_per_class": (5, 20), "draws": 3, "resamples": 200, "seed": 0} | changes
    features = {name: t[name] for name in starts}
    return label_efficiency(features, t["labels"], CLASSES, t["train"], t["test"], t["groups"], **options)


def values(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "difference_to" not in row]


def differences(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "difference_to" in row]


def test_rows_are_those_of_metrics_json():
    t = table()
    rows = measure(t, "random", "poor", "good")
    assert len(values(rows)) == 3 * 2 * 2
    compared = [(r["start"], r["difference_to"]) for r in differences(rows)]
    assert sorted(set(compared)) == [("good", "poor"), ("good", "random"), ("poor", "random")]
    assert len(compared) == 3 * 2 * 2
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    first = rows[0]
    assert first["label"] == "kind"
    assert first["head"] == "linear"
    assert first["metric"] == "macro_auroc"
    assert [r["n_labels"] for r in rows[:2]] == [15, 60]
    assert first["n_groups"] == len(np.unique(t["groups"][t["test"] & (t["labels"] >= 0)]))
    assert "note" not in first
    for row in values(rows):
        assert row["low"] <= row["value"] <= row["high"]


def test_a_value_is_the_mean_over_draws_of_scikit_learns_scores():
    t = table()
    rows = measure(t, "good", labels_per_class=(20,))
    mean, scale = standardisation(t["good"][t["train"]])
    z = (t["good"] - mean) / scale
    scored = t["test"] & (t["labels"] >= 0)
    truth = t["labels"][scored]
    areas, recalls = [], []
    for seed in np.random.SeedSequence(0).spawn(4)[1:]:
        drawn = draw_labels(t["labels"], t["train"], 20, np.random.default_rng(seed), t["groups"])
        model = LogisticRegression(C=DEFAULT_C, tol=1e-10, max_iter=10_000).fit(z[drawn], t["labels"][drawn])
        areas.append(roc_auc_score(truth, model.predict_proba(z[scored]), multi_class="ovr"))
        recalls.append(balanced_accuracy_score(truth, model.predict(z[scored])))
    assert rows[0]["value"] == pytest.approx(np.mean(areas), abs=1e-4)
    assert rows[1]["value"] == pytest.approx(np.mean(recalls), abs=1e-2)


def test_random_features_are_chance_and_perfect_ones_are_perfect():
    rows = measure(table(), "random", "perfect")
    for row in values(rows):
        chance = 0.5 if row["metric"] == "macro_auroc" else 1 / 3
        if row["start"] == "random":
            assert row["low"] <= chance <= row["high"]
        else:
            assert (row["low"], row["value"], row["high"]) == (1, 1, 1)


def test_identical_features_differ_by_exactly_zero():
    t = table()
    t["same"] = t["good"].copy()
    for row in differences(measure(t, "good", "same")):
        assert (row["low"], row["value"], row["high"]) == (0, 0, 0)


def test_better_features_exclude_zero_and_the_pairing_narrows_the_interval():
    t = table()
    rows = measure(t, "poor", "good")
    better = [r for r in differences(rows) if r["labels_per_class"] == 20]
    for row in better:
        assert row["low"] > 0
    t["nearly"] = t["good"] + 0.05 * t["random"][:, ::-1]
    rows = measure(t, "good", "nearly", labels_per_class=(20,))
    single, paired = values(rows)[0], differences(rows)[0]
    assert paired["high"] - paired["low"] < 0.5 * (single["high"] - single["low"])


def test_order_of_rows_changes_nothing_where_groups_are_single_rows():
    t = table()
    t["groups"] = np.array([f"object{i:04}" for i in range(600)])
    permutation = np.random.default_rng(1).permutation(600)
    moved = {name: column[permutation] for name, column in t.items()}
    for here, there in zip(measure(t, "poor", "good"), measure(moved, "poor", "good"), strict=True):
        assert here.keys() == there.keys()
        for key, entry in here.items():
            assert there[key] == (pytest.approx(entry, abs=1e-6) if isinstance(entry, float) else entry), key


def test_resamples_in_parts_are_the_same_resamples(monkeypatch):
    whole = measure(table(), "poor", "good")
    monkeypatch.setattr("domainssl.evaluation.label_efficiency._WEIGHTS_AT_ONCE", 10_000)
    for one, other in zip(whole, measure(table(), "poor", "good"), strict=True):
        assert [one[k] for k in ("value", "low", "high")] == pytest.approx([other[k] for k in ("value", "low", "high")])


def test_the_test_half_is_scored_and_teaches_nothing():
    t = table()
    flipped = t | {"labels": np.where(t["test"] & (t["labels"] >= 0), (t["labels"] + 1) % 3, t["labels"])}
    for row in values(measure(flipped, "perfect")):  # a probe that had seen a test label would get some right
        assert row["metric"] == "macro_auroc" or row["value"] == 0
    ignored = t["test"] & (t["labels"] < 0)
    assert ignored.any()
    moved = t["good"].copy()
    moved[ignored] = np.nan
    assert measure(t | {"good": moved}, "good") == measure(t, "good")


def test_classes_that_lack_a_half_are_named():
    t = table()
    t["labels"] = np.where((t["labels"] == 2) & t["test"], 1, t["labels"])
    rows = measure(t, "good")
    assert {row["note"] for row in rows} == {"not scored: irregular (no labelled test rows)"}
    t = table()
    t["labels"] = np.where((t["labels"] == 2) & t["train"], 1, t["labels"])
    rows = measure(t, "good")
    assert {row["note"] for row in rows} == {"not scored: irregular (no labelled training rows)"}
    assert values(rows)[0]["n_groups"] < values(measure(table(), "good"))[0]["n_groups"]


def test_errors_name_what_is_missing():
    t = table()
    with pytest.raises(ValueError, match="kind: 1 class"):
        measure(t | {"labels": np.where(t["train"], np.minimum(t["labels"], 0), t["labels"])}, "good")
    with pytest.raises(ValueError, match="both halves; label more test"):
        measure(t | {"labels": np.where(t["test"], np.minimum(t["labels"], 0), t["labels"])}, "good")
    with pytest.raises(ValueError, match="kind: 1 group with labels"):
        measure(t | {"groups": np.where(t["test"], "one", t["groups"])}, "good")
    with pytest.raises(ValueError, match="600 rows lie in both"):
        measure(t | {"test": np.ones(600, bool), "train": np.ones(600, bool)}, "good")
    broken = t["good"].copy()
    broken[np.flatnonzero(t["train"])[:3]] = np.nan
    with pytest.raises(ValueError, match="'good': 3 of"):
        measure(t | {"good": broken}, "good")
    with pytest.raises(ValueError, match="draws 0"):
        measure(t, "good", draws=0)


@pytest.mark.slow
def test_speed_at_the_size_of_a_real_evaluation():
    rng = np.random.default_rng(0)
    n, k, d = 4400, 6, 1280
    labels = rng.integers(0, k, n)
    test = np.arange(n) % 2 == 1
    basis = rng.normal(size=(60, d))
    features = {
        name: ((rng.normal(size=(n, 60)) + s * np.eye(60)[labels]) @ basis + 3 * rng.normal(size=(n, d))).astype("f4")
        for name, s in (("random", 0.2), ("imagenet", 1.0), ("continued", 1.2))
    }
    begun = time.perf_counter()
    rows = label_efficiency(
        features, labels, tuple("abcdef"), ~test, test, np.arange(n),
        label="kind", labels_per_class=(5, 10, 20, 25, 50, 100), draws=5, resamples=1000, seed=0,
    )  # fmt: skip
    took = time.perf_counter() - begun
    assert len(rows) == 6 * 6 * 2
    assert took < 240, f"{took:.0f} s; about 30 s on an idle core"
