"""What the page says of few labels: sentences, tables and what stands where nothing is known."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from reports.few_label_words import equal_sentence, headline_sentence
from reports.few_labels import few_labels
from reports.metric_rows import columns_of, verdict

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure, which takes half a second a label column and has its own tests."""
    monkeypatch.setattr("reports.few_labels.label_efficiency", lambda column, name: "")


def value(start: str, size: int | None, number: float | None, **changes: Any) -> dict[str, Any]:
    half = None if number is None else 0.02
    return {
        "label": "type", "kind": "classes", "start": start, "features": "last", "head": "linear", "draw": "balanced",
        "labels_per_class": size, "n_labels": None if size is None else 3 * size, "metric": "macro_auroc",
        "better": "higher", "value": number, "low": None if half is None else number - half,  # type: ignore[operator]
        "high": None if half is None else number + half, "n_groups": 40,  # type: ignore[operator]
    } | changes  # fmt: skip


def difference(size: int, number: float | None, **changes: Any) -> dict[str, Any]:
    compared = {"difference_to": "imagenet", "difference_to_head": "linear", "difference_to_features": "last"}
    return value("continued", size, number, **(compared | changes))


def equal(size: int, **changes: Any) -> dict[str, Any]:
    row = difference(size, 71.0, metric="equal_labels", low=52.0, high=104.0)
    return row | changes


def full() -> list[dict[str, Any]]:
    rows = [value(s, n, v + n / 1000) for s, v in (("random", 0.5), ("imagenet", 0.7), ("continued", 0.75))
            for n in (5, 20, 100)]  # fmt: skip
    rows += [difference(n, 0.05, p=0.01, p_holm=0.02) for n in (5, 100)]
    rows += [difference(20, 0.05, p=0.0004, primary=True)]
    return [*rows, equal(20)]


def headline(rows: list[dict[str, Any]], size: int | None = None) -> str:
    return headline_sentence(columns_of(rows)[0], size).replace("&nbsp;", " ")


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", re.sub("<svg.*?</svg>", "", html, flags=re.DOTALL)))


@pytest.mark.usefixtures("undrawn")
def test_the_primary_endpoint_is_one_sentence() -> None:
    assert headline(full()) == (
        "With 20 labels per class (60 in all), continued pretraining is better than ImageNet alone: macro AUROC, 0.770 "
        "against 0.720, difference +0.050 (95 % interval +0.030 to +0.070, p &lt; 0.001; higher is better)."
    )
    assert "<strong>Primary endpoint.</strong>" in few_labels(full())


