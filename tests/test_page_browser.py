"""The report in a real browser, opened from disk."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.path
import numpy as np
import pandas as pd
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

    def at(self, right: float, up: float) -> tuple[float, float]:
        """A place in the four-corner map on the screen: the whole map is fitted to 90 % of the frame's height."""
        box = self.page.locator("#scatter").bounding_box()
        side = 0.9 * min(box["width"], box["height"])
        return box["x"] + box["width"] / 2 + right * side / 2, box["y"] + box["height"] / 2 - up * side / 2

    def drag(self, *places: tuple[float, float], release: bool = True) -> None:
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=3)
        if release:
            self.page.mouse.up()
        self.settle()

    def selected(self) -> str:
        return str(self.page.locator("#selected").inner_text())

    def saved(self, path: Path) -> tuple[str, pd.DataFrame]:
        """The name and the table of the selection saved as CSV to `path`; texts as they stand, empty where unknown."""
        with self.page.expect_download() as download:
            self.page.locator("#save").click()
        download.value.save_as(path)
        return download.value.suggested_filename, pd.read_csv(path, dtype=str, keep_default_na=False)

    def hover(self, right: float, up: float) -> None:
        """The pointer at a place in the four-corner map."""
        self.page.mouse.move(*self.at(right, up))
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


@pytest.fixture(scope="module")
def corner_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("corners") / "report.html"
    write_page(path, corner_page())
    return path


@pytest.fixture
def opened(browser: Any, corner_file: Path) -> Iterator[Opened]:
    page = Opened(browser, corner_file)
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


def test_pointing_at_a_dot_shows_its_id_value_and_picture(opened: Opened) -> None:
    middle = "[...document.getElementById('tooltip-picture').getContext('2d').getImageData(24, 24, 1, 1).data]"
    corners = ((-1, 1, HOSTILE, "spiral"), (1, 1, "top right", "elliptical"), (-1, -1, "bottom left", "spiral"))
    for channel, (right, up, name, value) in enumerate(corners):
        opened.hover(right, up)
        assert opened.page.locator("#tooltip").is_visible()
        assert opened.page.locator("#tooltip-id").inner_text() == name
        assert opened.page.locator("#tooltip-value").inner_text() == value
        assert opened.page.locator("#tooltip-rank").is_visible() == (name == "bottom left")
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


@pytest.fixture(scope="module")
def functions(browser: Any, corner_file: Path) -> Iterator[Opened]:
    """A page whose functions are called and which nobody touches."""
    page = Opened(browser, corner_file)
    yield page
    page.page.close()


LEFT = ((-1.1, 1.05), (-0.6, 1.05), (-0.6, -1.05), (-1.1, -1.05))
RIGHT = tuple((-right, up) for right, up in LEFT)
TOP = ((-1.1, 0.5), (1.1, 0.5), (1.1, 1.09), (-1.1, 1.09))


def test_the_lasso_selects_what_is_seen_and_shift_adds(opened: Opened) -> None:
    assert opened.selected() == "None of 4 objects selected"
    assert opened.page.locator("#save").is_disabled()
    before = opened.drawing()
    opened.page.get_by_role("button", name="Lasso").click()
    assert opened.page.locator("#lasso").get_attribute("aria-pressed") == "true"
    opened.drag(*LEFT)
    assert opened.selected() == "2 of 4 objects selected"
    assert opened.drawing() != before
    opened.drag(*TOP)  # without shift a new loop replaces the selection
    assert opened.selected() == "2 of 4 objects selected"
    opened.page.keyboard.down("Shift")
    opened.drag(*LEFT)
    opened.page.keyboard.up("Shift")
    assert opened.selected() == "3 of 4 objects selected"
    opened.page.get_by_role("button", name="elliptical").click()
    assert opened.selected() == "3 of 4 objects selected (1 hidden by the legend)"
    opened.drag(*TOP)
    assert opened.selected() == "1 of 4 objects selected"
    opened.drag((-0.2, 0.2), (0.2, 0.2), (0.2, -0.2))
    assert opened.selected() == "None of 4 objects selected"
    assert opened.complaints == []


