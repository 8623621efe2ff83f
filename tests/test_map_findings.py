"""What map and ranking are said to show of labels: what is planted, and nothing where nothing is."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.map_findings import map_sentences, top_sentences
from pipelines.objects import Objects
from pipelines.recipe import CatalogEntry, LabelEntry, Recipe

RECIPE = Recipe(
    domain="galaxies",
    catalog=(CatalogEntry(name="a", images=Path("/nowhere"), bands=("r",)),),
    labels={"kind": LabelEntry(kind="classes"), "size": LabelEntry(kind="real")},
)


def objects_of(kinds: list[str | None], groups: np.ndarray) -> Objects:
    """As much of a run's objects as these sentences ask of them."""
    objects = object.__new__(Objects)
    halves = np.where(np.arange(len(kinds)) % 2 == 0, "train", "test")
    ids = [f"o{place}" for place in range(len(kinds))]
    objects.frame = pd.DataFrame(
        {"object_id": ids, "group": groups.astype(str), "half": halves, "catalog": "a", "kind": kinds, "size": 1.0}
    )
    objects._recipe = RECIPE
    objects._uses = {"a": ("classify",)}
    return objects


def ranking(order: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"object_id": [f"o{place}" for place in order]})


def test_neighbours_that_share_a_label_are_said_to_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    answer = rng.integers(0, 3, 400)
    objects = objects_of([f"k{a}" for a in answer], np.arange(400))
    planted = np.eye(3)[answer] + 0.3 * rng.normal(size=(400, 3))
    (said,) = map_sentences(RECIPE, objects, planted.astype(np.float32))
    assert said.startswith(
        "kind: neighbours in the embedding (not on the map) share it more often than chance explains: of 200 test "
    )
    (said,) = map_sentences(RECIPE, objects, rng.normal(size=(400, 3)).astype(np.float32))
    assert "share it no more often than chance explains" in said


def test_too_few_labelled_test_groups_are_said_to_be() -> None:
    objects = objects_of(["k0", "k1"] * 6 + [None] * 40, np.arange(52))
    (said,) = map_sentences(RECIPE, objects, np.random.default_rng(0).normal(size=(52, 4)).astype(np.float32))
    assert said.startswith("kind: whether neighbours in the embedding share it is not estimable: too few labelled test")


def test_an_answer_that_crowds_the_first_ranks_is_named_with_its_numbers() -> None:
    answer = np.array(["rare"] * 30 + ["usual"] * 970)
    objects = objects_of(list(answer), np.arange(1000))
    (said,) = top_sentences(RECIPE, objects, ranking(np.arange(1000)))
    assert said == (
        "kind: of the 60 with this label among the 60 strangest, 30 are rare, where 1.8 would be expected (one a "
        "group, p below 0.01 after Holm's correction)."
    )


def test_of_a_group_the_strangest_counts_alone() -> None:
    answer = np.array(["rare"] * 30 + ["usual"] * 970)
    objects = objects_of(list(answer), np.r_[np.zeros(30), np.arange(1, 971)])
    assert top_sentences(RECIPE, objects, ranking(np.arange(1000))) == [
        "No answer of any label is more common among the 60 strangest than chance explains."
    ]


def test_of_random_rankings_one_in_twenty_names_an_answer() -> None:
    rng = np.random.default_rng(1)
    objects = objects_of([f"k{a}" for a in rng.choice(5, 600, p=[0.4, 0.3, 0.2, 0.05, 0.05])], np.arange(600))
    named = sum(
        not top_sentences(RECIPE, objects, ranking(rng.permutation(600)))[0].startswith("No answer") for _ in range(200)
    )
    assert named <= 18  # the 97th percentile of 200 draws at 5 %


def test_without_labels_of_classes_nothing_is_said() -> None:
    objects = objects_of(["a", "b"] * 20, np.arange(40))
    recipe = RECIPE.model_copy(update={"labels": {"size": RECIPE.labels["size"]}})
    assert top_sentences(recipe, objects, ranking(np.arange(40))) == []
    assert map_sentences(recipe, objects, np.zeros((40, 2), np.float32)) == []


def test_only_the_first_ranks_count_and_only_those_with_the_label() -> None:
    answer: list[str | None] = [None] * 1000
    answer[100:130] = ["rare"] * 30
    answer[130:200] = ["usual"] * 70
    objects = objects_of(answer, np.arange(1000))
    not_estimable = (
        "Which answers are common among the strangest is not estimable: too few ranked objects have a label."
    )
    assert top_sentences(RECIPE, objects, ranking(np.arange(1000))) == [not_estimable]
    order = np.r_[np.arange(110, 130), np.arange(0, 100), np.arange(100, 110), np.arange(130, 1000)]
    (said,) = top_sentences(RECIPE, objects, ranking(order))
    assert said.startswith("kind: of the 20 with this label among the 60 strangest, 20 are rare, where 6.0 would be")
    everything = objects_of(["a", "b"] * 20, np.arange(40))
    assert top_sentences(RECIPE, everything, ranking(np.arange(40))) == [not_estimable]
    assert top_sentences(RECIPE, everything, ranking(np.arange(0))) == [not_estimable]
