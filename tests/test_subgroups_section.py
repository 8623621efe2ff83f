"""The page's section on subgroups: its finding is made from the numbers and claims no more; sharing hides few."""

from typing import Any

import pytest

from reports.shared_subgroups import shared_subgroups
from reports.subgroups import gap_sentence, subgroups_section, transfer_sentence, unnoticed_sentence


def metric(name: str, value: float | None, **more: Any) -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.05, "high": value + 0.05}
    return {"metric": name, "better": "higher", "value": value, **ends, **more}


def level(attribute: str, name: str, groups: int, value: float | None = 0.8) -> dict[str, Any]:
    rows = [metric("macro_auroc", value, answers=2), metric("sensitivity", value and 0.6)]
    counts = {"objects": groups + 7, "groups": groups, "of_answers": 3}
    return {"attribute": attribute, "level": name, **counts, "metrics": rows}


def gap(attribute: str, levels: tuple[str, str] | None, p: float | None = 0.4, groups: int = 120) -> dict[str, Any]:
    found: dict[str, Any] = {"attribute": attribute, "metric": "macro_auroc", "better": "higher", "levels": None}
    if levels is None:
        return found | {"p": None, "p_holm": None, "noticed": None}
    sizes = {"objects": [groups + 7, 207], "groups": [groups, 203], "pairs": 1}
    numbers = {"values": [0.81, 0.7], "difference": 0.11, "low": -0.02, "high": 0.24, "noticed": 0.13}
    return found | {"levels": list(levels), "p": p, "p_holm": p, **numbers, **sizes}


def cell(trained: str, tested: str, p: float = 0.5, loss: float = 0.09) -> dict[str, Any]:
    numbers = {"trained": trained, "tested": tested, "value": 0.72, "low": 0.66, "high": 0.78}
    if trained == tested:
        return numbers | {"value": 0.81}
    ends = {"value": loss, "low": loss - 0.06, "high": loss + 0.06}
    return numbers | {"loss": {**ends, "p": p, "p_holm": p}, "drop": ends}


def transfer(*p: float, loss: float = 0.09) -> dict[str, Any]:
    cells = [cell("<A>", "<A>"), cell("B", "B"), cell("<A>", "B", p[0], loss), cell("B", "<A>", p[1], loss / 3)]
    levels = [{"level": name, "objects": 300, "groups": 146} for name in ("<A>", "B")]
    facts = {"attribute": "site", "metric": "macro_auroc", "better": "higher", "draws": 20, "labels": 96}
    return facts | {"answers": 1, "of_answers": 1, "levels": levels, "cells": cells}


def entry(gaps: list[dict[str, Any]], moved: dict[str, Any] | None = None) -> dict[str, Any]:
    levels = [level("sex", "F", 120), level("sex", "M", 203, None), level("<view>", "<AP>", 60)]
    return {"label": "<sick>", "kind": "classes", "levels": levels, "gaps": gaps, "transfer": moved}


def test_the_largest_difference_leads_where_none_is_beyond_chance() -> None:
    one = entry([gap("sex", ("F", "M")), gap("<view>", None)])
    said, state = gap_sentence(one)
    assert state == "unknown"  # a gap of .13 would not be noticed
    assert gap_sentence(entry([{**gap("sex", ("F", "M")), "noticed": 0.09}]))[1] == "better"
    assert said.startswith("No gap beyond chance was noticed, 1 attribute asked about.")
    assert "macro AUROC 0.810 in sex F (120 groups) beside 0.700 in sex M (203 groups) (p = 0.40)" in said
    assert unnoticed_sentence(one) == "Gaps below these would not be noticed: sex 0.13."
    text = subgroups_section([one])
    assert text.index("No gap beyond chance") < text.index("Gaps below these") < text.index("<table>")
    assert "not estimable: fewer than two levels" in text
    assert "0.110 (−0.020 to 0.240)" in text
    assert "0.800 (0.750 to 0.850) (2 of 3 answers)" in text
    assert "beyond chance</span>" not in text
    for planted in ("<view>", "<AP>", "<sick>"):
        assert planted not in text


