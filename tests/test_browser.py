"""The page in a real browser: nothing is fetched, filters work, it fits a phone and turns dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from genesis_etl.dashboard.page import make_page, number
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
    page.tab.wait_for_timeout(200)
    page.check_calm()


def test_the_filters_show_an_account_and_a_region(visit: Any, lake: Path) -> None:
    """What is seen after choosing are the figures of that account's and region's reports."""
    page = visit()
    opened = open_lake(str(lake))
    for index, account in enumerate(["lab", "prod"]):
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
            assert f"{account}, {region} shown" in page.visible("[role=status]")
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
            " getComputedStyle(document.querySelector('svg .mark-line path')).stroke]"
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
    assert page.visible("[data-account] > h2") == ["Account lab", "Account prod"]
    assert page.visible("select") == []


def test_print_leaves_the_filters_away(visit: Any) -> None:
    """On paper there is nothing to click, and the ground is white, in dark mode too."""
    page = visit(color_scheme="dark")
    page.tab.emulate_media(media="print")
    assert page.visible("select") == []
    assert page.value("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.tab.pdf()) > 10_000


def test_an_empty_lake_opens_too(visit: Any, tmp_path: Path) -> None:
    """Its page says what to do and complains of nothing."""
    path = tmp_path / "empty.html"
    path.write_text(make_page(open_lake(str(tmp_path / "none"))), encoding="utf-8")
    page = visit(path=path)
    assert "This lake holds no capture yet" in page.visible("h2")[0]
    page.check_calm()
