"""Sentences on new objects: shares only where scores are probabilities, findings that changed, what is far."""

from typing import Any

from reports.shift import shift_sentences


def answer(of: str | None = None, p: float | None = 0.001, called: str = "probability") -> dict[str, Any]:
    facts: dict[str, Any] = {"of": of, "names": ["no", "pneumonia"] if of is None else [f"no {of}", of]}
    facts |= {"called": called, "trained": [0.43, 0.57], "p": p, "p_holm": p}
    if p is None:
        return facts
    return facts | {
        "now": [0.8, 0.2],
        "low": [0.73, 0.14],
        "high": [0.86, 0.27],
        "test": [0.45, 0.55],
        "clearest": 0,
        "groups": 280,
    }


def entry(*answers: dict[str, Any], far: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"label": "label", "objects": 300, "groups": 280, "needed": 30, "answers": list(answers), "far": far}


def far(value: float, p: float) -> dict[str, Any]:
    before = {"value": 0.012, "low": 0.002, "high": 0.03, "groups": 250}
    ends = {"value": value, "low": value - 0.01, "high": value + 0.01, "groups": 280}
    return {"promised": 0.01, **ends, "test": before, "p": p, "p_holm": p}


def test_a_changed_share_is_said_with_its_interval_and_what_it_assumes() -> None:
    (said,) = shift_sentences([entry(answer())])
    assert said == (
        "label: among these 300 new objects the scores suggest 20 % pneumonia (14 % to 27 %), among the labelled test "
        "objects 55 %, if objects of one answer look alike in both: a difference more than chance explains (p below "
        "0.01). Of the labels that the run learnt from, 57 % are pneumonia."
    )
    (same,) = shift_sentences([entry(answer(p=0.6))])
    assert "a difference no more than chance explains (p = 0.60)" in same


def test_of_several_classes_the_clearest_is_named() -> None:
    several = answer() | {
        "names": ["disk", "spiral", "merger"],
        "trained": [0.5, 0.4, 0.1],
        "now": [0.5, 0.1, 0.4],
        "low": [0.4, 0.05, 0.3],
        "high": [0.6, 0.15, 0.5],
        "test": [0.5, 0.38, 0.12],
        "clearest": 2,
    }
    (said,) = shift_sentences([entry(several)])
    assert "Of the labels that the run learnt from, 10 % are merger" in said
    assert "40 % merger (30 % to 50 %), among the labelled test objects 12 %" in said


def test_scores_that_are_no_probabilities_suggest_nothing() -> None:
    (said,) = shift_sentences([entry(answer(p=None, called="score"))])
    assert "is not estimable: the run does not call its scores probabilities" in said
    assert "suggest" not in said
    (few,) = shift_sentences([entry(answer(p=None))])
    assert "30 groups are needed" in few
    assert shift_sentences([entry()]) == []


def test_of_several_findings_those_that_changed_are_named() -> None:
    said = shift_sentences([entry(answer("effusion"), answer("mass", 0.3), answer("node", None, "score"))])
    assert len(said) == 1
    assert "are effusion" in said[0]
    (none,) = shift_sentences([entry(answer("effusion", 0.2), answer("mass", 0.3))])
    assert "of 2 findings whose scores are probabilities, none is more or less common" in none


def test_what_is_far_is_said_once() -> None:
    said = shift_sentences([entry(far=far(0.02, 0.4)), entry(far=far(0.3, 0.0001))])
    assert said == [
        "30 % (29 % to 31 %) of 280 new groups are far from every labelled object, where 1.0 % would be expected and "
        "1.2 % of the labelled test groups were: more than chance explains, so that scores mean less here than on the "
        "test half (p below 0.01)."
    ]
    assert "no more than chance explains (p = 0.40)" in shift_sentences([entry(far=far(0.02, 0.4))])[0]
