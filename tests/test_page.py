"""The report as a file: what it holds, what it escapes, what it does without."""

import base64
import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reports import payload
from reports.page import Page, write_page

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "</script x",
    "<!-- <script>",
    "$title ${x}",
    "a & b",
    "\u2028\ud800",
]


class Parsed(HTMLParser):
    """Elements with their attributes, and the text inside each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self.elements and self.elements[-1][0] == "script" else self.texts).append(data)


NO_FIGURES: dict[str, Any] = {"metrics": (), "training": ()}  # which take half a second a page to draw


def full_page(count: int = 40, **changes: Any) -> Page:
    generator = np.random.default_rng(0)
    metric = {"label": "type", "head": "linear", "metric": "macro F1", "n_groups": 20}
    rows = [
        metric | {"start": start, "labels_per_class": k, "value": value, "low": value - 0.1, "high": value + 0.1}
        for start, value in (("random", 0.3), ("imagenet", 0.5), ("continued", 0.7))
        for k in (5, 10)
    ]
    differences = [
        metric | {"start": "continued", "difference_to": "imagenet", "labels_per_class": k, "value": 0.2} | bounds
        for k, bounds in ((5, {"low": -0.05, "high": 0.45}), (10, {"low": 0.1, "high": 0.3}))
    ]
    parts: dict[str, Any] = {
        "title": "A run",
        "subtitle": "on something",
        "object_ids": [f"object-{i}" for i in range(count)],
        "xy": generator.normal(size=(count, 2)).astype(np.float32),
        "columns": {"type": ["spiral", "elliptical", None, "spiral"] * (count // 4), "score": generator.random(count)},
        "notices": ["These galaxies are simulated."],
        "findings": ["One finding."],
        "thumbnails": generator.integers(256, size=(count, 20, 20, 3)).astype(np.uint8),
        "metrics": rows + differences,
        "anomalies": [
            {"rank": 1, "object_id": "object-3", "score": 2.5, "flags": ["edge"], "links": {"Sky": "https://x.org/?a=1&b=2"}},
            {"rank": 2, "object_id": "elsewhere", "score": 1.5},
        ],
        "anomaly_pictures": generator.integers(256, size=(2, 60, 60, 3)).astype(np.uint8),
        "training": [{"epoch": e, "phase": "both", "loss": 3.0 / e, "rankme": 20.0} for e in (1, 2, 3)],
        "quarantine": {"missing_band": 3, "truncated": 1},
        "provenance": {"seed": 0, "data": {"sha256": "abc", "nested": {"deep": [1, 2]}}},
    }  # fmt: skip
    return Page(**(parts | changes))


def written(tmp_path: Path, page: Page) -> tuple[str, Parsed, dict[str, Any]]:
    path = tmp_path / "report.html"
    write_page(path, page)
    text = path.read_bytes().decode("utf-8")
    parsed = Parsed(text)
    return text, parsed, json.loads(parsed.scripts[0])


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), kind)


@pytest.fixture(scope="module")
def plain_tags(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The elements of a page without any hostile text."""
    _, parsed, _ = written(tmp_path_factory.mktemp("plain"), full_page(4))
    return {tag for tag, _ in parsed.elements}


def test_sections_come_in_order_and_all_ids_are_unique(tmp_path: Path) -> None:
    _, parsed, _ = written(tmp_path, full_page())
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    sections = [attributes["id"] for tag, attributes in parsed.elements if tag == "section"]
    assert sections == ["findings", "map", "few-labels", "anomalies", "training", "left-out", "provenance"]
    inside = " ".join(parsed.texts)
    for text in ("These galaxies are simulated.", "One finding.", "missing_band", "nested.deep", "object-3", "2.5"):
        assert text in inside


def test_the_map_round_trips(tmp_path: Path) -> None:
    page = full_page(**NO_FIGURES)
    _, _, data = written(tmp_path, page)
    assert json.loads(gzip.decompress(base64.b64decode(data["ids"]))) == list(page.object_ids)
    np.testing.assert_array_equal(unpacked(data["x"], "<f4"), page.xy[:, 0])
    np.testing.assert_array_equal(unpacked(data["y"], "<f4"), page.xy[:, 1])
    classes, scores = data["columns"]
    assert classes["names"] == ["spiral", "elliptical"]
    assert classes["counts"] == [20, 10]
    assert classes["unknown"] == 10
    assert unpacked(classes["values"], "<i4")[:4].tolist() == [0, 1, -1, 0]
    np.testing.assert_array_equal(unpacked(scores["values"], "<f4"), page.columns["score"].astype(np.float32))
    assert data["anomalies"] == [[3, 1]]
    assert len(bytes.fromhex(data["viridis"])) == 768


