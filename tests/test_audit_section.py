"""The page's section on shortcuts: marks what is told within a class and tells the label, claims no more, escapes."""

from typing import Any

from reports.audit import audit_section, bound, suspects


def number(value: float | None, low: float | None = None) -> dict[str, Any]:
    low = None if value is None else value - 0.03 if low is None else low
    return {"metric": "macro_auroc", "value": value, "low": low, "high": value and value + 0.03, "groups": 120}


def entry(name: str, among: Any, told: Any, suspicious: bool = False) -> dict[str, Any]:
    within = [{"level": "<low>", **number(0.81)}, {"level": "high", **number(None)}]
    return {
        "attribute": name,
        "levels": ["<low>", "high"],
        "told": number(0.9),
        "labels": {"<sick>": {"among": among, "told": told, "within": within, "suspicious": suspicious}},
    }


def test_what_could_serve_as_a_shortcut_leads_with_its_numbers() -> None:
    entries = [
        entry("<view>", number(0.93), number(0.62), True),
        entry("site", number(0.95), number(0.7), True),
        entry("age", number(0.52, 0.49), number(0.8)),
        entry("sex", number(0.9), number(0.51, 0.47)),
        entry("scanner", number(None), number(0.9)),
    ]
    assert [one["attribute"] for one in suspects("<sick>", entries)] == ["site", "<view>"]
    text = audit_section(entries)
    assert "2 of 4 attributes could serve as a shortcut. Site alone tells the label with 0.700 (0.670 to 0.730)" in text
    assert "So does &lt;view&gt;." in text
    assert "not estimable" in text
    assert "<view>" not in text
    assert "<low>" not in text
    assert "<sick>" not in text
    assert "proves no shortcut" in text


def test_nothing_marked_is_said_with_what_was_asked() -> None:
    text = audit_section([entry("view", number(0.5, 0.4), number(0.52, 0.49))])
    assert "No shortcut was noticed in 120 test groups. Asked about: view." in text
    assert audit_section([]) == ""
    few = audit_section([entry("view", number(0.9), number(None))])
    assert "is not estimable: too few test groups" in few
    assert "No shortcut" not in few


def test_what_is_bound_to_the_label_is_said_though_the_embedding_does_not_tell_it() -> None:
    range_ = entry("number_range", number(0.53, 0.4), number(0.99))
    text = audit_section([range_])
    assert bound("<sick>", [range_]) == [range_]
    assert "No attribute was seen to serve as a shortcut, but the label is bound to number range" in text
    assert "which tells it with 0.990 (0.960 to 1.020). The embedding was not seen to tell that" in text
    assert text.count('<span class="flag">bound to the label</span>') == 1
    both = audit_section([entry("view", number(0.93), number(0.62), True), range_])
    assert "1 of 2 attributes could serve as a shortcut. View alone" in both
    assert "Besides, the label is bound to number range" in both
    unmeasured = audit_section([entry("number_range", number(None), number(0.99))])
    assert "bound to number range" in unmeasured
    assert "too few test groups" not in unmeasured


def test_labels_that_are_no_classes_have_levels_alone() -> None:
    one = entry("view", None, None)
    one["labels"]["<sick>"] = {"suspicious": False, "within": [{"level": "low", **number(0.4), "metric": "r2"}]}
    text = audit_section([one])
    assert "was not measured: it is of no classes" in text
    assert "0.400" in text
