"""Votes in a run: columns of predictions, who comes to a question, certainty.json, the page, and the same by apply."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from catalogs.galaxies.question_trees import TREES, asked_probability, questions
from domainssl.evaluation.vote_intervals import MOST_VOTES
from domainssl.heads.dirichlet import DirichletHead, fit_dirichlet
from domainssl.heads.head import TrainingHalf
from domainssl.heads.votes import fit_votes
from pipelines.recipe import LabelEntry
from pipelines.targets import Targets
from pipelines.votes import usual_votes, vote_columns, vote_facts, with_asked

RNG = np.random.default_rng
ANSWERS = ("a", "b", "c")


def head_of(total: float, votes: float) -> DirichletHead:
    nothing = np.zeros(3)
    return DirichletHead(np.eye(3), nothing, np.array(total), np.array(votes), nothing, nothing + 1)


def test_intervals_hold_what_volunteers_say_and_shrink_with_the_total() -> None:
    x = RNG(0).normal(size=(500, 3))
    widths = []
    for total in (2.0, 50.0):
        head = head_of(total, 20.4)
        found = vote_columns("q", ANSWERS, head, head.predict(x))
        assert list(found) == [f"q:{name}::{side}90" for name in ANSWERS for side in ("low", "high")]
        low, high = (np.stack([found[f"q:{name}::{side}"] for name in ANSWERS], 1) for side in ("low90", "high90"))
        np.testing.assert_allclose(low * 20, np.rint(low * 20), atol=1e-5)
        chosen = RNG(1).gamma(head.concentration(x))
        share = RNG(2).multinomial(20, chosen / chosen.sum(axis=1, keepdims=True)) / 20
        held = ((share >= low - 1e-6) & (share <= high + 1e-6)).mean()
        assert 0.9 < held < 0.98
        widths.append((high - low).mean())
    assert widths[1] < 0.6 * widths[0]


def test_what_cannot_be_said_is_nan_or_not_there() -> None:
    head = head_of(5.0, 20.0)
    found = vote_columns("q", ANSWERS, head, head.predict(np.array([[0.0, 1.0, 2.0], [np.nan, 0.0, 0.0]])))
    assert all(np.isnan(column[1]) and np.isfinite(column[0]) for column in found.values())
    half = TrainingHalf(RNG(0).normal(size=(20, 3)), np.arange(20))
    linear = fit_votes(half, np.arange(10), RNG(1).poisson(4, (10, 3)) + 1.0, 3, RNG(2))
    assert vote_columns("q", ANSWERS, linear, linear.predict(half.x)) == {}
    assert [usual_votes(head_of(1.0, votes)) for votes in (0.4, 21.5, 1e9)] == [1, 22, MOST_VOTES]


def entry(tree: str | None = None, columns: tuple[str, ...] = ()) -> LabelEntry:
    return LabelEntry(kind="votes", tree=tree, columns=columns)


def shares(labels: dict[str, LabelEntry], tree: str, seed: int = 0) -> pd.DataFrame:
    """Predicted shares of every label, under the answers' names, or those of its columns."""
    columns: dict[str, Any] = {"object_id": [f"o{n}" for n in range(30)]}
    for place, (label, given) in enumerate(labels.items()):
        names = given.columns or questions(tree)[label].answers
        drawn = RNG([seed, place]).dirichlet(np.ones(len(names)), 30).astype(np.float32)
        columns |= {f"{label}:{name}": drawn[:, k] for k, name in enumerate(names)}
    return pd.DataFrame(columns)


