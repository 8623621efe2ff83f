"""Few-label evaluation: what must be chance, perfect, zero or certain, on data where the truth is known."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from domainssl.evaluation import measuring
from domainssl.evaluation.class_metrics import CLASS_METRICS, YES_NO_METRICS
from domainssl.evaluation.contenders import Cell, FrozenFeatures
from domainssl.evaluation.draws import drawing_order, strata
from domainssl.evaluation.label_efficiency import Entry, label_efficiency
from domainssl.evaluation.question import Question
from domainssl.evaluation.rows import mark_primary
from domainssl.heads.head import TrainingHalf
from domainssl.heads.linear import fit_linear
from domainssl.heads.prototype import fit_prototype

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


METRICS = {name: CLASS_METRICS[name] for name in ("macro_auroc", "balanced_accuracy")}


def question(t: dict[str, np.ndarray], **changes) -> Question:
    y = np.where(t["labels"] < 0, np.nan, t["labels"]).astype(np.float64)[:, None]
    units = np.array([f"image{i:04}" for i in range(len(y))])
    fields = {"kind": "classes", "outputs": CLASSES, "units": units} | changes
    return Question("kind", fields.pop("kind"), y, fields.pop("outputs"), t["train"], t["test"], t["groups"], **fields)


def measure(t: dict[str, np.ndarray], *starts: str, fit=fit_prototype, reference: str | None = None, **changes):
    options = {"labels_per_class": (5, 20), "draws": 20, "draw": "balanced", "resamples": 100, "seed": 0} | changes
    asked = question(t)
    entries = [Entry(Cell(name, "last", "head"), FrozenFeatures(asked, t[name], fit)) for name in starts]
    return label_efficiency(asked, entries, METRICS, Cell(reference or starts[0], "last", "head"), **options)


def values(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "difference_to" not in row and "class" not in row]


def differences(rows: list[dict]) -> list[dict]:
    return [r for r in rows if "difference_to" in r and "class" not in r and r["metric"] != "equal_labels"]


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
    assert (first["head"], first["features"], first["draw"], first["kind"]) == ("head", "last", "balanced", "classes")
    assert first["metric"] == "macro_auroc"
    assert [r["n_labels"] for r in rows[:2]] == [15, 60]
    assert first["n_groups"] == len(np.unique(t["groups"][t["test"] & (t["labels"] >= 0)]))
    assert "note" not in first
    for row in values(rows):
        assert row["low"] <= row["value"] <= row["high"]


def test_a_value_is_the_mean_over_draws_of_scikit_learns_scores():
    t = table()
    rows = measure(t, "good", labels_per_class=(20,))
    asked = question(t)
    scored = t["test"] & (t["labels"] >= 0)
    truth = t["labels"][scored]
    members = strata("classes", asked.y, 3, t["train"])
    train, half = np.flatnonzero(t["train"]), TrainingHalf(t["good"][t["train"]], t["groups"][t["train"]])
    areas, recalls = [], []
    for seed in np.random.SeedSequence(0).spawn(23)[3:]:
        order = drawing_order(members, t["train"], np.random.default_rng(seed), t["groups"])
        drawn = np.flatnonzero((order >= 0) & (order < 20))
        head = fit_prototype(half, np.searchsorted(train, drawn), asked.y[drawn], 3, np.random.default_rng(0))
        p = head.predict(t["good"][scored])
        areas.append(roc_auc_score(truth, p, multi_class="ovr"))
        recalls.append(balanced_accuracy_score(truth, p.argmax(axis=1)))
    assert [row["value"] for row in values(rows)] == pytest.approx([np.mean(areas), np.mean(recalls)], abs=1e-9)


@pytest.mark.parametrize("fit", [fit_prototype, fit_linear])
def test_random_features_are_chance_and_perfect_ones_are_perfect(fit):
    rows = measure(table(), "random", "perfect", fit=fit, labels_per_class=(20,))
    for row in values(rows):
        chance = 0.5 if row["metric"] == "macro_auroc" else 1 / 3
        if row["start"] == "random":
            assert row["low"] <= chance <= row["high"]
        else:
            assert [row["low"], row["value"], row["high"]] == pytest.approx([1, 1, 1], abs=1e-12)


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
    monkeypatch.setattr("domainssl.evaluation.measuring.WEIGHTS_AT_ONCE", 10_000)
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
    assert {row["note"] for row in values(rows)} == {"not scored: irregular (no labelled test rows)"}
    t = table()
    t["labels"] = np.where((t["labels"] == 2) & t["train"], 1, t["labels"])
    rows = measure(t, "good")
    assert {row["note"] for row in values(rows)} == {"not scored: irregular (no labelled training rows)"}
    assert values(rows)[0]["n_groups"] < values(measure(table(), "good"))[0]["n_groups"]


def test_errors_name_what_is_missing():
    t = table()
    with pytest.raises(ValueError, match="kind: 1 class"):
        measure(t | {"labels": np.where(t["train"], np.minimum(t["labels"], 0), t["labels"])}, "good")
    with pytest.raises(ValueError, match="both halves; label more test"):
        measure(t | {"labels": np.where(t["test"], np.minimum(t["labels"], 0), t["labels"])}, "good")
    with pytest.raises(ValueError, match="lie in both halves"):
        measure(t | {"test": np.ones(600, bool), "train": np.ones(600, bool)}, "good")
    broken = t["good"].copy()
    broken[np.flatnonzero(t["train"])[:3]] = np.nan
    with pytest.raises(ValueError, match="features: 3 of"):
        measure(t | {"good": broken}, "good")
    with pytest.raises(ValueError, match="draws 0"):
        measure(t, "good", draws=0)


def test_a_patient_in_both_halves_is_caught():
    t = table()
    leaked = t["groups"][t["test"]][0]
    moved = t["train"].copy()
    moved[np.flatnonzero(t["groups"] == leaked)[0]] = True
    with pytest.raises(ValueError, match=f"kind: 1 group.*both halves.*'{leaked}'"):
        question(t | {"train": moved, "test": ~t["train"]})


def test_random_labels_are_chance_whatever_the_features():
    t = table()
    t["labels"] = np.random.default_rng(3).integers(0, 3, 600)
    t["good"] = table()["perfect"]
    row = values(measure(t, "good", fit=fit_linear, labels_per_class=(20,)))[0]
    assert row["low"] <= 0.5 <= row["high"]


def test_fewer_than_ten_groups_are_not_estimable_and_fewer_than_twenty_draws_give_no_interval():
    t = table()
    few = t["labels"].copy()
    irregular = np.flatnonzero(t["test"] & (few == 2))
    few[irregular[8:]] = 1
    row = values(measure(t | {"labels": few}, "good"))[0]
    assert "irregular (not estimable:" in row["note"]
    assert row["value"] is not None
    short = values(measure(t, "good", draws=19))[0]
    assert short["value"] is not None
    assert (short["low"], short["high"]) == (None, None)
    tiny = np.where(t["test"], -1, t["labels"])
    tested = np.flatnonzero(t["test"])
    for c in range(3):
        tiny[tested[c * 5 : c * 5 + 5]] = c
    row = values(measure(t | {"labels": tiny}, "good"))[0]
    assert (row["value"], row["low"], row["high"]) == (None, None, None)
    assert "not estimable" in row["note"]
    assert "10 are needed" in row["note"]


def test_the_primary_endpoint_has_a_p_value_and_the_rest_are_adjusted():
    t = table()
    t["imagenet"], t["continued"] = t["poor"], t["good"]
    rows = measure(t, "imagenet", "continued", reference="imagenet", labels_per_class=(5, 10, 20))
    mark_primary(rows, "kind", "macro_auroc", 20)
    primary = [row for row in rows if row.get("primary")]
    assert [(r["start"], r["difference_to"], r["metric"], r["labels_per_class"]) for r in primary] == [
        ("continued", "imagenet", "macro_auroc", 20)
    ]
    assert "p_holm" not in primary[0]
    adjusted = [row for row in rows if "p_holm" in row]
    assert len(adjusted) == 2
    assert all(row["p"] <= row["p_holm"] <= 1 for row in adjusted)


def test_better_features_are_worth_more_labels():
    t = table(n=1200)
    t["imagenet"], t["continued"] = t["poor"], t["good"]
    rows = measure(t, "imagenet", "continued", reference="imagenet", labels_per_class=(5, 10, 20, 40))
    equal = [row for row in rows if row["metric"] == "equal_labels"]
    assert [row["labels_per_class"] for row in equal] == [5, 10, 20, 40]
    for row in equal:
        assert row["value"] >= row["labels_per_class"]
        assert "value" not in row.get("below", [])
    assert "value" in equal[-1]["beyond"]
    assert equal[-1]["value"] == 40


def test_thresholds_are_chosen_within_the_drawn_labels_and_keep_the_specificity():
    rng = np.random.default_rng(0)
    t = table(n=2000, k=2)
    asked = question(t, kind="yes_no", outputs=("no", "yes"), prevalence=0.1)
    entries = [
        Entry(Cell("good", "last", "linear"), FrozenFeatures(asked, t["good"], fit_linear, with_thresholds=True))
    ]
    options = {"labels_per_class": (100,), "draws": 20, "draw": "balanced", "resamples": 50, "seed": 0}
    rows = label_efficiency(asked, entries, YES_NO_METRICS, Cell("good", "last", "linear"), **options)
    found = {row["metric"]: row["value"] for row in values(rows)}
    assert found["specificity"] == pytest.approx(0.9, abs=0.03)
    ppv = found["sensitivity"] * 0.1 / (found["sensitivity"] * 0.1 + (1 - found["specificity"]) * 0.9)
    assert found["ppv"] == pytest.approx(ppv, abs=0.05)
    moved = t | {"labels": np.where(t["test"] & (t["labels"] >= 0), rng.permutation(t["labels"]), t["labels"])}
    blind = question(moved, kind="yes_no", outputs=("no", "yes"))
    contender = FrozenFeatures(blind, t["good"], fit_linear, with_thresholds=True)
    drawn = measuring.Measuring(asked, YES_NO_METRICS, **options).rows(100, 0)
    before = FrozenFeatures(asked, t["good"], fit_linear, with_thresholds=True)(drawn, np.random.default_rng(1))
    np.testing.assert_array_equal(contender(drawn, np.random.default_rng(1)).thresholds, before.thresholds)
