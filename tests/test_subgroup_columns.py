"""By which columns scores are split: the usual ones, ages in four bands, the first brightness, no label, no -99."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domainssl.options import ClassifyOptions
from pipelines.asked_columns import check_columns
from pipelines.privacy import PublicError
from pipelines.recipe import CatalogEntry, LabelEntry, Recipe
from pipelines.subgroups import AGE_NAMES, attributes, of_ages


def recipe(domain: Any, label: str = "x", **classify: Any) -> Recipe:
    entry = CatalogEntry(name="a", images=Path("/nowhere"), bands=("r",))
    return Recipe(
        domain=domain,
        catalog=(entry,),
        labels={label: LabelEntry(kind="classes")},
        classify=ClassifyOptions(**classify),
    )


def named(frame: pd.DataFrame, given: Recipe) -> dict[str, list[str | None]]:
    found = attributes(frame, np.ones(len(frame), bool), given)
    return {one.name: [None if k < 0 else one.names[k] for k in one.level] for one in found}


def test_ages_fall_into_four_bands() -> None:
    found = of_ages(np.array([0.0, 39, 40, 59.5, 60, 74, 75, 120, 121, -1, np.nan]))
    assert found.names == AGE_NAMES
    assert found.level.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, -1, -1, -1]


def test_people_are_split_by_their_usual_columns() -> None:
    frame = pd.DataFrame(
        {"sex": ["F", None, "M"], "age": ["30", "x", "80"], "view": ["PA"] * 3, "site": ["a", "b", "b"], "bits": 8}
    )
    found = named(frame, recipe("chest_xrays"))
    assert found == {
        "sex": ["F", None, "M"],
        "age": ["below 40", None, "75 and above"],
        "view": ["PA"] * 3,
        "site": ["a", "b", "b"],
    }
    assert "sex" not in named(frame, recipe("chest_xrays", "sex"))


def test_galaxies_are_split_by_the_first_brightness_and_its_like() -> None:
    bright = [-9999.0, 15, 16, 17, 18, 19, 20]
    frame = pd.DataFrame({"Mag_R": bright, "mag_g": bright, "z": 0, "age": 5, "redshift": [np.nan] * 7, "hlr": 1.0})
    found = named(frame, recipe("galaxies"))
    assert found["Mag_R"] == [None, "low", "low", "middle", "middle", "high", "high"]
    assert set(found) == {"Mag_R", "redshift", "hlr"}
    assert found["redshift"] == [None] * 7
    more = named(frame.assign(bar=list("yynnyyn")), recipe("galaxies", subgroups=("mag_g", "bar", "Mag_R")))
    assert list(more) == ["Mag_R", "hlr", "redshift", "mag_g", "bar"]
    assert more["bar"] == list("yynnyyn")


def test_numbers_of_many_values_become_thirds_and_words_of_many_become_others() -> None:
    frame = pd.DataFrame({"n": np.arange(30.0), "few": np.arange(30) % 3, "w": [f"w{k // 2}" for k in range(30)]})
    found = named(frame, recipe("galaxies", subgroups=("n", "few", "w")))
    assert found["n"] == ["low"] * 10 + ["middle"] * 10 + ["high"] * 10
    assert found["few"] == [str(k % 3) for k in range(30)]
    assert len(set(found["w"])) == 12
    assert "other" in found["w"]


def test_columns_that_are_not_there_are_refused_by_name() -> None:
    frame = pd.DataFrame({"mag_r": [1.0]})
    check_columns(recipe("galaxies"), frame)
    check_columns(recipe("galaxies", subgroups=("mag_r",)), frame)
    with pytest.raises(
        PublicError, match=r"classify.subgroups: no column 'mag_q' in the catalog; did you mean 'mag_r'"
    ):
        check_columns(recipe("galaxies", subgroups=("mag_q",)), frame)
    with pytest.raises(PublicError, match=r"classify.transfer: no column 'hospital'"):
        check_columns(recipe("galaxies", transfer="hospital"), frame)
    with pytest.raises(PublicError, match=r"classify.metadata: no column 'seeing' in the catalog"):
        check_columns(recipe("galaxies", metadata=("mag_r", "seeing")), frame)


def test_votes_of_a_tree_neither_split_nor_tell_themselves() -> None:
    answers = [f"smooth-or-featured_{name}" for name in ("smooth", "featured-or-disk", "artifact")]
    frame = pd.DataFrame({"mag_r": [1.0], **{name: [3] for name in answers}, f"{answers[0]}_debiased": [0.4]})
    question = {"smooth-or-featured": LabelEntry(kind="votes", tree="gz_decals")}

    def given(**classify: Any) -> Recipe:
        return recipe("galaxies", **classify).model_copy(update={"labels": question})

    check_columns(given(subgroups=("mag_r",), metadata=("mag_r",)), frame)
    for key, value in (
        ("subgroups", (answers[1],)),
        ("transfer", answers[0]),
        ("metadata", (f"{answers[0]}_debiased",)),
    ):
        with pytest.raises(PublicError, match=rf"classify.{key}: 'smooth-or-featured_.*' holds a label"):
            check_columns(given(**{key: value}), frame)
