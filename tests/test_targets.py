"""Label columns to targets: words, several findings, levels, numbers and votes, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from catalogs.canonical import CatalogSource
from catalogs.columns import Columns
from catalogs.errors import CatalogError
from catalogs.tables import read_catalog
from pipelines.recipe import LabelEntry, RecipeError, parse_recipe
from pipelines.targets import targets, unsettled

RECIPE = """\
domain = "galaxies"
[[catalog]]
name = "survey"
table = "labels.csv"
bands = ["g"]
"""


def made(kind: str, cells: dict[str, list[object]], **fields: object):
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
    entry = LabelEntry.model_validate_json(pd.Series({"kind": kind, **fields}).to_json())
    return targets(frame, "label", entry)


def test_classes_are_sorted_and_empty_cells_unknown():
    found = made("classes", {"label": ["spiral", None, "elliptical", "spiral"]})
    assert found.outputs == ("elliptical", "spiral")
    np.testing.assert_array_equal(found.y[:, 0], [1, np.nan, 0, 1])


@pytest.mark.parametrize("words", [["1", "0"], ["yes", "No"], ["TRUE", "false"], ["positive", "negative"]])
def test_usual_words_for_yes_and_no(words):
    found = made("yes_no", {"label": [words[0], words[1], None]})
    np.testing.assert_array_equal(found.y[:, 0], [1, 0, np.nan])
    assert found.outputs == (words[1], words[0])


def test_another_word_for_yes_is_named():
    found = made("yes_no", {"label": ["pneumonia", "healthy"]}, yes="pneumonia")
    assert found.outputs == ("healthy", "pneumonia")
    with pytest.raises(CatalogError, match=r"'healthy' is neither yes nor no.*labels.label.yes"):
        made("yes_no", {"label": ["pneumonia", "healthy"]})
    with pytest.raises(CatalogError, match="cells are -1, which stands for uncertain"):  # nobody's no
        made("yes_no", {"label": ["1", "0", "-1"]})


def test_findings_in_columns_and_in_one_cell():
    columns = made("multilabel", {"mass": ["1", "0", None], "edema": [None, "1", None]}, columns=["mass", "edema"])
    np.testing.assert_array_equal(columns.y, [[1, np.nan], [0, 1], [np.nan, np.nan]])
    cell = made("multilabel", {"label": ["Mass|Edema", "No Finding", None, "Edema"]})
    assert cell.outputs == ("Edema", "Mass")
    np.testing.assert_array_equal(cell.y, [[1, 1], [0, 0], [np.nan, np.nan], [1, 0]])


def test_levels_by_number_or_by_order():
    numbers = made("ordered", {"label": ["10", "-2", None, "3"]})
    assert numbers.outputs == ("-2", "3", "10")
    np.testing.assert_array_equal(numbers.y[:, 0], [2, 0, np.nan, 1])
    words = made("ordered", {"label": ["mild", "none", "severe"]}, order=["none", "mild", "moderate", "severe"])
    assert words.outputs == ("none", "mild", "severe")
    with pytest.raises(
        CatalogError, match=r"'mild' is no number; name the levels from the lowest in labels.label.order"
    ):
        made("ordered", {"label": ["mild", "none"]})


def test_values_and_votes():
    np.testing.assert_array_equal(made("real", {"label": ["0.5", None, "2"]}).y[:, 0], [0.5, np.nan, 2])
    votes = made("votes", {"a": ["3", "0", None], "b": ["1", "0", None]}, columns=["a", "b"])
    np.testing.assert_array_equal(votes.y, [[3, 1], [np.nan, np.nan], [np.nan, np.nan]])  # nobody asked is unknown
    with pytest.raises(CatalogError, match="'wide' is no number"):
        made("real", {"label": ["wide", "1"]})
    with pytest.raises(CatalogError, match="negative"):
        made("votes", {"a": ["-3"], "b": ["1"]}, columns=["a", "b"])


BAR = {  # as in the tables of Galaxy Zoo DECaLS
    "smooth-or-featured_smooth": [1, 30, 10, 40],
    "smooth-or-featured_featured-or-disk": [39, 10, 30, 0],
    "smooth-or-featured_artifact": [0, 0, 0, 0],
    "disk-edge-on_yes": [9, 0, 15, 0],
    "disk-edge-on_no": [30, 10, 15, 0],
    "bar_strong": [5, 9, 0, 0],
    "bar_weak": [15, 0, 3, 0],
    "bar_no": [10, 1, 12, 0],
    "bar_strong_debiased": [0.5, 0.9, 0.2, None],
    "bar_weak_debiased": [0.5, 0, 0.3, None],
    "bar_no_debiased": [0, 0.1, 0.5, None],
}


def bar(**fields: object):
    frame = pd.DataFrame(BAR, index=[3, 1, 4, 5])  # rows of a larger catalog
    entry = LabelEntry.model_validate_json(json.dumps({"kind": "votes", "tree": "gz_decals", **fields}))
    return targets(frame, "bar", entry)


def test_votes_of_a_question_of_a_tree():
    unknown = [np.nan] * 3
    raw = bar()
    assert raw.outputs == ("strong", "weak", "no")
    np.testing.assert_array_equal(raw.y, [[5, 15, 10], [9, 0, 1], [0, 3, 12], unknown])
    debiased = bar(form="debiased", min_votes=15)
    assert debiased.outputs == raw.outputs
    np.testing.assert_allclose(debiased.y, [[15, 15, 0], unknown, [3, 4.5, 7.5], unknown])
    # 30 of 40 people came to the question of the first galaxy, 15 of 40 to that of the third
    np.testing.assert_array_equal(bar(min_asked=0.5).y, [[5, 15, 10], unknown, unknown, unknown])
    with pytest.raises(CatalogError, match="no row has enough votes"):
        bar(min_votes=31)


def test_a_column_that_the_tree_asks_for_is_named_with_a_near_one():
    frame = pd.DataFrame({"bar_strong": [1], "bar_weak": [1], "bar_none": [1]})
    with pytest.raises(CatalogError, match=r"labels.bar: the table has no column 'bar_no'; did you mean 'bar_none'\?"):
        targets(frame, "bar", LabelEntry(kind="votes", tree="gz_decals"))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("kind='votes', tree='gz_decal'", "labels.bar.tree: 'gz_decal' is not known; did you mean 'gz_decals'?"),
        ("kind='votes', tree='gz2'", "labels.bar: is no question of the tree 'gz2'; did you mean 't03_bar'?"),
        (
            "kind='votes', tree='gz_decals', columns=['a', 'b']",
            "labels.bar.columns: the tree 'gz_decals' says which columns; leave out one of the two",
        ),
        ("kind='real', tree='gz_decals'", "labels.bar.tree: is for kind 'votes', not 'real'; leave it out"),
        ("kind='real', min_votes=3", "labels.bar.min_votes: is for kind 'votes', not 'real'; leave it out"),
        (
            "kind='votes', columns=['a', 'b'], form='debiased'",
            "labels.bar.form: is for the question of a tree; name its tree, or leave it out",
        ),
        (
            "kind='votes', columns=['a', 'b'], min_asked=0.5",
            "labels.bar.min_asked: is for the question of a tree; name its tree, or leave it out",
        ),
        (
            "kind='votes', tree='gz_decals_8', form='debiased'",
            "labels.bar.form: tables of the tree 'gz_decals_8' hold no debiased votes; give 'raw'",
        ),
        (
            "kind='votes', tree='gz_decals', unknown=[-1]",
            "labels.bar.unknown: missing and negative votes of a tree are unknown as they are; leave it out",
        ),
        (
            "kind='votes', tree='gz_decals', min_asked=50",
            "labels.bar.min_asked: 50.0 is no share; give 0 to 1, such as 0.5",
        ),
        ("kind='votes', tree='gz_decals', min_votes=-1", "labels.bar.min_votes: -1 is too small; give 0 or more"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused_before_any_table_is_read(keys, problem):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{RECIPE}[labels]\nbar = {{ {keys} }}\n")
    assert caught.value.problems == (problem,)


def test_a_tree_is_for_galaxies_and_its_columns_are_known_from_the_table():
    text = f"{RECIPE}[labels]\nT = {{ kind = 'ordered' }}\nbar = {{ kind = 'votes', tree = 'gz_decals' }}\n"
    assert parse_recipe(text).label_columns == ("T",)
    with pytest.raises(RecipeError, match=r"labels.bar.tree: is for galaxies; name the columns"):
        parse_recipe(text.replace("galaxies", "chest_xrays"))


def test_cells_that_stand_for_no_value():
    ordered = made("ordered", {"label": ["-1", "-99", "2", "-99.0", None, "n/a"]}, unknown=[-99, "n/a"])
    assert ordered.outputs == ("-1", "2")
    np.testing.assert_array_equal(ordered.y[:, 0], [0, np.nan, 1, np.nan, np.nan, np.nan])
    real = made("real", {"label": ["0.5", "-1.0", "-1", "1e0"]}, unknown=[-1])
    np.testing.assert_array_equal(real.y[:, 0], [0.5, np.nan, np.nan, 1])
    numbers = targets(pd.DataFrame({"z": [0.1, -9.0, np.nan]}), "z", LabelEntry(kind="real", unknown=(-9.0,)))
    np.testing.assert_array_equal(numbers.y[:, 0], [0.1, np.nan, np.nan])
    uncertain = made("yes_no", {"label": ["1.0", "0.0", "-1.0"]}, unknown=[-1])
    np.testing.assert_array_equal(uncertain.y[:, 0], [1, 0, np.nan])
    columns = made("multilabel", {"a": ["1", "-1"], "b": ["0", "1"]}, columns=["a", "b"], unknown=[-1])
    np.testing.assert_array_equal(columns.y, [[1, 0], [np.nan, 1]])
    words = made("classes", {"label": ["E", "S", "?", "-1"]}, unknown=["?", "-1"])
    assert words.outputs == ("E", "S")
    votes = made("votes", {"a": ["3", "-1"], "b": ["1", "4"]}, columns=["a", "b"], unknown=[-1])
    np.testing.assert_array_equal(votes.y, [[3, 1], [np.nan, np.nan]])
    with pytest.raises(CatalogError, match="no row has a value"):
        made("real", {"label": ["-1", "-1.0"]}, unknown=[-1])


def test_types_and_attributes_of_efigi(shared_data):
    folder = shared_data / "galaxies" / "efigi"
    source = CatalogSource("efigi", folder / "labels.csv", folder, Columns(group="group_id"), ("red", "green", "blue"))
    frame = read_catalog(source, ("T", "Arm_Strength", "Bar_Length"))
    types = targets(frame, "T", LabelEntry(kind="ordered"))
    assert types.outputs == tuple(str(level) for level in range(-6, 12))  # de Vaucouleurs, -6 compact to 11 dwarf
    assert not np.isnan(types.y).any()
    table = pd.read_csv(folder / "labels.csv")
    np.testing.assert_array_equal(types.y[:, 0] - 6, table["T"])
    for attribute in ("Arm_Strength", "Bar_Length"):
        found = targets(frame, attribute, LabelEntry(kind="real", unknown=(-1.0,)))
        applicable = (table[attribute] != -1).to_numpy()
        np.testing.assert_array_equal(~np.isnan(found.y[:, 0]), applicable)
        np.testing.assert_array_equal(found.y[applicable, 0], table[attribute][applicable])


@pytest.mark.parametrize("kind", ["classes", "yes_no", "ordered", "real", "multilabel"])
def test_an_empty_column_is_refused(kind):
    with pytest.raises(CatalogError, match="no row has a value"):
        made(kind, {"label": [None, None]})


def test_in_a_private_domain_no_word_of_a_column_is_quoted():
    with pytest.raises(CatalogError) as caught:
        made("yes_no", {"label": ["Doe^John", "0"]})
    assert "Doe" in str(caught.value)
    assert "Doe" not in caught.value.public


@pytest.mark.parametrize("policy", ["ignore", "zero", "one"])
@pytest.mark.parametrize("blank", ["unknown", "zero"])
def test_uncertain_and_empty_findings_count_as_the_recipe_says(policy: str, blank: str) -> None:
    frame = pd.DataFrame({"a": ["1", "0", "-1", None, "-1.0"], "b": ["0.0", None, "1", "1", "0"]}, dtype=object)
    entry = LabelEntry(kind="multilabel", columns=("a", "b"), uncertain=policy, blank=blank)
    uncertain = {"ignore": np.nan, "zero": 0.0, "one": 1.0}[policy]
    empty = {"unknown": np.nan, "zero": 0.0}[blank]
    found = targets(frame, "findings", entry).y
    np.testing.assert_array_equal(found[:, 0], [1, 0, uncertain, empty, uncertain])
    np.testing.assert_array_equal(found[:, 1], [0, empty, 1, 1, 0])
    assert unsettled(frame, "findings", entry) == (2, 2)
    alone = targets(frame, "a", LabelEntry(kind="yes_no", uncertain=policy, blank=blank)).y[:, 0]
    np.testing.assert_array_equal(alone, found[:, 0])


def test_uncertain_findings_are_never_settled_in_silence() -> None:
    frame = pd.DataFrame({"a": ["1", "0", "-1"]}, dtype=object)
    with pytest.raises(CatalogError, match=r"1 cells are -1.*labels\.a\.uncertain = 'ignore', 'zero' or 'one'"):
        targets(frame, "a", LabelEntry(kind="yes_no"))
    assert targets(frame, "a", LabelEntry(kind="real")).y[2] == -1  # a number is a number
