"""The report in a real browser, opened from disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.page import Page, write_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is absent; install the extra 'test'")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
HOSTILE = "<img src=https://evil.invalid/x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("no chromium; install it or set CHROMIUM to its path")
    with playwright.sync_playwright() as session:
        running = session.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield running
        running.close()


class Opened:
    """A page in a browser with everything it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": 900}, **context)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#frame[data-ready]")
        self.page.locator("#frame").scroll_into_view_if_needed()
        self.settle()

    def settle(self) -> None:
        """Two frames: one asked for by the last event, one in which it has been drawn."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until(self, condition: str, tries: int = 200) -> None:
        """Ask from outside until true: the page's policy forbids the evaluation that playwright's own waiting needs."""
        for _ in range(tries):
            if self.page.evaluate(condition):
                return
            self.settle()
        raise AssertionError(f"still not so: {condition}")

    def colours(self) -> int:
        return int(self.page.evaluate(f"new Set({PIXELS}).size"))

    def drawing(self) -> str:
        return str(self.page.evaluate("document.getElementById('scatter').toDataURL()"))

    def hover(self, right: float, up: float) -> None:
        """The pointer at a place in the four-corner map: the whole map is fitted to 90 % of the frame's height."""
        box = self.page.locator("#scatter").bounding_box()
        side = 0.9 * min(box["width"], box["height"])
        self.page.mouse.move(
            box["x"] + box["width"] / 2 + right * side / 2, box["y"] + box["height"] / 2 - up * side / 2
        )
        self.settle()


PIXELS = (
    "(() => { const c = document.getElementById('scatter');"
    " return new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); })()"
)


def corner_page(**changes: Any) -> Page:
    """Four objects in the corners of a square, each with a thumbnail of one colour but the last."""
    thumbnails = np.zeros((3, 48, 48, 3), np.uint8)
    thumbnails[0, ..., 0] = thumbnails[1, ..., 1] = thumbnails[2, ..., 2] = 255
    parts: dict[str, Any] = {
        "title": HOSTILE,
        "subtitle": HOSTILE,
        "object_ids": [HOSTILE, "top right", "bottom left", "bottom right"],
        "xy": np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]], np.float32),
        "columns": {"type": ["spiral", "elliptical", "spiral", None], "score": [0.25, 1.5, 3.0, float("nan")]},
        "thumbnails": thumbnails,
        "thumbnail_rows": np.array([0, 1, 2]),
        "anomalies": [{"rank": 1, "object_id": "bottom left", "score": 3.0, "flags": [HOSTILE]}],
        "anomaly_pictures": thumbnails[2:],
        "training": [{"epoch": 1, "phase": HOSTILE, "loss": 2.0}, {"epoch": 2, "phase": "both", "loss": 1.0}],
        "metrics": [
            {"label": HOSTILE, "start": "imagenet", "head": "linear", "labels_per_class": 5, "metric": "AUROC",
             "value": 0.7, "low": 0.6, "high": 0.8, "n_groups": 9}
        ],
        "provenance": {HOSTILE: {"seed": 0}},
    }  # fmt: skip
    return Page(**(parts | changes))


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    write_page(tmp_path / "report.html", corner_page())
    page = Opened(browser, tmp_path / "report.html")
    yield page
    page.page.close()


def test_it_opens_from_disk_without_complaint_and_asks_for_nothing(opened: Opened) -> None:
    for corner in ((-1, 1), (1, 1), (-1, -1)):
        opened.hover(*corner)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [opened.page.url]
    assert opened.page.title() == HOSTILE
    assert opened.page.locator("h1").inner_text() == HOSTILE
    assert opened.page.locator("img[onerror]").count() == 0


def test_the_map_is_drawn(opened: Opened) -> None:
    assert opened.colours() > 4


@pytest.mark.parametrize(
    ("corner", "name", "value", "channel"),
    [((-1, 1), HOSTILE, "spiral", 0), ((1, 1), "top right", "elliptical", 1), ((-1, -1), "bottom left", "spiral", 2)],
)
def test_pointing_at_a_dot_shows_its_id_value_and_picture(
    opened: Opened, corner: tuple[int, int], name: str, value: str, channel: int
) -> None:
    opened.hover(*corner)
    assert opened.page.locator("#tooltip").is_visible()
    assert opened.page.locator("#tooltip-id").inner_text() == name
    assert opened.page.locator("#tooltip-value").inner_text() == value
    assert opened.page.locator("#tooltip-rank").is_visible() == (name == "bottom left")
    middle = "[...document.getElementById('tooltip-picture').getContext('2d').getImageData(24, 24, 1, 1).data]"
    opened.until(f"{middle}[3] === 255")
    colour = opened.page.evaluate(middle)[:3]
    assert int(np.argmax(colour)) == channel
    assert max(colour) > 200