@pytest.mark.parametrize("tree", list(TREES))
def test_who_is_asked_is_the_product_along_the_branch_as_of_counted_votes(tree: str) -> None:
    labels = {name: entry(tree) for name in questions(tree)}
    table = shares(labels, tree)
    found = with_asked(table, labels)
    asked = [name for name, question in questions(tree).items() if question.after is not None]
    assert [name for name in found if name.endswith("::asked")] == [f"{name}::asked" for name in asked]
    counted = {
        TREES[tree].raw[0].format(question=name, answer=answer): table[f"{name}:{answer}"]
        for name, question in questions(tree).items()
        for answer in question.answers
    }
    for name in asked:
        expected = asked_probability(pd.DataFrame(counted), tree, name)
        np.testing.assert_allclose(found[f"{name}::asked"], expected, rtol=1e-5)
        assert found[f"{name}::asked"].dtype == np.float32


def test_a_question_whose_earlier_ones_are_not_there_has_no_such_column() -> None:
    labels = {"bar": entry("gz_decals"), "smooth-or-featured": entry("gz_decals")}
    assert list(with_asked(shares(labels, "gz_decals"), labels)) == list(shares(labels, "gz_decals"))
    other = {"disk-edge-on": entry("gz_decals"), "smooth-or-featured": entry("gz_cosmic_dawn")}
    table = shares(labels | {"disk-edge-on": entry("gz_decals")}, "gz_decals")
    assert list(with_asked(table, other)) == list(table)  # of another campaign
    own = {"first": entry(columns=("yes", "no")), "second": entry(columns=("ja", "nein"))}
    assert list(with_asked(shares(own, "gz_decals"), own)) == list(shares(own, "gz_decals"))


def test_labels_whose_columns_are_a_tree_s_are_its_questions() -> None:
    """In whatever order they are named, and by the campaign that has these answers."""
    named = {
        name: entry(
            columns=tuple(f"{name}-dr12_{answer}" for answer in reversed(questions("gz_decals_1_2")[name].answers))
        )
        for name in ("smooth-or-featured", "disk-edge-on", "bar")
    }
    table = shares(named, "gz_decals_1_2")
    found = with_asked(table, named)
    led = table["smooth-or-featured:smooth-or-featured-dr12_featured-or-disk"]
    np.testing.assert_allclose(found["disk-edge-on::asked"], led)
    np.testing.assert_allclose(found["bar::asked"], led * table["disk-edge-on:disk-edge-on-dr12_no"])


def test_the_test_half_says_how_far_intervals_can_be_trusted() -> None:
    rng = RNG(0)
    x = rng.normal(size=(800, 4)).astype(np.float32)
    odds = np.exp(x[:, :3])
    chosen = rng.gamma(6.0 * odds / odds.sum(axis=1, keepdims=True))
    y = rng.multinomial(rng.integers(5, 41, 800), chosen / chosen.sum(axis=1, keepdims=True)).astype(np.float64)
    y[::9] = np.nan  # nobody was asked
    train = np.arange(800) < 400
    of = {"train": train, "groups": np.array([f"tile {n // 2}" for n in range(800)]), "seed": 0}
    known = np.flatnonzero(train & ~np.isnan(y[:, 0]))
    half = TrainingHalf(x, np.arange(800))
    head = fit_dirichlet(half, known, y[known], 3, RNG(1))
    facts = vote_facts(Targets("votes", y, ANSWERS), head, x, **of)["votes"]
    assert facts["called"] == "calibrated"
    assert facts["groups"] == 200
    assert facts["rows"] == int((~train & ~np.isnan(y[:, 0])).sum())
    assert facts["nats"]["low"] > 0
    assert facts["volunteers"] == round(float(np.median(y[known].sum(axis=1))))
    json.dumps(facts, allow_nan=False)
    linear = fit_votes(half, known, y[known], 3, RNG(1))
    assert vote_facts(Targets("votes", y, ANSWERS), linear, x, **of) == {}
    none = np.where(train[:, None], y, np.nan)
    assert vote_facts(Targets("votes", none, ANSWERS), head, x, **of) == {"votes": None}


