"""Trust in a head: what is promised on training groups holds on others, planted overconfidence is undone, files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domainssl.evaluation.certainty import Certainty, fit_certainty
from domainssl.evaluation.certainty_files import load_certainty, save_certainty
from domainssl.evaluation.certainty_judged import judged
from domainssl.heads.head import FittedHead, TrainingHalf
from domainssl.heads.linear import fit_linear, fit_linear_at
from domainssl.heads.multilabel import fit_multilabel
from domainssl.heads.out_of_fold import out_of_fold
from domainssl.heads.ridge import fit_ridge

NAMES = ("disk", "smooth", "merger")


def galaxies(count: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Features of three overlapping classes, and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=count)
    return spread * rng.normal(size=(count, 12)) + 1.5 * np.eye(12)[y], y.astype(np.float64)[:, None]


def overconfident(half: TrainingHalf, rows: np.ndarray, y: np.ndarray, outputs: int, rng: np.random.Generator) -> Any:
    """A linear head that is hardly held back, on few labels: it is far too sure of itself."""
    return fit_linear_at(half, rows, y, outputs, 100.0)


def learnt(fit: Any, kind: Any = "classes", count: int = 200) -> tuple[Certainty, FittedHead]:
    x, y = galaxies(count, 0)
    half = TrainingHalf(x, np.arange(count))
    rows = np.arange(count)
    return fit_certainty(kind, fit, half, rows, y, 3, np.random.default_rng(1)), fit(
        half, rows, y, 3, np.random.default_rng(2)
    )


def test_overconfidence_is_found_and_undone_and_sets_hold_what_they_promise() -> None:
    certainty, head = learnt(overconfident)
    x, y = galaxies(2000, 5)
    found = judged(certainty, NAMES, head.predict(x), x, y, np.arange(2000), np.random.default_rng(0))
    (asked,) = found["questions"]
    assert asked["how"] == "temperature"
    assert asked["before"]["called"] == "score"
    assert asked["before"]["error"] - asked["before"]["expected"] > 0.05
    assert asked["after"]["called"] == "probability"
    assert asked["after"]["brier"] < asked["before"]["brier"]
    low, high = asked["sets"]["range"]
    assert low - 0.03 < asked["sets"]["value"] < high + 0.03
    assert set(asked["sets"]["class"]) == set(NAMES)
    assert 1 < asked["sets"]["size"] < 3
    assert found["far"]["value"] < 0.03


def test_a_sound_head_is_left_as_it_is() -> None:
    certainty, head = learnt(fit_linear, count=600)
    x, y = galaxies(2000, 5)
    found = judged(certainty, NAMES, head.predict(x), x, y, np.arange(2000), np.random.default_rng(0))
    assert found["questions"][0]["after"]["called"] == "probability"


def test_the_mean_coverage_over_many_trainings_is_what_was_promised() -> None:
    x, y = galaxies(1500, 9)
    covered = []
    for seed in range(40):
        own_x, own_y = galaxies(120, 100 + seed)
        half = TrainingHalf(own_x, np.arange(120))

        def fit(half: Any, rows: Any, y: Any, outputs: int, rng: Any) -> FittedHead:
            return fit_linear_at(half, rows, y, outputs, 0.01)

        certainty = fit_certainty("classes", fit, half, np.arange(120), own_y, 3, np.random.default_rng(seed))
        head = fit(half, np.arange(120), own_y, 3, np.random.default_rng(0))
        (inside,) = certainty.sets(x, certainty.calibrated(head.predict(x)))
        assert inside is not None
        covered.append(inside[np.arange(1500), y[:, 0].astype(int)].mean())
    assert 0.885 < np.mean(covered) < 0.915


def test_another_kind_of_image_is_far_and_the_head_is_seldom_right_there() -> None:
    rng = np.random.default_rng(0)

    into = rng.normal(size=(8, 64))  # features of a network: many, of few things

    def wide(y: np.ndarray, other: int = 0) -> np.ndarray:
        seen = 0.4 * rng.normal(size=(len(y), 8)) + 3 * np.eye(8)[y[:, 0].astype(int)]
        seen[:other] = 0.4 * rng.normal(size=(other, 8)) + 6 * np.eye(8)[6]
        return seen @ into

    y = galaxies(400, 0)[1]
    half = TrainingHalf(wide(y), np.arange(400))
    certainty = fit_certainty("classes", fit_linear, half, np.arange(400), y, 3, rng)
    head = fit_linear(half, np.arange(400), y, 3, rng)
    asked_y = galaxies(1000, 5)[1]
    x = wide(asked_y, other=200)
    found = judged(certainty, NAMES, head.predict(x), x, asked_y, np.arange(1000), rng)
    assert 0.15 < found["far"]["value"] < 0.23
    assert found["far"]["right"]["far"]["value"] < 0.6 < found["far"]["right"]["near"]["value"]


def test_findings_are_asked_one_by_one_where_they_are_known() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8))
    y = (x[:, :2] + 0.5 * rng.normal(size=(400, 2)) > 0).astype(np.float64)
    y[:300, 1] = np.nan
    half = TrainingHalf(x, np.arange(400))
    certainty = fit_certainty("multilabel", fit_multilabel, half, np.arange(400), y, 2, rng)
    head = fit_multilabel(half, np.arange(400), y, 2, rng)
    told = certainty.calibrated(head.predict(x))
    assert told.shape == (400, 2)
    assert [asked.rows for asked in certainty.questions] == [400, 100]
    first, second = certainty.sets(x, told)
    assert first is not None
    assert second is not None
    assert first.shape == (400, 2)
    found = judged(certainty, ("effusion", "mass"), head.predict(x), x, y, np.arange(400), rng)
    assert [asked["of"] for asked in found["questions"]] == ["effusion", "mass"]
    assert set(found["questions"][0]["sets"]["class"]) == {"no effusion", "effusion"}
    assert found["questions"][1]["after"]["groups"] == 100


def test_patients_count_once() -> None:
    x, y = galaxies(300, 0)
    groups = np.arange(300) // 10
    half = TrainingHalf(x, groups)
    certainty = fit_certainty("classes", fit_linear, half, np.arange(300), y, 3, np.random.default_rng(0))
    assert certainty.questions[0].rows == 30
    assert certainty.familiar is None  # thirty patients do not tell what one in a hundred is
    head = fit_linear(half, np.arange(300), y, 3, np.random.default_rng(0))
    found = judged(certainty, NAMES, head.predict(x), x, y, groups, np.random.default_rng(0))
    assert found["questions"][0]["after"]["groups"] == 30
    assert found["questions"][0]["after"]["called"] == "score"
    assert found["far"] is None


def test_few_labels_promise_nothing_and_values_are_not_asked() -> None:
    x, y = galaxies(8, 0)
    y[:, 0] = [0, 1, 2, 0, 1, 2, 0, 1]
    half = TrainingHalf(x, np.arange(8))
    certainty = fit_certainty("classes", fit_linear, half, np.arange(8), y, 3, np.random.default_rng(0))
    assert certainty.sets(x, np.full((8, 3), 1 / 3)) == (None,)
    values = fit_certainty("real", fit_ridge, half, np.arange(8), y, 1, np.random.default_rng(0))
    assert values.questions == ()
    np.testing.assert_array_equal(values.calibrated(y), y)
    assert values.sets(x, y) == ()


def test_no_row_is_asked_of_a_head_that_saw_its_group() -> None:
    seen: list[set[int]] = []

    def fit(half: TrainingHalf, rows: np.ndarray, y: np.ndarray, outputs: int, rng: np.random.Generator) -> FittedHead:
        seen.append(set(half.groups[rows]))
        return fit_linear_at(half, rows, y, outputs, 0.01)

    x, y = galaxies(90, 0)
    groups = np.arange(90) // 3
    found = out_of_fold(fit, TrainingHalf(x, groups), np.arange(90), y, 3, np.random.default_rng(0))
    assert len(seen) == len(found.heads) == 5
    for place, row in enumerate(found.part):
        np.testing.assert_allclose(found.heads[row].predict(x[[place]])[0], found.predictions[place])
        assert groups[place] not in seen[row]


def test_a_group_that_is_torn_is_taught_and_not_asked() -> None:
    """All images of a class are of one patient: the other folds must have some of them."""
    x, y = galaxies(60, 0)
    y[:] = np.minimum(y, 1)
    y[:6], groups = 2, np.arange(60)
    groups[:6] = 0
    found = out_of_fold(fit_linear, TrainingHalf(x, groups), np.arange(60), y, 3, np.random.default_rng(0))
    assert len(found.heads) == 5
    assert (found.part[:6] == -1).all()
    assert np.isnan(found.predictions[:6]).all()
    assert (found.part[6:] >= 0).all()


def test_a_single_label_of_a_class_is_taught_and_the_others_are_asked() -> None:
    x, y = galaxies(30, 0)
    y[:] = 0
    y[0] = 1
    rows, rng = np.arange(30), np.random.default_rng(0)
    found = out_of_fold(fit_linear, TrainingHalf(x, rows), rows, y, 2, rng)
    assert found.part[0] == -1
    assert (found.part[1:] >= 0).all()
    certainty = fit_certainty("yes_no", fit_linear, TrainingHalf(x, rows), rows, y, 2, rng)
    assert certainty.questions[0].how == "unfitted"
    alone = out_of_fold(fit_linear, TrainingHalf(x[:2], rows[:2]), rows[:2], y[:2], 2, rng)
    assert np.isnan(alone.predictions).all()
    assert alone.heads == ()


def test_findings_that_every_image_has_one_of_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8))
    sick = (x[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(np.float64)
    y = np.column_stack([sick, 1 - sick])  # the second is a column of its own that says: no finding
    certainty = fit_certainty("multilabel", fit_multilabel, TrainingHalf(x, np.arange(200)), np.arange(200), y, 2, rng)
    assert [asked.rows for asked in certainty.questions] == [200, 200]


def test_a_class_of_one_patient_leaves_no_promise_and_the_file_can_be_read(tmp_path: Path) -> None:
    """Six images of yes are of one patient, and every head that saw no patient of theirs saw no yes."""
    rng = np.random.default_rng(0)
    groups = np.array([0] * 6 + [1, 2, 3] * 4)
    y = np.array([1.0] * 6 + [0.0] * 12)[:, None]
    x = rng.normal(size=(18, 5))
    certainty = fit_certainty("yes_no", fit_linear, TrainingHalf(x, groups), np.arange(18), y, 2, rng)
    assert certainty.sets(x, np.full((18, 2), 0.5)) == (None,)
    save_certainty(certainty, tmp_path / "c", features_id="f", outputs=("no", "yes"), name="linear")
    assert load_certainty(tmp_path / "c", "f").questions[0].rows == 0


@pytest.mark.parametrize("kind", ["classes", "real"])
def test_files_give_back_what_was_learnt(tmp_path: Path, kind: Any) -> None:
    certainty, head = learnt(overconfident if kind == "classes" else fit_linear, kind)
    path = tmp_path / "label-certainty"
    save_certainty(certainty, path, features_id="f", outputs=NAMES, name="linear")
    again = load_certainty(path, "f")
    x, _ = galaxies(50, 3)
    raw = head.predict(x)
    np.testing.assert_array_equal(again.calibrated(raw), certainty.calibrated(raw))
    for one, other in zip(again.sets(x, raw), certainty.sets(x, raw), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.familiar is not None
    assert certainty.familiar is not None
    np.testing.assert_array_equal(again.familiar.distance(x), certainty.familiar.distance(x))
    assert [asked.how for asked in again.questions] == [asked.how for asked in certainty.questions]
    with pytest.raises(ValueError, match="goes with features 'f', not 'g'"):
        load_certainty(path, "g")
    with pytest.raises(ValueError, match="classify again"):
        load_certainty(tmp_path / "none", "f")
