"""The page in a real browser: nothing is fetched, filters work, it fits a phone and turns dark."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from genesis_etl.dashboard import charts
from genesis_etl.dashboard.page import make_page
from genesis_etl.dashboard.words import number
from genesis_etl.lake.lake import Lake
from genesis_etl.opened import open_lake
from tests.histories import at, land, row
from tests.pages import NAMES, grown

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, see requirements-all.txt")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH"),
    pytest.mark.xdist_group("browser"),
]
FLAGS = [
    "--no-sandbox",  # tests may run as root, on pages of their own making
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# The place of each account on the page: all of them together come first, then that with the most GiB.
ACCOUNTS = {1: "prod", 2: "lab"}


class Visit:
    """A page opened in a browser, with everything it asked for and complained of."""

    def __init__(self, tab: Any, path: Path) -> None:
        self.tab = tab
        self.requests: list[str] = []
        self.complaints: list[str] = []
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.address = path.as_uri()
        tab.goto(self.address)

    def visible(self, selector: str) -> list[str]:
        """Return the texts of the elements that can be seen."""
        return [each.inner_text() for each in self.tab.query_selector_all(selector) if each.is_visible()]

    def value(self, script: str) -> Any:
        """Return what a script says of the page."""
        return self.tab.evaluate(script)

    def check_calm(self) -> None:
        """Nothing was requested but the page itself, and nothing complained of."""
        assert self.requests == [self.address]
        assert self.complaints == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start one browser for all tests here."""
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake of two accounts, with gaps, whose images have hostile names."""
    url = tmp_path_factory.mktemp("browser") / "lake"
    for day in range(12):
        if day in (4, 5):
            continue
        state = [
            row(
                f"i{n}",
                ["R1", NAMES[0]][n % 2],
                ["snapshot", "base-os"][n % 3 == 0],
                name=NAMES[n % 5],
                family=NAMES[n % 4],
            )
            | {"size_gib": None if n % 3 == 0 else 2.5, "created_at": at("2026-06-01")}
            for n in range(10 + day)
        ]
        land(Lake(str(url)), at(f"2026-11-{day + 1:02} 12:00"), state, "lab")
    grown(url, account="prod")
    return url


@pytest.fixture(scope="module")
def file(lake: Path) -> Path:
    """Write the lake's page once."""
    path = lake.parent / "page.html"
    path.write_text(make_page(open_lake(str(lake))), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Any, file: Path) -> Iterator[Any]:
    """Open the page, as wide and in the scheme that a test asks for."""
    contexts = []

    def open_page(width: int = 1280, path: Path = file, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        return Visit(context.new_page(), path)

    yield open_page
    for context in contexts:
        context.close()


def test_nothing_leaves_the_page_and_nothing_complains(visit: Any) -> None:
    """Opened, opened out and narrowed, the page asks for nothing, and its policy has nothing to refuse."""
    page = visit()
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.tab.select_option("[name=account]", "1")
    page.tab.select_option("[name=by]", "month")
    page.tab.wait_for_timeout(200)
    page.check_calm()


def test_the_filters_show_an_account_and_a_region(visit: Any, lake: Path) -> None:
    """What is seen after choosing are the figures of that account's and region's reports."""
    page = visit()
    opened = open_lake(str(lake))
    for index, account in ACCOUNTS.items():
        page.tab.select_option("[name=account]", str(index))
        (row,) = opened.report_rows("snapshot-growth", account=account).to_pylist()[-1:]
        assert page.visible("[data-figure=snapshots]") == [number(row["closing"])]
        regions = page.visible(f"[data-picks='{index}'] option") or page.tab.eval_on_selector_all(
            f"[data-picks='{index}'] option", "all => all.map(each => each.textContent)"
        )
        for place, region in enumerate(regions[1:]):
            page.tab.select_option(f"[name=region{index}]", str(place))
            (row,) = opened.report_rows("snapshot-growth", account=account, region=region).to_pylist()[-1:]
            assert page.visible("[data-figure=snapshots]") == [number(row["closing"])]
            assert page.visible("[data-figure=gib]") == [number(row["gib_closing"])]
            assert len(page.visible(".matrix thead th")) == 2
            assert f"{account}, {region}, by day shown" in page.visible("[role=status]")
        page.tab.select_option(f"[name=region{index}]", "all")
    page.check_calm()


def test_names_make_no_element_in_a_browser(visit: Any) -> None:
    """A real parser finds one script and no picture, and nothing ran."""
    page = visit()
    assert page.value("document.querySelectorAll('script').length") == 1
    assert page.value("document.querySelectorAll('img, iframe, object, embed, a[href^=javascript]').length") == 0
    page.check_calm()


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2000])
def test_the_page_fits_its_window(visit: Any, width: int) -> None:
    """Wide tables scroll in a box of their own, so the page never does."""
    page = visit(width)
    assert page.value("document.documentElement.scrollWidth") <= width


