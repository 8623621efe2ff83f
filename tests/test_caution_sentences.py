"""What speaks against a score stands among the page's findings, as plain text; what speaks for it does not."""

from test_audit_section import entry as audited
from test_audit_section import number
from test_baselines_section import entry as owed
from test_subgroups_section import entry as grouped
from test_subgroups_section import gap

from pipelines.findings import caution_sentences


def test_each_warning_is_one_finding() -> None:
    audit = [audited("<view>", number(0.93), number(0.62), True), audited("site", number(0.95), number(0.7), True)]
    said = caution_sentences(audit, [owed(told=0.9)], [grouped([gap("<sex>", ("F", "M"), p=0.004)])])
    assert len(said) == 3
    assert said[0].startswith("<sick>: A score higher than the head's needs no image. <view> and ")
    assert said[1] == "<sick>: 2 attributes could serve as a shortcut: site, <view>."
    assert said[2].startswith("<sick>: Scores differ by <sex> more than chance explains")


def test_what_is_well_is_not_repeated() -> None:
    audit = [audited("view", number(0.5, 0.4), number(0.52, 0.49))]
    assert caution_sentences(audit, [owed(told=0.6)], [grouped([gap("sex", ("F", "M"))])]) == []
    assert caution_sentences([], [], []) == []