def test_after_clear_and_escape_the_map_is_as_it_was(opened: Opened) -> None:
    opened.page.locator("#scatter").focus()
    opened.settle()
    before = opened.drawing()
    opened.page.keyboard.press("l")
    assert opened.page.locator("#lasso").get_attribute("aria-pressed") == "true"
    opened.drag(*LEFT, release=False)
    opened.page.keyboard.press("Escape")  # drops the loop and leaves; the rest of the drag neither pans nor selects
    opened.page.mouse.move(*opened.at(0.3, 0.3))
    opened.page.mouse.up()
    opened.settle()
    assert opened.page.locator("#lasso").get_attribute("aria-pressed") == "false"
    assert opened.selected() == "None of 4 objects selected"
    assert opened.drawing() == before
    opened.page.locator("#lasso").click()
    opened.drag(*LEFT)
    opened.page.keyboard.press("Escape")
    assert opened.selected() == "2 of 4 objects selected"  # leaving keeps the selection
    opened.page.get_by_role("button", name="Clear").click()
    opened.page.mouse.move(0, 0)
    opened.settle()
    assert opened.selected() == "None of 4 objects selected"
    assert opened.page.locator("#save").is_disabled()
    assert opened.drawing() == before
    opened.drag((0, 0), (0.5, 0))
    assert opened.drawing() != before
    opened.hover(-0.5, 1)  # the top left object, moved
    assert opened.page.locator("#tooltip-id").inner_text() == HOSTILE
    opened.page.fill("#find", "top r")
    opened.settle()
    assert opened.page.locator("#tooltip-id").inner_text() == "top right"
    assert opened.complaints == []


def test_a_finger_draws_too(browser: Any, corner_file: Path) -> None:
    page = Opened(browser, corner_file, has_touch=True)
    page.page.locator("#lasso").tap()
    devtools = page.page.context.new_cdp_session(page.page)

    def touch(kind: str, *place: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in (page.at(*corner) for corner in place)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", LEFT[0])
    for share in np.linspace(0, 3, 16)[1:]:
        corner = min(int(share), 2)
        start, end = np.array(LEFT[corner]), np.array(LEFT[corner + 1])
        right, up = start + (share - corner) * (end - start)
        touch("touchMove", (float(right), float(up)))
    touch("touchEnd")
    page.settle()
    assert page.selected() == "2 of 4 objects selected"
    assert page.complaints == []
    page.page.close()


def test_a_selection_is_saved_with_every_column(browser: Any, tmp_path: Path) -> None:
    ids = ["=1+1", 'a, "quoted" id', "two\nlines", "Ünïcødé 星", "-5", "@x", "left out"]
    xy = np.array([[-1, 1], [-1, 0.6], [-1, 0.2], [-1, -0.2], [-1, -0.6], [-1, -1], [1, 0]], np.float32)
    xy[0, 0] = np.float32(-1.0000001)
    number = np.array([0.1, 1 / 3, np.nan, -1.5e-30, 16777216, 7, 8], np.float32)
    page = corner_page(
        title="Chest radiographs: Übersicht/2",
        object_ids=ids, xy=xy, thumbnails=None, thumbnail_rows=None, anomaly_pictures=None,
        columns={
            "type": ["-spiral, barred", None, "+1", "\tx", "'quoted", "ok", "z"],
            "number": number, "x": [True, False, None, True, True, True, False],
        },
        anomalies=[{"rank": 1, "object_id": "two\nlines", "score": 1.0}],
        trouble=[{"rank": 2, "object_id": "@x", "score": 0.9, "flags": ["empty", "cut"]}],
    )  # fmt: skip
    write_page(tmp_path / "report.html", page)
    opened = Opened(browser, tmp_path / "report.html")
    opened.page.locator("#lasso").click()
    opened.drag(*LEFT)
    assert opened.selected() == "6 of 7 objects selected"
    name, table = opened.saved(tmp_path / "saved.csv")
    assert name == "chest-radiographs-übersicht-2-selection.csv"
    assert list(table.columns) == ["object_id", "x", "y", "anomaly rank", "input trouble", "type", "number", "x_1"]
    assert table["object_id"].tolist() == ["'=1+1", *ids[1:5], "'@x"]
    assert table["type"].tolist() == ["'-spiral, barred", "", "+1", "'\tx", "'quoted", "ok"]
    assert table["x_1"].tolist() == ["yes", "no", "", "yes", "yes", "yes"]
    assert table["anomaly rank"].tolist() == ["", "", "1", "", "", "2"]
    assert table["input trouble"].tolist() == ["", "", "", "", "", "empty; cut"]
    for column, expected in (("x", xy[:6, 0]), ("y", xy[:6, 1]), ("number", number[:6])):
        np.testing.assert_array_equal(pd.to_numeric(table[column]).to_numpy(np.float32), expected)
    assert table["number"].tolist()[:2] == ["0.1", "0.33333334"]
    content = (tmp_path / "saved.csv").read_bytes()
    assert content.startswith(b"object_id,x,y,")
    assert content.count(b"\r\n") == 7
    opened.page.locator("#clear").click()
    opened.page.locator("#lasso").click()
    opened.hover(-1, -1)
    assert opened.page.locator("#tooltip-trouble").inner_text() == "empty; cut"
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [opened.page.url]
    opened.page.close()


def test_points_in_a_loop_agree_with_matplotlib(functions: Opened) -> None:
    """Star-shaped loops, which do not cross themselves, so that every rule of inside agrees."""
    generator = np.random.default_rng(0)
    points = generator.uniform(-1, 1, (500, 2))
    for corners in (3, 4, 30, 400):
        angles = np.sort(generator.uniform(0, 2 * math.pi, corners))
        radius = generator.uniform(0.2, 1, corners)
        loop = np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)
        for ordered in (loop, loop[::-1]):
            found = functions.page.evaluate(
                "([loop, x, y]) => [...selection.inside(loop, x, y)]",
                [ordered.ravel().tolist(), points[:, 0].tolist(), points[:, 1].tolist()],
            )
            expected = matplotlib.path.Path(loop).contains_points(points)
            np.testing.assert_array_equal(np.array(found, bool), expected)