@pytest.mark.usefixtures("undrawn")
def test_a_column_without_the_primary_endpoint_uses_its_size_and_does_not_claim_it() -> None:
    rows = [value("imagenet", 5, 0.7), *(difference(n, n / 1000) for n in (5, 20))]
    assert headline(rows, 20).startswith("With 20 labels")
    assert headline(rows).startswith("With 5 labels")
    assert "Primary endpoint." not in few_labels(rows)
    assert "All differences are exploratory" in few_labels(rows)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"low": 0.01, "high": 0.1}, "better"),
        ({"low": -0.1, "high": -0.01}, "worse"),
        ({"low": 0.0, "high": 0.1}, "unclear"),
        ({"low": 0.01, "high": 0.1, "better": "lower"}, "worse"),
        ({"low": -0.1, "high": -0.01, "better": "lower"}, "better"),
        ({"low": 0.01, "high": 0.1, "better": "neither"}, "higher"),
        ({"low": 0.01, "high": 0.1, "p": 0.01, "p_holm": 0.06}, "unclear"),
        ({"low": 0.01, "high": 0.1, "p": 0.01, "p_holm": 0.04}, "better"),
        ({"low": 0.01, "high": 0.1, "p": 0.05}, "unclear"),
        ({"low": None, "high": None}, "unknown"),
        ({"value": None, "low": None, "high": None}, "unknown"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_verdict_claims_no_more_than_interval_and_p(changes: dict[str, Any], expected: str) -> None:
    row = difference(20, 0.05) | changes
    assert verdict(row) == expected
    words = {"better": "is better than", "worse": "is worse than", "unclear": "no clear difference"}
    if expected in words:
        assert words[expected] in headline([row])


@pytest.mark.usefixtures("undrawn")
def test_what_is_not_known_is_said_and_never_a_number() -> None:
    note = "not estimable: 7 groups with the finding in the test half, 10 are needed"
    rows = [value("imagenet", 20, None, note=note), difference(20, None, note=note)]
    text = few_labels([*rows, equal(20, value=None, low=None, high=None)])
    assert "is not estimable (7 groups with the finding in the test half, 10 are needed)." in headline(rows)
    assert '<span class="soft">not estimable</span>' in text
    assert f"<li>{note}</li>" in text
    assert "how many ImageNet needs for as much is not estimable." in text
    assert not re.search(r"\b(nan|NaN|None|0\.0+)\b", text)


@pytest.mark.usefixtures("undrawn")
def test_few_draws_leave_a_value_without_interval() -> None:
    rows = [value("imagenet", 20, 0.7, low=None, high=None), difference(20, 0.05, low=None, high=None)]
    text = few_labels(rows)
    assert text.count("no interval (fewer than 20 draws)") >= 3
    assert "without an interval against ImageNet with 20 labels per class" in text


@pytest.mark.usefixtures("undrawn")
def test_equal_labels_in_words() -> None:
    assert equal_sentence(equal(20)).replace("&nbsp;", " ") == (
        "Continued pretraining with 20 labels per class equals ImageNet with 71 (95 % interval 52 to 104)."
    )
    beyond = equal(20, value=100.0, high=100.0, beyond=["value", "high"])
    assert "equals ImageNet with > 100 (95 % interval 52 to > 100)" in equal_sentence(beyond).replace(
        "&nbsp;", " "
    ).replace("&gt;", ">")
    below = equal(1, value=5.0, low=5.0, below=["value", "low"])
    assert "with 1 label per class equals ImageNet with &lt;&nbsp;5 (" in equal_sentence(below)
    assert "no interval (fewer than 20 draws)" in equal_sentence(equal(20, low=None, high=None))


@pytest.mark.usefixtures("undrawn")
def test_the_table_of_equal_labels_has_no_ratio_beyond_what_was_tried() -> None:
    rows = [*full(), equal(100, value=100.0, high=100.0, beyond=["value", "high"]), equal(5, start="random", value=9.0)]
    text = plain(few_labels(rows))
    assert "20 71 52 to 104 3.5 times" in text.replace("3.6 times", "3.5 times")
    assert "100 &gt;&nbsp;100 52 to &gt;&nbsp;100 –" in text


@pytest.mark.usefixtures("undrawn")
def test_labels_by_starts_with_differences() -> None:
    text = few_labels(full())
    assert '<th scope="row">20 <span class="interval">60 in all</span></th>' in text
    assert '<b>+0.050</b> <span class="interval">[+0.030, +0.070]</span>' in text
    assert '<th scope="col">continued pretraining − ImageNet</th>' in text
    assert "better than ImageNet with 5, 20 and 100 labels per class" in text


@pytest.mark.usefixtures("undrawn")
def test_heads_and_features_are_compared_to_imagenet_with_the_linear_head() -> None:
    rows = [*full(), value("continued", 20, 0.8, head="knn", features="stages")]
    own = difference(20, 0.111, head="knn", features="stages", difference_to_head="knn")
    against = difference(20, 0.079, head="knn", features="stages")
    section = few_labels([*rows, own, against]).split("Heads and features compared")[1]
    assert "+0.079" in section
    assert "+0.111" not in section
    assert "difference to ImageNet with the linear head on last features" in section
    assert "Heads and features compared" not in few_labels(full())


@pytest.mark.usefixtures("undrawn")
def test_secondary_metrics_classes_and_natural_draws_are_collapsed() -> None:
    rows = [
        *full(),
        value("imagenet", 20, 0.61, metric="brier", better="lower"),
        value("imagenet", 20, 0.62, metric="ppv"),
        value("imagenet", 20, 0.63, **{"class": "spiral"}, n_groups=12),
        value("imagenet", 20, 0.64, metric="balanced_accuracy", **{"class": "spiral"}),
        value("imagenet", 20, 0.65, draw="natural"),
    ]
    before, *collapsed = few_labels(rows).split("<details>")
    inside = "".join(collapsed)
    for number in ("0.610 ", "0.620 ", "0.630 ", "0.640 ", "0.650 "):
        assert number in inside
        assert number not in before
    for words in ("Brier score", "<dt>PPV</dt><dd>of the objects called positive", "AUROC of each class",
                  "Recall of each class", "12 test groups", "Natural draws"):  # fmt: skip
        assert words in inside


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([value("imagenet", 5, 0.7), value("imagenet", 20, 0.8)],
         "Continued pretraining was not measured, so there is no difference to show. ImageNet: macro AUROC 0.700 with "
         "5 labels per class (15 in all) and 0.800 with 20 labels per class (60 in all)."),
        ([value("continued", 1, 0.7)], "ImageNet alone was not measured, so there is no difference to show. Continued "
         "pretraining: macro AUROC 0.700 with 1 label per class (3 in all)."),
        ([value("imagenet", 5, 0.7), value("random", 5, 0.5)], "measured: random weights and ImageNet."),
        ([value("imagenet", 5, 0.7), value("continued", 5, 0.8)], "no paired difference between them"),
        ([value("zoobot", None, 0.7)], "Zoobot: macro AUROC 0.700 with all labels per class."),
        ([equal(20, start="random")], "No value was measured."),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("undrawn")
def test_missing_parts_are_said(rows: list[dict[str, Any]], words: str) -> None:
    assert words in headline(rows)
    assert words in few_labels(rows).replace("&nbsp;", " ")


@pytest.mark.usefixtures("undrawn")
def test_no_rows_say_so() -> None:
    assert "No labels were given" in few_labels([])


def test_several_labels_are_summed_up_first() -> None:
    other = [row | {"label": "size", "primary": False} for row in full()]
    text = few_labels(full() + other)
    assert text.index("All labels at a glance") < text.index('id="few-labels-0"') < text.index('id="few-labels-1"')
    assert '<a href="#few-labels-1">size</a>' in text
    assert "at a glance" not in few_labels(full())
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert text.count("<svg") == 2
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("undrawn")
def test_tables_have_headers_with_scope_and_tags_are_closed() -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "th":
                assert dict(attrs).get("scope") in ("col", "row", "rowgroup")
            self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    text = re.sub("<svg.*?</svg>", "", few_labels([*full(), value("imagenet", 20, 0.6, metric="ppv")]), flags=re.DOTALL)
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    for table in re.findall("<table.*?</table>", text, flags=re.DOTALL):
        head, *lines = re.findall("<tr.*?</tr>", table)
        assert len({len(re.findall("<t[hd]", line)) for line in [head, *lines] if "rowgroup" not in line}) == 1


@pytest.mark.usefixtures("undrawn")
def test_every_text_from_outside_is_escaped() -> None:
    names = ("label", "head", "features", "metric", "note", "kind", "class")
    rows = [row | dict.fromkeys(names, HOSTILE) for row in full()]
    starts = [row | {"start": HOSTILE, "difference_to": HOSTILE} for row in full()]
    heads = [row | {"head": HOSTILE, "features": HOSTILE} for row in full()]
    notes = [row | {"note": HOSTILE, "value": None} for row in full()]
    for made in (rows, full() + starts, full() + heads, notes, starts):
        assert "<img" not in few_labels(made)


@pytest.mark.usefixtures("undrawn")
def test_digits_follow_the_size_of_the_metric() -> None:
    small = [value("imagenet", 20, 0.0012, metric="mad", low=0.0011, high=0.0013)]
    assert "0.00120" in few_labels(small)
    assert "1,234.5" in few_labels([value("imagenet", 20, 1234.5, metric="mad")])