def test_what_is_beyond_chance_leads_clearest_first() -> None:
    gaps = [gap("age", ("below 40", "60 to 74"), 0.04), gap("sex", ("F", "M"), 0.002), gap("site", ("a", "b"), 0.3)]
    said, state = gap_sentence(entry(gaps))
    assert state == "worse"
    assert said.startswith("Scores differ by sex more than chance explains (3 attributes asked about): Macro AUROC 0.8")
    assert "p below 0.01. So do the levels of age." in said
    assert subgroups_section([entry(gaps)]).count("beyond chance</span>") == 2


def test_nothing_estimable_is_said_and_nothing_asked_is_no_section() -> None:
    said, state = gap_sentence(entry([gap("sex", None)]))
    assert "not estimable" in said
    assert state == "unknown"
    assert subgroups_section([entry([])]) == ""
    assert subgroups_section([]) == ""


def test_a_loss_is_said_with_its_interval() -> None:
    said, state = transfer_sentence(transfer(0.001, 0.2))
    assert state == "worse"
    assert said == (
        "A head that learnt at &lt;A&gt; loses 0.090 (0.030 to 0.150) at B: macro AUROC 0.720 beside 0.810 of one that "
        "learnt there from as many labels (96). 1 of 2 such losses are beyond chance."
    )
    text = subgroups_section([entry([], transfer(0.001, 0.2))])
    assert "<A>" not in text
    assert "loss 0.030 (−0.030 to 0.090)" in text
    assert "tested at B, 146 groups" in text


@pytest.mark.parametrize(("p", "loss"), [(0.5, 0.09), (0.001, -0.09)])
def test_no_loss_and_a_gain_are_no_loss(p: float, loss: float) -> None:
    said, state = transfer_sentence(transfer(p, 0.6, loss=loss))
    assert said.startswith(
        "No loss beyond chance was noticed where a head is tested at another site than it learnt at."
    )
    assert ("1 of 2 heads do better elsewhere" in said) == (loss < 0)
    assert ("A loss of 0.15 is not ruled out." in said) == (loss > 0)
    assert state == ("unknown" if loss > 0 else "better")
    said, state = transfer_sentence({**transfer(p, 0.6), "cells": []})
    assert "is not estimable" in said
    assert state == "unknown"


def test_a_shared_page_hides_small_levels_names_and_counts() -> None:
    one = entry([gap("sex", ("F", "M"), groups=9), gap("site", ("north", "south"), groups=128)], transfer(0.001, 0.2))
    one["levels"] = [
        level("sex", "F", 9),
        level("sex", "M", 203),
        level("site", "north", 128),
        level("site", "south", 75),
        level("age", "75 and above", 40),
        level("hospital ward", "north", 33),
    ]
    (shared,) = shared_subgroups([one])
    named = [(found["attribute"], found["level"], found["groups"], found["objects"]) for found in shared["levels"]]
    assert named == [
        ("sex", "M", 200, None),
        ("site", "level 1", 120, None),
        ("site", "level 2", 70, None),
        ("age", "75 and above", 40, None),
        ("attribute 1", "level 1", 30, None),
    ]
    (kept,) = shared["gaps"]
    assert (kept["attribute"], kept["levels"], kept["groups"]) == ("site", ["level 1", "level 2"], [120, 200])
    assert kept["objects"] is None
    assert [found["level"] for found in shared["transfer"]["levels"]] == ["site 1", "site 2"]
    assert shared["transfer"]["labels"] == 90
    text = subgroups_section([shared])
    for hidden in ("north", "south", "ward", "128", "203", "146", "&lt;A&gt;", "120 objects"):
        assert hidden not in text, hidden
    few = transfer(0.1, 0.2)
    few["levels"][0]["groups"] = 9
    assert shared_subgroups([entry([], few)])[0]["transfer"] is None