def test_the_page_is_dark_where_that_is_asked_for(visit: Any) -> None:
    """Ground and drawings take other colours."""
    colours = [
        visit(color_scheme=scheme).value(
            "[getComputedStyle(document.documentElement).backgroundColor,"
            " getComputedStyle(document.querySelector('svg .seen')).stroke]"
        )
        for scheme in ("light", "dark")
    ]
    assert colours[0][0] == "rgb(246, 247, 249)"
    assert colours[1][0] == "rgb(15, 19, 24)"
    assert colours[0][1] != colours[1][1]


def test_text_has_enough_contrast_in_both_schemes(visit: Any) -> None:
    """Every colour that text has on its ground keeps the ratio of 4.5 that WCAG AA asks for."""
    script = """() => {
      const light = c => {
        const v = c.map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
      const read = text => text.match(/[\\d.]+/g).map(Number);
      const ground = e => { for (; e; e = e.parentElement) { const c = read(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
      let worst = [99, ''];
      for (const e of document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, small, label, li, summary, pre')) {
        if (!e.checkVisibility()) continue;
        const [a, b] = [light(read(getComputedStyle(e).color)), light(ground(e))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 80)];
      }
      return worst; }"""
    for scheme in ("light", "dark"):
        ratio, element = visit(color_scheme=scheme).value(script)
        assert ratio >= 4.5, (scheme, element)


def test_a_keyboard_is_enough(visit: Any) -> None:
    """Tab leads to the skip link, then to the filters, whose arrow keys narrow the page."""
    page = visit()
    page.tab.keyboard.press("Tab")
    assert page.value("document.activeElement.className") == "skip"
    page.tab.keyboard.press("Tab")
    assert page.value("document.activeElement.name") == "account"
    assert page.visible("[data-account] > h2") == ["All 2 accounts together"]
    page.tab.keyboard.press("ArrowDown")
    assert page.visible("[data-account] > h2") == ["Account prod"]


