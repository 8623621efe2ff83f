"""The page's section on trust: its finding is made from the numbers, for probabilities and for scores that are none."""

from typing import Any

import pytest

from reports.trust import trust_section


def curve(called: str, error: float = 0.021, groups: int = 2000) -> dict[str, Any]:
    bins = {"said": [0.1, 0.9], "seen": [0.12, 0.88], "counts": [groups / 2, groups / 2]}
    return {
        "called": called,
        "error": error,
        "expected": 0.018,
        "noticed": 0.03,
        "needed": 200,
        "p": 0.31,
        "groups": groups,
        "brier": 0.2,
        **bins,
    }


def share(value: float, groups: int = 2000) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "groups": groups}


def entry(**changes: Any) -> dict[str, Any]:
    held = {"promised": 0.9, "range": [0.88, 0.92], "rows": 900, "size": 1.4, "one": 0.7, **share(0.905)}
    held["class"] = {"disk": share(0.93), "<merger>": share(0.8)}
    asked = {
        "of": None,
        "two": False,
        "how": "temperature",
        "before": curve("score", 0.11),
        "after": curve("probability"),
    }
    found = {"label": "<b>", "kind": "classes", "questions": [{**asked, "sets": held, **changes}]}
    found["far"] = {"promised": 0.01, **share(0.03), "right": {"far": share(0.4, 60), "near": share(0.8, 1940)}}
    return found


def test_the_finding_comes_first_and_is_made_from_the_numbers() -> None:
    text = trust_section([entry()])
    assert "Scores of the likeliest answer may be read as probabilities: no error beyond chance was noticed." in text
    assert "off by 0.021 on average (0.018 would be chance, p = 0.31; before, it was 0.110)" in text
    assert "Less than 0.030 would not be noticed." in text
    assert "held it in 90.5 % (89.5 to 91.5) of 2,000 test groups" in text
    assert "between 88 % and 92 % had to be expected" in text
    assert "3.0 % (2.0 to 4.0) of the labelled test groups are far" in text
    assert "right for 40.0 % (39.0 to 41.0) of these and for 80.0 %" in text
    assert "the head&#x27;s own" in text or "the head's own" in text
    assert "<b>" not in text
    assert "<merger>" not in text


@pytest.mark.parametrize(
    ("groups", "said"), [(2000, "are no probabilities.</strong>"), (40, "40 test groups are too few to tell")]
)
def test_scores_that_are_no_probabilities_are_called_scores(groups: int, said: str) -> None:
    text = trust_section([entry(after=curve("score", 0.2, groups))])
    assert said in text
    assert "may be read as probabilities" not in text


def test_a_tolerated_error_is_said_with_its_size() -> None:
    text = trust_section([entry(after=curve("probability", 0.042) | {"p": 0.001})])
    assert "probabilities that are off by about 4 points." in text
    assert "p below 0.01" in text


def test_what_cannot_be_had_is_said() -> None:
    none = {**entry(sets=None), "far": None}
    text = trust_section([none])
    assert "No sets: of fewer than 9 groups" in text
    assert "cannot be told: fewer than 100 labelled groups" in text
    values = {"label": "z", "kind": "real", "questions": [], "far": None}
    assert "its head gives no class scores" in trust_section([values])
    assert "no labelled test object" in trust_section([{**values, "kind": "classes"}])
    assert trust_section([]) == ""


def test_each_finding_has_a_part_of_its_own() -> None:
    one = entry()
    (asked,) = one["questions"]
    text = trust_section([{**one, "questions": [{**asked, "of": "effusion"}, {**asked, "of": "mass"}]}])
    assert text.count("<h4>") == 2
    assert text.count("<svg") == 2
    assert text.index("effusion") < text.index("mass")


def votes(called: str = "calibrated", **changes: Any) -> dict[str, Any]:
    level = {"promised": 0.9, "value": 0.941, "expected": 0.938, "low": -0.012, "high": 0.018}
    found = {"called": called, "groups": 2207, "needed": 100, "rows": 2207, "votes": 22.0, "volunteers": 22}
    found |= {"total": 3.4, "tolerated": 0.03, "levels": [level, {**level, "promised": 0.5, "value": 0.55}]}
    found |= {"answers": {"<bar>": {"value": 0.94, "expected": 0.93}}}
    found["nats"] = {"value": -0.21, "pooled": -0.25, "gain": 0.04, "low": 0.03, "high": 0.05}
    return {"label": "bar", "kind": "votes", "questions": [], "far": None, "votes": {**found, **changes}}


def test_votes_begin_with_what_their_intervals_held() -> None:
    text = trust_section([votes()])
    assert '<div class="verdict better"><p><strong>Intervals of votes may be trusted: they held as many' in text
    off = {"promised": 0.9, "value": 0.916, "expected": 0.938, "low": -0.032, "high": -0.014}
    assert "were off by no more than 3 points: they held nearly as many" in trust_section([votes(levels=[off])])
    assert "promise 90 % held 94.1 % of the counts, where 93.8 % were expected" in text
    assert "(difference −1.2 to +1.8 points" in text
    assert "are for 22 volunteers" in text
    assert "a vote's log-likelihood is −0.210 nats, and −0.250 by one distribution" in text
    assert "+0.040 (+0.030 to +0.050)" in text
    assert "<bar>" not in text
    assert "its head gives no class scores" not in text


@pytest.mark.parametrize(
    ("called", "state", "said"),
    [
        ("too narrow", "worse", "Intervals of votes are too narrow: volunteers disagreed more than was predicted."),
        ("too wide", "worse", "Intervals of votes are too wide: they hold too much."),
        ("not estimable", "unknown", "is not estimable: 2,207 test groups are too few."),
    ],
)
def test_votes_that_are_off_or_too_few_are_said_to_be(called: str, state: str, said: str) -> None:
    text = trust_section([votes(called)])
    assert f'<div class="verdict {state}"><p><strong>' in text
    assert said in text
    assert "may be trusted" not in text


def test_votes_that_images_do_not_tell() -> None:
    nats = {"value": -0.25, "pooled": -0.25, "gain": 0.0, "low": -0.01, "high": 0.01}
    assert "It is not clear that the images tell" in trust_section([votes(nats=nats)])
    worse = trust_section([votes(nats={**nats, "gain": -0.02, "low": -0.03, "high": -0.01})])
    assert "The votes were likelier without the images" in worse
    assert "−0.020 (−0.030 to −0.010)" in worse
    none = {**votes(), "votes": None}
    assert "no labelled test object has votes" in trust_section([none])