def test_a_loop_drawn_twice_round_has_no_hole_and_a_line_holds_nothing(functions: Opened) -> None:
    square = [0, 0, 1, 0, 1, 1, 0, 1]
    inside = "loop => [...selection.inside(loop, [0.5, 2], [0.5, 0.5])]"
    assert functions.page.evaluate(inside, square * 2) == [1, 0]
    assert functions.page.evaluate(inside, [0, 0, 1, 1]) == [0, 0]
    assert functions.page.evaluate(inside, [0.5, 0.5]) == [0, 0]
    assert functions.page.evaluate(inside, [0, 0.5, 1, 0.5, 2, 0.5]) == [0, 0]


def test_numbers_are_written_so_that_float32_returns(functions: Opened) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32)
    edges = np.array([0, 1, 0x7F7FFFFF, 0x00800000, 0x007FFFFF, 0x4B800000], np.uint32)
    numbers = np.concatenate([bits, edges]).view(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    texts = functions.page.evaluate("numbers => numbers.map(selection.numberCell)", numbers.astype(float).tolist())
    np.testing.assert_array_equal(np.array([float(text) for text in texts]).astype(np.float32), numbers)
    assert functions.page.evaluate("selection.numberCell(NaN)") == ""


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Galaxies", "galaxies"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "objects"),
        ("星系", "星系"),
        ("a" * 99, "a" * 60),
    ],
)
def test_the_file_is_named_after_the_page(functions: Opened, title: str, name: str) -> None:
    assert functions.page.evaluate("title => selection.fileName(title)", title) == f"{name}-selection.csv"


def test_dark_and_light_differ_and_neither_overflows(browser: Any, corner_file: Path) -> None:
    papers = []
    for scheme in ("light", "dark"):
        page = Opened(browser, corner_file, color_scheme=scheme)
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


def test_a_dark_page_is_printed_light(browser: Any, corner_file: Path) -> None:
    page = Opened(browser, corner_file, color_scheme="dark")
    corner = f"{PIXELS}[0] & 255"
    assert page.page.evaluate(corner) < 60
    page.page.emulate_media(media="print", color_scheme="dark")
    page.until(f"({corner}) > 200")
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.page.locator("#lasso").is_hidden()
    page.page.close()


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_objects_are_drawn_and_selected_quickly(browser: Any, tmp_path: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    xy = generator.uniform(-1, 1, size=(count, 2)).astype(np.float32)
    write_page(
        tmp_path / "many.html",
        Page(
            title="many", subtitle="", object_ids=[f"{i:06d}" for i in range(count)],
            xy=xy,
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
    page.page.locator("#zoom-reset").click()
    page.page.locator("#lasso").click()
    page.drag((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), release=False)
    page.page.evaluate(
        "window.released = new Promise(done => document.getElementById('scatter').addEventListener('pointerup', () => {"
        " const from = performance.now();"
        " requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from))); }, true)); 0"
    )
    page.page.mouse.up()
    assert page.page.evaluate("window.released") < 1500
    selected = int(page.selected().split()[0].replace(",", ""))
    assert selected == pytest.approx(int((np.abs(xy) < 0.5).all(1).sum()), rel=0.02)  # the pointer moves in pixels
    assert page.complaints == []
    page.page.close()