def test_everything_has_a_name_for_a_screen_reader(visit: Any) -> None:
    """Sections, tables' boxes and filters are named, drawings are skipped, headings do not jump a level."""
    page = visit()
    assert page.value("[...document.querySelectorAll('svg')].every(each => each.ariaHidden === 'true')")
    named = "[...document.querySelectorAll('%s')].every(each => %s)"
    assert page.value(named % ("[role=region]", "each.ariaLabel && each.tabIndex === 0"))
    assert page.value(
        named % ("section", "each.ariaLabel || document.getElementById(each.getAttribute('aria-labelledby'))")
    )
    assert page.value(named % ("select", "each.labels.length === 1"))
    levels = page.value("[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = page.value("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_without_script_everything_is_there(visit: Any) -> None:
    """Every account is shown, of all regions, and no filter that would do nothing."""
    page = visit(java_script_enabled=False)
    assert page.visible("[data-account] > h2") == ["All 2 accounts together", "Account prod", "Account lab"]
    assert page.visible("select, .save, [role=slider]") == []


def test_print_leaves_the_filters_away(visit: Any) -> None:
    """On paper there is nothing to click, the ground is white, in dark mode too, and no table is wider than A4."""
    page = visit(color_scheme="dark")
    page.tab.emulate_media(media="print")
    assert page.visible("select, .save") == []
    assert page.value("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.tab.pdf()) > 10_000
    page.tab.set_viewport_size({"width": 720, "height": 1000})
    assert page.value("document.documentElement.scrollWidth") <= 720


@pytest.mark.parametrize("by", ["day", "week", "month"])
def test_growth_switches_between_days_weeks_and_months(visit: Any, lake: Path, by: str) -> None:
    """The pictures and the numbers of one kind of period are seen at a time, with its command."""
    page = visit()
    page.tab.select_option("[name=account]", "1")
    page.tab.select_option("[name=by]", by)
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    (first, *others) = page.visible("[data-by] figure h3")
    assert first == f"Snapshots at the end of each {by}"
    assert all(text.endswith(f"each {by}") for text in others)
    rows = open_lake(str(lake)).report_rows("snapshot-growth", account="prod", by=by)
    numbers = [text for text in page.visible("[data-by] table tbody tr") if "forecast" not in text]
    assert len(numbers) == len(rows)


def test_a_picture_tells_its_values_to_the_pointer_and_to_the_keyboard(visit: Any, lake: Path) -> None:
    """The pointer, and the arrow keys on a focused picture, read the row of its table."""
    page = visit()
    page.tab.select_option("[name=account]", "1")
    growth = open_lake(str(lake)).report_rows("snapshot-growth", account="prod", forecast=30).to_pylist()
    seen = [row for row in growth if row["basis"] != "created_at"]
    plot = page.tab.locator("[data-account='1'] [data-scope=all] [data-by=day] .plot").first
    assert plot.get_attribute("role") == "slider"
    plot.focus()
    page.tab.keyboard.press("Home")
    assert plot.get_attribute("aria-valuetext").startswith(f"{seen[0]['period']}: {seen[0]['closing']} closing")
    page.tab.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext").startswith(f"{seen[1]['period']}: {seen[1]['closing']} closing")
    page.tab.keyboard.press("End")
    told = (
        f"{seen[-1]['period']}: {seen[-1]['closing']} closing, {seen[-1]['low']} low, {seen[-1]['high']} high, forecast"
    )
    assert plot.get_attribute("aria-valuetext") == told
    box = plot.locator("svg").bounding_box()
    page.tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    assert plot.get_attribute("aria-valuetext") == page.visible(".reading")[0]
    under = seen[int((charts.WIDTH / 2 - charts.LEFT) / (charts.INNER / len(seen)))]
    assert plot.get_attribute("aria-valuetext").startswith(f"{under['period']}: {under['closing']} closing")
    page.check_calm()


def test_a_picture_of_money_tells_it_with_its_currency(visit: Any, lake: Path, tmp_path: Path) -> None:
    """The cost of a month is read as the table has it, whatever its currency is called."""
    path = tmp_path / "page.html"
    opened = open_lake(str(lake), price=0.5)
    path.write_text(make_page(opened, currency="EUR, <b>net"), encoding="utf-8")
    page = visit(path=path)
    page.tab.select_option("[name=account]", "1")
    plot = page.tab.locator("[data-account='1'] figure[data-file=usage-prod] .plot")
    plot.focus()
    page.tab.keyboard.press("Home")
    first = opened.report_rows("usage", account="prod").to_pylist()[0]
    cost = f"{number(first['gib_months'])} GiB-months, {number(first['cost'])} cost, EUR, <b>net, partial"
    assert plot.get_attribute("aria-valuetext") == f"{first['period']:%B %Y}: {cost}"
    page.check_calm()


def test_tables_and_pictures_are_saved_from_the_page_itself(visit: Any, lake: Path, tmp_path: Path) -> None:
    """CSV holds the numbers of the report and no formula; SVG stands for itself; neither takes a request."""
    page = visit(accept_downloads=True)
    page.tab.select_option("[name=account]", "1")
    with page.tab.expect_download() as download:
        page.tab.click("table[data-file=retention-prod] >> xpath=../../button")
    assert download.value.suggested_filename == "retention-prod.csv"
    download.value.save_as(tmp_path / "retention.csv")
    rows = list(csv.reader((tmp_path / "retention.csv").open(encoding="utf-8", newline="")))
    told = open_lake(str(lake)).report_rows("retention", account="prod").to_pylist()
    assert [[row[0], row[1], float(row[2])] for row in rows[1:]] == [
        [f"{each['keep']} days", str(each["snapshots"]), each["size_gib"]] for each in told
    ]
    with page.tab.expect_download() as download:
        page.tab.click("[data-account='1'] [data-scope=all] [data-by=day] [data-save=svg] >> nth=0")
    assert download.value.suggested_filename == "snapshot-growth-prod-by-day-snapshots.svg"
    download.value.save_as(tmp_path / "growth.svg")
    text = (tmp_path / "growth.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text
    assert "stroke: rgb(" in text or "stroke: #" in text
    assert all(request.startswith(("file:", "blob:")) for request in page.requests)
    assert page.complaints == []


def test_a_saved_table_runs_nothing_in_a_spreadsheet(visit: Any, tmp_path: Path) -> None:
    """Text that a spreadsheet would take for a formula gets an apostrophe, a number never; ids go with the rows."""
    url = tmp_path / "lake"
    state = [row(f"i{n}", "R1", "1,007", name=name) for n, name in enumerate(["=1+1", "@x", '-2"3', "\t+4"])]
    land(Lake(str(url)), at("2026-11-19 12:00"), [row("z", "R2", "1,007")])
    land(Lake(str(url)), at("2026-11-20 12:00"), state)
    path = tmp_path / "page.html"
    path.write_text(make_page(open_lake(str(url))), encoding="utf-8")
    page = visit(path=path, accept_downloads=True)
    with page.tab.expect_download() as download:
        page.tab.click("table[data-file=changes-default] >> xpath=../../button")
    download.value.save_as(tmp_path / "changes.csv")
    rows = list(csv.DictReader((tmp_path / "changes.csv").open(encoding="utf-8", newline="")))
    names = {each["image_id"]: each["name"] for each in rows}
    assert {each["type"] for each in rows} == {"1,007"}
    assert names == {"i0": "'=1+1", "i1": "'@x", "i2": "'-2\"3", "i3": "\\t+4", "z": "z"}


def test_a_row_leads_to_the_history_of_its_image(visit: Any, lake: Path) -> None:
    """The link of a name opens what the image was, and the keyboard goes on there."""
    page = visit()
    page.tab.select_option("[name=account]", "1")
    link = page.tab.locator("[data-account='1'] tr[data-id] a:visible").first
    image_id = link.locator("xpath=ancestor::tr").get_attribute("data-id")
    assert page.visible(".histories details") == []
    link.click()
    page.tab.wait_for_timeout(200)
    (history,) = page.visible(".histories details[open]")
    assert f"id {image_id}." in history
    assert page.value("document.activeElement.tagName") == "SUMMARY"
    runs = open_lake(str(lake)).sql_rows(f"select * from image_history where image_id = '{image_id}'")
    assert f"{len(runs)} run" in history
    page.check_calm()


def test_what_scrolls_sideways_says_so(visit: Any) -> None:
    """On a phone a wide table says that it goes on, until its end is seen; on a wide window nothing does."""
    page = visit(390)
    page.tab.select_option("[name=account]", "1")
    page.tab.wait_for_timeout(200)
    wide = page.value("[...document.querySelectorAll('.wide > .scroll')].filter(each => each.checkVisibility()).length")
    assert wide == len(page.visible(".sideways")) > 2
    page.value("document.querySelectorAll('.wide > .scroll').forEach(each => { each.scrollLeft = 9999 })")
    page.tab.wait_for_timeout(200)
    assert page.value("document.querySelectorAll('.wide:not(.at-end) > .scroll').length") == 0
    assert visit(2000).visible(".sideways") == []


def test_what_to_decide_on_stands_on_the_first_screen(visit: Any) -> None:
    """Costs, growth, what can go and what is missing are seen at 1440 × 900 without scrolling."""
    page = visit(1440)
    bottoms = page.value(
        "[...document.querySelectorAll('.headline, .card')].filter(each => each.checkVisibility())"
        ".map(each => each.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) == 4
    assert max(bottoms) <= 900


def test_an_empty_lake_opens_too(visit: Any, tmp_path: Path) -> None:
    """Its page says what to do and complains of nothing."""
    path = tmp_path / "empty.html"
    path.write_text(make_page(open_lake(str(tmp_path / "none"))), encoding="utf-8")
    page = visit(path=path)
    assert "This lake holds no capture yet" in page.visible("h2")[0]
    page.check_calm()
