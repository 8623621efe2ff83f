"""Label columns to targets: words, several findings, levels, numbers and votes, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from catalogs.errors import CatalogError
from pipelines.recipe import LabelEntry
from pipelines.targets import targets


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
    with pytest.raises(CatalogError, match="'-1' is neither yes nor no"):  # CheXpert's uncertain is nobody's no
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


@pytest.mark.parametrize("kind", ["classes", "yes_no", "ordered", "real", "multilabel"])
def test_an_empty_column_is_refused(kind):
    with pytest.raises(CatalogError, match="no row has a value"):
        made(kind, {"label": [None, None]})


def test_in_a_private_domain_no_word_of_a_column_is_quoted():
    with pytest.raises(CatalogError) as caught:
        made("yes_no", {"label": ["Doe^John", "0"]})
    assert "Doe" in str(caught.value)
    assert "Doe" not in caught.value.public