def test_thumbnails_of_a_subset_are_found_on_their_sheet(tmp_path: Path) -> None:
    """600 flat grey pictures, whose level tells which object they show, on two sheets."""
    count, rows = 700, np.arange(650, 50, -1)
    levels = (np.arange(600) * 37 % 256).astype(np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], (600, 30, 30, 3)).copy()
    page = full_page(count, columns={}, thumbnails=pictures, thumbnail_rows=rows, **NO_FIGURES)
    _, _, data = written(tmp_path, page)
    tiles, sheets = unpacked(data["tile"], "<i4"), data["sheets"]
    assert (tiles >= 0).sum() == 600
    assert tiles[0] == tiles[699] == -1
    decoded = [np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB")) for image in sheets["images"]]
    assert len(decoded) == 2
    for position in (0, 23, 24, 575, 576, 599):
        sheet, within = divmod(int(tiles[rows[position]]), sheets["tiles"])
        top, left = (48 * part for part in divmod(within, sheets["columns"]))
        middle = decoded[sheet][top + 16 : top + 32, left + 16 : left + 32]
        assert abs(middle.mean() - levels[position]) < 6


def test_values_stand_in_the_table_with_their_intervals(tmp_path: Path) -> None:
    text, _, _ = written(tmp_path, full_page())
    assert '0.700 <span class="interval">[0.600, 0.800]</span>' in text
    assert '+0.200 <span class="interval">[−0.050, +0.450]</span>' in text
    assert "Continued pretraining: better than ImageNet with 10 labels per class; not told apart from" in text


def test_what_the_guard_chose_stands_above_the_curves(tmp_path: Path) -> None:
    candidates = [
        {"name": "start", "score": 0.7, "gain": 0.0, "low": 0.0, "high": 0.0},
        {"name": "epoch <6>", "score": None, "gain": None, "low": None, "high": None},
        {"name": "epoch 8", "score": 0.68, "gain": -0.02, "low": -0.05, "high": 0.01},
    ]
    guard = {"chosen": "start", "why": "No epoch was <better>.", "candidates": candidates, "measured_by": "a probe"}
    section = written(tmp_path, full_page(4, guard=guard, metrics=()))[0].split('<section id="training"')[1]
    assert '<p class="verdict worse"><strong>The start was kept.</strong> No epoch was &lt;better&gt;.</p>' in section
    assert '<th scope="row">start (chosen)</th><td class="number">0.700</td><td class="number">–</td>' in section
    assert '<td class="number">0.680</td><td class="number">−0.020 (−0.050 to +0.010)</td>' in section
    assert '<th scope="row">epoch &lt;6&gt;</th><td class="number">not estimable</td>' in section
    text, _, _ = written(tmp_path, full_page(4, guard=guard | {"chosen": "epoch 6"}, **NO_FIGURES))
    assert '<p class="verdict better"><strong>Chosen: epoch 6.</strong>' in text
    assert "Chosen:" not in written(tmp_path, full_page(4, **NO_FIGURES))[0]


def test_input_trouble_stands_apart_from_the_anomalies(tmp_path: Path) -> None:
    trouble = [
        {"rank": 2, "object_id": "object-7", "score": 0.99, "flags": ["inverted"]},
        {"rank": 5, "object_id": "object-9", "score": 0.98, "flags": ["empty", "inverted"]},
    ]
    pictures = np.full((2, 30, 30, 3), 200, np.uint8)
    text, parsed, data = written(tmp_path, full_page(trouble=trouble, trouble_pictures=pictures, **NO_FIGURES))
    assert [a["id"] for tag, a in parsed.elements if tag == "section"][3:5] == ["anomalies", "input-trouble"]
    assert '<a href="#input-trouble">' in text
    section = text[text.index('<section id="input-trouble"') : text.index('<section id="training"')]
    assert section.count("<img") == 2
    assert "look at the input before at the object" in section
    assert '<span class="flag">inverted</span> 2</li><li><span class="flag">empty</span> 1</li>' in section
    assert 'under <a href="#input-trouble">' in text
    assert "object-7" not in text[text.index('<section id="anomalies"') : text.index('<section id="input-trouble"')]
    assert data["anomalies"] == [[3, 1]]
    assert data["trouble"] == [[7, 2, "inverted"], [9, 5, "empty; inverted"]]


def test_no_trouble_is_said_only_where_it_was_looked_for(tmp_path: Path) -> None:
    looked, _, _ = written(tmp_path, full_page(trouble=[], **NO_FIGURES))
    assert 'Input trouble</h2>\n<p class="soft">None was found.</p>' in looked
    assert '<a href="#input-trouble">' not in looked
    assert "input-trouble" not in "".join(
        re.findall(r"<(?:section|a) [^>]*>", written(tmp_path, full_page(**NO_FIGURES))[0])
    )


def test_what_a_score_is_stands_above_the_anomalies(tmp_path: Path) -> None:
    text, _, _ = written(tmp_path, full_page(**NO_FIGURES))
    assert "the mean over detectors of the share of objects that are less odd" in text


@pytest.mark.parametrize(("count", "columns"), [(12, False), (13, True)])
def test_many_findings_are_set_in_columns_and_none_is_hidden(tmp_path: Path, count: int, columns: bool) -> None:
    said = [f"Finding number {i}." for i in range(count)]
    text, parsed, _ = written(tmp_path, full_page(findings=said, **NO_FIGURES))
    assert ('<ul class="findings many">' in text) == columns
    assert [t for t in parsed.texts if t.startswith("Finding number")] == said


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_text_stays_text_everywhere(tmp_path: Path, plain_tags: set[str], bad: str) -> None:
    row = full_page().metrics[0] | {"label": bad, "start": bad, "head": bad, "metric": bad}
    page = full_page(
        4,
        title=bad, subtitle=bad, notices=[bad], findings=[bad], object_ids=[bad, "b", "c", "d"],
        columns={bad: [bad, None, "x", "y"]}, metrics=[row, row | {"difference_to": bad}],
        anomalies=[{"rank": 1, "object_id": bad, "score": 1.0, "flags": [bad], "links": {bad: "https://x.org/" + bad}}],
        anomaly_pictures=np.zeros((1, 8, 8, 3), np.uint8), quarantine={bad: 1}, provenance={bad: {bad: bad}},
        training=[{"epoch": 1, "phase": bad, "loss": 1.0}, {"epoch": 2, "phase": "b", "loss": 1.0}],
        trouble=[{"rank": 2, "object_id": bad + bad, "score": 1.0, "flags": [bad], "links": {bad: "https://x.org/"}}],
    )  # fmt: skip
    _, parsed, data = written(tmp_path, page)
    assert [tag for tag, _ in parsed.elements].count("script") == 3
    assert {tag for tag, _ in parsed.elements} <= plain_tags
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert json.loads(gzip.decompress(base64.b64decode(data["ids"])))[0] == bad
    assert data["columns"][0]["name"] == bad
    seen = bad.replace("\ud800", "?")
    assert sum(seen in text for text in parsed.texts) >= 10


def test_only_web_addresses_become_links(tmp_path: Path) -> None:
    links = {
        "good": "https://x.org/a?b=1&c=2",
        "bad": "javascript:alert(1)",
        "worse": " data:text/html,x",
        "odd": "//x.org",
    }
    anomaly = {"rank": 1, "object_id": "object-1", "score": 1.0, "links": links}
    _, parsed, _ = written(tmp_path, full_page(anomalies=[anomaly], anomaly_pictures=None, **NO_FIGURES))
    addresses = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    assert [address for address in addresses if not address.startswith("#")] == ["https://x.org/a?b=1&c=2"]


def test_the_policy_allows_the_two_scripts_and_no_network(tmp_path: Path) -> None:
    text, parsed, _ = written(tmp_path, full_page(**NO_FIGURES))
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(digests) == 2
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests[0]}' 'sha256-{digests[1]}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "http" not in policy
    loaded = [
        a for tag, a in parsed.elements if tag in ("script", "link", "img", "iframe") and ("src" in a or "href" in a)
    ]
    assert all((a.get("src") or "").startswith("data:") for a in loaded)