def test_a_dot_without_a_picture_or_a_value_says_so(opened: Opened) -> None:
    opened.hover(1, -1)
    assert opened.page.locator("#tooltip-id").inner_text() == "bottom right"
    assert opened.page.locator("#tooltip-value").inner_text() == "unknown"
    assert opened.page.locator("#tooltip-picture").is_hidden()
    opened.hover(0, 0)
    assert opened.page.locator("#tooltip").is_hidden()


def test_another_column_changes_the_colours_and_the_legend(opened: Opened) -> None:
    before = opened.drawing()
    assert opened.page.locator("#legend").inner_text().split() == [
        "type",
        "spiral",
        "2",
        "elliptical",
        "1",
        "unknown",
        "1",
    ]
    opened.page.select_option("#colour", label="score")
    opened.settle()
    assert opened.drawing() != before
    assert opened.page.locator("#legend").inner_text().split() == ["score", "0.25", "3", "unknown", "1"]
    opened.hover(1, 1)
    assert opened.page.locator("#tooltip-value").inner_text() == "1.5"
    opened.page.select_option("#colour", label="nothing")
    opened.settle()
    assert opened.page.locator("#legend").inner_text() == ""


def test_a_class_can_be_hidden_and_then_is_not_picked(opened: Opened) -> None:
    before = opened.drawing()
    opened.page.get_by_role("button", name="elliptical").click()
    assert opened.page.get_by_role("button", name="elliptical").get_attribute("aria-pressed") == "false"
    opened.settle()
    assert opened.drawing() != before
    opened.hover(1, 1)
    assert opened.page.locator("#tooltip").is_hidden()


def test_the_select_works_from_the_keyboard(opened: Opened) -> None:
    opened.page.locator("#colour").focus()
    opened.page.keyboard.press("ArrowDown")
    playwright.expect(opened.page.locator("#legend h3")).to_have_text("score")


def test_zoom_pan_and_back(opened: Opened) -> None:
    before = opened.drawing()
    opened.page.locator("#scatter").focus()
    opened.page.keyboard.press("+")
    opened.page.keyboard.press("ArrowLeft")
    opened.settle()
    assert opened.drawing() != before
    opened.page.locator("#zoom-reset").click()
    opened.settle()
    assert opened.drawing() == before


def test_an_id_is_found_and_an_anomaly_leads_to_the_map(opened: Opened) -> None:
    opened.page.fill("#find", "top r")
    opened.settle()
    assert opened.page.locator("#tooltip-id").inner_text() == "top right"
    opened.page.fill("#find", "nobody")
    assert "No object" in opened.page.locator("#map-message").inner_text()
    opened.page.get_by_role("button", name="on the map").click()
    opened.settle()
    assert opened.page.locator("#tooltip-id").inner_text() == "bottom left"
    assert opened.page.locator("#tooltip-rank").inner_text() == "rank 1"


def test_dark_and_light_differ_and_neither_overflows(browser: Any, tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", corner_page())
    papers = []
    for scheme in ("light", "dark"):
        page = Opened(browser, tmp_path / "report.html", color_scheme=scheme)
        papers.append(page.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.page.set_viewport_size({"width": 360, "height": 700})
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
        page.page.close()
    assert papers[0] != papers[1]


def test_one_object_without_anything_else(browser: Any, tmp_path: Path) -> None:
    write_page(
        tmp_path / "one.html", Page(title="t", subtitle="", object_ids=["only"], xy=np.zeros((1, 2), np.float32))
    )
    page = Opened(browser, tmp_path / "one.html")
    page.hover(0, 0)
    assert page.page.locator("#tooltip-id").inner_text() == "only"
    assert page.complaints == []
    page.page.close()


def test_twenty_thousand_objects_are_drawn_quickly(browser: Any, tmp_path: Path) -> None:
    count = 20_000
    generator = np.random.default_rng(0)
    write_page(
        tmp_path / "many.html",
        Page(
            title="many", subtitle="", object_ids=[f"{i:05d}" for i in range(count)],
            xy=generator.normal(size=(count, 2)).astype(np.float32),
            columns={"class": [str(i) for i in generator.integers(30, size=count)], "value": generator.random(count)},
        ),
    )  # fmt: skip
    page = Opened(browser, tmp_path / "many.html")
    assert page.colours() > 20
    assert "22 other classes" in page.page.locator("#legend").inner_text()
    # A frame on a shared machine without a GPU; far from what would be felt as stuck.
    elapsed = page.page.evaluate(
        "new Promise(done => { const from = performance.now();"
        " document.getElementById('zoom-in').click();"
        " requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from))); })"
    )
    assert elapsed < 1500
    assert page.complaints == []
    page.page.close()
