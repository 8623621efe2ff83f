"""The question trees of Galaxy Zoo: columns by their published names, votes of one question, who was asked."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogs.errors import CatalogError
from catalogs.galaxies.question_trees import TREES, asked_probability, counts, find_columns, questions

# Columns of gz_decals_volunteers_1_and_2 and _5 as published (Zenodo 4573248), without those of fractions.
GZD_1_2 = """
smooth-or-featured_smooth smooth-or-featured_featured-or-disk smooth-or-featured_artifact how-rounded_completely
how-rounded_in-between how-rounded_cigar-shaped disk-edge-on_yes disk-edge-on_no edge-on-bulge_rounded
edge-on-bulge_boxy edge-on-bulge_none bar_yes bar_no has-spiral-arms_yes has-spiral-arms_no spiral-winding_tight
spiral-winding_medium spiral-winding_loose spiral-arm-count_1 spiral-arm-count_2 spiral-arm-count_3 spiral-arm-count_4
spiral-arm-count_more-than-4 bulge-size_none bulge-size_obvious bulge-size_dominant merging_merger
merging_tidal-debris merging_both merging_neither
"""
GZD_5 = """
smooth-or-featured_smooth smooth-or-featured_featured-or-disk smooth-or-featured_artifact disk-edge-on_yes
disk-edge-on_no has-spiral-arms_yes has-spiral-arms_no bar_strong bar_weak bar_no bulge-size_dominant bulge-size_large
bulge-size_moderate bulge-size_small bulge-size_none how-rounded_round how-rounded_in-between how-rounded_cigar-shaped
edge-on-bulge_boxy edge-on-bulge_none edge-on-bulge_rounded spiral-winding_tight spiral-winding_medium
spiral-winding_loose spiral-arm-count_1 spiral-arm-count_2 spiral-arm-count_3 spiral-arm-count_4
spiral-arm-count_more-than-4 spiral-arm-count_cant-tell merging_none merging_minor-disturbance
merging_major-disturbance merging_merger
"""
# SDSS zoo2MainSpecz, whose columns gz2_hart16 shares, without the ending _count.
GZ2 = """
t01_smooth_or_features_a01_smooth t01_smooth_or_features_a02_features_or_disk
t01_smooth_or_features_a03_star_or_artifact t02_edgeon_a04_yes t02_edgeon_a05_no t03_bar_a06_bar t03_bar_a07_no_bar
t04_spiral_a08_spiral t04_spiral_a09_no_spiral t05_bulge_prominence_a10_no_bulge
t05_bulge_prominence_a11_just_noticeable t05_bulge_prominence_a12_obvious t05_bulge_prominence_a13_dominant
t06_odd_a14_yes t06_odd_a15_no t07_rounded_a16_completely_round t07_rounded_a17_in_between
t07_rounded_a18_cigar_shaped t08_odd_feature_a19_ring t08_odd_feature_a20_lens_or_arc t08_odd_feature_a21_disturbed
t08_odd_feature_a22_irregular t08_odd_feature_a23_other t08_odd_feature_a24_merger t08_odd_feature_a38_dust_lane
t09_bulge_shape_a25_rounded t09_bulge_shape_a26_boxy t09_bulge_shape_a27_no_bulge t10_arms_winding_a28_tight
t10_arms_winding_a29_medium t10_arms_winding_a30_loose t11_arms_number_a31_1 t11_arms_number_a32_2
t11_arms_number_a33_3 t11_arms_number_a34_4 t11_arms_number_a36_more_than_4 t11_arms_number_a37_cant_tell
"""
PUBLISHED = {
    "gz2": [f"{name}_count" for name in GZ2.split()],
    "gz_decals": GZD_5.split(),
    "gz_decals_1_2": GZD_1_2.split(),
}
EVERY = [(tree, question) for tree in TREES for question in questions(tree)]


def raw_columns(tree: str, question: str) -> list[str]:
    return [TREES[tree].raw[0].format(question=question, answer=name) for name in questions(tree)[question].answers]


def ballots(tree: str, rows: int, seed: int) -> pd.DataFrame:
    """The votes of volunteers who are led through a tree from its first question on."""
    rng = np.random.default_rng(seed)
    given = {}
    for name, question in questions(tree).items():
        people = np.full(rows, rng.integers(5, 41))
        if question.after is not None:
            led = [f"{question.after} {answer}" for answer in question.by]
            people = np.sum([given[answer] for answer in led], axis=0)
        votes = np.array([rng.multinomial(n, rng.dirichlet(np.ones(len(question.answers)))) for n in people])
        given |= {f"{name} {answer}": votes[:, column] for column, answer in enumerate(question.answers)}
    names = {f"{q} {a}": TREES[tree].raw[0].format(question=q, answer=a) for q, a in (key.split() for key in given)}
    return pd.DataFrame({names[key]: votes for key, votes in given.items()})


@pytest.mark.parametrize("tree", list(PUBLISHED))
def test_a_tree_asks_for_every_column_that_its_table_has_and_for_no_other(tree):
    found = [column for question in questions(tree) for column in find_columns(PUBLISHED[tree], tree, question, "raw")]
    assert sorted(found) == sorted(PUBLISHED[tree])


@pytest.mark.parametrize(("tree", "question"), EVERY)
def test_every_question_follows_from_an_earlier_one(tree, question):
    asked = questions(tree)
    names, this = list(asked), asked[question]
    assert len(this.answers) == len(set(this.answers)) > 1
    if this.after is None:
        assert names[0] == question
        assert this.by == ()
    else:
        assert names.index(this.after) < names.index(question)
        assert set(this.by) < set(asked[this.after].answers)  # an answer of all would be no branch
        assert this.by


@pytest.mark.parametrize("ending", ["-dr5", ""])
def test_columns_of_a_campaign_in_a_collection_of_several(ending):
    table = [f"bar-dr12_{a}" for a in ("yes", "no")] + [f"BAR{ending}_{a}" for a in ("no", "weak", "strong")]
    assert find_columns(table, "gz_decals", "bar", "raw") == tuple(f"BAR{ending}_{a}" for a in ("strong", "weak", "no"))
    assert find_columns(table, "gz_decals_1_2", "bar", "raw") == ("bar-dr12_yes", "bar-dr12_no")


def test_what_is_not_there_is_named_with_what_is_near():
    table = ["bar_strong", "bar_weak", "bar_none"]
    with pytest.raises(CatalogError, match=r"labels.bar: the table has no column 'bar_no'; did you mean 'bar_none'\?"):
        find_columns(table, "gz_decals", "bar", "raw")
    with pytest.raises(CatalogError, match="no column 'bar_strong_debiased'"):
        find_columns(table, "gz_decals", "bar", "debiased")
    with pytest.raises(CatalogError, match="'gz_decals_8' hold no debiased votes; give 'raw'"):
        find_columns(table, "gz_decals_8", "bar", "debiased")
    with pytest.raises(ValueError, match="'gz_decal' is not known; did you mean 'gz_decals'"):
        questions("gz_decal")
    with pytest.raises(ValueError, match="'bars' is not in tree 'gz_decals'; did you mean 'bar'"):
        find_columns(table, "gz_decals", "bars", "raw")
    with pytest.raises(ValueError, match="'arms' is not in tree 'gz2'; there are t01_smooth_or_features, t02_edgeon"):
        counts(pd.DataFrame({"a": [1]}), "gz2", "arms")
    with pytest.raises(CatalogError, match="column 'bar_weak' has 'few', which is no number"):
        counts(pd.DataFrame({"bar_strong": [1], "bar_weak": ["few"], "bar_no": [2]}), "gz_decals", "bar")


def test_unknown_and_unasked_are_no_votes():
    table = pd.DataFrame(
        {"bar_strong": [3, 0, np.nan, -1, np.inf], "bar_weak": ["1", "0", "2", "2", "2"], "bar_no": [0, 0, 1, 1, 1]}
    )
    nothing = [np.nan] * 3
    np.testing.assert_array_equal(counts(table, "gz_decals", "bar"), [[3, 1, 0], *[nothing] * 4])
    nullable = pd.DataFrame({"bar_strong": [3, None], "bar_weak": [1, 1], "bar_no": [0, 1]}, dtype="Int64")
    np.testing.assert_array_equal(counts(nullable, "gz_decals", "bar"), [[3, 1, 0], nothing])


def test_debiased_fractions_become_counts_of_as_many_people():
    table = pd.DataFrame(
        {
            "t03_bar_a06_bar_count": [6, 0, 4, 5],
            "t03_bar_a07_no_bar_count": [4, 0, 6, 5],
            "t03_bar_a06_bar_debiased": [0.8, 0, 0.6, np.nan],
            "t03_bar_a07_no_bar_debiased": [0.2, 0, 0.6, 0.5],
        }
    )
    unknown = [np.nan, np.nan]
    expected = [[8, 2], unknown, [5, 5], unknown]  # fractions that sum to 1.2 are ten people still
    np.testing.assert_allclose(counts(table, "gz2", "t03_bar", "debiased"), expected)
    totals = pd.DataFrame({"bar_total-votes": [20, 0, np.nan]})
    for answer, share in (("strong", 0.1), ("weak", 0.4), ("no", 0.5)):
        totals[f"bar_{answer}_debiased"] = share
    np.testing.assert_allclose(counts(totals, "gz_decals", "bar", "debiased"), [[2, 8, 10], [np.nan] * 3, [np.nan] * 3])
    with pytest.raises(CatalogError, match="no column 'bar_strong'"):  # fractions of how many?
        counts(totals.drop(columns="bar_total-votes"), "gz_decals", "bar", "debiased")


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_a_question_knows_nothing_of_other_branches_and_both_forms_agree_in_shape(which, seed, rows):
    tree, question = which
    table = ballots(tree, rows, seed)
    found = counts(table, tree, question)
    assert found.shape == (rows, len(questions(tree)[question].answers))
    total = table[raw_columns(tree, question)].sum(axis=1).to_numpy()
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), total == 0)
    np.testing.assert_array_equal(np.isnan(found).any(axis=1), total == 0)

    others = [column for column in table if column not in raw_columns(tree, question)]
    shuffled = table.copy()
    shuffled[others] = np.random.default_rng(seed).integers(-1, 40, (rows, len(others)))
    np.testing.assert_array_equal(counts(shuffled, tree, question), found)
    np.testing.assert_array_equal(counts(table[table.columns[::-1]], tree, question), found)

    if TREES[tree].debiased:
        fractions = np.random.default_rng(seed).dirichlet(np.ones(found.shape[1]), rows)
        for column, answer in enumerate(questions(tree)[question].answers):
            table[TREES[tree].debiased[0].format(question=question, answer=answer)] = fractions[:, column]
        debiased = counts(table, tree, question, "debiased")
        assert debiased.shape == found.shape
        np.testing.assert_allclose(debiased.sum(axis=1), found.sum(axis=1))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_share_asked_is_that_of_the_volunteers_who_answered(which, seed, rows):
    tree, question = which
    table = ballots(tree, rows, seed)
    first = next(iter(questions(tree)))
    people = table[raw_columns(tree, first)].sum(axis=1)
    answered = table[raw_columns(tree, question)].sum(axis=1)
    np.testing.assert_allclose(asked_probability(table, tree, question), answered / people, atol=1e-12)