RECIPE = """\
domain = "galaxies"

[[catalog]]
name = "pictures"
table = "survey/table.csv"
images = "survey"
columns = { id = "name", file = "file" }
bands = ["red", "green", "blue"]

[labels.smooth-or-featured]
kind = "votes"
tree = "gz_decals"

[labels.disk-edge-on]
kind = "votes"
tree = "gz_decals"

[store]
size = 40

[encoder]
name = "test_efficientnet"
weights = "none"
size = 32

[pretrain]
epochs = 1
projector_epochs = 1
batch_size = 32
guard = "off"

[classify]
labels_per_class = [2]
draws = 2
starts = ["random"]
heads = ["dirichlet"]
resamples = 10

[rank]
trees = 20
"""


def write_survey(folder: Path) -> None:
    """230 pictures, red ones of which are smooth and blue ones are not, half of these flat; 0 to 30 volunteers."""
    folder.mkdir(parents=True)
    rng, rows = RNG(0), []
    y, x = np.mgrid[-20:20, -20:20] + 0.5
    for number in range(230):
        disk, flat = number % 2, number // 2 % 2
        light = np.exp(-(x**2 + (9 if flat and disk else 1) * y**2) / 60)[..., None]
        colour = np.array([60, 90, 230]) if disk else np.array([230, 90, 60])
        pixels = (light * colour + rng.normal(10, 2, (40, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"o{number}.png")
        said = rng.multinomial(rng.integers(0, 31), rng.dirichlet((0.5, 8, 0.2) if disk else (8, 0.5, 0.2)))
        flats = rng.binomial(said[1], rng.beta(8, 1) if flat else rng.beta(1, 8))
        row = dict(
            zip((f"smooth-or-featured_{a}" for a in ("smooth", "featured-or-disk", "artifact")), said, strict=True)
        )
        row |= {"disk-edge-on_yes": flats, "disk-edge-on_no": said[1] - flats}
        rows.append({"name": f"o{number}", "file": f"o{number}.png", **row})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)


@pytest.mark.slow
def test_a_run_writes_distributions_and_apply_the_same(tmp_path: Path) -> None:
    from pipelines.cli import main

    quiet = ["--quiet", "--workers", "1", "--device", "cpu"]
    write_survey(tmp_path / "survey")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = tmp_path / "run"
    assert main(["run", str(tmp_path / "recipe.toml"), "--out", str(out), *quiet]) == 0
    found = pd.read_parquet(out / "predictions.parquet")
    for label in ("smooth-or-featured", "disk-edge-on"):
        for answer in questions("gz_decals")[label].answers:
            low, share, high = (found[f"{label}:{answer}{side}"] for side in ("::low90", "", "::high90"))
            assert (low <= high).all()
            assert ((low <= share + 0.06) & (share - 0.06 <= high)).all()
    assert "smooth-or-featured::asked" not in found
    asked = found["disk-edge-on::asked"]
    np.testing.assert_allclose(asked, found["smooth-or-featured:featured-or-disk"], rtol=1e-6)
    disk = found["object_id"].str[1:].astype(int) % 2 == 1
    assert asked[disk].median() > 0.7 > 0.3 > asked[~disk].median()
    trust = {entry["label"]: entry["votes"] for entry in json.loads((out / "certainty.json").read_text())}
    assert trust["smooth-or-featured"]["groups"] > 100
    assert trust["smooth-or-featured"]["nats"]["low"] > 0
    assert trust["disk-edge-on"]["called"] in ("calibrated", "not estimable")
    page = (out / "report.html").read_text()
    assert "Intervals of votes" in page or "intervals of votes" in page
    assert "The images tell how people will vote" in page
    survey = tmp_path / "survey"
    command = ["apply", str(out), str(survey / "table.csv"), "--images", str(survey), "--out", str(tmp_path / "again")]
    assert main([*command, *quiet]) == 0
    again = pd.read_parquet(tmp_path / "again" / "predictions.parquet")
    pd.testing.assert_frame_equal(again, found)