def test_a_page_of_one_object_and_nothing_else(tmp_path: Path) -> None:
    page = Page(title="t", subtitle="", object_ids=["only"], xy=np.zeros((1, 2), np.float32))
    text, parsed, data = written(tmp_path, page)
    inside = " ".join(parsed.texts)
    assert "No labels were given" in inside
    assert "No record of pretraining" in inside
    assert "No anomalies were ranked" in inside
    assert "Nothing: every object" in inside
    assert "one of 1 object." in inside
    assert data["count"] == 1
    assert "<svg" not in text


def test_twenty_thousand_objects_stay_a_small_file(tmp_path: Path) -> None:
    count = 20_000
    page = full_page(count, thumbnails=None, **NO_FIGURES)
    text, _, _ = written(tmp_path, page)
    assert len(text) < 1_500_000


def test_equal_pages_give_equal_files(tmp_path: Path) -> None:
    assert written(tmp_path, full_page())[0] == written(tmp_path, full_page())[0]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"object_ids": ["a"] * 40}, "occurs more than once"),
        ({"object_ids": ["a", "b"]}, r"xy of shape \(40, 2\) must hold a finite point for each of 2"),
        ({"xy": np.full((40, 2), np.nan, np.float32)}, "finite point"),
        ({"columns": {"type": ["x"]}}, "column 'type' holds 1 values for 40"),
        ({"thumbnails": np.zeros((3, 8, 8, 3), np.uint8)}, "3 thumbnails for 40 rows"),
        ({"thumbnails": np.zeros((1, 8, 8, 3), np.uint8), "thumbnail_rows": np.array([40])}, "reach from 40 to 40"),
        ({"anomaly_pictures": np.zeros((3, 8, 8, 3), np.uint8)}, "3 pictures for 2 anomalies"),
        ({"trouble_pictures": np.zeros((1, 8, 8, 3), np.uint8)}, "1 pictures for 0 objects in trouble"),
        ({"trouble": [{"rank": 1, "object_id": "object-3", "score": 1.0}]}, "object-3 stands among the anomalies and"),
        (
            {"object_ids": [], "xy": np.zeros((0, 2), np.float32), "columns": {}, "thumbnails": None},
            "no objects to show",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        full_page(**changes)


@pytest.mark.parametrize(
    ("values", "kind", "unknown"),
    [
        ([1, 2.5, None, float("nan")], "continuous", 2),
        (np.array([1.0, np.nan, np.inf], np.float32), "continuous", 2),
        (pd.array([1, pd.NA], dtype="Int64"), "continuous", 1),
        (["a", "", None, "b"], "categorical", 2),
        ([True, False, None], "categorical", 1),
        (np.array([True, False]), "categorical", 0),
        ([None, None], "categorical", 2),
        ([1, "two"], "categorical", 0),
        (pd.Series(["x", None]).astype("category"), "categorical", 1),
    ],
)
def test_kinds_of_columns(values: Any, kind: str, unknown: int) -> None:
    column = payload.column("name", values)
    assert column["kind"] == kind
    assert column["unknown"] == unknown


def test_booleans_are_yes_and_no() -> None:
    column = payload.column("merger", [True, False, True, None])
    assert column["names"] == ["yes", "no"]
    assert unpacked(column["values"], "<i4").tolist() == [0, 1, 0, -1]


def test_one_outlier_does_not_flatten_the_scale() -> None:
    column = payload.column("score", [*np.linspace(0, 1, 200), 1e6])
    assert column["max"] == 1e6
    assert column["high"] < 1.01
    assert payload.column("flat", [0.0] * 200 + [5.0])["high"] == 5.0


@given(st.lists(st.one_of(st.none(), st.text(max_size=5), st.booleans(), st.floats(), st.integers(-9, 9)), max_size=30))
def test_any_column_keeps_its_length_and_counts(values: list[Any]) -> None:
    column = payload.column("any", values)
    assert len(unpacked(column["values"], "<i4")) == len(values)
    if column["kind"] == "categorical":
        assert sum(column["counts"]) + column["unknown"] == len(values)
    json.loads(payload.script_json(column))


@given(st.text(alphabet="</script>!- &x"))
def test_json_in_a_script_element_holds_no_markup(text: str) -> None:
    encoded = payload.script_json({text: text})
    assert not set("<>&") & set(encoded)
    assert json.loads(encoded) == {text: text}
